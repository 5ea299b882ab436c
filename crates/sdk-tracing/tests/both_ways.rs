//! One test a file: the subscriber and the tracer are the process's.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracewell::{Config, Context, FutureExt as _, InMemoryExporter, SpanKind, Status};
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tracing::instrument(fields(otel.kind = "client", late = tracing::field::Empty))]
async fn library(id: u32) {
    tokio::task::yield_now().await;
    tracing::Span::current().record("late", true);
    // Tracewell's own span inside one of tracing's.
    tracewell::span("inner").start().end();
    tracing::info!(count = 3, "asked");
}

#[tokio::test]
async fn spans_of_tracing_stand_between_our_own_and_its_lines_carry_ids() {
    let exporter = InMemoryExporter::new();
    let guard = tracewell::init(Config::new("test").exporter(exporter.clone())).unwrap();
    let lines = Lines::default();
    let writer = lines.clone();
    let format = tracewell_tracing::with_ids(tracing_subscriber::fmt::format().without_time());
    let fmt =
        tracing_subscriber::fmt::layer().event_format(format).with_ansi(false).with_writer(move || writer.clone());
    let subscriber = tracing_subscriber::registry().with(fmt).with(tracewell_tracing::layer());
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let outer = tracewell::span("outer").parent(&Context::new().with_request_id("r-1")).start();
    let trace_id = outer.span_context().trace_id.to_string();
    library(7).in_span(outer).await;
    async { tracing::error!("it broke") }.instrument(tracing::info_span!("fails", otel.name = "renamed")).await;
    tracing::info!("outside");
    tracewell::tracer().flush(Duration::from_secs(10)).unwrap();

    assert_eq!(
        exporter.tree(&["id", "late"]),
        "outer\n  library late=true id=7\n    * asked\n    inner\nrenamed error=\"it broke\"\n    * it broke\n"
            .replace("    * it broke", "  * it broke")
            .replace("late=true id=7", "id=7 late=true")
    );
    let library = exporter.span("library").unwrap();
    assert_eq!((library.kind, library.status), (SpanKind::Client, Status::Unset));
    assert_eq!(library.events[0].tags.iter().find(|(key, _)| key == "count").unwrap().1, 3.into());

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let [asked, broke, outside] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let library_id = library.context.span_id;
    assert!(asked.starts_with(&format!("trace_id={trace_id} span_id={library_id} request_id=r-1 ")), "{asked}");
    assert!(broke.contains("trace_id=") && !broke.contains("request_id="), "{broke}");
    assert!(!outside.contains("trace_id="), "{outside}");
    drop(guard);
}

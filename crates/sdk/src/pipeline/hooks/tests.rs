use super::*;
use crate::{Batch, Config, Context, ExportError, Exporter, InMemoryExporter, SpanKind, Tracer};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

const LONG: Duration = Duration::from_secs(30);

/// Keeps the bytes of what it is offered.
struct Bytes(mpsc::Sender<Vec<u8>>);

impl Exporter for Bytes {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        assert_eq!(batch.spans().len(), batch.len());
        self.0.send(batch.otlp()[batch.spans_at..].to_vec()).unwrap();
        Ok(())
    }
}

fn tracer(configure: impl FnOnce(Config) -> Config) -> (Tracer, InMemoryExporter) {
    let exporter = InMemoryExporter::new();
    (Tracer::new(configure(Config::new("test").exporter(exporter.clone()))).unwrap(), exporter)
}

#[test]
fn a_hook_changes_spans_and_drops_them_and_what_it_drops_is_counted_and_not_lost() {
    let (tracer, exporter) = tracer(|config| {
        let config = config.on_end(|span| {
            span.remove_tag("user.email");
            span.set_tag("ring", "canary");
            span.set_tag("n", 2);
            if span.name.starts_with("GET /health") { OnEnd::Drop } else { OnEnd::Keep }
        });
        // Later ones see what earlier ones have left.
        config.on_end(|span| {
            assert_ne!(span.name, "GET /health");
            span.set_tag("seen", span.tag_value("ring").is_some());
            OnEnd::Keep
        })
    });
    tracer.span("GET /images").tag("user.email", "a@b.c").tag("n", 1).start().end();
    tracer.span("GET /health").start().end();
    let report = tracer.shutdown(LONG).unwrap();
    let spans = exporter.spans();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].tags, [("n".into(), 2.into()), ("ring".into(), "canary".into()), ("seen".into(), true.into())]);
    assert_eq!((report.stats.exported, report.stats.dropped_on_end, report.lost()), (1, 1, 0));
    assert_eq!(exporter.span("GET /images").unwrap().remove_tag("none"), None);
}

#[test]
fn a_span_that_no_hook_changes_is_written_as_it_was() {
    let written = |with_hook: bool| {
        let (sender, bytes) = mpsc::channel();
        let config =
            Config::new("test").exporter(Bytes(sender)).max_event_tags(1).max_tags(9).max_events(2).max_links(1);
        let config = if with_hook { config.on_end(|_| OnEnd::Keep) } else { config };
        let tracer = Tracer::new(config).unwrap();
        let headers = |parent: &str| {
            vec![("traceparent".to_owned(), parent.to_owned()), ("tracestate".to_owned(), "a=1,b=2".to_owned())]
        };
        let parent =
            crate::Propagators::DEFAULT.extract(&headers("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let linked =
            crate::Propagators::DEFAULT.extract(&headers("00-0bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"));
        let kinds = [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];
        for kind in kinds {
            let span = tracer.span("work").kind(kind).parent(&parent).start_time(SystemTime::UNIX_EPOCH);
            let span = span.link(linked.span_context()).link(linked.span_context());
            let span = span.tag("text", "ä".repeat(200)).tag("empty", "").tag("number", -7).tag("float", 0.5);
            let span = span.tag("yes", true).tag("texts", ["a", ""]).tag("numbers", [0_i64, -1]);
            let span = span.tag("floats", vec![0.0, 1.5]).tag("flags", vec![false, true]).tag("one too many", 1);
            let span = span.start();
            for _ in 0..3 {
                span.event_with("event", |tags| _ = tags.tag("a", 1).tag("b", 2));
            }
            span.status(if kind == SpanKind::Client { crate::Status::Ok } else { crate::Status::Error("x".into()) });
            span.end();
        }
        tracer.span("root").parent(&Context::new()).start().end();
        tracer.shutdown(LONG).unwrap();
        bytes.try_iter().flatten().collect::<Vec<u8>>()
    };
    // Ids and times are not the same twice: so one tracer's bytes are read and written again.
    let before = written(false);
    let mut after = Vec::new();
    let shown = show(&mut [Box::new(|_: &mut crate::SpanData| OnEnd::Keep)], &before, &mut after);
    assert_eq!(shown, Shown { kept: 6, kept_ended: 6, dropped_ended: 0 });
    assert_eq!(after, before);
    assert_eq!(otlp::decode_spans(&written(true)).len(), 6);
}

#[test]
fn a_span_at_which_a_hook_panics_does_not_leave() {
    let (tracer, exporter) = tracer(|config| {
        config.on_end(|span| {
            assert_ne!(span.name, "secret", "cannot be redacted");
            OnEnd::Keep
        })
    });
    for name in ["before", "secret", "after"] {
        tracer.span(name).start().end();
    }
    let report = tracer.shutdown(LONG).unwrap();
    let names: Vec<_> = exporter.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["before", "after"]);
    assert_eq!((report.stats.exported, report.stats.dropped_on_end), (2, 1));
}

#[test]
fn a_batch_of_which_nothing_is_kept_is_not_offered() {
    let (sender, bytes) = mpsc::channel();
    let tracer = Tracer::new(Config::new("test").exporter(Bytes(sender)).on_end(|_| OnEnd::Drop)).unwrap();
    tracer.span("work").start().end();
    tracer.flush(LONG).unwrap();
    assert_eq!(tracer.stats().dropped_on_end, 1);
    tracer.shutdown(LONG).unwrap();
    assert!(bytes.try_recv().is_err());
}

#[test]
fn what_is_reported_before_its_end_is_shown_too_and_counted_once() {
    let (tracer, exporter) = tracer(|config| {
        config.report_pending_after(Duration::ZERO).on_end(|span| {
            span.set_tag("shown", true);
            if span.name == "dropped" { OnEnd::Drop } else { OnEnd::Keep }
        })
    });
    let (kept, dropped) = (tracer.span("kept").start(), tracer.span("dropped").start());
    tracer.flush(LONG).unwrap();
    assert_eq!((tracer.stats().exported, tracer.stats().dropped_on_end), (0, 0));
    kept.end();
    dropped.end();
    tracer.shutdown(LONG).unwrap();
    assert_eq!((tracer.stats().exported, tracer.stats().dropped_on_end), (1, 1));
    let spans = exporter.spans();
    assert_eq!(spans.len(), 2, "once pending, and once at the end: {spans:#?}");
    assert!(spans.iter().all(|span| span.name == "kept" && span.tag_value("shown") == Some(&true.into())));
}

//! OpenTelemetry's API over Tracewell.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Array, Context, KeyValue, Value};
use std::time::{Duration, UNIX_EPOCH};
use tracewell::{Config, InMemoryExporter, Tracer};
use tracewell_opentelemetry::{TracerProvider, current_context};

#[test]
fn what_is_recorded_by_either_is_one_trace() {
    let exporter = InMemoryExporter::new();
    let ours = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let theirs = TracerProvider::with_tracer(ours.clone()).tracer("library");

    let outer = ours.span("outer").start();
    let entered = outer.enter();
    let mut library = theirs
        .span_builder("library")
        .with_kind(SpanKind::Client)
        .with_attributes([KeyValue::new("texts", Value::Array(Array::String(vec!["a".into()])))])
        .start(&theirs);
    library.set_attribute(KeyValue::new("n", 7));
    library.add_event("happened", vec![KeyValue::new("ok", true)]);
    library.add_link(opentelemetry::trace::SpanContext::NONE, vec![]);
    library.set_status(Status::error("it broke"));
    library.update_name("renamed");
    assert!(library.is_recording() && library.span_context().is_valid());
    {
        let _active = Context::current_with_span(library).attach();
        theirs.start("below").end();
        ours.span("ours").parent(&current_context()).start().end();
        Context::map_current(|context| {
            context.span().end_with_timestamp(UNIX_EPOCH);
            context.span().set_attribute(KeyValue::new("late", 1));
        });
    }
    drop(entered);
    outer.end();
    ours.flush(Duration::from_secs(10)).unwrap();

    let tree = exporter.tree(&["n", "texts", "otel.scope.name", "late"]);
    let mut lines: Vec<&str> = tree.lines().collect();
    lines[3..].sort_unstable();
    assert_eq!(
        lines,
        [
            "outer",
            "  renamed otel.scope.name=\"library\" texts=[\"a\"] n=7 error=\"it broke\"",
            "    * happened",
            "    below otel.scope.name=\"library\"",
            "    ours",
        ]
    );
    let renamed = exporter.span("renamed").unwrap();
    assert_eq!(renamed.kind, tracewell::SpanKind::Client);
    assert_eq!(renamed.end_unix_nanos, renamed.start_unix_nanos, "a span never ends before it starts");
}

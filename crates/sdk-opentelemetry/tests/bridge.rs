//! A library that traces itself with OpenTelemetry, in a program that traces itself with Tracewell.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use tracewell::{Config, InMemoryExporter, Tracer, Value};
use tracewell_opentelemetry::{Provider, context_for, context_of};

#[test]
fn spans_of_both_are_of_one_trace() {
    let exporter = InMemoryExporter::new();
    let own = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let theirs = Provider::new().with_tracer(own.clone()).tracer("library");
    own.span("request").start().in_scope(|| {
        theirs.in_span("outer", |context| {
            let mut inner = theirs
                .span_builder("before")
                .with_kind(SpanKind::Client)
                .with_attributes([
                    KeyValue::new("rows", 3),
                    KeyValue::new("tags", opentelemetry::Value::Array(vec![1, 2].into())),
                ])
                .start(&theirs);
            assert!(inner.is_recording());
            inner.update_name("inner");
            inner.add_event("cache miss", vec![KeyValue::new("key", "a")]);
            inner.add_link(context.span().span_context().clone(), Vec::new());
            inner.set_status(Status::error("disk full"));
            inner.end();
            assert!(!inner.is_recording());
            context_of(&context).in_scope(|| own.span("own").start().end());
        });
        let told = own.span("told").start();
        let _attached = context_for(&told.context()).attach();
        theirs.start("within").end();
    });
    own.shutdown(Duration::from_secs(30)).unwrap();

    let span = |name: &str| exporter.span(name).unwrap_or_else(|| panic!("no span {name}"));
    for (child, parent) in [("outer", "request"), ("inner", "outer"), ("own", "outer"), ("within", "told")] {
        let (child, parent) = (span(child), span(parent));
        assert_eq!(child.parent_span_id, Some(parent.context.span_id), "{}", child.name);
        assert_eq!(child.context.trace_id, parent.context.trace_id);
    }
    let inner = span("inner");
    assert_eq!(inner.kind, tracewell::SpanKind::Client);
    assert_eq!(inner.tag_value("rows"), Some(&3.into()));
    assert_eq!(inner.tag_value("tags"), Some(&Value::I64s(vec![1, 2])));
    assert_eq!(inner.tag_value("otel.scope.name"), Some(&"library".into()));
    assert_eq!((&*inner.events[0].name, inner.events[0].tags[0].clone()), ("cache miss", ("key".into(), "a".into())));
    assert_eq!(inner.links[0].span_id, span("outer").context.span_id);
    assert_eq!(inner.status, tracewell::Status::Error("disk full".into()));
}

//! The global tracer. One test, for there is one tracer in a process.

use std::time::Duration;
use tracewell::{Config, Context, Error, FutureExt as _, InMemoryExporter};

#[tokio::test]
async fn spans_do_nothing_until_the_tracer_is_there_and_are_flushed_when_it_goes() {
    let headers =
        vec![("traceparent".to_owned(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned())];
    let early = tracewell::span("early").parent(&tracewell::extract(&headers)).start();
    let mut onward: Vec<(String, String)> = Vec::new();
    early.in_scope(|| tracewell::inject(&Context::current(), &mut onward));
    assert_eq!(onward, headers, "the caller's context passes through");
    early.end();

    let exporter = InMemoryExporter::new();
    let config = || {
        let config = Config::new("test").exporter(exporter.clone()).export_interval(Duration::from_secs(3600));
        config.shutdown_timeout(Duration::from_secs(60))
    };
    let guard = tracewell::init(config()).unwrap();
    assert!(matches!(tracewell::init(config()), Err(Error::AlreadyInitialized)));

    let work = async {
        tracewell::tag("user.id", 7);
        tracewell::event("started");
        tracewell::error("it broke");
        tracewell::db::call("sqlite", "SELECT").start().end();
        tracewell::http::client_span("GET", "http://catalog/").end();
    };
    work.in_span(tracewell::span("work").start()).await;
    drop(guard);

    assert!(exporter.span("early").is_none());
    let work = exporter.span("work").unwrap();
    assert_eq!(work.tag_value("user.id"), Some(&7.into()));
    assert_eq!(work.events[0].name, "started");
    assert_eq!(work.status, tracewell::Status::Error("it broke".into()));
    assert_eq!(exporter.span("SELECT").unwrap().parent_span_id, Some(work.context.span_id));
    assert_eq!(exporter.span("GET").unwrap().parent_span_id, Some(work.context.span_id));
    assert_eq!(tracewell::tracer().stats().exported, 3);
}

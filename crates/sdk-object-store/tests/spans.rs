//! Operations of a store, in spans.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use std::time::Duration;
use tracewell::{Config, FutureExt as _, InMemoryExporter};
use tracewell_object_store::traced;

#[tokio::test]
async fn each_operation_is_a_span_named_by_what_it_does_and_the_bucket() {
    let exporter = InMemoryExporter::new();
    let _guard = tracewell::init(Config::new("test").exporter(exporter.clone())).unwrap();
    let work = async {
        let store = traced(InMemory::new(), "pictures");
        let (one, two) = (Path::from("a/1.svg"), Path::from("a/2.svg"));
        store.put(&one, "<svg/>".into()).await.unwrap();
        store.copy(&one, &two).await.unwrap();
        assert_eq!(store.get(&two).await.unwrap().bytes().await.unwrap().len(), 6);
        store.head(&one).await.unwrap();
        store.get(&Path::from("missing")).await.unwrap_err();
        let mut listed = store.list(Some(&Path::from("a")));
        while let Some(entry) = std::future::poll_fn(|task| listed.as_mut().poll_next(task)).await {
            entry.unwrap();
        }
        store.delete(&one).await.unwrap();
    };
    work.in_span(tracewell::span("request").start()).await;
    tracewell::tracer().flush(Duration::from_secs(10)).unwrap();
    assert_eq!(
        exporter.tree(&["aws.s3.key", "http.request.body.size", "error.type"]),
        "\
request
  PUT pictures aws.s3.key=\"a/1.svg\" http.request.body.size=6
  COPY pictures aws.s3.key=\"a/2.svg\"
  GET pictures aws.s3.key=\"a/2.svg\"
  HEAD pictures aws.s3.key=\"a/1.svg\"
  GET pictures aws.s3.key=\"missing\" error.type=\"not_found\"
  LIST pictures aws.s3.key=\"a\"
  DELETE pictures
"
    );
}

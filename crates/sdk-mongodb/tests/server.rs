//! Commands to a real server of MongoDB's protocol, started here on a free port.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use tracewell::{Config, FutureExt as _, InMemoryExporter, SpanKind, Status, Tracer};
use tracewell_parts::Mongo;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_is_a_span_and_tells_no_documents() {
    let Some(server) = Mongo::start() else { return };
    let exporter = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let mut options = ClientOptions::parse(format!("mongodb://127.0.0.1:{}", server.port())).await.unwrap();
    options.command_event_handler = Some(tracewell_mongodb::handler_with(tracer.clone()));
    let database = mongodb::Client::with_options(options).unwrap().database("gallery");
    let images = database.collection::<Document>("images");
    let parent = tracer.span("parent").start();
    let parent_id = parent.span_context().span_id;
    let work = async {
        images.insert_many((0..300).map(|id| doc! { "_id": id, "title": "secret" })).await.unwrap();
        let mut found = images.find(doc! { "title": "secret" }).batch_size(100).await.unwrap();
        let mut count = 0;
        while found.advance().await.unwrap() {
            count += 1;
        }
        assert_eq!(count, 300);
        images.insert_one(doc! { "_id": 1, "title": "secret" }).await.unwrap_err();
        database.run_command(doc! { "noSuchCommand": "secret" }).await.unwrap_err();
    };
    work.in_span(parent).await;
    tracer.shutdown(Duration::from_secs(30)).unwrap();

    let spans = exporter.spans();
    let find = exporter.span("find images").unwrap();
    assert_eq!((find.kind, find.parent_span_id, &find.status), (SpanKind::Client, Some(parent_id), &Status::Unset));
    for (key, value) in [
        ("db.system.name", "mongodb".into()),
        ("db.operation.name", "find".into()),
        ("db.collection.name", "images".into()),
        ("db.namespace", "gallery".into()),
        ("server.address", "127.0.0.1".into()),
        ("server.port", i64::from(server.port()).into()),
    ] {
        assert_eq!(find.tag_value(key), Some(&value), "{key}");
    }
    let more = spans.iter().find(|span| span.name == "getMore images").unwrap();
    assert_eq!(more.parent_span_id, Some(parent_id));
    let inserts: Vec<_> = spans.iter().filter(|span| span.name == "insert images").collect();
    assert_eq!(inserts.iter().map(|span| span.status != Status::Unset).collect::<Vec<_>>(), [false, true]);
    assert_eq!(inserts[1].tag_value("db.response.status_code"), Some(&"11000".into()));
    let unknown = exporter.span("noSuchCommand").unwrap();
    assert_eq!(unknown.tag_value("error.type"), Some(&"59".into()));
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
}

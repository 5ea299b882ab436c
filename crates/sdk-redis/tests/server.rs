//! Commands to a real Redis, started here on a free port.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::time::Duration;

use redis::{AsyncCommands as _, Commands as _};
use tracewell::{Config, FutureExt as _, InMemoryExporter, SpanKind, Status, Tracer};
use tracewell_parts::Redis;

fn client(server: &Redis) -> redis::Client {
    redis::Client::open(format!("redis://127.0.0.1:{}/2", server.port())).unwrap()
}

fn tracer() -> (Tracer, InMemoryExporter) {
    let exporter = InMemoryExporter::new();
    (Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap(), exporter)
}

#[tokio::test]
async fn each_command_is_a_span_and_tells_neither_keys_nor_values() {
    let Some(server) = Redis::start() else { return };
    let (tracer, exporter) = tracer();
    let connection = client(&server).get_multiplexed_async_connection().await.unwrap();
    let mut connection = tracewell_redis::traced(connection).tracer(tracer.clone()).server("127.0.0.1", server.port());
    let parent = tracer.span("parent").start();
    let parent_id = parent.span_context().span_id;
    let work = async {
        let _: () = connection.set("secret:1", "secret").await.unwrap();
        let got: String = connection.get("secret:1").await.unwrap();
        assert_eq!(got, "secret");
        connection.incr::<_, _, i64>("secret:1", 1).await.unwrap_err();
        let mut pipeline = redis::pipe();
        pipeline.set("secret:2", 1).ignore().set("secret:3", 2).ignore();
        let _: () = pipeline.query_async(&mut connection).await.unwrap();
        let mut transaction = redis::pipe();
        let answer: (i64, i64) =
            transaction.atomic().incr("secret:2", 1).del("secret:3").query_async(&mut connection).await.unwrap();
        assert_eq!(answer, (2, 1));
    };
    work.in_span(parent).await;
    tracer.shutdown(Duration::from_secs(30)).unwrap();

    let get = exporter.span("GET").unwrap();
    assert_eq!((get.kind, get.parent_span_id, &get.status), (SpanKind::Client, Some(parent_id), &Status::Unset));
    for (key, value) in [
        ("db.system.name", "redis".into()),
        ("db.operation.name", "GET".into()),
        ("db.namespace", "2".into()),
        ("db.query.text", "GET ?".into()),
        ("server.address", "127.0.0.1".into()),
        ("server.port", i64::from(server.port()).into()),
    ] {
        assert_eq!(get.tag_value(key), Some(&value), "{key}");
    }
    let failed = exporter.span("INCRBY").or_else(|| exporter.span("INCR")).unwrap();
    assert!(matches!(failed.status, Status::Error(_)), "{failed:#?}");
    assert_eq!(failed.tag_value("db.response.status_code"), Some(&"ERR".into()));
    let pipeline = exporter.span("PIPELINE SET").unwrap();
    assert_eq!(pipeline.tag_value("db.operation.batch.size"), Some(&2.into()));
    assert_eq!(pipeline.tag_value("db.query.text"), Some(&"SET ? ?; SET ? ?".into()));
    assert_eq!(exporter.span("MULTI").unwrap().tag_value("db.operation.batch.size"), Some(&2.into()));
    assert!(!format!("{:?}", exporter.spans()).contains("secret"));
}

#[test]
fn a_synchronous_connection_is_traced_too_and_a_lost_one_is_an_error() {
    let Some(server) = Redis::start() else { return };
    let (tracer, exporter) = tracer();
    let mut connection = tracewell_redis::traced(client(&server).get_connection().unwrap()).tracer(tracer.clone());
    let _: () = connection.set("secret", 1).unwrap();
    let _: () = redis::pipe().set("secret", 1).ignore().set("secret", 2).ignore().query(&mut connection).unwrap();
    let _: () =
        redis::pipe().atomic().del("secret").ignore().incr("secret", 1).ignore().query(&mut connection).unwrap();
    let many = (0..100).fold(redis::pipe(), |mut pipeline, _| {
        pipeline.incr("secret", 1).ignore();
        pipeline
    });
    let _: () = many.query(&mut connection).unwrap();
    drop(server);
    connection.get::<_, i64>("secret").unwrap_err();
    tracer.shutdown(Duration::from_secs(30)).unwrap();
    assert_eq!(exporter.span("SET").unwrap().status, Status::Unset);
    let pipeline = exporter.span("PIPELINE SET").unwrap();
    assert_eq!(pipeline.tag_value("db.operation.batch.size"), Some(&2.into()));
    assert_eq!(pipeline.tag_value("db.query.text"), Some(&"SET ? ?; SET ? ?".into()));
    let transaction = exporter.span("MULTI").unwrap();
    assert_eq!(transaction.tag_value("db.operation.batch.size"), Some(&2.into()));
    assert_eq!(transaction.tag_value("db.query.text"), Some(&"DEL ?; INCRBY ? ?".into()));
    let many = exporter.spans().into_iter().find(|span| span.tag_value("db.operation.batch.size") == Some(&100.into()));
    assert_eq!(many.unwrap().name, "PIPELINE INCRBY");
    let lost = exporter.span("GET").unwrap();
    assert_eq!(lost.tag_value("error.type"), Some(&"connection".into()));
    assert_eq!(lost.status, Status::Error("connection".into()));
}

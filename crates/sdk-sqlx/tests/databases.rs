//! Queries to SQLite and to a real PostgreSQL, started here on a free port.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::time::Duration;

use sqlx::Row as _;
use tracewell::{Config, FutureExt as _, InMemoryExporter, SpanData, SpanKind, Status, Tracer};
use tracewell_parts::Postgres;
use tracewell_sqlx::Pool;

fn tracer() -> (Tracer, InMemoryExporter) {
    let exporter = InMemoryExporter::new();
    (Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap(), exporter)
}

fn text<'a>(span: &'a SpanData, key: &str) -> &'a str {
    span.tag_value(key).and_then(|value| value.as_str()).unwrap_or("")
}

/// What every database is asked; `$1` is a placeholder to both.
macro_rules! use_all {
    ($pool:expr, $tracer:expr) => {{
        let (pool, tracer): (&Pool<_>, &Tracer) = ($pool, $tracer);
        let work = async {
            sqlx::raw_sql("CREATE TABLE images (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
                .execute(pool)
                .await
                .unwrap();
            for id in 1..=3_i32 {
                let insert = sqlx::query("INSERT INTO images (id, title) VALUES ($1, $2)").bind(id).bind("secret");
                assert_eq!(insert.execute(pool).await.unwrap().rows_affected(), 1);
            }
            let all = sqlx::query("SELECT id, title FROM images WHERE title = 'secret' AND id < $1").bind(3_i32);
            assert_eq!(all.fetch_all(pool).await.unwrap().len(), 2);
            let one = sqlx::query("SELECT title FROM images WHERE id = $1").bind(1_i32).fetch_one(pool).await.unwrap();
            assert_eq!(one.get::<String, _>(0), "secret");
            let twice = sqlx::query("INSERT INTO images (id, title) VALUES ($1, 'secret')").bind(1_i32);
            twice.execute(pool).await.unwrap_err();
            let mut transaction = pool.begin().await.unwrap();
            sqlx::query("DELETE FROM images").execute(&mut *transaction).await.unwrap();
            transaction.rollback().await.unwrap();
            let mut transaction = pool.begin().await.unwrap();
            sqlx::query("UPDATE images SET title = 'secret'").execute(&mut *transaction).await.unwrap();
            let mut inner = transaction.begin().await.unwrap();
            sqlx::query("DELETE FROM images").execute(&mut *inner).await.unwrap();
            inner.rollback().await.unwrap();
            let mut inner = transaction.begin().await.unwrap();
            let twice = sqlx::query("INSERT INTO images (id, title) VALUES (7, 'secret')");
            twice.execute(&mut *inner).await.unwrap();
            sqlx::query("DELETE FROM images WHERE id = 7").execute(&mut *inner).await.unwrap();
            inner.commit().await.unwrap();
            transaction.commit().await.unwrap();
            let mut connection = pool.acquire().await.unwrap();
            let all = sqlx::query("SELECT id FROM images").fetch_all(&mut *connection).await.unwrap();
            assert_eq!(all.len(), 3);
            let mut transaction = connection.begin().await.unwrap();
            insert_into(&mut transaction).await;
            // What is asked of `sqlx`'s own connection has no span.
            sqlx::query("DELETE FROM images WHERE id = 8").execute(transaction.untraced()).await.unwrap();
            transaction.commit().await.unwrap();
            // A connection of `sqlx`'s has one when it is asked for, and once.
            sqlx::query("UPDATE images SET id = id").execute(pool.on(connection.untraced())).await.unwrap();
            drop(connection);
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM images").fetch_one(pool).await.unwrap();
            assert_eq!(count, 3);
        };
        work.in_span(tracer.span("parent").start()).await;
        tracer.shutdown(Duration::from_secs(30)).unwrap();
    }};
}

/// A function of a program, which is given its connection: this, or any executor.
async fn insert_into<DB>(connection: &mut tracewell_sqlx::Connection<'_, DB>)
where
    DB: tracewell_sqlx::Executes,
    DB::Arguments: sqlx::IntoArguments<DB>,
{
    sqlx::query::<DB>("INSERT INTO images (id, title) VALUES (8, 'secret')").execute(connection).await.unwrap();
}

fn check(exporter: &InMemoryExporter, system: &str, namespace: &str, violation: &str) {
    let parent = exporter.span("parent").unwrap();
    let mut spans = exporter.spans();
    // Whether a connection had to be waited for is not in the test's hands.
    spans.retain(|span| !["parent", "acquire connection"].contains(&&*span.name));
    spans.sort_by_key(|span| span.start_unix_nanos);
    for span in &spans {
        assert_eq!((span.kind, span.parent_span_id), (SpanKind::Client, Some(parent.context.span_id)));
        assert_eq!((text(span, "db.system.name"), text(span, "db.namespace")), (system, namespace));
        assert_eq!(text(span, "db.query.summary"), span.name);
    }
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    let insert = "INSERT images";
    let select = "SELECT images";
    let undone = ["BEGIN", "DELETE images", "ROLLBACK"];
    let savepoints =
        [["SAVEPOINT", "DELETE images", "ROLLBACK"].as_slice(), &["SAVEPOINT", insert, "DELETE images", "RELEASE"]];
    let done = [&["BEGIN", "UPDATE images"], savepoints[0], savepoints[1], &["COMMIT"]].concat();
    let by_connection = [select, "BEGIN", insert, "COMMIT", "UPDATE images"];
    let before = ["CREATE TABLE images", insert, insert, insert, select, select, insert];
    assert_eq!(names, [&before[..], &undone, &done, &by_connection, &[select]].concat());
    assert_eq!(text(&spans[4], "db.query.text"), "SELECT id, title FROM images WHERE title = ? AND id < $1");
    assert_eq!(spans[4].tag_value("db.response.returned_rows"), Some(&2.into()));
    assert_eq!(spans[5].tag_value("db.response.returned_rows"), Some(&1.into()));
    let failed: Vec<_> = spans.iter().filter(|span| span.status != Status::Unset).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0].status, Status::Error("unique violation".into()));
    assert_eq!(text(failed[0], "db.response.status_code"), violation);
    assert_eq!(text(failed[0], "error.type"), violation);
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
}

#[tokio::test]
async fn each_query_of_sqlite_is_a_span() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalog.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let (tracer, exporter) = tracer();
    let pool = Pool::new(sqlx::SqlitePool::connect_with(options).await.unwrap()).tracer(tracer.clone());
    use_all!(&pool, &tracer);
    check(&exporter, "sqlite", &file.to_string_lossy(), "1555");
}

#[tokio::test]
async fn what_takes_any_source_of_connections_takes_the_pool_and_a_transaction() {
    async fn count<'c>(from: impl sqlx::Acquire<'c, Database = sqlx::Sqlite>) -> i64 {
        let mut connection = from.acquire().await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM images").fetch_one(&mut *connection).await.unwrap()
    }
    let (tracer, exporter) = tracer();
    let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
    let pool = Pool::of_system(options.connect("sqlite::memory:").await.unwrap(), "mysql");
    let pool = pool.namespace("shop").server("db", 3306).tracer(tracer.clone());
    sqlx::query("CREATE TABLE images (id INTEGER)").execute(&pool).await.unwrap();
    assert_eq!(count(&pool).await, 0);
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    assert_eq!(count(&mut *transaction).await, 0);
    drop(transaction);
    pool.close().await;
    tracer.shutdown(Duration::from_secs(30)).unwrap();
    let spans = exporter.spans();
    let made: Vec<_> = spans.iter().filter(|span| span.name != "acquire connection").collect();
    let names: Vec<_> = made.iter().map(|span| (&*span.name, text(span, "db.query.text"))).collect();
    assert_eq!(names, [("CREATE TABLE images", "CREATE TABLE images (id INTEGER)"), ("BEGIN", "BEGIN IMMEDIATE")]);
    assert_eq!((text(made[0], "db.system.name"), text(made[0], "db.namespace")), ("mysql", "shop"));
    assert_eq!((text(made[0], "server.address"), made[0].tag_value("server.port")), ("db", Some(&3306.into())));
}

#[tokio::test]
async fn the_wait_for_a_connection_is_a_span_and_the_query_begins_after_it() {
    let (tracer, exporter) = tracer();
    let options = || sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
    let patient = options().acquire_timeout(Duration::from_secs(60)).connect("sqlite::memory:").await.unwrap();
    let pool = Pool::new(patient).tracer(tracer.clone());
    let hasty = options().acquire_timeout(Duration::from_millis(200)).connect_lazy("sqlite::memory:").unwrap();
    // Where it takes longer, it is tried again; without a span, for the pool is not wrapped yet.
    let _held = loop {
        if let Ok(held) = hasty.acquire().await {
            break held;
        }
    };
    let hasty = Pool::new(hasty).tracer(tracer.clone());
    let work = async {
        let held = pool.acquire().await.unwrap();
        let query = sqlx::query("SELECT 1").fetch_all(&pool);
        let release = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(held);
        };
        assert_eq!(tokio::join!(query, release).0.unwrap().len(), 1);
        sqlx::query("SELECT 2").fetch_optional(&hasty).await.unwrap_err();
        hasty.begin().await.unwrap_err();
    };
    work.in_span(tracer.span("parent").start()).await;
    tracer.shutdown(Duration::from_secs(30)).unwrap();
    let parent = exporter.span("parent").unwrap();
    let spans = exporter.spans();
    let waits: Vec<_> = spans.iter().filter(|span| span.name == "acquire connection").collect();
    assert!(waits.iter().all(|span| span.parent_span_id == Some(parent.context.span_id)));
    let failed = waits.iter().filter(|span| span.status == Status::Error("pool timeout".into())).count();
    assert_eq!(failed, 2, "{waits:#?}");
    // No query was made without a connection.
    let query = exporter.span("SELECT").unwrap();
    assert_eq!(spans.iter().filter(|span| span.name == "SELECT").count(), 1);
    assert_eq!(query.parent_span_id, Some(parent.context.span_id));
    // The last one that succeeded: that for the connection that was held may have taken long, too.
    let waited = waits.iter().rfind(|span| span.status == Status::Unset);
    assert!(waited.is_some_and(|wait| wait.end_unix_nanos <= query.start_unix_nanos), "{spans:#?}");
}

#[tokio::test]
async fn each_query_of_postgresql_is_a_span() {
    let Some(server) = Postgres::start() else { return };
    let (tracer, exporter) = tracer();
    let options = sqlx::postgres::PgConnectOptions::new()
        .host("127.0.0.1")
        .port(server.port())
        .username("postgres")
        .password("secret")
        .database("postgres");
    let pool = Pool::new(sqlx::PgPool::connect_with(options).await.unwrap()).tracer(tracer.clone());
    use_all!(&pool, &tracer);
    check(&exporter, "postgresql", "postgres", "23505");
    let span = exporter.spans().into_iter().find(|span| span.name == "SELECT images").unwrap();
    assert_eq!(span.tag_value("server.port"), Some(&i64::from(server.port()).into()));
    assert_eq!(text(&span, "server.address"), "127.0.0.1");
    let failed = exporter.spans().into_iter().find(|span| span.status != Status::Unset).unwrap();
    assert_eq!((text(&failed, "db.collection.name"), text(&failed, "db.constraint.name")), ("images", "images_pkey"));
}

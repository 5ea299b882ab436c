//! Queries of a real SQLite, in spans.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use sqlx::Row as _;
use std::time::Duration;
use tracewell::{Config, FutureExt as _, InMemoryExporter};
use tracewell_sqlx::Traced;

#[tokio::test]
async fn each_query_is_a_span_and_no_value_is_recorded() {
    let exporter = InMemoryExporter::new();
    let _guard = tracewell::init(Config::new("test").exporter(exporter.clone())).unwrap();
    let work = async {
        let pool = sqlx::SqlitePool::connect("sqlite::memory:").await.unwrap();
        sqlx::query("CREATE TABLE images (id INTEGER PRIMARY KEY, title TEXT)").execute(Traced(&pool)).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        for id in [1, 2] {
            let insert = sqlx::query("INSERT INTO images VALUES (?, 'secret')").bind(id);
            insert.execute(Traced(&mut *transaction)).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let rows = sqlx::query("SELECT title FROM images WHERE id > ?").bind(0).fetch_all(Traced(&pool)).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>(), ["secret", "secret"]);
        let none = sqlx::query("SELECT title FROM images WHERE id = 9").fetch_optional(Traced(&pool)).await.unwrap();
        assert!(none.is_none());
        sqlx::query("INSERT INTO images VALUES (1, 'again')").execute(Traced(&pool)).await.unwrap_err();
    };
    work.in_span(tracewell::span("request").start()).await;
    tracewell::tracer().flush(Duration::from_secs(10)).unwrap();
    assert_eq!(
        exporter.tree(&["db.query.text", "error.type"]),
        "\
request
  CREATE images db.query.text=\"CREATE TABLE images (id INTEGER PRIMARY KEY, title TEXT)\"
  INSERT images db.query.text=\"INSERT INTO images VALUES (?, ?)\"
  INSERT images db.query.text=\"INSERT INTO images VALUES (?, ?)\"
  SELECT images db.query.text=\"SELECT title FROM images WHERE id > ?\"
  SELECT images db.query.text=\"SELECT title FROM images WHERE id = ?\"
  INSERT images db.query.text=\"INSERT INTO images VALUES (?, ?)\" error.type=\"UniqueViolation\" error=\"the database refused the statement\"
"
    );
    let spans = exporter.spans();
    assert!(spans.iter().all(|span| !format!("{span:?}").contains("secret")));
    assert_eq!(exporter.span("CREATE images").unwrap().tag_value("db.system.name"), Some(&"sqlite".into()));
}

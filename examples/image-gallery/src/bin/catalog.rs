//! The image catalog: what there is, in SQLite.
//!
//! `PUT /admin/slow-database?millis=2000` makes every query of the database take that much longer, as a failing disk
//! would. It is how the demonstration makes the gallery slow.

use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use clap::Parser;
use image_gallery::{Failure, ServiceArgs, serve};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use serde::{Deserialize, Serialize};

const IMAGES: u32 = 300;
const TAGS: [&str; 4] = ["sea", "city", "forest", "people"];

#[derive(Parser)]
#[command(about = "The image catalog of the Image Gallery")]
struct Catalog {
    #[command(flatten)]
    service: ServiceArgs,
    /// The database file, which is made if it is not there
    #[arg(long)]
    database: PathBuf,
}

#[derive(Serialize)]
struct Entry {
    id: u32,
    title: String,
    tag: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Catalog::parse();
    let database = Arc::new(Database::open(&args.database, args.service.level)?);
    let routes = Router::new()
        .route("/entries", get(by_tag))
        .route("/entries/{id}", get(by_id))
        .route("/admin/slow-database", put(slow))
        .with_state(database);
    serve("catalog", &args.service, 2, routes).await
}

#[derive(Deserialize)]
struct Wanted {
    tag: String,
}

async fn by_tag(
    State(database): State<Arc<Database>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<Entry>>, Failure> {
    const SQL: &str = "SELECT id, title, tag FROM images WHERE tag = ?1 AND (SELECT disk()) ORDER BY id LIMIT 20";
    Ok(Json(database.query(SQL, wanted.tag).await?))
}

async fn by_id(State(database): State<Arc<Database>>, Path(id): Path<u32>) -> Result<Json<Entry>, Failure> {
    const SQL: &str = "SELECT id, title, tag FROM images WHERE id = ?1 AND (SELECT disk())";
    let mut found = database.query(SQL, id).await?;
    found.pop().map(Json).ok_or_else(|| Failure(StatusCode::NOT_FOUND, format!("there is no image {id}")))
}

#[derive(Deserialize)]
struct Slow {
    millis: u64,
}

async fn slow(State(database): State<Arc<Database>>, Query(slow): Query<Slow>) -> StatusCode {
    database.delay_millis.store(slow.millis, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

/// SQLite with a few connections.
struct Database {
    path: PathBuf,
    level: u8,
    idle: Mutex<Vec<Connection>>,
    delay_millis: Arc<AtomicU64>,
}

impl Database {
    fn open(path: &FilePath, level: u8) -> Result<Self> {
        let mut connection = Connection::open(path).with_context(|| format!("open {}", path.display()))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY, title TEXT NOT NULL, tag TEXT NOT NULL);
             CREATE INDEX IF NOT EXISTS images_by_tag ON images (tag);",
        )?;
        let filling = connection.transaction()?;
        for id in 1..=IMAGES {
            let tag = TAGS[id as usize % TAGS.len()];
            filling
                .execute("INSERT OR REPLACE INTO images VALUES (?1, ?2, ?3)", (id, format!("{tag} no. {id}"), tag))?;
        }
        filling.commit()?;
        Ok(Self { path: path.to_owned(), level, idle: Mutex::default(), delay_millis: Arc::default() })
    }

    fn connection(&self) -> Result<Connection> {
        if let Some(connection) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(connection);
        }
        let connection = Connection::open(&self.path)?;
        let delay = self.delay_millis.clone();
        // The disk that may become slow: SQLite itself waits for it, in the middle of a query.
        connection.create_scalar_function("disk", 0, FunctionFlags::SQLITE_UTF8, move |_| {
            std::thread::sleep(Duration::from_millis(delay.load(Ordering::Relaxed)));
            Ok(true)
        })?;
        Ok(connection)
    }

    async fn query(
        self: &Arc<Self>,
        sql: &'static str,
        parameter: impl rusqlite::ToSql + Send + 'static,
    ) -> Result<Vec<Entry>> {
        // Level 3: a span of the database call.
        let span =
            (self.level >= 3).then(|| tracewell::db::call("sqlite", "SELECT").collection("images").query(sql).start());
        let database = self.clone();
        let entries = tokio::task::spawn_blocking(move || database.run(sql, &parameter)).await?;
        if let (Some(span), Err(error)) = (&span, &entries) {
            span.error(error);
        }
        entries
    }

    fn run(&self, sql: &str, parameter: &dyn rusqlite::ToSql) -> Result<Vec<Entry>> {
        let connection = self.connection()?;
        let entries = connection
            .prepare_cached(sql)?
            .query_map([parameter], |row| Ok(Entry { id: row.get(0)?, title: row.get(1)?, tag: row.get(2)? }))?
            .collect::<rusqlite::Result<_>>()?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(entries)
    }
}

//! SQLite.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

use crate::Entry;

/// A file with a few connections.
pub(crate) struct Database {
    path: PathBuf,
    level: u8,
    idle: Mutex<Vec<Connection>>,
    delay_millis: Arc<AtomicU64>,
}

impl Database {
    pub(crate) fn open(path: &Path, level: u8) -> Result<Self> {
        let mut connection = Connection::open(path).with_context(|| format!("open {}", path.display()))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY, title TEXT NOT NULL, tag TEXT NOT NULL);
             CREATE INDEX IF NOT EXISTS images_by_tag ON images (tag);",
        )?;
        let filling = connection.transaction()?;
        for Entry { id, title, tag } in crate::all() {
            filling.execute("INSERT OR REPLACE INTO images VALUES (?1, ?2, ?3)", (id, title, tag))?;
        }
        filling.commit()?;
        Ok(Self { path: path.to_owned(), level, idle: Mutex::default(), delay_millis: Arc::default() })
    }

    pub(crate) async fn by_tag(self: &Arc<Self>, tag: String) -> Result<Vec<Entry>> {
        const SQL: &str = "SELECT id, title, tag FROM images WHERE tag = ?1 AND (SELECT disk()) ORDER BY id LIMIT 20";
        self.query(SQL, tag).await
    }

    pub(crate) async fn by_id(self: &Arc<Self>, id: u32) -> Result<Option<Entry>> {
        const SQL: &str = "SELECT id, title, tag FROM images WHERE id = ?1 AND (SELECT disk())";
        Ok(self.query(SQL, id).await?.pop())
    }

    pub(crate) fn slow_down(&self, by: Duration) {
        self.delay_millis.store(by.as_millis() as u64, Ordering::Relaxed);
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

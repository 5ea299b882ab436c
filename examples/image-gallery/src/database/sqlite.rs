//! SQLite with a few connections.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

use super::{Database, Entry, entries};

#[derive(Clone)]
pub(super) struct Sqlite(Arc<Shared>);

struct Shared {
    path: PathBuf,
    level: u8,
    idle: Mutex<Vec<Connection>>,
    delay_millis: Arc<AtomicU64>,
}

impl Sqlite {
    pub(super) fn open(path: &Path, level: u8) -> Result<Self> {
        let mut connection = Connection::open(path).with_context(|| format!("open {}", path.display()))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY, title TEXT NOT NULL, tag TEXT NOT NULL);
             CREATE INDEX IF NOT EXISTS images_by_tag ON images (tag);",
        )?;
        let filling = connection.transaction()?;
        for Entry { id, title, tag } in entries() {
            filling.execute("INSERT OR REPLACE INTO images VALUES (?1, ?2, ?3)", (id, title, tag))?;
        }
        filling.commit()?;
        let (idle, delay_millis) = (Mutex::default(), Arc::default());
        Ok(Self(Arc::new(Shared { path: path.to_owned(), level, idle, delay_millis })))
    }

    async fn query(&self, sql: &'static str, parameter: impl rusqlite::ToSql + Send + 'static) -> Result<Vec<Entry>> {
        // Level 3: a span of the database call.
        let span = (self.0.level >= 3)
            .then(|| tracewell::db::call("sqlite", "SELECT").collection("images").query(sql).start());
        let database = self.0.clone();
        let entries = tokio::task::spawn_blocking(move || database.run(sql, &parameter)).await?;
        if let (Some(span), Err(error)) = (&span, &entries) {
            span.error(error);
        }
        entries
    }
}

impl Shared {
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

#[async_trait]
impl Database for Sqlite {
    async fn by_tag(&self, tag: String) -> Result<Vec<Entry>> {
        const SQL: &str = "SELECT id, title, tag FROM images WHERE tag = ?1 AND (SELECT disk()) ORDER BY id LIMIT 20";
        self.query(SQL, tag).await
    }

    async fn by_id(&self, id: u32) -> Result<Option<Entry>> {
        const SQL: &str = "SELECT id, title, tag FROM images WHERE id = ?1 AND (SELECT disk())";
        Ok(self.query(SQL, id).await?.pop())
    }

    fn slow_down(&self, delay: Duration) -> Result<()> {
        self.0.delay_millis.store(delay.as_millis() as u64, Ordering::Relaxed);
        Ok(())
    }
}

//! PostgreSQL.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use tracewell_sqlx::Traced;

use crate::Entry;

/// A database with a pool of connections.
pub(crate) struct Database {
    pool: PgPool,
    level: u8,
    delay_millis: AtomicU64,
}

impl Database {
    pub(crate) async fn open(url: &str, level: u8) -> Result<Self> {
        let pool = PgPool::connect(url).await?;
        sqlx::query("CREATE TABLE IF NOT EXISTS images (id INT PRIMARY KEY, title TEXT NOT NULL, tag TEXT NOT NULL)")
            .execute(&pool)
            .await?;
        for Entry { id, title, tag } in crate::all() {
            let insert = sqlx::query("INSERT INTO images VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
            insert.bind(id as i32).bind(title).bind(tag).execute(&pool).await?;
        }
        Ok(Self { pool, level, delay_millis: AtomicU64::new(0) })
    }

    pub(crate) async fn by_tag(&self, tag: &str) -> Result<Vec<Entry>> {
        const SQL: &str = "SELECT id, title, tag FROM images, pg_sleep($1) WHERE tag = $2 ORDER BY id LIMIT 20";
        let query = sqlx::query(SQL).bind(self.delay_seconds()).bind(tag);
        // Level 3: a span of the database call.
        let rows = if self.level >= 3 {
            query.fetch_all(Traced(&self.pool)).await?
        } else {
            query.fetch_all(&self.pool).await?
        };
        rows.iter().map(entry).collect()
    }

    pub(crate) async fn by_id(&self, id: u32) -> Result<Option<Entry>> {
        const SQL: &str = "SELECT id, title, tag FROM images, pg_sleep($1) WHERE id = $2";
        let query = sqlx::query(SQL).bind(self.delay_seconds()).bind(id as i32);
        let row = if self.level >= 3 {
            query.fetch_optional(Traced(&self.pool)).await?
        } else {
            query.fetch_optional(&self.pool).await?
        };
        row.as_ref().map(entry).transpose()
    }

    pub(crate) fn slow_down(&self, by: Duration) {
        self.delay_millis.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    fn delay_seconds(&self) -> f64 {
        self.delay_millis.load(Ordering::Relaxed) as f64 / 1e3
    }
}

fn entry(row: &PgRow) -> Result<Entry> {
    Ok(Entry { id: row.try_get::<i32, _>(0)? as u32, title: row.try_get(1)?, tag: row.try_get(2)? })
}

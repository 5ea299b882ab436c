//! PostgreSQL, through sqlx.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use tracewell_sqlx::Pool;

use super::{Database, Entry, entries};

pub(super) struct Postgres {
    pool: Pool<sqlx::Postgres>,
    delay_millis: AtomicU64,
}

impl Postgres {
    pub(super) async fn open(url: &str, level: u8) -> Result<Self> {
        let pool = PgPool::connect(url).await.context("connect to PostgreSQL")?;
        sqlx::raw_sql(
            "CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY, title TEXT NOT NULL, tag TEXT NOT NULL);
             CREATE INDEX IF NOT EXISTS images_by_tag ON images (tag);",
        )
        .execute(&pool)
        .await?;
        for Entry { id, title, tag } in entries() {
            let insert = sqlx::query("INSERT INTO images VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
            insert.bind(id as i32).bind(title).bind(tag).execute(&pool).await?;
        }
        // Level 3: a span of each query.
        let pool = Pool::new(pool);
        let pool = if level >= 3 { pool } else { pool.tracer(tracewell::Tracer::noop()) };
        Ok(Self { pool, delay_millis: AtomicU64::new(0) })
    }

    /// For `pg_sleep`: the server itself waits in the middle of a query.
    fn delay_seconds(&self) -> f64 {
        Duration::from_millis(self.delay_millis.load(Ordering::Relaxed)).as_secs_f64()
    }
}

fn entry(row: &PgRow) -> Result<Entry> {
    let id: i32 = row.try_get(0)?;
    Ok(Entry { id: u32::try_from(id)?, title: row.try_get(1)?, tag: row.try_get(2)? })
}

#[async_trait]
impl Database for Postgres {
    async fn by_tag(&self, tag: String) -> Result<Vec<Entry>> {
        const SQL: &str = "SELECT id, title, tag FROM images, pg_sleep($2) WHERE tag = $1 ORDER BY id LIMIT 20";
        let rows = sqlx::query(SQL).bind(tag).bind(self.delay_seconds()).fetch_all(&self.pool).await?;
        rows.iter().map(entry).collect()
    }

    async fn by_id(&self, id: u32) -> Result<Option<Entry>> {
        const SQL: &str = "SELECT id, title, tag FROM images, pg_sleep($2) WHERE id = $1";
        let row = sqlx::query(SQL).bind(id as i32).bind(self.delay_seconds()).fetch_optional(&self.pool).await?;
        row.as_ref().map(entry).transpose()
    }

    fn slow_down(&self, delay: Duration) -> Result<()> {
        self.delay_millis.store(delay.as_millis() as u64, Ordering::Relaxed);
        Ok(())
    }
}

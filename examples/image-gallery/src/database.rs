//! What images there are: in SQLite, PostgreSQL or MongoDB.

#[cfg(feature = "mongodb")]
mod mongo;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

const IMAGES: u32 = 300;
const TAGS: [&str; 4] = ["sea", "city", "forest", "people"];

/// An image, as the catalog knows it.
#[derive(Deserialize, Serialize)]
pub struct Entry {
    id: u32,
    title: String,
    tag: String,
}

/// A database of images.
#[async_trait]
pub trait Database: Send + Sync {
    /// Some of those with this tag.
    async fn by_tag(&self, tag: String) -> Result<Vec<Entry>>;

    /// The one with this number.
    async fn by_id(&self, id: u32) -> Result<Option<Entry>>;

    /// Makes every query take that much longer, as a failing disk would. An error where it cannot be done.
    fn slow_down(&self, delay: Duration) -> Result<()>;
}

/// Opens a database and fills it: `postgres://...`, `mongodb://...`, or else a file for SQLite. From level 3 on, each call
/// of it is a span.
pub async fn open(url: &str, level: u8) -> Result<Arc<dyn Database>> {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        #[cfg(feature = "postgres")]
        Some("postgres" | "postgresql") => Ok(Arc::new(postgres::Postgres::open(url, level).await?)),
        #[cfg(feature = "mongodb")]
        Some("mongodb") => Ok(Arc::new(mongo::Mongo::open(url, level).await?)),
        Some(scheme) => bail!("build with `--features {scheme}` for {scheme}://"),
        None => Ok(Arc::new(sqlite::Sqlite::open(url.as_ref(), level)?)),
    }
}

/// What the database holds.
fn entries() -> impl Iterator<Item = Entry> {
    (1..=IMAGES).map(|id| {
        let tag = TAGS[id as usize % TAGS.len()];
        Entry { id, title: format!("{tag} no. {id}"), tag: tag.to_owned() }
    })
}

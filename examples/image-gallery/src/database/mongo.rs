//! MongoDB.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use mongodb::bson::doc;
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};

use super::{Database, Entry, entries};

pub(super) struct Mongo {
    images: Collection<Entry>,
}

impl Mongo {
    pub(super) async fn open(url: &str, level: u8) -> Result<Self> {
        let mut options = ClientOptions::parse(url).await?;
        if level >= 3 {
            // Level 3: a span of each command.
            options.command_event_handler = Some(tracewell_mongodb::handler());
        }
        let client = Client::with_options(options)?;
        let images: Collection<Entry> = client.database("gallery").collection("images");
        images.delete_many(doc! {}).await.context("connect to MongoDB")?;
        images.insert_many(entries()).await?;
        Ok(Self { images })
    }
}

#[async_trait]
impl Database for Mongo {
    async fn by_tag(&self, tag: String) -> Result<Vec<Entry>> {
        let mut found = self.images.find(doc! { "tag": tag }).sort(doc! { "id": 1 }).limit(20).await?;
        let mut entries = Vec::new();
        while found.advance().await? {
            entries.push(found.deserialize_current()?);
        }
        Ok(entries)
    }

    async fn by_id(&self, id: u32) -> Result<Option<Entry>> {
        Ok(self.images.find_one(doc! { "id": id }).await?)
    }

    fn slow_down(&self, _: Duration) -> Result<()> {
        bail!("a query of MongoDB cannot be told to wait")
    }
}

//! MongoDB.

use anyhow::Result;
use mongodb::bson::doc;
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};

use crate::Entry;

/// A collection of images.
pub(crate) struct Database {
    images: Collection<Entry>,
}

impl Database {
    pub(crate) async fn open(url: &str, level: u8) -> Result<Self> {
        let mut options = ClientOptions::parse(url).await?;
        if level >= 3 {
            // Level 3: a span of each command.
            options.command_event_handler = Some(tracewell_mongodb::command_events());
        }
        let images: Collection<Entry> = Client::with_options(options)?.database("gallery").collection("images");
        if images.count_documents(doc! {}).await? == 0 {
            images.insert_many(crate::all()).await?;
        }
        Ok(Self { images })
    }

    pub(crate) async fn by_tag(&self, tag: &str) -> Result<Vec<Entry>> {
        let mut found = self.images.find(doc! { "tag": tag }).sort(doc! { "id": 1 }).limit(20).await?;
        let mut entries = Vec::new();
        while found.advance().await? {
            entries.push(found.deserialize_current()?);
        }
        Ok(entries)
    }

    pub(crate) async fn by_id(&self, id: u32) -> Result<Option<Entry>> {
        Ok(self.images.find_one(doc! { "id": id }).await?)
    }
}

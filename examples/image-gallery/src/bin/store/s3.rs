//! Pictures in a bucket.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

/// A bucket with an object for each picture.
pub(crate) struct Pictures {
    store: Arc<dyn ObjectStore>,
}

impl Pictures {
    pub(crate) async fn open(bucket: &str, level: u8) -> Result<Self> {
        let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build()?;
        for (id, picture) in crate::all() {
            store.put(&path(id), picture.into()).await.with_context(|| format!("fill the bucket {bucket}"))?;
        }
        // Level 3: a span of each operation.
        let store: Arc<dyn ObjectStore> =
            if level >= 3 { Arc::new(tracewell_object_store::traced(store, bucket)) } else { Arc::new(store) };
        Ok(Self { store })
    }

    pub(crate) async fn read(&self, id: u32) -> Result<Bytes> {
        Ok(self.store.get(&path(id)).await?.bytes().await?)
    }

    pub(crate) async fn write(&self, id: u32, bytes: Bytes) -> Result<()> {
        self.store.put(&path(id), bytes.into()).await?;
        Ok(())
    }
}

fn path(id: u32) -> Path {
    Path::from(format!("{id}.svg"))
}

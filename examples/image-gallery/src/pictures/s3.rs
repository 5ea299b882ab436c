//! Pictures in a bucket of S3.

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::{Pictures, pictures};

pub(super) struct Bucket {
    store: Box<dyn ObjectStore>,
}

impl Bucket {
    pub(super) async fn open(bucket: &str, level: u8) -> Result<Self> {
        // Which cryptography TLS is to use is the program's to say; an error means that it was said before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build()?;
        if store.head(&path(1)).await.is_err() {
            for (id, picture) in pictures() {
                store.put(&path(id), picture.into()).await.with_context(|| format!("fill the bucket {bucket}"))?;
            }
        }
        if level < 3 {
            return Ok(Self { store: Box::new(store) });
        }
        // Level 3: a span of each operation.
        let store = tracewell_object_store::traced(store).s3_bucket(bucket.to_owned());
        Ok(Self { store: Box::new(store) })
    }
}

fn path(id: u32) -> Path {
    Path::from(format!("{id}.svg"))
}

#[async_trait]
impl Pictures for Bucket {
    async fn read(&self, id: u32) -> Result<Bytes> {
        Ok(self.store.get(&path(id)).await?.bytes().await?)
    }

    async fn write(&self, id: u32, picture: Bytes) -> Result<()> {
        self.store.put(&path(id), picture.into()).await?;
        Ok(())
    }
}

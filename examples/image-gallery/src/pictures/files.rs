//! Pictures in files.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use tracewell::FutureExt as _;

use super::{Pictures, pictures};

pub(super) struct Files {
    folder: PathBuf,
    level: u8,
}

impl Files {
    pub(super) fn open(folder: PathBuf, level: u8) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let files = Self { folder, level };
        for (id, picture) in pictures() {
            std::fs::write(files.path(id), picture).with_context(|| format!("fill {}", files.folder.display()))?;
        }
        Ok(files)
    }

    fn path(&self, id: u32) -> PathBuf {
        self.folder.join(format!("{id}.svg"))
    }

    /// Level 3: a span around work with a file.
    async fn file<T>(&self, name: &'static str, id: u32, work: impl Future<Output = T>) -> T {
        if self.level >= 3 {
            work.in_span(tracewell::span(name).tag("image.id", i64::from(id)).start()).await
        } else {
            work.await
        }
    }
}

#[async_trait]
impl Pictures for Files {
    async fn read(&self, id: u32) -> Result<Bytes> {
        Ok(self.file("read file", id, tokio::fs::read(self.path(id))).await?.into())
    }

    async fn write(&self, id: u32, picture: Bytes) -> Result<()> {
        Ok(self.file("write file", id, tokio::fs::write(self.path(id), picture)).await?)
    }
}

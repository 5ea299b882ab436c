//! Pictures in a folder.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tracewell::FutureExt;

/// A folder with a file for each picture.
pub(crate) struct Pictures {
    folder: PathBuf,
    level: u8,
}

impl Pictures {
    pub(crate) fn open(folder: PathBuf, level: u8) -> Result<Self> {
        let pictures = Self { folder, level };
        let fill = || {
            std::fs::create_dir_all(&pictures.folder)?;
            crate::all().try_for_each(|(id, picture)| std::fs::write(pictures.path(id), picture))
        };
        fill().with_context(|| format!("fill {}", pictures.folder.display()))?;
        Ok(pictures)
    }

    pub(crate) async fn read(&self, id: u32) -> Result<Bytes> {
        Ok(self.traced("read file", id, tokio::fs::read(self.path(id))).await?.into())
    }

    pub(crate) async fn write(&self, id: u32, bytes: Bytes) -> Result<()> {
        Ok(self.traced("write file", id, tokio::fs::write(self.path(id), bytes)).await?)
    }

    fn path(&self, id: u32) -> PathBuf {
        self.folder.join(format!("{id}.svg"))
    }

    /// Level 3: a span around work with a file.
    async fn traced<T>(&self, name: &'static str, id: u32, work: impl Future<Output = T>) -> T {
        if self.level >= 3 { work.in_span(tracewell::span(name).tag("image.id", id).start()).await } else { work.await }
    }
}

//! What images look like: in files, or in a bucket of S3.

mod files;
#[cfg(feature = "s3")]
mod s3;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use clap::Args;

const PICTURES: u32 = 300;

/// Where pictures are.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// The folder of the pictures, which is made and filled if it is not there
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The bucket of the pictures, which is filled if it is empty; AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY say where it is and who asks
    #[arg(long)]
    bucket: Option<String>,
}

/// A place for pictures.
#[async_trait]
pub trait Pictures: Send + Sync {
    /// The picture of an image.
    async fn read(&self, id: u32) -> Result<Bytes>;

    /// Replaces the picture of an image.
    async fn write(&self, id: u32, picture: Bytes) -> Result<()>;
}

/// Opens the place and fills it. From level 3 on, each use of it is a span.
pub async fn open(place: Place, level: u8) -> Result<Arc<dyn Pictures>> {
    match place {
        Place { folder: Some(folder), .. } => Ok(Arc::new(files::Files::open(folder, level)?)),
        #[cfg(feature = "s3")]
        Place { bucket: Some(bucket), .. } => Ok(Arc::new(s3::Bucket::open(&bucket, level).await?)),
        Place { .. } => bail!("build with `--features s3` for --bucket"),
    }
}

/// Pictures made of a few circles, so that there is something to see.
fn pictures() -> impl Iterator<Item = (u32, String)> {
    (1..=PICTURES).map(|id| {
        let mut random = fastrand::Rng::with_seed(u64::from(id));
        let circles: String = (0..12)
            .map(|_| {
                let (x, y, radius, hue) =
                    (random.u32(0..160), random.u32(0..120), random.u32(6..40), random.u32(0..360));
                format!("<circle cx='{x}' cy='{y}' r='{radius}' fill='hsl({hue} 60% 60% / .6)'/>")
            })
            .collect();
        (id, format!("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 160 120'>{circles}</svg>"))
    })
}

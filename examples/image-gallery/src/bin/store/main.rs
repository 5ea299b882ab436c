//! The image store: bytes in files, or in a bucket of S3 or what speaks its protocol.

mod files;
#[cfg(feature = "s3")]
mod s3;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use clap::Parser;
use image_gallery::{Failure, ServiceArgs, serve};

const PICTURES: u32 = 300;

#[derive(Parser)]
#[command(about = "The image store of the Image Gallery")]
struct Store {
    #[command(flatten)]
    service: ServiceArgs,
    /// The folder of the pictures, which is made and filled if it is not there
    #[arg(long, required_unless_present = "bucket")]
    folder: Option<PathBuf>,
    /// The bucket of the pictures instead of a folder, which is filled; where it is and how to get in is said by
    /// AWS_ENDPOINT, AWS_ACCESS_KEY_ID and so on. Needs the feature s3
    #[arg(long, conflicts_with = "folder")]
    bucket: Option<String>,
}

enum Pictures {
    Files(files::Pictures),
    #[cfg(feature = "s3")]
    S3(s3::Pictures),
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Store::parse();
    let level = args.service.level;
    serve("store", &args.service, 2, || async move {
        let pictures = match (args.folder, args.bucket) {
            (Some(folder), _) => Pictures::Files(files::Pictures::open(folder, level)?),
            #[cfg(feature = "s3")]
            (None, Some(bucket)) => Pictures::S3(s3::Pictures::open(&bucket, level).await?),
            _ => bail!("this program was built without the feature s3"),
        };
        Ok(Router::new().route("/pictures/{id}", get(read).put(write)).with_state(Arc::new(pictures)))
    })
    .await
}

async fn read(State(pictures): State<Arc<Pictures>>, Path(id): Path<u32>) -> Result<impl IntoResponse, Failure> {
    let bytes = match &*pictures {
        Pictures::Files(files) => files.read(id).await,
        #[cfg(feature = "s3")]
        Pictures::S3(bucket) => bucket.read(id).await,
    };
    let bytes = bytes.map_err(|error| Failure(StatusCode::NOT_FOUND, format!("picture {id}: {error}")))?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], bytes))
}

async fn write(
    State(pictures): State<Arc<Pictures>>,
    Path(id): Path<u32>,
    bytes: Bytes,
) -> Result<StatusCode, Failure> {
    match &*pictures {
        Pictures::Files(files) => files.write(id, bytes).await?,
        #[cfg(feature = "s3")]
        Pictures::S3(bucket) => bucket.write(id, bytes).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// All pictures, made of a few circles, so that there is something to see.
fn all() -> impl Iterator<Item = (u32, String)> {
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

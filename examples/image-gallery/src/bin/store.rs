//! The image store: bytes in files.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use clap::Parser;
use image_gallery::{Failure, ServiceArgs, serve};
use tracewell::FutureExt;

const PICTURES: u32 = 300;

#[derive(Parser)]
#[command(about = "The image store of the Image Gallery")]
struct Store {
    #[command(flatten)]
    service: ServiceArgs,
    /// The folder of the pictures, which is made and filled if it is not there
    #[arg(long)]
    folder: PathBuf,
}

struct Pictures {
    folder: PathBuf,
    level: u8,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Store::parse();
    fill(&args.folder).with_context(|| format!("fill {}", args.folder.display()))?;
    let pictures = Arc::new(Pictures { folder: args.folder, level: args.service.level });
    let routes = Router::new().route("/pictures/{id}", get(read).put(write)).with_state(pictures);
    serve("store", &args.service, 2, routes).await
}

async fn read(State(pictures): State<Arc<Pictures>>, Path(id): Path<u32>) -> Result<impl IntoResponse, Failure> {
    let bytes = pictures.file("read file", id, tokio::fs::read(pictures.path(id))).await;
    let bytes = bytes.map_err(|error| Failure(StatusCode::NOT_FOUND, format!("picture {id}: {error}")))?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], bytes))
}

async fn write(
    State(pictures): State<Arc<Pictures>>,
    Path(id): Path<u32>,
    bytes: Bytes,
) -> Result<StatusCode, Failure> {
    pictures.file("write file", id, tokio::fs::write(pictures.path(id), bytes)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Pictures {
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

/// Pictures made of a few circles, so that there is something to see.
fn fill(folder: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for id in 1..=PICTURES {
        let mut random = fastrand::Rng::with_seed(u64::from(id));
        let circles: String = (0..12)
            .map(|_| {
                let (x, y, radius, hue) =
                    (random.u32(0..160), random.u32(0..120), random.u32(6..40), random.u32(0..360));
                format!("<circle cx='{x}' cy='{y}' r='{radius}' fill='hsl({hue} 60% 60% / .6)'/>")
            })
            .collect();
        let picture = format!("<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 160 120'>{circles}</svg>");
        std::fs::write(folder.join(format!("{id}.svg")), picture)?;
    }
    Ok(())
}

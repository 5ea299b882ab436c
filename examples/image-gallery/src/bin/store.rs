//! The image store: bytes in files or in a bucket of S3.

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use clap::Parser;
use image_gallery::pictures::{self, Pictures, Place};
use image_gallery::{Failure, ServiceArgs, serve};

#[derive(Parser)]
#[command(about = "The image store of the Image Gallery")]
struct Store {
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    place: Place,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Store::parse();
    let pictures = pictures::open(args.place, args.service.level).await?;
    let routes = Router::new().route("/pictures/{id}", get(read).put(write)).with_state(pictures);
    serve("store", &args.service, 2, routes).await
}

async fn read(State(pictures): State<Arc<dyn Pictures>>, Path(id): Path<u32>) -> Result<impl IntoResponse, Failure> {
    let bytes = pictures.read(id).await;
    let bytes = bytes.map_err(|error| Failure(StatusCode::NOT_FOUND, format!("picture {id}: {error}")))?;
    Ok(([(header::CONTENT_TYPE, "image/svg+xml")], bytes))
}

async fn write(
    State(pictures): State<Arc<dyn Pictures>>,
    Path(id): Path<u32>,
    bytes: Bytes,
) -> Result<StatusCode, Failure> {
    pictures.write(id, bytes).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! The gallery API: what users call. It asks the catalog what there is and the store for the bytes.

use anyhow::Result;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use image_gallery::peer::Peer;
use image_gallery::{Failure, ServiceArgs, serve};
use serde::Deserialize;
use serde_json::Value;

#[derive(Parser)]
#[command(about = "The gallery API of the Image Gallery")]
struct Gallery {
    #[command(flatten)]
    service: ServiceArgs,
    /// The catalog's URL
    #[arg(long)]
    catalog: String,
    /// The image store's URL
    #[arg(long)]
    store: String,
}

#[derive(Clone)]
struct Peers {
    catalog: Peer,
    store: Peer,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Gallery::parse();
    let level = args.service.level;
    let peers = Peers { catalog: Peer::new(&args.catalog, level), store: Peer::new(&args.store, level) };
    let routes = Router::new()
        .route("/", get(page))
        .route("/images", get(list))
        .route("/images/{id}", get(image))
        .with_state(peers);
    #[cfg(feature = "kubernetes")]
    let routes = match image_gallery::cluster::Cluster::find(level).await? {
        Some(cluster) => routes.merge(Router::new().route("/about", get(about)).with_state(cluster)),
        None => routes,
    };
    serve("gallery", &args.service, 1, routes).await
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    tag: String,
}

async fn list(State(peers): State<Peers>, Query(wanted): Query<Wanted>) -> Result<Json<Value>, Failure> {
    let found = peers.catalog.get(&format!("/entries?tag={}", wanted.tag)).await?;
    Ok(Json(serde_json::from_slice(&found)?))
}

async fn image(State(peers): State<Peers>, Path(id): Path<u32>) -> Result<impl IntoResponse, Failure> {
    // What it is called and what it looks like come from two services, and neither has to wait for the other.
    let (entry, picture) = (format!("/entries/{id}"), format!("/pictures/{id}"));
    let (entry, picture) = tokio::try_join!(peers.catalog.get(&entry), peers.store.get(&picture))?;
    let entry: Value = serde_json::from_slice(&entry)?;
    let title = entry["title"].as_str().unwrap_or_default().to_owned();
    Ok(([(header::CONTENT_TYPE, "image/svg+xml".to_owned()), (header::CONTENT_LOCATION, title)], picture))
}

/// Where this gallery runs.
#[cfg(feature = "kubernetes")]
async fn about(State(cluster): State<image_gallery::cluster::Cluster>) -> Result<impl IntoResponse, Failure> {
    Ok(Json(cluster.place().await?))
}

async fn page() -> Html<&'static str> {
    Html(
        "<!doctype html><title>Image Gallery</title><h1>Image Gallery</h1>\
         <p><a href=/images?tag=sea>by the sea</a> <a href=/images?tag=city>in the city</a>\
         <p><img src=/images/1 width=160> <img src=/images/2 width=160> <img src=/images/3 width=160>",
    )
}

//! The image catalog: what there is, in a database.
//!
//! `PUT /admin/slow-database?millis=2000` makes every query of the database take that much longer, as a failing disk
//! would. It is how the demonstration makes the gallery slow.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use clap::Parser;
use image_gallery::database::{self, Database, Entry};
use image_gallery::{Failure, ServiceArgs, serve};
use serde::Deserialize;

#[derive(Parser)]
#[command(about = "The image catalog of the Image Gallery")]
struct Catalog {
    #[command(flatten)]
    service: ServiceArgs,
    /// The database: a file for SQLite, which is made if it is not there, or postgres://... or mongodb://...
    #[arg(long)]
    database: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Catalog::parse();
    let database = database::open(&args.database, args.service.level).await?;
    let routes = Router::new()
        .route("/entries", get(by_tag))
        .route("/entries/{id}", get(by_id))
        .route("/admin/slow-database", put(slow))
        .with_state(database);
    serve("catalog", &args.service, 2, routes).await
}

#[derive(Deserialize)]
struct Wanted {
    tag: String,
}

async fn by_tag(
    State(database): State<Arc<dyn Database>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<Entry>>, Failure> {
    Ok(Json(database.by_tag(wanted.tag).await?))
}

async fn by_id(State(database): State<Arc<dyn Database>>, Path(id): Path<u32>) -> Result<Json<Entry>, Failure> {
    let found = database.by_id(id).await?;
    found.map(Json).ok_or_else(|| Failure(StatusCode::NOT_FOUND, format!("there is no image {id}")))
}

#[derive(Deserialize)]
struct Slow {
    millis: u64,
}

async fn slow(State(database): State<Arc<dyn Database>>, Query(slow): Query<Slow>) -> Result<StatusCode, Failure> {
    let delay = Duration::from_millis(slow.millis);
    database.slow_down(delay).map_err(|error| Failure(StatusCode::NOT_IMPLEMENTED, error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

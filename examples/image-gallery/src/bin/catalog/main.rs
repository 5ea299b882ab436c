//! The image catalog: what there is, in SQLite, PostgreSQL or MongoDB.
//!
//! `PUT /admin/slow-database?millis=2000` makes every query of the database take that much longer, as a failing disk
//! would. It is how the demonstration makes the gallery slow.

#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use axum::{Json, Router};
use clap::Parser;
use image_gallery::{Failure, ServiceArgs, serve};
use serde::{Deserialize, Serialize};

const IMAGES: u32 = 300;
const TAGS: [&str; 4] = ["sea", "city", "forest", "people"];

#[derive(Parser)]
#[command(about = "The image catalog of the Image Gallery")]
struct Catalog {
    #[command(flatten)]
    service: ServiceArgs,
    /// The database: a file, which is made if it is not there, or postgres://... or mongodb://... where this program was
    /// built with that feature
    #[arg(long)]
    database: String,
}

/// An image.
#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    id: u32,
    title: String,
    tag: String,
}

/// All images that there are.
fn all() -> impl Iterator<Item = Entry> {
    (1..=IMAGES).map(|id| {
        let tag = TAGS[id as usize % TAGS.len()];
        Entry { id, title: format!("{tag} no. {id}"), tag: tag.to_owned() }
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Catalog::parse();
    // Tracing has to be there before what it traces.
    serve("catalog", &args.service, 2, || async {
        let database = Arc::new(Database::open(&args.database, args.service.level).await?);
        Ok(Router::new()
            .route("/entries", get(by_tag))
            .route("/entries/{id}", get(by_id))
            .route("/admin/slow-database", put(slow))
            .with_state(database))
    })
    .await
}

enum Database {
    Sqlite(Arc<sqlite::Database>),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Database),
    #[cfg(feature = "mongodb")]
    Mongodb(mongodb::Database),
}

impl Database {
    async fn open(place: &str, level: u8) -> Result<Self> {
        #[cfg(feature = "postgres")]
        if place.starts_with("postgres://") {
            return Ok(Self::Postgres(postgres::Database::open(place, level).await?));
        }
        #[cfg(feature = "mongodb")]
        if place.starts_with("mongodb://") {
            return Ok(Self::Mongodb(mongodb::Database::open(place, level).await?));
        }
        if place.contains("://") {
            anyhow::bail!("this program was built without the feature for {place:?}");
        }
        Ok(Self::Sqlite(Arc::new(sqlite::Database::open(FilePath::new(place), level)?)))
    }

    async fn by_tag(&self, tag: String) -> Result<Vec<Entry>> {
        match self {
            Self::Sqlite(database) => database.by_tag(tag).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.by_tag(&tag).await,
            #[cfg(feature = "mongodb")]
            Self::Mongodb(database) => database.by_tag(&tag).await,
        }
    }

    async fn by_id(&self, id: u32) -> Result<Option<Entry>> {
        match self {
            Self::Sqlite(database) => database.by_id(id).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.by_id(id).await,
            #[cfg(feature = "mongodb")]
            Self::Mongodb(database) => database.by_id(id).await,
        }
    }

    /// False where the database cannot be made slow.
    fn slow_down(&self, by: Duration) -> bool {
        match self {
            Self::Sqlite(database) => database.slow_down(by),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.slow_down(by),
            #[cfg(feature = "mongodb")]
            Self::Mongodb(_) => return false,
        }
        true
    }
}

#[derive(Deserialize)]
struct Wanted {
    tag: String,
}

async fn by_tag(
    State(database): State<Arc<Database>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<Entry>>, Failure> {
    Ok(Json(database.by_tag(wanted.tag).await?))
}

async fn by_id(State(database): State<Arc<Database>>, Path(id): Path<u32>) -> Result<Json<Entry>, Failure> {
    let found = database.by_id(id).await?;
    found.map(Json).ok_or_else(|| Failure(StatusCode::NOT_FOUND, format!("there is no image {id}")))
}

#[derive(Deserialize)]
struct Slow {
    millis: u64,
}

async fn slow(State(database): State<Arc<Database>>, Query(slow): Query<Slow>) -> StatusCode {
    match database.slow_down(Duration::from_millis(slow.millis)) {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::NOT_IMPLEMENTED,
    }
}

//! About the server itself.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracewell_store::{BucketStats, CacheStats, DiskStats, SetAsideFile, UnavailableFile};

use crate::budget::{MemoryBudget, Part};

use super::error::ApiError;
use super::missing::HeldView;
use super::params::Params;
use crate::net::PortConnections;

use super::state::{ApiState, OtlpAddresses, ReceiverStats};

/// The API's description, as it is in docs/.
const OPENAPI: &str = include_str!("../../../../docs/openapi.yaml");

#[derive(Serialize)]
struct StatsView {
    store: StoreView,
    memory: MemoryView,
    addresses: Option<OtlpAddresses>,
    connections: Vec<PortConnections>,
    #[serde(flatten)]
    receivers: ReceiverStats,
}

/// The memory budget, and who takes what of it.
#[derive(Serialize)]
struct MemoryView {
    budget_bytes: usize,
    parts: Vec<PartView>,
}

#[derive(Serialize)]
struct PartView {
    part: &'static str,
    limit_bytes: usize,
    used_bytes: usize,
    refused: u64,
}

impl From<&MemoryBudget> for MemoryView {
    fn from(budget: &MemoryBudget) -> Self {
        let view = |part: &Part| PartView {
            part: part.name(),
            limit_bytes: part.limit_bytes(),
            used_bytes: part.used_bytes(),
            refused: part.refused(),
        };
        Self { budget_bytes: budget.total_bytes(), parts: budget.parts().map(view).into() }
    }
}

#[derive(Serialize)]
struct StoreView {
    spans: u64,
    bytes: u64,
    memtable_bytes: u64,
    log_bytes: u64,
    segments: u64,
    oldest_unix_nano: Option<String>,
    newest_unix_nano: Option<String>,
    damages: Vec<String>,
    set_aside: Vec<SetAsideView>,
    unavailable: Vec<UnavailableView>,
    last_read_error: Option<String>,
    bucket: Option<BucketView>,
    disk: Option<DiskView>,
    refusing: Option<String>,
    retention: RetentionView,
}

#[derive(Serialize)]
struct DiskView {
    free_bytes: u64,
    total_bytes: u64,
    min_free_bytes: u64,
}

#[derive(Serialize)]
struct RetentionView {
    lag_nanos: u64,
    clock_doubt: Option<String>,
}

#[derive(Serialize)]
struct SetAsideView {
    name: String,
    #[serde(flatten)]
    held: HeldView,
    missing: bool,
}

#[derive(Serialize)]
struct UnavailableView {
    name: String,
    #[serde(flatten)]
    held: HeldView,
    why: String,
}

impl From<SetAsideFile> for SetAsideView {
    fn from(SetAsideFile { name, spans, starts_unix_nano, is_missing }: SetAsideFile) -> Self {
        Self { name, held: HeldView::new(spans, starts_unix_nano), missing: is_missing }
    }
}

impl From<UnavailableFile> for UnavailableView {
    fn from(UnavailableFile { name, spans, starts_unix_nano, why }: UnavailableFile) -> Self {
        Self { name, held: HeldView::new(spans, starts_unix_nano), why }
    }
}

#[derive(Serialize)]
struct BucketView {
    url: String,
    away: Option<String>,
    away_for_good: bool,
    unmoved_segments: u64,
    unmoved_bytes: u64,
    cache: CacheStats,
}

impl From<BucketStats> for BucketView {
    fn from(stats: BucketStats) -> Self {
        let BucketStats { url, away, is_away_for_good: away_for_good, unmoved_segments, unmoved_bytes, cache } = stats;
        Self { url, away, away_for_good, unmoved_segments, unmoved_bytes, cache }
    }
}

pub(crate) async fn stats(State(state): State<ApiState>, params: Params) -> Result<Response, ApiError> {
    params.finish()?;
    let stats = state.store.stats(&state.tenant).await?;
    let store = StoreView {
        spans: stats.spans,
        bytes: stats.bytes,
        memtable_bytes: stats.memtable_bytes,
        log_bytes: stats.log_bytes,
        segments: stats.segments,
        oldest_unix_nano: stats.oldest_unix_nano.map(|nanos| nanos.to_string()),
        newest_unix_nano: stats.newest_unix_nano.map(|nanos| nanos.to_string()),
        damages: stats.damages,
        set_aside: stats.set_aside.into_iter().map(SetAsideView::from).collect(),
        unavailable: stats.unavailable.into_iter().map(UnavailableView::from).collect(),
        last_read_error: stats.last_read_error,
        bucket: stats.bucket.map(BucketView::from),
        disk: stats.disk.map(|DiskStats { free_bytes, total_bytes, min_free_bytes }| DiskView {
            free_bytes,
            total_bytes,
            min_free_bytes,
        }),
        refusing: stats.refusing,
        retention: RetentionView { lag_nanos: stats.retention.lag_nanos, clock_doubt: stats.retention.clock_doubt },
    };
    let memory = MemoryView::from(&state.budget);
    let (connections, receivers) = (state.connections(), state.receivers());
    Ok(Json(StatsView { store, memory, addresses: state.addresses, connections, receivers }).into_response())
}

pub(crate) async fn version(params: Params) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct View {
        version: &'static str,
        commit: &'static str,
    }
    params.finish()?;
    let commit = option_env!("TRACEWELL_COMMIT").unwrap_or("unknown");
    Ok(Json(View { version: env!("CARGO_PKG_VERSION"), commit }).into_response())
}

pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], OPENAPI).into_response()
}

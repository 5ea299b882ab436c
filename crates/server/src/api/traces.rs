//! Search, and one trace in full.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracewell_model::{ServiceCount, SpanBatch, Trace, TraceId, TraceSummary};
use tracewell_query::{Cursor, SearchRequest};

use super::detail::{no_detail, trace_detail};
use super::error::ApiError;
use super::missing::{self, Asking};
use super::params::Params;
use super::state::ApiState;

/// Traces on a page, unless asked otherwise, and at most.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;

#[derive(Serialize)]
struct SearchView {
    traces: Vec<SummaryView>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct SummaryView {
    trace_id: String,
    root_service: String,
    root_operation: String,
    start_unix_nano: String,
    duration_nanos: u64,
    spans: usize,
    errors: usize,
    services: Vec<ServiceView>,
}

/// What one service did in a trace.
#[derive(Serialize)]
pub(crate) struct ServiceView {
    name: String,
    spans: usize,
    errors: usize,
}

impl From<ServiceCount> for ServiceView {
    fn from(ServiceCount { name, spans, errors }: ServiceCount) -> Self {
        Self { name, spans, errors }
    }
}

impl From<TraceSummary> for SummaryView {
    fn from(summary: TraceSummary) -> Self {
        Self {
            trace_id: summary.trace_id.to_string(),
            root_service: summary.root_service,
            root_operation: summary.root_operation,
            start_unix_nano: summary.start_unix_nano.to_string(),
            duration_nanos: summary.duration_nanos,
            spans: summary.spans,
            errors: summary.errors,
            services: summary.services.into_iter().map(ServiceView::from).collect(),
        }
    }
}

pub(crate) async fn search(Asking(state): Asking, mut params: Params) -> Result<Response, ApiError> {
    let request = SearchRequest {
        tenant: state.tenant.clone(),
        conditions: params.conditions()?,
        time: params.time_range(state.now_unix_nano())?,
        limit: params.limit(DEFAULT_LIMIT, MAX_LIMIT)?,
        cursor: params.parsed("cursor", |text| text.parse::<Cursor>().map_err(|error| error.to_string()))?,
    };
    params.finish()?;
    let page = tracewell_query::search(&*state.store, &request).await?;
    let traces = page.items.into_iter().map(SummaryView::from).collect();
    Ok(Json(SearchView { traces, next_cursor: page.next.map(|cursor| cursor.to_string()) }).into_response())
}

pub(crate) async fn detail(
    Asking(state): Asking,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.finish()?;
    let id = parse(&id)?;
    let Some(trace) = find(&state, id).await? else { return Ok(Json(no_detail(id)).into_response()) };
    // Large traces take a while to lay out and to write: not on a thread that others wait for.
    let json = blocking(move || serde_json::to_vec(&trace_detail(&trace))).await?;
    let json = json.map_err(|error| ApiError::internal(format!("write the trace as JSON: {error}")))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

pub(crate) async fn otlp(
    Asking(state): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    params.finish()?;
    // Without one, an answer from what can be read has no spans.
    let trace = find(&state, parse(&id)?).await?.unwrap_or_else(|| Trace::assemble(SpanBatch::new()));
    let accepts = |kind| {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
        accept.split(',').any(|part| part.split(';').next().is_some_and(|part| part.trim() == kind))
    };
    if accepts("application/x-protobuf") || accepts("application/protobuf") {
        let body = blocking(move || tracewell_wire::otlp::encode_protobuf(trace.batch())).await?;
        return Ok(([(header::CONTENT_TYPE, "application/x-protobuf")], body).into_response());
    }
    let body = blocking(move || tracewell_wire::otlp::encode_json(trace.batch())).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Runs work that keeps a processor busy where it holds up no other request.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a query ended early");
        ApiError::internal("the query ended early; the server's log says why")
    })
}

fn parse(id: &str) -> Result<TraceId, ApiError> {
    id.parse().map_err(|error| ApiError::invalid("trace_id", format!("{id:?} is not a trace id: {error}")))
}

/// A trace; `None` only if it was accepted that not everything can be read.
async fn find(state: &ApiState, id: TraceId) -> Result<Option<Trace>, ApiError> {
    let trace = tracewell_query::trace(&*state.store, &state.tenant, id).await?;
    match trace {
        Some(trace) => Ok(Some(trace)),
        None if state.left_out.is_empty() => Err(ApiError::not_found(format!("there is no trace {id}"))),
        None if state.left_out.accepts_unavailable() => Ok(None),
        None => Err(missing::unknown(&state.left_out, format!("whether there is a trace {id}"))),
    }
}

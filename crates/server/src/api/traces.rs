//! Search, and one trace in full.

use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use tracewell_model::{ServiceCount, TraceId, TraceSummary};
use tracewell_query::{Cursor, SearchRequest};

use super::error::ApiError;
use super::missing::{Asking, SaysComplete};
use super::params::Params;
use super::whole::{Asked, Form, answer, detail_answer};

/// Traces on a page, unless asked otherwise, and at most.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 1000;

/// Spans of a trace in full, unless asked otherwise, and at most: what a browser draws in a second or two, and in some.
const DEFAULT_DETAIL_SPANS: usize = 100_000;
const MAX_DETAIL_SPANS: usize = 400_000;

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
    mut params: Params,
) -> Result<Response, ApiError> {
    let max_spans = params.parsed("max_spans", |text| match text.parse() {
        Ok(spans) if (1..=MAX_DETAIL_SPANS).contains(&spans) => Ok(spans),
        _ => Err(format!("{text:?} is not a number of spans from 1 to {MAX_DETAIL_SPANS}")),
    });
    let max_spans = max_spans?.unwrap_or(DEFAULT_DETAIL_SPANS);
    params.finish()?;
    let body = detail_answer(state, trace_id(&id)?, max_spans).await?;
    Ok((Extension(SaysComplete), [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

pub(crate) async fn otlp(
    Asking(state): Asking,
    Path(id): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    params.finish()?;
    let id = trace_id(&id)?;
    let accepts = |kind| {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
        accept.split(',').any(|part| part.split(';').next().is_some_and(|part| part.trim() == kind))
    };
    let is_protobuf = accepts("application/x-protobuf") || accepts("application/protobuf");
    let (form, content_type) = match is_protobuf {
        true => (Form::OtlpProtobuf, "application/x-protobuf"),
        false => (Form::OtlpJson, "application/json"),
    };
    let body = answer(state, Asked::One(id), form).await?;
    Ok(([(header::CONTENT_TYPE, content_type)], body).into_response())
}

/// Runs work that keeps a processor busy where it holds up no other request.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a query ended early");
        ApiError::internal("the query ended early; the server's log says why")
    })
}

fn trace_id(id: &str) -> Result<TraceId, ApiError> {
    id.parse().map_err(|error| ApiError::invalid("trace_id", format!("{id:?} is not a trace id: {error}")))
}

//! Jaeger's HTTP query API (<https://www.jaegertracing.io/docs/latest/architecture/apis/>), as its UI and Grafana use it.
//!
//! It follows Jaeger where the native API is strict: unknown parameters are ignored, a limit that is too large is
//! lowered. It goes beyond Jaeger in one point: a search need not name a service.

mod request;

use std::collections::{BTreeSet, HashSet};

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tracewell_model::{SpanKind, TraceId};
use tracewell_query::{QueryError, SearchRequest};
use tracewell_store::{LeftOut, StoreError};

use super::error::{ApiError, RETRY_AFTER};
use super::missing::{self, Asking};
use super::params::Params;
use super::state::ApiState;
use super::whole::{Asked, Form, answer};
use request::{Traces, dependencies_range, parse_traces};

/// Operations in one answer.
const MAX_OPERATIONS: usize = 10_000;

pub(crate) fn router(state: ApiState) -> Router<ApiState> {
    Router::new()
        .route("/services", get(services))
        .route("/services/{service}/operations", get(operation_names))
        .route("/operations", get(operations))
        .route("/dependencies", get(dependencies))
        .layer(from_fn_with_state(state, bounded))
        // These hold their place among the queries for longer: until the client has the answer.
        .route("/traces", get(traces))
        .route("/traces/{trace_id}", get(trace))
        .layer(from_fn(super::missing::collect))
        .fallback(async || JaegerError { status: StatusCode::NOT_FOUND, message: "there is no such call".to_owned() })
}

/// Jaeger's envelope.
#[derive(Serialize)]
struct Envelope<T> {
    data: T,
    total: usize,
    limit: usize,
    offset: usize,
    errors: Option<Vec<ErrorView>>,
}

#[derive(Serialize)]
pub(super) struct ErrorView {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    msg: String,
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl ErrorView {
    pub(super) fn of_missing(id: &TraceId) -> Self {
        Self { code: None, msg: "trace not found".to_owned(), trace_id: Some(id.to_string()) }
    }
}

struct JaegerError {
    status: StatusCode,
    message: String,
}

impl IntoResponse for JaegerError {
    fn into_response(self) -> Response {
        let error = ErrorView { code: Some(self.status.as_u16()), msg: self.message, trace_id: None };
        let body = Envelope { data: None::<()>, total: 0, limit: 0, offset: 0, errors: Some(vec![error]) };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl From<ApiError> for JaegerError {
    fn from(error: ApiError) -> Self {
        let status = error.status();
        let message = match error.field {
            Some(field) => format!("unable to parse param '{field}': {}", error.message),
            None => error.message,
        };
        Self { status, message }
    }
}

impl From<QueryError> for JaegerError {
    fn from(error: QueryError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<StoreError> for JaegerError {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

async fn bounded(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    match state.bounded(next.run(request)).await.and_then(|response| super::held(&state, response)) {
        Ok(response) => response,
        Err(message) => JaegerError { status: StatusCode::SERVICE_UNAVAILABLE, message }.into_response(),
    }
}

async fn traces(Asking(state): Asking, params: Params) -> Result<Response, JaegerError> {
    let asked = match parse_traces(params, state.now_unix_nano())? {
        Traces::ByIds(mut ids) => {
            let mut seen = HashSet::new();
            ids.retain(|id| seen.insert(*id));
            Asked::Ids(ids)
        }
        Traces::Search { conditions, time, limit } => {
            Asked::Search(SearchRequest { tenant: state.tenant.clone(), conditions, time, limit, cursor: None })
        }
    };
    whole_traces(state, asked).await
}

async fn whole_traces(state: ApiState, asked: Asked) -> Result<Response, JaegerError> {
    let body = answer(state, asked, Form::Jaeger).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn trace(Asking(state): Asking, Path(id): Path<String>) -> Result<Response, JaegerError> {
    let id: TraceId = id.parse().map_err(|error| JaegerError {
        status: StatusCode::BAD_REQUEST,
        message: format!("trace id {id:?}: {error}"),
    })?;
    whole_traces(state, Asked::One(id)).await
}

async fn services(Asking(state): Asking) -> Result<Response, JaegerError> {
    Ok(list(&state, state.store.services(&state.tenant).await?.items))
}

async fn operation_names(Asking(state): Asking, Path(service): Path<String>) -> Result<Response, JaegerError> {
    let operations = state.store.operations(&state.tenant, Some(&service), MAX_OPERATIONS).await?.items;
    let names: BTreeSet<String> = operations.into_iter().map(|operation| operation.name).collect();
    Ok(list(&state, names.into_iter().collect()))
}

async fn operations(Asking(state): Asking, mut params: Params) -> Result<Response, JaegerError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct View {
        name: String,
        span_kind: &'static str,
    }
    let Some(service) = params.text("service")? else {
        let message = "parameter 'service' is required".to_owned();
        return Err(JaegerError { status: StatusCode::BAD_REQUEST, message });
    };
    let kind = params.text("spanKind")?.map(|kind| kind.to_lowercase());
    let operations = state.store.operations(&state.tenant, Some(&service), MAX_OPERATIONS).await?.items;
    let views = operations.into_iter().map(|operation| View {
        name: operation.name,
        span_kind: if operation.kind == SpanKind::Unspecified { "" } else { operation.kind.as_str() },
    });
    Ok(list(&state, views.filter(|view| kind.as_deref().is_none_or(|kind| view.span_kind == kind)).collect()))
}

async fn dependencies(Asking(state): Asking, params: Params) -> Result<Response, JaegerError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct View {
        parent: String,
        child: String,
        call_count: u64,
    }
    let (time, service) = dependencies_range(params, state.now_unix_nano())?;
    let _held = super::names::hold_for_dependencies(&state).await?;
    let found = tracewell_query::dependencies(&*state.store, &state.tenant, time).await?;
    let wanted = |view: &View| service.as_ref().is_none_or(|service| view.parent == *service || view.child == *service);
    let views = found.dependencies.into_iter().map(|dependency| View {
        parent: dependency.parent,
        child: dependency.child,
        call_count: dependency.call_count,
    });
    Ok(list(&state, views.filter(wanted).collect()))
}

fn list<T: Serialize>(state: &ApiState, data: Vec<T>) -> Response {
    let errors = incomplete(&state.left_out).map(|error| vec![error]);
    Json(Envelope { total: data.len(), data, limit: 0, offset: 0, errors }).into_response()
}

/// What Jaeger's clients show of an answer that is not complete.
pub(super) fn incomplete(left_out: &LeftOut) -> Option<ErrorView> {
    let view = || ErrorView { code: None, msg: missing::sentence(&left_out.missing()), trace_id: None };
    (!left_out.is_empty()).then(view)
}

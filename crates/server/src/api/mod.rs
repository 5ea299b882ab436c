//! The HTTP APIs that answer questions: the native one under `/api/v1` (docs/api.md, docs/openapi.yaml) and Jaeger's
//! under `/api`.
//!
//! | module    | does                                                                              |
//! |-----------|-----------------------------------------------------------------------------------|
//! | `state`   | [`ApiState`]: what the handlers share, and the bounds on their work               |
//! | `error`   | the native API's errors                                                           |
//! | `params`  | query parameters, read strictly                                                   |
//! | `time`    | times and durations as people write them                                          |
//! | `values`  | attribute values in OTLP's JSON mapping                                           |
//! | `traces`  | `/traces`: search, and one trace in full (`detail`) or as OTLP                    |
//! | `export`  | `/export`: whole traces, streamed                                                 |
//! | `whole`   | answers with whole traces, in every form, made while they are sent                |
//! | `stream`  | answers that are sent while they are made                                         |
//! | `names`   | `/services`, `/operations`, `/attributes`, `/dependencies`                        |
//! | `compare` | `/compare`: two traces, or two sets of traces, side by side                       |
//! | `why`     | `/why`: where the added time of slow requests went                                |
//! | `nothing` | what to say, and what to do next, when there is nothing to compare                |
//! | `about`   | `/stats`, `/version`, `/openapi.yaml`                                             |
//! | `missing` | what answers were made without, and how they say so                               |
//! | `jaeger`  | Jaeger's HTTP query API                                                           |

mod about;
mod compare;
mod detail;
mod error;
mod export;
mod jaeger;
mod missing;
mod names;
mod nothing;
mod params;
mod reading;
mod state;
mod stream;
mod time;
mod traces;
mod values;
mod whole;
mod why;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::BodyExt;

pub use state::{
    ApiLimits, ApiState, Loss, OddTimesStats, OtlpAddresses, PortStats, Received, ReceiverStats, SdkDrops, SdkStats,
};

use error::ApiError;

/// Every path of the native API below `/api/v1`, as docs/openapi.yaml has to describe them.
#[cfg(test)]
const NATIVE_PATHS: &[&str] = &[
    "/traces",
    "/traces/{trace_id}",
    "/traces/{trace_id}/otlp",
    "/export",
    "/services",
    "/operations",
    "/attributes",
    "/attributes/{key}/values",
    "/dependencies",
    "/why",
    "/compare",
    "/stats",
    "/version",
    "/openapi.yaml",
];

/// The routes `/api/v1/...`, `/api/...` and `/metrics`.
pub fn router(state: ApiState) -> Router {
    let queries = Router::new()
        .route("/traces", get(traces::search))
        .route("/services", get(names::services))
        .route("/operations", get(names::operations))
        .route("/attributes", get(names::attributes))
        .route("/attributes/{key}/values", get(names::attribute_values))
        .route("/dependencies", get(names::dependencies))
        .route("/why", get(why::why))
        .route("/compare", get(compare::compare))
        .layer(from_fn_with_state(state.clone(), bounded));
    // These hold their place for as long as they stream, which is longer than their handlers run.
    let queries = queries
        .route("/traces/{trace_id}", get(traces::detail))
        .route("/traces/{trace_id}/otlp", get(traces::otlp))
        .route("/export", get(export::export))
        .layer(from_fn(missing::collect));
    let native = queries
        .route("/stats", get(about::stats))
        .route("/version", get(about::version))
        .route("/openapi.yaml", get(about::openapi))
        .fallback(async || ApiError::not_found("there is no such call; see /api/v1/openapi.yaml"))
        .method_not_allowed_fallback(method_not_allowed);
    Router::new()
        .nest("/api/v1", native)
        .nest("/api", jaeger::router(state.clone()))
        .route("/metrics", get(crate::metrics::metrics))
        .with_state(state)
}

/// Waits for a place among the queries that run at once, and ends one that takes too long.
async fn bounded(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let answered = state.bounded(next.run(request)).await;
    answered
        .and_then(|response| held(&state, response))
        .unwrap_or_else(|message| ApiError::busy(message).into_response())
}

/// An answer that is there as a whole takes memory until it is sent, however slowly it is read.
fn held(state: &ApiState, response: Response) -> Result<Response, String> {
    let bytes = http_body::Body::size_hint(response.body()).lower() as usize;
    let held = state.budget.answers().try_take(bytes).map_err(|short| short.to_string())?;
    // It is given back with the closure, which goes with the body.
    let keep = move |error| {
        let _held = &held;
        error
    };
    Ok(response.map(|body| Body::new(body.map_err(keep))))
}

async fn method_not_allowed() -> Response {
    let mut response = ApiError { field: None, ..ApiError::invalid("", "this call is a GET") }.into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

#[cfg(test)]
mod tests;

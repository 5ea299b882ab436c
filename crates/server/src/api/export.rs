//! Whole traces as OTLP JSON lines, streamed.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use tracewell_query::SearchRequest;

use super::error::ApiError;
use super::missing::Asking;
use super::params::Params;
use super::whole::{Asked, EXPORTED_AT_ONCE, Form, answer};

pub(crate) async fn export(Asking(state): Asking, mut params: Params) -> Result<Response, ApiError> {
    let request = SearchRequest {
        tenant: state.tenant.clone(),
        conditions: params.conditions()?,
        time: params.time_range(state.now_unix_nano())?,
        limit: EXPORTED_AT_ONCE,
        cursor: None,
    };
    params.finish()?;
    let body = answer(state, Asked::Export(request), Form::JsonLines).await?;
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}

//! Whole traces as OTLP JSON lines, streamed a page at a time.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tracewell_query::{Cursor, SearchRequest, search_with};

use super::error::ApiError;
use super::missing::Asking;
use super::params::Params;
use super::state::ApiState;
use super::stream::{Gone, pipe};

/// Traces read before their lines are handed to the connection.
const TRACES_AT_ONCE: usize = 64;

pub(crate) async fn export(Asking(state): Asking, mut params: Params) -> Result<Response, ApiError> {
    let mut request = SearchRequest {
        tenant: state.tenant.clone(),
        conditions: params.conditions()?,
        time: params.time_range(state.now_unix_nano())?,
        limit: TRACES_AT_ONCE,
        cursor: None,
    };
    params.finish()?;
    let place = state.place().await.map_err(ApiError::busy)?;
    let (outlet, portions) = pipe(state.limits.query_timeout);
    tokio::spawn(async move {
        let _place = place;
        loop {
            match portion(&state, &request).await {
                Ok((lines, None)) => return outlet.end(lines).await,
                Ok((lines, next)) => {
                    request.cursor = next;
                    if let Err(Gone) = outlet.send(lines).await {
                        return;
                    }
                }
                Err(error) => return outlet.fail(error).await,
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], portions.body().await?).into_response())
}

/// The lines of the next traces, and where to go on.
async fn portion(state: &ApiState, request: &SearchRequest) -> Result<(Vec<u8>, Option<Cursor>), ApiError> {
    let mut lines = Vec::new();
    let search = search_with(&*state.store, request, |trace| {
        lines.extend_from_slice(&tracewell_wire::otlp::encode_json(trace.batch()));
        lines.push(b'\n');
    });
    let page = timeout(state.limits.query_timeout, search).await;
    let page = page.map_err(|_| ApiError::busy("reading the next traces took too long"))??;
    Ok((lines, page.next))
}

//! Whole traces as OTLP JSON lines, streamed a page at a time.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracewell_query::{Cursor, SearchRequest, search_with};

use super::error::ApiError;
use super::params::Params;
use super::state::ApiState;

/// Traces read before their lines are handed to the connection.
const TRACES_AT_ONCE: usize = 64;

/// Such portions that wait for a slow client.
const PORTIONS_WAITING: usize = 2;

pub(crate) async fn export(State(state): State<ApiState>, mut params: Params) -> Result<Response, ApiError> {
    let mut request = SearchRequest {
        tenant: state.tenant.clone(),
        conditions: params.conditions()?,
        time: params.time_range(state.now_unix_nano())?,
        limit: TRACES_AT_ONCE,
        cursor: None,
    };
    params.finish()?;
    let place = state.place().await.map_err(ApiError::busy)?;
    // The first portion comes before the answer's head, so that a query that fails at once has a status to say so.
    let (first, mut next) = portion(&state, &request).await?;
    let (sender, receiver) = mpsc::channel(PORTIONS_WAITING);
    tokio::spawn(async move {
        let _place = place;
        let patience = state.limits.query_timeout;
        let mut lines = Ok(first);
        loop {
            let failed = lines.is_err();
            // A client that has gone, or takes nothing for that long, ends the export.
            let taken = timeout(patience, sender.send(lines)).await;
            if failed || next.is_none() || !matches!(taken, Ok(Ok(()))) {
                return;
            }
            request.cursor = next;
            lines = portion(&state, &request).await.map(|(lines, cursor)| {
                next = cursor;
                lines
            });
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::new(Portions(receiver))).into_response())
}

/// The lines of the next traces, and where to go on.
async fn portion(state: &ApiState, request: &SearchRequest) -> Result<(Bytes, Option<Cursor>), ApiError> {
    let mut lines = Vec::new();
    let search = search_with(&*state.store, request, |trace| {
        lines.extend_from_slice(&tracewell_wire::otlp::encode_json(trace.batch()));
        lines.push(b'\n');
    });
    let page = timeout(state.limits.query_timeout, search).await;
    let page = page.map_err(|_| ApiError::busy("reading the next traces took too long"))??;
    Ok((Bytes::from(lines), page.next))
}

/// A body of portions. An error cuts it off, which a client notices: the last chunk is missing.
struct Portions(mpsc::Receiver<Result<Bytes, ApiError>>);

impl http_body::Body for Portions {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|portion| {
            portion.map(|lines| lines.map(Frame::data).map_err(|error| std::io::Error::other(error.message)))
        })
    }
}

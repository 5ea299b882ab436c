//! Whole traces as Jaeger's JSON, written while the next are read.

use std::collections::HashMap;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tracewell_model::{Trace, TraceId};
use tracewell_query::{Found, QueryError, Search, SearchRequest};
use tracewell_store::{Projection, SpanStore};
use tracewell_wire::jaeger::{ENVELOPE_END, ENVELOPE_START, TracesEncoder};

use super::{ErrorView, JaegerError, incomplete};
use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::api::stream::{Gone, Outlet, pipe};

/// Bytes that are handed to the connection at once: many spans, and less than a millisecond's work.
const PORTION_BYTES: usize = 256 * 1024;
/// A portion may end with a span that reaches over its edge.
const SPAN_BYTES: usize = 16 * 1024;

/// Traces that are read at once where they are asked for by id.
const IDS_AT_ONCE: usize = 4;

/// Which traces an answer has.
pub(crate) enum Asked {
    /// One, without which there is no answer.
    One(TraceId),
    /// These, as far as they are there, in this order.
    Ids(Vec<TraceId>),
    Search(SearchRequest),
}

/// Answers within the bounds on queries: the place among them is held until the client has it all.
pub(crate) async fn answer(state: ApiState, asked: Asked) -> Result<Response, JaegerError> {
    let place = state.place().await.map_err(ApiError::busy)?;
    let (outlet, portions) = pipe(state.limits.query_timeout);
    tokio::spawn(async move {
        let _place = place;
        let store = state.store.clone();
        match Source::new(&*store, &state, asked) {
            Ok(source) => write(source, outlet).await,
            Err(error) => outlet.fail(error).await,
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], portions.body().await?).into_response())
}

async fn write(mut source: Source<'_>, outlet: Outlet) {
    let mut out = Vec::with_capacity(PORTION_BYTES + SPAN_BYTES);
    out.extend_from_slice(ENVELOPE_START);
    let mut follows = false;
    let mut found = source.next().await;
    loop {
        match found {
            Ok(Some(group)) => {
                let any = !group.traces.is_empty();
                // The store reads the next traces while these are written.
                let (next, written) = tokio::join!(source.next(), encode(group, follows, &mut out, &outlet));
                if let Err(Gone) = written {
                    return;
                }
                follows |= any;
                found = next;
            }
            Ok(None) => break,
            Err(error) => return outlet.fail(error).await,
        }
    }
    out.extend_from_slice(ENVELOPE_END);
    // These are plain texts and numbers.
    let errors = serde_json::to_string(&source.errors()).unwrap_or_else(|_| "null".to_owned());
    out.extend_from_slice(errors.as_bytes());
    out.push(b'}');
    outlet.end(out).await;
}

async fn encode(Found { spans, traces }: Found, follows: bool, out: &mut Vec<u8>, outlet: &Outlet) -> Result<(), Gone> {
    let traces = traces.into_iter().map(|rows| Trace::in_order(&spans, rows)).collect();
    let mut encoder = TracesEncoder::new(spans, traces, follows);
    while !encoder.write(out, PORTION_BYTES) {
        let full = std::mem::replace(out, Vec::with_capacity(PORTION_BYTES + SPAN_BYTES));
        outlet.send(full).await?;
    }
    Ok(())
}

/// Where an answer's traces come from, some at a time.
struct Source<'a> {
    state: &'a ApiState,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Search(Box<Search<'a>>),
    Ids { ids: Vec<TraceId>, read: usize, must_be_there: bool, missing: Vec<TraceId> },
}

impl<'a> Source<'a> {
    fn new(store: &'a dyn SpanStore, state: &'a ApiState, asked: Asked) -> Result<Self, ApiError> {
        let by_ids = |ids, must_be_there| Kind::Ids { ids, read: 0, must_be_there, missing: Vec::new() };
        let kind = match asked {
            Asked::One(id) => by_ids(vec![id], true),
            Asked::Ids(ids) => by_ids(ids, false),
            Asked::Search(request) => Kind::Search(Box::new(Search::new(store, request, Projection::All)?)),
        };
        Ok(Self { state, kind })
    }

    async fn next(&mut self) -> Result<Option<Found>, ApiError> {
        let state = self.state;
        let reading = async {
            match &mut self.kind {
                Kind::Search(search) => Ok(search.next().await?),
                Kind::Ids { ids, read, must_be_there, missing } => {
                    if *read == ids.len() {
                        return Ok(None);
                    }
                    let now = &ids[*read..ids.len().min(*read + IDS_AT_ONCE)];
                    *read += now.len();
                    let spans = state.store.traces(&state.tenant, now).await.map_err(QueryError::from)?;
                    let rows = Trace::rows_by_trace(&spans).into_iter();
                    let mut rows: HashMap<TraceId, Vec<usize>> =
                        rows.map(|rows| (spans.spans().trace_id[rows[0]], rows)).collect();
                    missing.extend(now.iter().filter(|id| !rows.contains_key(id)));
                    // Where something could not be read, nobody knows that it is not there.
                    if *must_be_there && !missing.is_empty() && state.left_out.is_empty() {
                        return Err(ApiError::not_found("trace not found"));
                    }
                    let traces = now.iter().filter_map(|id| rows.remove(id)).collect();
                    Ok(Some(Found { spans, traces }))
                }
            }
        };
        match timeout(state.limits.query_timeout, reading).await {
            Ok(found) => found,
            Err(_) => Err(ApiError::busy(state.too_slow())),
        }
    }

    /// What is missing of an answer that is there.
    fn errors(&self) -> Option<Vec<ErrorView>> {
        let missing: &[TraceId] = if let Kind::Ids { missing, .. } = &self.kind { missing } else { &[] };
        let view =
            |id: &TraceId| ErrorView { code: None, msg: "trace not found".to_owned(), trace_id: Some(id.to_string()) };
        let errors: Vec<ErrorView> = missing.iter().map(view).chain(incomplete(&self.state.left_out)).collect();
        (!errors.is_empty()).then_some(errors)
    }
}

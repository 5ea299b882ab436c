//! Which traces have a span like this, newest first.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use tracewell_model::{SpanBatch, SpanRef, TimeRange, Trace, TraceId};
use tracewell_store::{Predicate, Projection, Scan, SpanStore, Tenant};

use crate::conditions::all_match;
use crate::cursor::{Place, fingerprint};
use crate::{Conditions, Cursor, QueryError, TraceSummary};

/// Whole traces held in memory at once while a page is made: ten of 20,000 spans each take about 30 MB.
const TRACES_AT_ONCE: usize = 10;

/// Rows that a scan gives at once, at most.
const MOST_ROWS: usize = 8192;

/// A search for traces.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// Whose spans.
    pub tenant: Tenant,
    /// What one span of the trace must be like.
    pub conditions: Conditions,
    /// When that span starts. With a cursor, the range of the first page holds and this is not looked at.
    pub time: TimeRange,
    /// At most so many traces.
    pub limit: usize,
    /// Where the page before ended; `None` for the first.
    pub cursor: Option<Cursor>,
}

/// Some results of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The results in order, one a trace.
    pub items: Vec<T>,
    /// Where the next page begins; `None` when there is nothing more. The page that it leads to may be empty.
    pub next: Option<Cursor>,
}

/// Searches for traces and summarises them; see [`search_with`].
pub async fn search(store: &dyn SpanStore, request: &SearchRequest) -> Result<Page<TraceSummary>, QueryError> {
    search_rows(store, request, Projection::Core, TraceSummary::of_rows).await
}

/// Searches for traces and turns each whole trace into what the caller needs, while few of them are in memory.
///
/// A trace matches when one of its spans starts in the time range and meets every condition. Its place among the
/// results is given by the newest such span: newest first, then by trace id. So no trace is returned twice on one page.
/// Across pages, a row after the cursor may belong to a trace that was returned because of a newer row; that is decided
/// on the whole trace: if its newest matching span lies at or before the cursor, it was returned. While spans keep
/// arriving, a trace that has not been returned yet and gains a matching span before the cursor is left to a new search.
///
/// The work is one scan in pages, of ids only where the store evaluates predicates, and one read of whole traces for
/// each ten candidates.
pub async fn search_with<T>(
    store: &dyn SpanStore,
    request: &SearchRequest,
    mut make: impl FnMut(Trace) -> T + Send,
) -> Result<Page<T>, QueryError> {
    search_rows(store, request, Projection::All, |spans, rows| make(Trace::of_rows(spans, rows))).await
}

/// The same with traces as rows of a batch, which say as much as the projection asks for.
async fn search_rows<T>(
    store: &dyn SpanStore,
    request: &SearchRequest,
    projection: Projection,
    mut make: impl FnMut(&SpanBatch, Vec<usize>) -> T + Send,
) -> Result<Page<T>, QueryError> {
    let SearchRequest { tenant, limit, cursor, .. } = request;
    let predicates = request.conditions.predicates();
    let fingerprint = fingerprint(&predicates);
    if cursor.is_some_and(|cursor| cursor.fingerprint != fingerprint) {
        return Err(QueryError::ForeignCursor);
    }
    let time = cursor.map_or(request.time, |cursor| cursor.time);
    let mut items = Vec::new();
    if *limit == 0 || time.is_empty() {
        return Ok(Page { items, next: None });
    }

    let exact = store.capabilities().evaluates_predicates;
    // Behind a cursor, conditions are looked at again on whole traces, and these may ask for attributes.
    let projection = if cursor.is_some() { Projection::All } else { projection };
    let mut scan = Scan {
        time,
        predicates: predicates.clone(),
        projection: if exact { Projection::Ids } else { Projection::All },
        after: cursor.map(|cursor| cursor.position()),
        // A trace has a few spans that match, rarely one, rarely hundreds.
        limit: limit.saturating_mul(8).clamp(256, MOST_ROWS),
    };
    let mut seen: HashSet<TraceId> = HashSet::new();
    loop {
        let page = store.scan(tenant, &scan).await?;
        let matching = page.spans.iter().filter(|span| exact || all_match(&predicates, *span));
        let mut candidates: Vec<Place> =
            matching.map(place_of).filter(|(_, trace_id)| seen.insert(*trace_id)).collect();
        while !candidates.is_empty() {
            // On the first page every candidate is a result; later ones may turn out to have been returned before.
            let wanted = limit - items.len();
            let most = if cursor.is_none() { wanted } else { wanted.max(16) };
            let rest = candidates.split_off(most.min(TRACES_AT_ONCE).min(candidates.len()));
            let ids: Vec<TraceId> = candidates.iter().map(|(_, trace_id)| *trace_id).collect();
            let spans = store.traces_with(tenant, &ids, projection).await?;
            let mut traces: HashMap<TraceId, Vec<usize>> =
                Trace::rows_by_trace(&spans).into_iter().map(|rows| (spans.spans().trace_id[rows[0]], rows)).collect();
            let read = candidates.len();
            for (number, (Reverse(start_unix_nano), trace_id)) in candidates.into_iter().enumerate() {
                // Retention may have taken it since the scan.
                let Some(rows) = traces.remove(&trace_id) else { continue };
                let returned_before = cursor.is_some_and(|cursor| {
                    newest_match(&spans, &rows, time, &predicates).is_none_or(|place| place <= cursor.place())
                });
                if returned_before {
                    continue;
                }
                items.push(make(&spans, rows));
                if items.len() == *limit {
                    let more = number + 1 < read || !rest.is_empty() || page.next.is_some();
                    let next = more.then_some(Cursor { start_unix_nano, trace_id, time, fingerprint });
                    return Ok(Page { items, next });
                }
            }
            candidates = rest;
        }
        match page.next {
            Some(next) => {
                scan.after = Some(next);
                // Traces with many matching spans take many rows; each page finds its place anew.
                scan.limit = scan.limit.saturating_mul(4).min(MOST_ROWS);
            }
            None => return Ok(Page { items, next: None }),
        }
    }
}

fn place_of(span: SpanRef<'_>) -> Place {
    (Reverse(span.start_unix_nano()), span.trace_id())
}

/// The place of a trace among the results; `None` if it does not match.
fn newest_match(spans: &SpanBatch, rows: &[usize], time: TimeRange, predicates: &[Predicate]) -> Option<Place> {
    let inside = rows.iter().map(|row| spans.span(*row)).filter(|span| time.contains(span.start_unix_nano()));
    inside.filter(|span| all_match(predicates, *span)).map(place_of).min()
}

#[cfg(test)]
mod tests;

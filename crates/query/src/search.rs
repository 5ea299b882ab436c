//! Which traces have a span like this, newest first.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};

use tracewell_model::{SpanBatch, SpanRef, TimeRange, Trace, TraceId};
use tracewell_store::{Predicate, Projection, Scan, SpanStore, Tenant};

use crate::conditions::all_match;
use crate::cursor::{Place, fingerprint};
use crate::{Conditions, Cursor, QueryError, TraceSummary};

/// Whole traces that are read first, while nothing is known of their size: few, as the answer begins with them. Then as
/// many as have about so many spans, which take some 3 MB: the next are read while these are written, and what is read
/// in one piece is not.
const TRACES_AT_FIRST: usize = 2;
const SPANS_AT_ONCE: usize = 10_000;

/// Behind a cursor, whole traces tell which were returned before it, so more are read than are wanted.
const TRACES_BEHIND_CURSOR: usize = 16;

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

/// Searches for traces and summarises them; see [`Search`].
pub async fn search(store: &dyn SpanStore, request: &SearchRequest) -> Result<Page<TraceSummary>, QueryError> {
    collect(Search::new(store, request.clone(), Projection::Core)?, TraceSummary::of_rows).await
}

/// Searches for traces and turns each whole trace into what the caller needs, while few of them are in memory; see
/// [`Search`].
pub async fn search_with<T>(
    store: &dyn SpanStore,
    request: &SearchRequest,
    mut make: impl FnMut(Trace) -> T + Send,
) -> Result<Page<T>, QueryError> {
    let search = Search::new(store, request.clone(), Projection::All)?;
    collect(search, |spans, rows| make(Trace::of_rows(spans, rows))).await
}

async fn collect<T>(
    mut search: Search<'_>,
    mut make: impl FnMut(&SpanBatch, Vec<usize>) -> T + Send,
) -> Result<Page<T>, QueryError> {
    let mut items = Vec::new();
    let mut found = search.next().await?;
    while let Some(Found { spans, traces }) = found {
        // The store reads the next traces while these are looked at.
        let look = async { items.extend(traces.into_iter().map(|rows| make(&spans, rows))) };
        let (next, ()) = tokio::join!(search.next(), look);
        found = next?;
    }
    Ok(Page { items, next: search.next_page() })
}

/// Some of the traces that a search finds, in the order of its results.
#[derive(Debug)]
pub struct Found {
    /// Their spans, as far as the search asked for them.
    pub spans: SpanBatch,
    /// The rows of each trace, all of them and in no order; see [`Trace::in_order`].
    pub traces: Vec<Vec<usize>>,
}

/// A search that gives its results some whole traces at a time, so that few of them are in memory.
///
/// A trace matches when one of its spans starts in the time range and meets every condition. Its place among the
/// results is given by the newest such span: newest first, then by trace id. So no trace is returned twice on one page.
/// Across pages, a row after the cursor may belong to a trace that was returned because of a newer row; that is decided
/// on the whole trace: if its newest matching span lies at or before the cursor, it was returned. While spans keep
/// arriving, a trace that has not been returned yet and gains a matching span before the cursor is left to a new search.
///
/// The work is one scan in pages, of ids only where the store evaluates predicates, and one read of whole traces for
/// each time that [`next`](Self::next) is called.
pub struct Search<'a> {
    store: &'a dyn SpanStore,
    tenant: Tenant,
    cursor: Option<Cursor>,
    /// What whole traces are read of.
    projection: Projection,
    scan: Scan,
    /// Whether the store evaluates predicates.
    is_exact: bool,
    is_scanned: bool,
    fingerprint: u64,
    seen: HashSet<TraceId>,
    candidates: VecDeque<Place>,
    /// Results that are still to be returned.
    left: usize,
    /// What was read of whole traces so far.
    traces: usize,
    spans: usize,
    next_cursor: Option<Cursor>,
}

impl<'a> Search<'a> {
    /// Begins a search; nothing is read yet. The spans of the traces found say as much as the projection asks for.
    ///
    /// # Errors
    /// [`QueryError::ForeignCursor`]
    pub fn new(store: &'a dyn SpanStore, request: SearchRequest, projection: Projection) -> Result<Self, QueryError> {
        let SearchRequest { tenant, conditions, time, limit, cursor } = request;
        let predicates = conditions.predicates();
        let fingerprint = fingerprint(&predicates);
        if cursor.is_some_and(|cursor| cursor.fingerprint != fingerprint) {
            return Err(QueryError::ForeignCursor);
        }
        let time = cursor.map_or(time, |cursor| cursor.time);
        let is_exact = store.capabilities().evaluates_predicates;
        let scan = Scan {
            time,
            predicates,
            projection: if is_exact { Projection::Ids } else { Projection::All },
            after: cursor.map(|cursor| cursor.position()),
            // A trace has a few spans that match, rarely one, rarely hundreds.
            limit: limit.saturating_mul(8).clamp(256, MOST_ROWS),
        };
        Ok(Self {
            store,
            tenant,
            cursor,
            // Behind a cursor, conditions are looked at again on whole traces, and these may ask for attributes.
            projection: if cursor.is_some() { Projection::All } else { projection },
            scan,
            is_exact,
            is_scanned: time.is_empty(),
            fingerprint,
            seen: HashSet::new(),
            candidates: VecDeque::new(),
            left: limit,
            traces: 0,
            spans: 0,
            next_cursor: None,
        })
    }

    /// Where the page after this one begins, once [`next`](Self::next) has given all results; `None` when there is
    /// nothing more.
    pub fn next_page(&self) -> Option<Cursor> {
        self.next_cursor
    }

    /// The next results, one at least; `None` when there are no more.
    pub async fn next(&mut self) -> Result<Option<Found>, QueryError> {
        while self.left > 0 {
            if !self.candidates.is_empty() {
                let found = self.read().await?;
                if !found.traces.is_empty() {
                    return Ok(Some(found));
                }
            } else if self.is_scanned {
                return Ok(None);
            } else {
                self.look_for_candidates().await?;
            }
        }
        Ok(None)
    }

    async fn look_for_candidates(&mut self) -> Result<(), QueryError> {
        let page = self.store.scan(&self.tenant, &self.scan).await?;
        let matching = page.spans.iter().filter(|span| self.is_exact || all_match(&self.scan.predicates, *span));
        self.candidates.extend(matching.map(place_of).filter(|(_, trace_id)| self.seen.insert(*trace_id)));
        self.is_scanned = page.next.is_none();
        self.scan.after = page.next;
        // Traces with many matching spans take many rows; each page finds its place anew.
        self.scan.limit = self.scan.limit.saturating_mul(4).min(MOST_ROWS);
        Ok(())
    }

    /// Reads candidates whole. On the first page each is a result; later ones may turn out to have been returned before.
    async fn read(&mut self) -> Result<Found, QueryError> {
        let at_once = match self.traces {
            0 => TRACES_AT_FIRST,
            traces => SPANS_AT_ONCE / self.spans.div_ceil(traces).max(1),
        };
        let wanted = if self.cursor.is_some() { self.left.max(TRACES_BEHIND_CURSOR) } else { self.left };
        let now = at_once.clamp(1, wanted).min(self.candidates.len());
        let mut candidates: VecDeque<Place> = self.candidates.drain(..now).collect();
        let ids: Vec<TraceId> = candidates.iter().map(|(_, trace_id)| *trace_id).collect();
        let spans = self.store.traces_with(&self.tenant, &ids, self.projection).await?;
        self.traces += ids.len();
        self.spans += spans.len();
        let mut rows_of: HashMap<TraceId, Vec<usize>> =
            Trace::rows_by_trace(&spans).into_iter().map(|rows| (spans.spans().trace_id[rows[0]], rows)).collect();
        let mut traces = Vec::with_capacity(now);
        while self.left > 0
            && let Some((Reverse(start_unix_nano), trace_id)) = candidates.pop_front()
        {
            // Retention may have taken it since the scan.
            let Some(rows) = rows_of.remove(&trace_id) else { continue };
            let returned_before = self.cursor.is_some_and(|cursor| {
                newest_match(&spans, &rows, self.scan.time, &self.scan.predicates)
                    .is_none_or(|place| place <= cursor.place())
            });
            if returned_before {
                continue;
            }
            traces.push(rows);
            self.left -= 1;
            let more = !candidates.is_empty() || !self.candidates.is_empty() || !self.is_scanned;
            let (time, fingerprint) = (self.scan.time, self.fingerprint);
            let cursor = Cursor { start_unix_nano, trace_id, time, fingerprint };
            self.next_cursor = (self.left == 0 && more).then_some(cursor);
        }
        Ok(Found { spans, traces })
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

//! Which traces have a span like this, newest first.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};

use tracewell_model::{SpanBatch, SpanRef, TimeRange, Trace, TraceId, TraceSummary};
use tracewell_store::{Predicate, Projection, Scan, SpanStore, Tenant, TraceReader};

use crate::any_of;
use crate::conditions::any_match;
use crate::cursor::{Place, fingerprint};
use crate::{Conditions, Cursor, LargeTrace, PORTION_BYTES, QueryError};

/// Whole traces that are read first, while nothing is known of their size: few, as the answer begins with them. Then as
/// many as have about so many spans, which take some 3 MB: the next are read while these are written, and what is read
/// in one piece is not.
const TRACES_AT_FIRST: usize = 2;
const SPANS_AT_ONCE: usize = 10_000;

/// Where whole traces tell which were returned before, more are read than are wanted.
const TRACES_WHEN_UNSURE: usize = 16;

/// Rows that a scan gives at once, at most.
const MOST_ROWS: usize = 8192;

/// Rows before a cursor that are looked at to know which traces were returned, at most: the first pages of a search have
/// no more, and who reads all pages does not read the first ones again for each.
const MOST_ROWS_BEFORE: usize = 2 * MOST_ROWS;

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
    let mut results = Results::new(store, request.clone())?;
    results.look_back().await?;
    if results.is_unsure {
        return collect(Search::of(results, Projection::Core)).await;
    }
    let mut items = Vec::new();
    while let Some(mut places) = results.next(usize::MAX).await? {
        let ids: Vec<TraceId> = places.iter().map(|(_, trace_id)| *trace_id).collect();
        let known = store.summaries(&request.tenant, &ids).await?;
        let mut known: HashMap<TraceId, TraceSummary> =
            known.into_iter().map(|known| (known.trace_id, known)).collect();
        let mut pace = Pace::default();
        let mut others: VecDeque<TraceId> = ids.into_iter().filter(|id| !known.contains_key(id)).collect();
        while !others.is_empty() {
            let ids: Vec<TraceId> = others.drain(..pace.traces_at_once().min(others.len())).collect();
            let mut reader = store.open_traces(&request.tenant, &ids).await?;
            reader.restart(Projection::Core);
            let portion = reader.next(PORTION_BYTES).await?;
            if portion.is_last {
                pace.note(ids.len(), portion.spans.len());
                for rows in Trace::rows_by_trace(&portion.spans) {
                    known.insert(portion.spans.spans().trace_id[rows[0]], TraceSummary::of_rows(&portion.spans, rows));
                    tokio::task::consume_budget().await;
                }
            } else if let [id] = ids[..] {
                known.insert(id, LargeTrace::new(reader, id).await?.summary().await?);
            } else {
                pace.halve();
                ids.into_iter().rev().for_each(|id| others.push_front(id));
            }
        }
        while let Some(place) = places.pop_front() {
            // Retention may have taken it since the scan.
            let Some(summary) = known.remove(&place.1) else { continue };
            items.push(summary);
            results.accept(place, !places.is_empty());
        }
    }
    Ok(Page { items, next: results.next_cursor })
}

/// The summaries of what a search finds, of traces that are read whole.
async fn collect(mut search: Search<'_>) -> Result<Page<TraceSummary>, QueryError> {
    let mut items = Vec::new();
    while let Some(Found { spans, traces, large }) = search.next().await? {
        for rows in traces {
            items.push(TraceSummary::of_rows(&spans, rows));
            tokio::task::consume_budget().await;
        }
        if let Some(mut large) = large {
            items.push(large.summary().await?);
        }
    }
    Ok(Page { items, next: search.next_page() })
}

/// Some of the traces that a search finds, in the order of its results: some in memory, or one that is too large for it.
#[derive(Default)]
pub struct Found {
    /// Their spans, as far as the search asked for them.
    pub spans: SpanBatch,
    /// The rows of each trace, all of them and in no order; see [`Trace::in_order`].
    pub traces: Vec<Vec<usize>>,
    /// The one that is read a portion at a time; there are no others then.
    pub large: Option<Box<LargeTrace>>,
}

/// A search that gives its results some whole traces at a time, so that few of them are in memory.
///
/// A trace matches when one of its spans starts in the time range and meets every condition. Its place among the
/// results is given by the newest such span: newest first, then by trace id. So no trace is returned twice on one page.
/// Across pages, a row after the cursor may belong to a trace that was returned because of a newer row. If its newest
/// matching span lies at or before the cursor, it was returned: the rows there tell, if they are not too many, else the
/// whole trace. While spans keep arriving, a trace that has not been returned yet and gains a matching span before the
/// cursor is left to a new search.
///
/// The work is one scan in pages, of ids only where the store evaluates predicates, and one read of whole traces for
/// each time that [`next`](Self::next) is called. A list, [`search`], reads only those that the store has no summary of.
pub struct Search<'a> {
    results: Results<'a>,
    /// What whole traces are read of.
    projection: Projection,
    pace: Pace,
}

impl<'a> Search<'a> {
    /// Begins a search; nothing is read yet. The spans of the traces found say as much as the projection asks for.
    ///
    /// # Errors
    /// [`QueryError::ForeignCursor`]
    pub fn new(store: &'a dyn SpanStore, request: SearchRequest, projection: Projection) -> Result<Self, QueryError> {
        Ok(Self::of(Results::new(store, request)?, projection))
    }

    fn of(results: Results<'a>, projection: Projection) -> Self {
        Self { results, projection, pace: Pace::default() }
    }

    /// Where the page after this one begins, once [`next`](Self::next) has given all results; `None` when there is
    /// nothing more.
    pub fn next_page(&self) -> Option<Cursor> {
        self.results.next_cursor
    }

    /// The next results, one at least; `None` when there are no more.
    pub async fn next(&mut self) -> Result<Option<Found>, QueryError> {
        while let Some(places) = self.results.next(self.pace.traces_at_once()).await? {
            let found = self.read(places).await?;
            if !found.traces.is_empty() || found.large.is_some() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Reads traces whole. Each is a result, unless it may turn out to have been returned before.
    async fn read(&mut self, mut places: VecDeque<Place>) -> Result<Found, QueryError> {
        let results = &mut self.results;
        // Conditions that are looked at again may ask for attributes.
        let projection = if results.is_unsure { Projection::All } else { self.projection };
        let spans = loop {
            let ids: Vec<TraceId> = places.iter().map(|(_, trace_id)| *trace_id).collect();
            let mut reader = results.store.open_traces(&results.tenant, &ids).await?;
            reader.restart(projection);
            let portion = reader.next(PORTION_BYTES).await?;
            if portion.is_last {
                self.pace.note(ids.len(), portion.spans.len());
                break portion.spans;
            }
            if places.len() == 1
                && let Some(place) = places.pop_front()
            {
                return self.read_large(reader, place).await;
            }
            // Fewer at once, then: the others are candidates again.
            self.pace.halve();
            for place in places.split_off(places.len() / 2).into_iter().rev() {
                results.candidates.push_front(place);
            }
        };
        let mut rows_of: HashMap<TraceId, Vec<usize>> =
            Trace::rows_by_trace(&spans).into_iter().map(|rows| (spans.spans().trace_id[rows[0]], rows)).collect();
        let mut traces = Vec::with_capacity(places.len());
        while results.left > 0
            && let Some(place) = places.pop_front()
        {
            // Retention may have taken it since the scan.
            let Some(rows) = rows_of.remove(&place.1) else { continue };
            let returned_before = results.cursor.filter(|_| results.is_unsure).is_some_and(|cursor| {
                newest_match(&spans, &rows, results.scan.time, &results.alternatives)
                    .is_none_or(|place| place <= cursor.place())
            });
            if returned_before {
                continue;
            }
            traces.push(rows);
            results.accept(place, !places.is_empty());
        }
        Ok(Found { spans, traces, large: None })
    }

    /// A trace of which more is there than is read at once.
    async fn read_large(&mut self, reader: Box<dyn TraceReader>, place: Place) -> Result<Found, QueryError> {
        let results = &mut self.results;
        let mut large = Box::new(LargeTrace::new(reader, place.1).await?);
        if let Some(cursor) = results.cursor.filter(|_| results.is_unsure) {
            let mut newest = None;
            while let Some((spans, rows)) = large.next().await? {
                let here = newest_match(&spans, &rows, results.scan.time, &results.alternatives);
                newest = newest.into_iter().chain(here).min();
            }
            if newest.is_none_or(|place| place <= cursor.place()) {
                return Ok(Found::default());
            }
        }
        large.restart(self.projection);
        results.accept(place, false);
        Ok(Found { large: Some(large), ..Found::default() })
    }
}

/// How many traces are read at once, from how large those were that were read so far.
#[derive(Default)]
struct Pace {
    traces: usize,
    spans: usize,
}

impl Pace {
    fn traces_at_once(&self) -> usize {
        match self.traces {
            0 => TRACES_AT_FIRST,
            traces => (SPANS_AT_ONCE / self.spans.div_ceil(traces).max(1)).max(1),
        }
    }

    fn note(&mut self, traces: usize, spans: usize) {
        self.traces += traces;
        self.spans += spans;
    }

    /// Reads half as many at once, whatever their spans.
    fn halve(&mut self) {
        self.traces = self.traces.max(1);
        self.spans = (self.spans.max(self.traces) * 2).max(SPANS_AT_ONCE / TRACES_AT_FIRST * self.traces);
    }
}

/// The places of traces that match, and where a page of them ends.
struct Results<'a> {
    store: &'a dyn SpanStore,
    tenant: Tenant,
    cursor: Option<Cursor>,
    /// Whether the rows before the cursor are to be looked at still.
    is_to_look_back: bool,
    /// Whether a candidate may have been returned before the cursor.
    is_unsure: bool,
    /// All but the predicates.
    scan: Scan,
    /// Lists of predicates, of which one has to hold whole.
    alternatives: Vec<Vec<Predicate>>,
    /// Whether the store evaluates predicates.
    is_exact: bool,
    is_scanned: bool,
    fingerprint: u64,
    seen: HashSet<TraceId>,
    candidates: VecDeque<Place>,
    /// Results that are still to be returned.
    left: usize,
    next_cursor: Option<Cursor>,
}

impl<'a> Results<'a> {
    fn new(store: &'a dyn SpanStore, request: SearchRequest) -> Result<Self, QueryError> {
        let SearchRequest { tenant, conditions, time, limit, cursor } = request;
        let alternatives = conditions.alternatives();
        let fingerprint = fingerprint(&alternatives.concat());
        if cursor.is_some_and(|cursor| cursor.fingerprint != fingerprint) {
            return Err(QueryError::ForeignCursor);
        }
        let time = cursor.map_or(time, |cursor| cursor.time);
        let is_exact = store.capabilities().evaluates_predicates;
        let scan = Scan {
            time,
            predicates: Vec::new(),
            projection: if is_exact { Projection::Ids } else { Projection::All },
            after: cursor.map(|cursor| cursor.position()),
            // Where each trace has many spans that match, there are more pages; where few do, few blocks are read.
            limit: limit.saturating_mul(2).clamp(32, MOST_ROWS),
        };
        Ok(Self {
            store,
            tenant,
            cursor,
            is_to_look_back: cursor.is_some(),
            is_unsure: false,
            scan,
            alternatives,
            is_exact,
            is_scanned: time.is_empty(),
            fingerprint,
            seen: HashSet::new(),
            candidates: VecDeque::new(),
            left: limit,
            next_cursor: None,
        })
    }

    /// Sees which traces were returned before the cursor, those with a matching row there, if that are not too many rows.
    async fn look_back(&mut self) -> Result<(), QueryError> {
        let Some(cursor) = self.cursor.filter(|_| std::mem::take(&mut self.is_to_look_back)) else { return Ok(()) };
        let time = TimeRange::new(cursor.start_unix_nano, self.scan.time.end_unix_nano);
        let mut scan = Scan { time, after: None, limit: MOST_ROWS, ..self.scan.clone() };
        for _ in 0..MOST_ROWS_BEFORE / MOST_ROWS {
            if !self.is_exact {
                break;
            }
            let page = any_of::scan(self.store, &self.tenant, &scan, &self.alternatives).await?;
            let before = page.spans.iter().map(place_of).filter(|place| *place <= cursor.place());
            self.seen.extend(before.map(|(_, trace_id)| trace_id));
            scan.after = page.next;
            if scan.after.is_none() {
                return Ok(());
            }
        }
        self.is_unsure = true;
        Ok(())
    }

    /// The next candidates, in order, one at least and so many at most; `None` when no more are wanted or there.
    async fn next(&mut self, most: usize) -> Result<Option<VecDeque<Place>>, QueryError> {
        self.look_back().await?;
        while self.left > 0 {
            if !self.candidates.is_empty() {
                let wanted = if self.is_unsure { self.left.max(TRACES_WHEN_UNSURE) } else { self.left };
                let now = most.min(wanted).min(self.candidates.len());
                return Ok(Some(self.candidates.drain(..now).collect()));
            }
            if self.is_scanned {
                break;
            }
            self.look_for_candidates().await?;
        }
        Ok(None)
    }

    async fn look_for_candidates(&mut self) -> Result<(), QueryError> {
        let page = any_of::scan(self.store, &self.tenant, &self.scan, &self.alternatives).await?;
        let matching = page.spans.iter().filter(|span| self.is_exact || any_match(&self.alternatives, *span));
        self.candidates.extend(matching.map(place_of).filter(|(_, trace_id)| self.seen.insert(*trace_id)));
        self.is_scanned = page.next.is_none();
        self.scan.after = page.next;
        // Traces with many matching spans take many rows; each page finds its place anew.
        self.scan.limit = self.scan.limit.saturating_mul(4).min(MOST_ROWS);
        Ok(())
    }

    /// Counts a candidate as a result; `has_more` says whether others were taken behind it.
    fn accept(&mut self, (Reverse(start_unix_nano), trace_id): Place, has_more: bool) {
        self.left -= 1;
        let has_more = has_more || !self.candidates.is_empty() || !self.is_scanned;
        let cursor = Cursor { start_unix_nano, trace_id, time: self.scan.time, fingerprint: self.fingerprint };
        self.next_cursor = (self.left == 0 && has_more).then_some(cursor);
    }
}

fn place_of(span: SpanRef<'_>) -> Place {
    (Reverse(span.start_unix_nano()), span.trace_id())
}

/// The place of a trace among the results; `None` if it does not match.
fn newest_match(spans: &SpanBatch, rows: &[usize], time: TimeRange, alternatives: &[Vec<Predicate>]) -> Option<Place> {
    let inside = rows.iter().map(|row| spans.span(*row)).filter(|span| time.contains(span.start_unix_nano()));
    inside.filter(|span| any_match(alternatives, *span)).map(place_of).min()
}

#[cfg(test)]
mod tests;

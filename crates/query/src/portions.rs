//! Whole traces as columns, a portion at a time, for questions about many of them.

use std::collections::{HashSet, VecDeque};

use tracewell_model::{SpanBatch, TimeRange, TraceId};
use tracewell_store::{Projection, Scan, SpanStore, Tenant};

use crate::conditions::all_match;
use crate::{Conditions, QueryError};

/// Into how many parts the time is cut, which are read in turns.
const PARTS: u64 = 32;
/// Rows that are scanned at once to find traces.
const ROWS_AT_ONCE: usize = 32_768;
/// About so many spans make a portion; a trace that has more is one by itself.
const SPANS_AT_ONCE: usize = 16_384;
/// And at most so many traces.
const MOST_TRACES: usize = 1_024;
/// How many traces are read first, when it is not known how large they are.
const FIRST_TRACES: usize = 32;

/// Which traces to read.
#[derive(Clone, Debug)]
pub struct PortionsRequest {
    /// Whose spans.
    pub tenant: Tenant,
    /// What one span of a trace must be like.
    pub conditions: Conditions,
    /// When that span starts.
    pub time: TimeRange,
    /// What of the spans is read.
    pub projection: Projection,
    /// No further trace is read once so many spans were.
    pub max_spans: usize,
}

/// The traces that match, each once, in portions: all of them if they have few enough spans, otherwise about as many from
/// each part of the time, and in each part the newest. The same store gives the same portions.
///
/// Traces are found by a scan of ids, which holds nothing but these, and then read as far as is asked.
pub struct Portions {
    request: PortionsRequest,
    exact: bool,
    /// Parts that are not scanned to their ends.
    scans: VecDeque<Scan>,
    /// Found and not read yet.
    found: VecDeque<TraceId>,
    seen: HashSet<TraceId>,
    traces: usize,
    spans: usize,
    at_once: usize,
}

impl Portions {
    /// Begins to read. Traces in `seen` are left out.
    pub async fn begin(
        store: &dyn SpanStore,
        request: PortionsRequest,
        seen: HashSet<TraceId>,
    ) -> Result<Self, QueryError> {
        let exact = store.capabilities().evaluates_predicates;
        let scan = |time| Scan {
            time,
            predicates: request.conditions.predicates(),
            projection: if exact { Projection::Ids } else { Projection::All },
            after: None,
            limit: ROWS_AT_ONCE,
        };
        let scans = parts(held(store, &request.tenant, request.time).await?).into_iter().map(scan).collect();
        let at_once = FIRST_TRACES.min(request.max_spans);
        Ok(Self { request, exact, scans, found: VecDeque::new(), seen, traces: 0, spans: 0, at_once })
    }

    /// Some more traces, whole; `None` when there are no more, or enough were read. Those for whose ids `takes` says no
    /// are passed over.
    pub async fn next(
        &mut self,
        store: &dyn SpanStore,
        takes: impl Fn(TraceId) -> bool,
    ) -> Result<Option<SpanBatch>, QueryError> {
        while self.spans < self.request.max_spans {
            while self.found.len() < self.at_once
                && let Some(scan) = self.scans.pop_front()
            {
                self.find(store, scan, &takes).await?;
            }
            let ids: Vec<TraceId> = self.found.drain(..self.at_once.min(self.found.len())).collect();
            let ids: Vec<TraceId> = ids.into_iter().filter(|id| takes(*id)).collect();
            if ids.is_empty() && self.found.is_empty() && self.scans.is_empty() {
                return Ok(None);
            }
            let spans = store.traces_with(&self.request.tenant, &ids, self.request.projection).await?;
            if spans.is_empty() {
                continue;
            }
            self.traces += ids.len();
            self.spans += spans.len();
            let a_trace = spans.len().div_ceil(ids.len());
            let left = self.request.max_spans.saturating_sub(self.spans);
            self.at_once = (SPANS_AT_ONCE.min(left) / a_trace).clamp(1, MOST_TRACES);
            return Ok(Some(spans));
        }
        Ok(None)
    }

    /// Scans a page of a part for traces.
    async fn find(
        &mut self,
        store: &dyn SpanStore,
        mut scan: Scan,
        takes: impl Fn(TraceId) -> bool,
    ) -> Result<(), QueryError> {
        let page = store.scan(&self.request.tenant, &scan).await?;
        let ids = &page.spans.spans().trace_id;
        for (row, id) in ids.iter().enumerate() {
            // Spans of a trace mostly follow one another.
            let is_repeated = row > 0 && ids[row - 1] == *id;
            let matches = || self.exact || all_match(&scan.predicates, page.spans.span(row));
            if !(is_repeated && self.exact) && takes(*id) && matches() && self.seen.insert(*id) {
                self.found.push_back(*id);
            }
        }
        if page.next.is_some() {
            scan.after = page.next;
            self.scans.push_back(scan);
        }
        Ok(())
    }

    /// Forgets traces that are no longer taken: they are neither read nor remembered as found.
    pub fn retain(&mut self, takes: impl Fn(TraceId) -> bool) {
        self.found.retain(|id| takes(*id));
        self.seen.retain(|id| takes(*id));
        self.seen.shrink_to_fit();
    }

    /// Whether all that match were read.
    pub fn is_complete(&self) -> bool {
        self.found.is_empty() && self.scans.is_empty()
    }

    /// How many traces were read.
    pub fn traces(&self) -> usize {
        self.traces
    }

    /// The traces that were found, to be left out elsewhere.
    pub fn into_seen(self) -> HashSet<TraceId> {
        self.seen
    }
}

/// The part of a range in which the store has spans at all: a range of years over an hour of spans would otherwise fall
/// into one part.
async fn held(store: &dyn SpanStore, tenant: &Tenant, time: TimeRange) -> Result<TimeRange, QueryError> {
    let stats = store.stats(tenant).await?;
    let oldest = stats.oldest_unix_nano.unwrap_or(0);
    let end = stats.newest_unix_nano.map_or(u64::MAX, |newest| newest.saturating_add(1));
    Ok(TimeRange::new(time.start_unix_nano.max(oldest), time.end_unix_nano.min(end)))
}

/// A range in parts of about the same length, the newest first.
fn parts(time: TimeRange) -> Vec<TimeRange> {
    if time.is_empty() {
        return Vec::new();
    }
    let length = time.end_unix_nano - time.start_unix_nano;
    let count = PARTS.min(length);
    let edge = |part: u64| time.start_unix_nano + (u128::from(length) * u128::from(part) / u128::from(count)) as u64;
    (0..count).rev().map(|part| TimeRange::new(edge(part), edge(part + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_store::{TestSpan, TestStore};

    async fn read(store: &TestStore, max_spans: usize, takes: impl Fn(TraceId) -> bool) -> (Vec<SpanBatch>, Portions) {
        let request = PortionsRequest {
            tenant: Tenant::default(),
            conditions: Conditions::default(),
            time: TimeRange::ALL,
            projection: Projection::Core,
            max_spans,
        };
        let mut portions = Portions::begin(store, request, HashSet::new()).await.unwrap();
        // So that parts have more than one page.
        portions.scans.iter_mut().for_each(|scan| scan.limit = 10);
        let mut all = Vec::new();
        while let Some(portion) = portions.next(store, &takes).await.unwrap() {
            all.push(portion);
        }
        (all, portions)
    }

    fn ids(portions: &[SpanBatch]) -> Vec<u128> {
        let traces = portions.iter().flat_map(tracewell_model::Trace::assemble_all);
        let mut ids: Vec<u128> = traces.map(|trace| trace.trace_id().as_u128()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn parts_cover_a_range_without_overlap() {
        for (start, end) in [(0, 1), (5, 20), (0, u64::MAX), (10, 1_000_010)] {
            let parts = parts(TimeRange::new(start, end));
            assert_eq!(parts.last().unwrap().start_unix_nano, start);
            assert_eq!(parts[0].end_unix_nano, end);
            assert!(parts.windows(2).all(|pair| pair[0].start_unix_nano == pair[1].end_unix_nano));
        }
        assert!(parts(TimeRange::new(5, 5)).is_empty());
    }

    #[tokio::test]
    async fn few_traces_are_all_read_whole_and_once() {
        // A hundred traces with a span each second, so that they reach over many parts.
        let spans = (0..1000).map(|n| TestSpan {
            trace: u128::from(n % 100) + 1,
            id: n + 1,
            start: n * 1000,
            ..TestSpan::default()
        });
        let (portions, end) = read(&TestStore::new(spans), usize::MAX, |_| true).await;
        assert!(end.is_complete());
        assert_eq!((end.traces(), ids(&portions)), (100, (1..=100).collect()));
        assert_eq!(portions.iter().map(SpanBatch::len).sum::<usize>(), 1000);
    }

    #[tokio::test]
    async fn traces_that_are_not_taken_are_not_read() {
        let spans = (0..100).map(|n| TestSpan { trace: u128::from(n) + 1, id: 1, start: n, ..TestSpan::default() });
        let (portions, _) = read(&TestStore::new(spans), usize::MAX, |id| id.as_u128() % 10 == 0).await;
        assert_eq!(ids(&portions), (1..=10).map(|n| n * 10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn of_too_many_spans_a_sample_spreads_over_the_time() {
        let spans = (0..6_400).map(|n| TestSpan { trace: u128::from(n) + 1, id: 1, start: n, ..TestSpan::default() });
        let (portions, end) = read(&TestStore::new(spans), 3_200, |_| true).await;
        assert!(!end.is_complete());
        let mut parts = [0; 32];
        for start in portions.iter().flat_map(|portion| &portion.spans().start_unix_nano) {
            parts[(start / 200) as usize] += 1;
        }
        assert!(parts.iter().all(|spans| (90..=110).contains(spans)), "{parts:?}");
    }
}

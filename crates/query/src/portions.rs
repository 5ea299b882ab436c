//! Whole traces as columns, a portion at a time, for questions about many of them.

use std::collections::{HashSet, VecDeque};

use tracewell_model::{SpanBatch, TimeRange, TraceId};
use tracewell_store::{Projection, SpanStore, StoreStats, Tenant, TracePortion};

use crate::{Conditions, QueryError};

/// The time is cut into parts with about so many spans each, which are read one after the other.
const SPANS_A_PART: u64 = 100_000;
const MOST_PARTS: u64 = 4_096;
/// About so many spans make a portion; a trace that has more is one by itself.
const SPANS_AT_ONCE: usize = 16_384;
/// And at most so many traces.
const MOST_TRACES: usize = 1_024;
/// Nor more bytes, so that long names are read a few at a time.
const MAX_PORTION_BYTES: usize = 8 << 20;
/// A trace of more bytes, which has some 200,000 spans, is passed over.
const MAX_TRACE_BYTES: usize = 32 << 20;
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
}

/// The traces that match, each once and whole, in portions: traces are found by ids alone, and then read as far as is
/// asked. Of a trace that reaches from one part of the time into the next, the newer part gives it.
pub struct Portions {
    request: PortionsRequest,
    /// Parts that no traces were looked for in, the newest first.
    parts: VecDeque<TimeRange>,
    /// Found and not read yet.
    found: VecDeque<TraceId>,
    seen: HashSet<TraceId>,
    spans_expected: u64,
    at_once: usize,
    /// Parts that there were at first.
    all_parts: usize,
    /// Traces that were passed over because each alone would take too much memory.
    too_large: usize,
}

impl Portions {
    /// Begins to read. Traces in `seen` are left out.
    pub async fn begin(
        store: &dyn SpanStore,
        request: PortionsRequest,
        seen: HashSet<TraceId>,
    ) -> Result<Self, QueryError> {
        let stats = store.stats(&request.tenant).await?;
        let held = held(&stats);
        let time = TimeRange::new(
            request.time.start_unix_nano.max(held.start_unix_nano),
            request.time.end_unix_nano.min(held.end_unix_nano),
        );
        let part_of_all = nanos(time) as f64 / nanos(held).max(1) as f64;
        let spans_expected = (stats.spans as f64 * part_of_all) as u64;
        let parts: VecDeque<TimeRange> = parts(time, spans_expected.div_ceil(SPANS_A_PART).clamp(1, MOST_PARTS)).into();
        let all_parts = parts.len();
        Ok(Self {
            request,
            parts,
            found: VecDeque::new(),
            seen,
            spans_expected,
            at_once: FIRST_TRACES,
            all_parts,
            too_large: 0,
        })
    }

    /// About how many spans there are in the time, whatever the conditions, if they are spread evenly.
    pub fn spans_expected(&self) -> u64 {
        self.spans_expected
    }

    /// How many traces were passed over because each alone would take too much memory.
    pub fn too_large(&self) -> usize {
        self.too_large
    }

    /// Which part of the time has been looked through, 0 to 1.
    pub fn progress(&self) -> f64 {
        1.0 - self.parts.len() as f64 / self.all_parts.max(1) as f64
    }

    /// Some more traces; `None` when there are no more. Those for whose ids `takes` says no are passed over.
    pub async fn next(
        &mut self,
        store: &dyn SpanStore,
        takes: impl Fn(TraceId) -> bool,
    ) -> Result<Option<SpanBatch>, QueryError> {
        let alternatives = self.request.conditions.alternatives();
        loop {
            while self.found.len() < self.at_once
                && let Some(time) = self.parts.pop_front()
            {
                for predicates in &alternatives {
                    let ids = store.trace_ids(&self.request.tenant, time, predicates).await?;
                    self.found.extend(ids.into_iter().filter(|id| takes(*id) && self.seen.insert(*id)));
                }
            }
            let ids: Vec<TraceId> = self.found.drain(..self.at_once.min(self.found.len())).collect();
            tokio::task::consume_budget().await;
            if ids.is_empty() {
                return Ok(None);
            }
            let ids: Vec<TraceId> = ids.into_iter().filter(|id| takes(*id)).collect();
            if ids.is_empty() {
                continue;
            }
            let mut reader = store.open_traces(&self.request.tenant, &ids).await?;
            reader.restart(self.request.projection);
            let TracePortion { mut spans, mut is_last } = reader.next(MAX_PORTION_BYTES).await?;
            if !is_last && ids.len() > 1 {
                // Fewer at once, then: the others are found again.
                self.at_once = ids.len().div_ceil(2).min(self.at_once);
                ids.into_iter().rev().for_each(|id| self.found.push_front(id));
                continue;
            }
            while !is_last && spans.content_bytes() < MAX_TRACE_BYTES {
                let next = reader.next(MAX_PORTION_BYTES).await?;
                spans.append(&next.spans);
                is_last = next.is_last;
            }
            if !is_last {
                self.too_large += 1;
                continue;
            }
            // Retention may have taken them since.
            if !spans.is_empty() {
                self.at_once = (SPANS_AT_ONCE / spans.len().div_ceil(ids.len())).clamp(1, MOST_TRACES);
                return Ok(Some(spans));
            }
        }
    }

    /// Forgets traces that are no longer taken: they are neither read nor remembered as found.
    pub fn retain(&mut self, takes: impl Fn(TraceId) -> bool) {
        self.found.retain(|id| takes(*id));
        self.seen.retain(|id| takes(*id));
        self.seen.shrink_to_fit();
    }

    /// The traces that were found, to be left out elsewhere.
    pub fn into_seen(self) -> HashSet<TraceId> {
        self.seen
    }
}

/// The time in which the store has spans at all: a range of years over an hour of spans would otherwise fall into one
/// part.
fn held(stats: &StoreStats) -> TimeRange {
    let oldest = stats.oldest_unix_nano.unwrap_or(0);
    TimeRange::new(oldest, stats.newest_unix_nano.map_or(u64::MAX, |newest| newest.saturating_add(1)))
}

fn nanos(time: TimeRange) -> u64 {
    time.end_unix_nano.saturating_sub(time.start_unix_nano)
}

/// A range in at most so many parts of about the same length, the newest first.
fn parts(time: TimeRange, most: u64) -> Vec<TimeRange> {
    if time.is_empty() {
        return Vec::new();
    }
    let length = nanos(time);
    let count = most.min(length);
    let edge = |part: u64| time.start_unix_nano + (u128::from(length) * u128::from(part) / u128::from(count)) as u64;
    (0..count).rev().map(|part| TimeRange::new(edge(part), edge(part + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_store::{TestSpan, TestStore};

    async fn read(store: &TestStore, takes: impl Fn(TraceId) -> bool) -> Vec<SpanBatch> {
        let request = PortionsRequest {
            tenant: Tenant::default(),
            conditions: Conditions { operation: Some("wanted".to_owned()), ..Conditions::default() },
            time: TimeRange::ALL,
            projection: Projection::Core,
        };
        let mut portions = Portions::begin(store, request, HashSet::new()).await.unwrap();
        // The spans of a test would all fall into one part.
        let whole = portions.parts.pop_front().unwrap();
        portions.parts = parts(whole, 8).into();
        let mut all = Vec::new();
        while let Some(portion) = portions.next(store, &takes).await.unwrap() {
            all.push(portion);
        }
        all
    }

    /// A hundred traces with a span each second, so that they reach over many parts; every second one has a span that
    /// is wanted.
    fn spans() -> impl Iterator<Item = TestSpan> {
        (0..1000).map(|n| TestSpan {
            trace: u128::from(n % 100) + 1,
            id: n + 1,
            start: n * 1000,
            name: if n % 2 == 0 && n / 100 % 3 == 1 { "wanted" } else { "other" },
            ..TestSpan::default()
        })
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
            let parts = parts(TimeRange::new(start, end), 32);
            assert_eq!(parts.last().unwrap().start_unix_nano, start);
            assert_eq!(parts[0].end_unix_nano, end);
            assert!(parts.windows(2).all(|pair| pair[0].start_unix_nano == pair[1].end_unix_nano));
        }
        assert!(parts(TimeRange::new(5, 5), 32).is_empty());
    }

    #[tokio::test]
    async fn traces_that_match_are_read_whole_and_once_whatever_the_store_can_do() {
        for exact in [true, false] {
            let mut store = TestStore::new(spans());
            store.exact = exact;
            let portions = read(&store, |_| true).await;
            assert_eq!(ids(&portions), (0..50).map(|n| 2 * n + 1).collect::<Vec<_>>());
            assert_eq!(portions.iter().map(SpanBatch::len).sum::<usize>(), 500);
        }
    }

    #[tokio::test]
    async fn traces_that_are_not_taken_are_not_read() {
        let portions = read(&TestStore::new(spans()), |id| id.as_u128() % 5 == 0).await;
        assert_eq!(ids(&portions), (0..10).map(|n| 10 * n + 5).collect::<Vec<_>>());
    }
}

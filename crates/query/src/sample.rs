//! Some traces, spread over a time, for questions about many of them.

use std::collections::HashSet;

use tracewell_model::{TimeRange, Trace, TraceId};
use tracewell_store::{SpanStore, Tenant};

use crate::{Conditions, QueryError, SearchRequest, search_with};

/// Into how many parts the time is cut, each of which gives its share of traces.
const PARTS: u64 = 32;

/// Traces read before the bound on spans is looked at again.
const TRACES_AT_ONCE: usize = 64;

/// Which traces to take a sample of, and how many.
#[derive(Clone, Debug)]
pub struct SampleRequest {
    /// Whose spans.
    pub tenant: Tenant,
    /// What one span of a trace must be like.
    pub conditions: Conditions,
    /// When that span starts.
    pub time: TimeRange,
    /// At most so many traces.
    pub max_traces: usize,
    /// No further trace is read once the traces have so many spans.
    pub max_spans: usize,
}

/// Some traces.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Each once, in no particular order.
    pub traces: Vec<Trace>,
    /// Whether these are all that match.
    pub complete: bool,
}

/// Takes a sample of the traces that match: all of them if they are few, otherwise about as many from each part of the
/// time, and in each part the newest. The same store gives the same sample.
pub async fn sample(store: &dyn SpanStore, request: &SampleRequest) -> Result<Sample, QueryError> {
    let mut traces = Vec::new();
    let mut taken: HashSet<TraceId> = HashSet::new();
    let mut spans = 0;
    let parts = parts(held(store, &request.tenant, request.time).await?);
    let mut searches: Vec<SearchRequest> = parts
        .into_iter()
        .map(|time| SearchRequest {
            tenant: request.tenant.clone(),
            conditions: request.conditions.clone(),
            time,
            limit: 0,
            cursor: None,
        })
        .collect();
    // In rounds, so that what one part leaves unused goes to the others.
    while !searches.is_empty() && traces.len() < request.max_traces && spans < request.max_spans {
        let share = (request.max_traces - traces.len()).div_ceil(searches.len());
        let mut unfinished = Vec::new();
        for mut search in searches {
            search.limit = share.min(TRACES_AT_ONCE).min(request.max_traces - traces.len());
            if search.limit > 0 && spans < request.max_spans {
                let page = search_with(store, &search, |trace| trace).await?;
                // A trace that reaches over the edge of a part is found in both.
                for trace in page.items.into_iter().filter(|trace| taken.insert(trace.trace_id())) {
                    spans += trace.len();
                    traces.push(trace);
                }
                match page.next {
                    Some(next) => search.cursor = Some(next),
                    None => continue,
                }
            }
            unfinished.push(search);
        }
        searches = unfinished;
    }
    Ok(Sample { traces, complete: searches.is_empty() })
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

    fn request(max_traces: usize) -> SampleRequest {
        SampleRequest {
            tenant: Tenant::default(),
            conditions: Conditions::default(),
            time: TimeRange::ALL,
            max_traces,
            max_spans: 1_000_000,
        }
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
    async fn few_traces_are_all_taken_each_once() {
        // Ten traces with a span each second, so that they reach over many parts.
        let spans = (0..100).map(|n| TestSpan {
            trace: u128::from(n % 10) + 1,
            id: n + 1,
            start: n * 1000,
            ..TestSpan::default()
        });
        let sample = sample(&TestStore::new(spans), &request(50)).await.unwrap();
        assert!(sample.complete);
        let mut ids: Vec<_> = sample.traces.iter().map(|trace| trace.trace_id().as_u128()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (1..=10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_sample_of_many_traces_spreads_over_the_time() {
        let spans = (0..3200).map(|n| TestSpan { trace: u128::from(n) + 1, id: 1, start: n, ..TestSpan::default() });
        let sample = sample(&TestStore::new(spans), &request(320)).await.unwrap();
        assert!(!sample.complete);
        assert_eq!(sample.traces.len(), 320);
        for part in 0..32 {
            let time = TimeRange::new(part * 100, part * 100 + 100);
            let inside = sample.traces.iter().filter(|trace| time.contains(trace.start_unix_nano())).count();
            assert!((9..=11).contains(&inside), "{inside} traces of part {part}");
        }
    }

    #[tokio::test]
    async fn a_sample_stops_at_its_bound_of_spans() {
        let spans = (0..1000).map(|n| TestSpan { trace: u128::from(n) + 1, id: 1, start: n, ..TestSpan::default() });
        let request = SampleRequest { max_spans: 100, ..request(1000) };
        let sample = sample(&TestStore::new(spans), &request).await.unwrap();
        assert!(!sample.complete);
        assert!((100..200).contains(&sample.traces.len()), "{}", sample.traces.len());
    }
}

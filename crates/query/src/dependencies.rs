//! Which service calls which.

use std::cmp::Reverse;
use std::collections::HashMap;

use tracewell_model::{Nesting, SpanBatch, StatusCode, StrId, TimeRange, Trace, TraceNotes};
use tracewell_store::{Projection, Scan, SpanStore, Tenant};

use crate::QueryError;

/// Maximum number of spans that are counted for one answer.
pub const MAX_DEPENDENCY_SPANS: usize = 500_000;

/// How much is read and answered.
#[derive(Clone, Copy)]
struct Bounds {
    /// Spans read for one answer: at about 130 bytes each in memory, less than 70 MB.
    max_spans: usize,
    /// Bytes of distinct service names among them.
    max_name_bytes: usize,
    /// Calls in an answer, and bytes of the names in them: more than a person or a page looks at.
    max_dependencies: usize,
    max_answer_bytes: usize,
}

const BOUNDS: Bounds = Bounds {
    max_spans: MAX_DEPENDENCY_SPANS,
    max_name_bytes: 32 << 20,
    max_dependencies: 20_000,
    max_answer_bytes: 16 << 20,
};

/// Rows of a page of the scan.
const MAX_PAGE_ROWS: usize = 8192;

/// Spans that are counted before the caller can see whether the answer is still wanted.
const SPANS_AT_ONCE: usize = 4096;

/// Calls from one service to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The service that calls.
    pub parent: String,
    /// The service that is called.
    pub child: String,
    /// Spans of the child nested directly in a span of the parent.
    pub call_count: u64,
    /// Those that failed.
    pub error_count: u64,
}

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependencies {
    /// Sorted by parent and child.
    pub dependencies: Vec<Dependency>,
    /// Whether every span of the time was looked at and every call is listed; otherwise the newest 500,000 spans were, or
    /// the calls that are listed are those made most often.
    pub complete: bool,
}

/// Counts the calls between services among the spans that start in a time. A call whose caller started before it is not
/// seen.
pub async fn dependencies(store: &dyn SpanStore, tenant: &Tenant, time: TimeRange) -> Result<Dependencies, QueryError> {
    dependencies_within(store, tenant, time, BOUNDS).await
}

async fn dependencies_within(
    store: &dyn SpanStore,
    tenant: &Tenant,
    time: TimeRange,
    bounds: Bounds,
) -> Result<Dependencies, QueryError> {
    let mut spans = SpanBatch::new();
    let limit = bounds.max_spans.min(MAX_PAGE_ROWS);
    let mut scan = Scan { time, predicates: Vec::new(), projection: Projection::Tree, after: None, limit };
    let is_whole = loop {
        let page = store.scan(tenant, &scan).await?;
        spans.append(&page.spans);
        match page.next {
            None => break true,
            Some(_) if spans.len() >= bounds.max_spans => break false,
            Some(_) if spans.strings().text_bytes() > bounds.max_name_bytes => break false,
            Some(next) => scan.after = Some(next),
        }
        scan.limit = (bounds.max_spans - spans.len()).min(MAX_PAGE_ROWS);
    };
    let (dependencies, is_all) = list(count(&spans).await, &spans, bounds);
    Ok(Dependencies { dependencies, complete: is_whole && is_all })
}

/// Calls and errors by the names of caller and callee.
type Counts = HashMap<(StrId, StrId), (u64, u64)>;

/// One trace at a time and without copying any span, so that the work grows with the spans alone, whatever names they have.
async fn count(spans: &SpanBatch) -> Counts {
    let columns = spans.spans();
    let service = |row: usize| spans.resources()[columns.resource[row].index()].service;
    let mut counts = Counts::default();
    let mut counted = 0;
    for rows in Trace::rows_by_trace(spans) {
        counted += rows.len();
        if counted >= SPANS_AT_ONCE {
            counted = 0;
            tokio::task::yield_now().await;
        }
        let rows = Trace::in_order(spans, rows);
        let nesting = Nesting::of_rows(spans, &rows, &mut TraceNotes::default());
        for (place, row) in rows.iter().enumerate() {
            let Some(parent) = nesting.parent(place) else { continue };
            let (parent, child) = (service(rows[parent]), service(*row));
            if parent != child {
                let (calls, errors) = counts.entry((parent, child)).or_default();
                *calls += 1;
                *errors += u64::from(columns.status_code[*row] == StatusCode::Error);
            }
        }
    }
    counts
}

/// The calls by name, and whether these are all: where there are too many, those made most often are listed.
fn list(counts: Counts, spans: &SpanBatch, bounds: Bounds) -> (Vec<Dependency>, bool) {
    // Names may be long and begin alike: each is compared few times, not once for each call.
    let mut sorted: Vec<StrId> = counts.keys().flat_map(|(parent, child)| [*parent, *child]).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.sort_unstable_by_key(|id| spans.string(*id));
    let ranks: HashMap<StrId, usize> = sorted.into_iter().zip(0..).collect();
    let rank = |(parent, child): &(StrId, StrId)| (ranks[parent], ranks[child]);
    let names = |(parent, child): (StrId, StrId)| (spans.string(parent), spans.string(child));
    let mut counts: Vec<_> = counts.into_iter().collect();
    let mut is_all = true;
    if counts.len() > bounds.max_dependencies {
        counts.sort_unstable_by_key(|(edge, (calls, _))| (Reverse(*calls), rank(edge)));
        counts.truncate(bounds.max_dependencies);
        is_all = false;
    }
    let mut bytes = 0;
    let within = counts.iter().take_while(|(edge, _)| {
        let (parent, child) = names(*edge);
        bytes += parent.len() + child.len();
        bytes <= bounds.max_answer_bytes
    });
    let within = within.count();
    is_all &= within == counts.len();
    counts.truncate(within);
    counts.sort_unstable_by_key(|(edge, _)| rank(edge));
    let dependency = |(edge, (call_count, error_count))| {
        let (parent, child) = names(edge);
        Dependency { parent: parent.to_owned(), child: child.to_owned(), call_count, error_count }
    };
    (counts.into_iter().map(dependency).collect(), is_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_store::{TestSpan, TestStore};

    fn store() -> TestStore {
        let span = |trace, id, parent, start, service, error| TestSpan {
            trace,
            id,
            parent,
            start,
            service,
            error,
            ..TestSpan::default()
        };
        TestStore::new([
            span(1, 1, 0, 10, "web", false),
            span(1, 2, 1, 11, "web", false),
            span(1, 3, 2, 12, "cart", true),
            span(1, 4, 3, 13, "db", false),
            span(2, 1, 0, 20, "web", false),
            span(2, 3, 1, 21, "cart", false),
            span(2, 9, 77, 22, "db", false),
        ])
    }

    #[tokio::test]
    async fn calls_between_services_are_counted_with_their_errors() {
        let found = dependencies(&store(), &Tenant::default(), TimeRange::ALL).await.unwrap();
        let edge = |parent: &str, child: &str, call_count, error_count| Dependency {
            parent: parent.into(),
            child: child.into(),
            call_count,
            error_count,
        };
        assert_eq!(found.dependencies, [edge("cart", "db", 1, 0), edge("web", "cart", 2, 1)]);
        assert!(found.complete);
    }

    #[tokio::test]
    async fn a_bound_on_spans_is_kept_and_told() {
        let bounds = Bounds { max_spans: 3, ..BOUNDS };
        let found = dependencies_within(&store(), &Tenant::default(), TimeRange::ALL, bounds).await.unwrap();
        assert!(!found.complete);
        assert_eq!(found.dependencies.len(), 1, "of the newest three spans, two are joined");
    }

    #[tokio::test]
    async fn of_too_many_calls_those_made_most_often_are_listed_and_it_is_told() {
        for bounds in [Bounds { max_dependencies: 1, ..BOUNDS }, Bounds { max_answer_bytes: 7, ..BOUNDS }] {
            let found = dependencies_within(&store(), &Tenant::default(), TimeRange::ALL, bounds).await.unwrap();
            assert!(!found.complete);
            assert_eq!(found.dependencies.len(), 1);
        }
        let bounds = Bounds { max_dependencies: 1, ..BOUNDS };
        let found = dependencies_within(&store(), &Tenant::default(), TimeRange::ALL, bounds).await.unwrap();
        assert_eq!((found.dependencies[0].child.as_str(), found.dependencies[0].call_count), ("cart", 2));
    }

    #[tokio::test]
    async fn the_work_grows_with_the_spans_whatever_names_they_have() {
        // A string table that is copied for each trace would be 10^10 numbers here.
        let spans =
            (0..100_000).map(|n: u64| TestSpan { trace: u128::from(n / 2) + 1, id: n + 1, ..TestSpan::default() });
        let names: Vec<&'static str> = (0..1000).map(|n| &*format!("service-{n}").leak()).collect();
        let spans = spans.map(|span| TestSpan {
            parent: if span.id % 2 == 0 { span.id - 1 } else { 0 },
            service: names[span.id as usize % 1000],
            ..span
        });
        let found = dependencies(&TestStore::new(spans), &Tenant::default(), TimeRange::ALL).await.unwrap();
        assert!(found.complete);
        assert_eq!(found.dependencies.iter().map(|dependency| dependency.call_count).sum::<u64>(), 50_000);
    }
}

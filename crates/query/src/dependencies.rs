//! Which service calls which.

use std::collections::{BTreeMap, HashMap};

use tracewell_model::{SpanBatch, TimeRange, Trace, TraceId};
use tracewell_store::{Projection, Scan, SpanStore, Tenant};

use crate::QueryError;

/// Spans read for one answer: at about 150 bytes each in memory, less than 100 MB.
const MAX_SPANS: usize = 500_000;

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
    /// Whether every span of the time was looked at; otherwise the newest 500,000 were.
    pub complete: bool,
}

/// Counts the calls between services among the spans that start in a time. A call whose caller started before it is not
/// seen.
pub async fn dependencies(store: &dyn SpanStore, tenant: &Tenant, time: TimeRange) -> Result<Dependencies, QueryError> {
    dependencies_within(store, tenant, time, MAX_SPANS).await
}

async fn dependencies_within(
    store: &dyn SpanStore,
    tenant: &Tenant,
    time: TimeRange,
    max_spans: usize,
) -> Result<Dependencies, QueryError> {
    let mut spans = SpanBatch::new();
    let mut scan =
        Scan { time, predicates: Vec::new(), projection: Projection::Core, after: None, limit: max_spans.min(8192) };
    let complete = loop {
        let page = store.scan(tenant, &scan).await?;
        spans.append(&page.spans);
        match page.next {
            None => break true,
            Some(_) if spans.len() >= max_spans => break false,
            Some(next) => scan.after = Some(next),
        }
        scan.limit = (max_spans - spans.len()).min(8192);
    };
    Ok(Dependencies { dependencies: count(&spans), complete })
}

/// One trace at a time, so that memory holds the spans once and one tree.
fn count(spans: &SpanBatch) -> Vec<Dependency> {
    let mut rows: HashMap<TraceId, Vec<usize>> = HashMap::new();
    for (row, trace_id) in spans.spans().trace_id.iter().enumerate() {
        rows.entry(*trace_id).or_default().push(row);
    }
    let mut counts: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for rows in rows.into_values() {
        let trace = Trace::assemble(spans.select(rows));
        for row in 0..trace.len() {
            let Some(parent) = trace.parent(row) else { continue };
            let (parent, child) = (trace.span(parent), trace.span(row));
            if parent.service() != child.service() {
                let edge = (parent.service().to_owned(), child.service().to_owned());
                let (calls, errors) = counts.entry(edge).or_default();
                *calls += 1;
                *errors += u64::from(child.is_error());
            }
        }
    }
    counts
        .into_iter()
        .map(|((parent, child), (call_count, error_count))| Dependency { parent, child, call_count, error_count })
        .collect()
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
        let found = dependencies_within(&store(), &Tenant::default(), TimeRange::ALL, 3).await.unwrap();
        assert!(!found.complete);
        assert_eq!(found.dependencies.len(), 1, "of the newest three spans, two are joined");
    }
}

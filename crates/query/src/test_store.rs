//! A store for tests that is as simple as can be, and as weak as asked.

use async_trait::async_trait;
use tracewell_model::{NewSpan, SpanBatch, SpanId, StatusCode, TimeRange, TraceId, TraceSummary, Value};
use tracewell_store::{
    Append, AttributeScope, Capabilities, Listed, Operation, Scan, ScanPage, ScanPosition, SpanStore, StoreError,
    StoreStats, Tenant,
};

/// A span as tests write it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestSpan {
    pub(crate) trace: u128,
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) start: u64,
    pub(crate) duration: u64,
    pub(crate) service: &'static str,
    pub(crate) name: &'static str,
    pub(crate) error: bool,
    /// The value of the attribute `tag`.
    pub(crate) tag: i64,
}

impl Default for TestSpan {
    fn default() -> Self {
        Self { trace: 1, id: 1, parent: 0, start: 0, duration: 1, service: "web", name: "get", error: false, tag: 0 }
    }
}

pub(crate) struct TestStore {
    spans: SpanBatch,
    /// Whether it evaluates predicates.
    pub(crate) exact: bool,
    /// At most so many rows a page.
    pub(crate) rows_per_page: usize,
    /// What it says of traces without reading them.
    pub(crate) known: Vec<TraceSummary>,
}

impl TestStore {
    pub(crate) fn new(spans: impl IntoIterator<Item = TestSpan>) -> Self {
        let mut batch = SpanBatch::new();
        let scope = batch.add_scope("", "", &[], 0, "");
        for span in spans {
            let service_name = batch.intern("service.name");
            let service = batch.intern(span.service);
            let resource = batch.add_resource(&[(service_name, Value::Str(service))], 0, "");
            let key = batch.intern("tag");
            batch.push_attribute(key, Value::Int(span.tag));
            let name = batch.intern(span.name);
            batch.push_span(NewSpan {
                trace_id: TraceId::from_u128(span.trace),
                span_id: SpanId::from_u64(span.id),
                parent_span_id: SpanId::from_u64(span.parent),
                start_unix_nano: span.start,
                end_unix_nano: span.start + span.duration,
                name,
                status_code: if span.error { StatusCode::Error } else { StatusCode::Unset },
                ..NewSpan::new(resource, scope)
            });
        }
        Self { spans: batch, exact: true, rows_per_page: usize::MAX, known: Vec::new() }
    }

    pub(crate) fn spans(&self) -> &SpanBatch {
        &self.spans
    }

    fn position(&self, row: usize) -> ScanPosition {
        let span = self.spans.span(row);
        ScanPosition { start_unix_nano: span.start_unix_nano(), trace_id: span.trace_id(), span_id: span.span_id() }
    }
}

fn order(position: ScanPosition) -> (std::cmp::Reverse<u64>, TraceId, SpanId) {
    (std::cmp::Reverse(position.start_unix_nano), position.trace_id, position.span_id)
}

#[async_trait]
impl SpanStore for TestStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { evaluates_predicates: self.exact, ..Capabilities::default() }
    }

    async fn append(&self, _: &Tenant, _: Append) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn traces(&self, _: &Tenant, ids: &[TraceId]) -> Result<SpanBatch, StoreError> {
        let rows = (0..self.spans.len()).filter(|row| ids.contains(&self.spans.span(*row).trace_id()));
        Ok(self.spans.select(rows))
    }

    async fn summaries(&self, _: &Tenant, ids: &[TraceId]) -> Result<Vec<TraceSummary>, StoreError> {
        Ok(self.known.iter().filter(|known| ids.contains(&known.trace_id)).cloned().collect())
    }

    async fn scan(&self, _: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError> {
        let mut rows: Vec<usize> = (0..self.spans.len())
            .filter(|row| {
                let span = self.spans.span(*row);
                scan.time.contains(span.start_unix_nano())
                    && scan.after.is_none_or(|after| order(self.position(*row)) > order(after))
                    && (!self.exact || scan.predicates.iter().all(|predicate| predicate.matches(span)))
            })
            .collect();
        rows.sort_by_key(|row| order(self.position(*row)));
        let most = scan.limit.min(self.rows_per_page);
        let next = (rows.len() > most).then(|| self.position(rows[most - 1]));
        rows.truncate(most);
        Ok(ScanPage { spans: self.spans.select(rows), next })
    }

    async fn services(&self, _: &Tenant) -> Result<Listed<String>, StoreError> {
        Ok(Listed::default())
    }

    async fn operations(&self, _: &Tenant, _: Option<&str>, _: usize) -> Result<Listed<Operation>, StoreError> {
        Ok(Listed::default())
    }

    async fn attribute_keys(&self, _: &Tenant, _: usize) -> Result<Listed<(AttributeScope, String)>, StoreError> {
        Ok(Listed::default())
    }

    async fn attribute_values(
        &self,
        _: &Tenant,
        _: &str,
        _: &str,
        _: TimeRange,
        _: usize,
    ) -> Result<Listed<String>, StoreError> {
        Ok(Listed::default())
    }

    async fn stats(&self, _: &Tenant) -> Result<StoreStats, StoreError> {
        let starts = &self.spans.spans().start_unix_nano;
        Ok(StoreStats {
            spans: self.spans.len() as u64,
            oldest_unix_nano: starts.iter().min().copied(),
            newest_unix_nano: starts.iter().max().copied(),
            ..StoreStats::default()
        })
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

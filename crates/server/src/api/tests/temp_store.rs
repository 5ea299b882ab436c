use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::Mutex;
use tracewell_model::*;
use tracewell_store::*;

#[derive(Default)]
pub(crate) struct MemoryStore {
    spans: Mutex<SpanBatch>,
}

fn position(span: SpanRef<'_>) -> (std::cmp::Reverse<u64>, TraceId, SpanId) {
    (std::cmp::Reverse(span.start_unix_nano()), span.trace_id(), span.span_id())
}
fn all(span: SpanRef<'_>) -> Vec<(AttributeScope, String, String)> {
    let mut out = vec![];
    let mut put = |s, (k, v): (&str, ValueRef<'_>)| out.push((s, k.to_owned(), v.to_string()));
    span.attributes().iter().for_each(|p| put(AttributeScope::Span, p));
    span.resource_attributes().for_each(|p| put(AttributeScope::Resource, p));
    span.scope_attributes().for_each(|p| put(AttributeScope::Scope, p));
    span.events().for_each(|e| e.attributes().iter().for_each(|p| put(AttributeScope::Event, p)));
    out
}
#[async_trait]
impl SpanStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
    async fn append(&self, _: &Tenant, a: Append) -> Result<(), StoreError> {
        self.spans.lock().unwrap().append(&a.batch);
        Ok(())
    }
    async fn traces(&self, _: &Tenant, ids: &[TraceId]) -> Result<SpanBatch, StoreError> {
        let spans = self.spans.lock().unwrap();
        Ok(spans.select((0..spans.len()).filter(|row| ids.contains(&spans.span(*row).trace_id()))))
    }
    async fn scan(&self, _: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError> {
        let spans = self.spans.lock().unwrap();
        let mut rows: Vec<usize> = (0..spans.len())
            .filter(|row| {
                let span = spans.span(*row);
                scan.time.contains(span.start_unix_nano())
                    && scan
                        .after
                        .is_none_or(|a| position(span) > (std::cmp::Reverse(a.start_unix_nano), a.trace_id, a.span_id))
            })
            .collect();
        rows.sort_by_key(|row| position(spans.span(*row)));
        let next = (rows.len() > scan.limit).then(|| {
            let s = spans.span(rows[scan.limit - 1]);
            ScanPosition { start_unix_nano: s.start_unix_nano(), trace_id: s.trace_id(), span_id: s.span_id() }
        });
        rows.truncate(scan.limit);
        Ok(ScanPage { spans: spans.select(rows), next })
    }
    async fn services(&self, _: &Tenant) -> Result<Vec<String>, StoreError> {
        Ok(self
            .spans
            .lock()
            .unwrap()
            .iter()
            .map(|s| s.service().to_owned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect())
    }
    async fn operations(&self, _: &Tenant, service: Option<&str>, _: usize) -> Result<Vec<Operation>, StoreError> {
        Ok(self
            .spans
            .lock()
            .unwrap()
            .iter()
            .filter(|s| service.is_none_or(|n| n == s.service()))
            .map(|s| Operation { name: s.name().into(), kind: s.kind() })
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect())
    }
    async fn attribute_keys(&self, _: &Tenant, _: usize) -> Result<Vec<(AttributeScope, String)>, StoreError> {
        Ok(self
            .spans
            .lock()
            .unwrap()
            .iter()
            .flat_map(all)
            .map(|(s, k, _)| (s, k))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect())
    }
    async fn attribute_values(
        &self,
        _: &Tenant,
        key: &str,
        prefix: &str,
        time: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        Ok(self
            .spans
            .lock()
            .unwrap()
            .iter()
            .filter(|s| time.contains(s.start_unix_nano()))
            .flat_map(all)
            .filter(|(_, k, v)| k == key && v.starts_with(prefix))
            .map(|(_, _, v)| v)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .take(limit)
            .collect())
    }
    async fn stats(&self, _: &Tenant) -> Result<StoreStats, StoreError> {
        let spans = self.spans.lock().unwrap();
        let starts = &spans.spans().start_unix_nano;
        Ok(StoreStats {
            spans: spans.len() as u64,
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

//! Rows that meet one of several lists of predicates, in the order in which a store gives those of one.

use std::cmp::Reverse;

use tracewell_model::{SpanBatch, SpanId, TraceId};
use tracewell_store::{Predicate, Scan, ScanPage, ScanPosition, SpanStore, StoreError, Tenant};

type Order = (Reverse<u64>, TraceId, SpanId);

/// A page of the scan with each list of predicates in turn, put together. A page ends where the first of them does, so that
/// no row of another is passed over.
pub(crate) async fn scan(
    store: &dyn SpanStore,
    tenant: &Tenant,
    scan: &Scan,
    alternatives: &[Vec<Predicate>],
) -> Result<ScanPage, StoreError> {
    let mut pages = Vec::with_capacity(alternatives.len());
    for predicates in alternatives {
        pages.push(store.scan(tenant, &Scan { predicates: predicates.clone(), ..scan.clone() }).await?);
    }
    if pages.len() == 1 {
        return Ok(pages.remove(0));
    }
    let next = pages.iter().filter_map(|page| page.next).min_by_key(order);
    let end = next.as_ref().map(order);
    let mut rows: Vec<(Order, usize, usize)> = Vec::new();
    for (number, page) in pages.iter().enumerate() {
        let spans = page.spans.spans();
        for row in 0..page.spans.len() {
            let place = (Reverse(spans.start_unix_nano[row]), spans.trace_id[row], spans.span_id[row]);
            if end.is_none_or(|end| place <= end) {
                rows.push((place, number, row));
            }
        }
    }
    // A row that meets two lists comes twice, beside itself, as one that was appended twice does.
    rows.sort_unstable();
    let mut spans = SpanBatch::new();
    for (_, number, row) in rows {
        spans.append(&pages[number].spans.select([row]));
    }
    Ok(ScanPage { spans, next })
}

fn order(position: &ScanPosition) -> Order {
    (Reverse(position.start_unix_nano), position.trace_id, position.span_id)
}

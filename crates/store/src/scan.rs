//! Reading by time and predicates.

use std::cmp::Reverse;

use tracewell_model::{SpanBatch, SpanId, TimeRange, TraceId};

use crate::Predicate;

/// Which spans to read, and what of them.
///
/// Rows come in one total order: start descending, then trace id ascending, then span id ascending.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Spans that start in here.
    pub time: TimeRange,
    /// All must hold for one and the same span.
    pub predicates: Vec<Predicate>,
    /// What the returned rows say.
    pub projection: Projection,
    /// Only rows that come after this one in the order.
    pub after: Option<ScanPosition>,
    /// At most so many rows.
    pub limit: usize,
}

/// What of a span is read. What is not read holds its zero value in the returned batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Projection {
    /// Trace id, span id and start.
    Ids,
    /// Everything but attributes, events and links; of the resource only the service.
    Core,
    /// Everything.
    All,
}

/// A place in the order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanPosition {
    /// The row's start.
    pub start_unix_nano: u64,
    /// The row's trace.
    pub trace_id: TraceId,
    /// The row's span.
    pub span_id: SpanId,
}

/// Some rows of a scan.
#[derive(Clone, Debug, Default)]
pub struct ScanPage {
    /// The rows, in the order that [`Scan`] defines. A span appended twice may occur twice, next to itself.
    pub spans: SpanBatch,
    /// Where to go on; `None` when there is nothing more. A page may hold fewer rows than the limit, even none, and
    /// still have a next: stores bound the work of one page.
    pub next: Option<ScanPosition>,
}

impl ScanPosition {
    /// The place of a row of a batch.
    pub(crate) fn of(batch: &SpanBatch, row: usize) -> Self {
        let spans = batch.spans();
        Self { start_unix_nano: spans.start_unix_nano[row], trace_id: spans.trace_id[row], span_id: spans.span_id[row] }
    }

    /// What rows are sorted by.
    pub(crate) fn order(&self) -> (Reverse<u64>, TraceId, SpanId) {
        (Reverse(self.start_unix_nano), self.trace_id, self.span_id)
    }
}

impl Scan {
    /// The rows of a batch that belong to this scan, in no particular order.
    pub(crate) fn matching_rows<'a>(&'a self, batch: &'a SpanBatch) -> impl Iterator<Item = usize> + 'a {
        let spans = batch.spans();
        (0..batch.len()).filter(move |row| {
            self.time.contains(spans.start_unix_nano[*row])
                && self.after.is_none_or(|after| ScanPosition::of(batch, *row).order() > after.order())
                && self.predicates.iter().all(|predicate| predicate.matches(batch.span(*row)))
        })
    }
}

/// A row that a part of a store contributes to a scan. Lists of hits are kept in the order of the scan.
pub(crate) struct Hit {
    pub(crate) position: ScanPosition,
    /// A batch with this one row.
    pub(crate) spans: SpanBatch,
}

/// Adds the rows of a batch that are among the first `limit` of a scan, given those already found.
pub(crate) fn add_hits(scan: &Scan, batch: &SpanBatch, limit: usize, hits: &mut Vec<Hit>) {
    let mut found: Vec<(ScanPosition, usize)> =
        scan.matching_rows(batch).map(|row| (ScanPosition::of(batch, row), row)).collect();
    if let Some(worst) = hits.get(limit.wrapping_sub(1)) {
        found.retain(|(position, _)| position.order() < worst.position.order());
    }
    if found.is_empty() {
        return;
    }
    found.sort_by_key(|(position, _)| position.order());
    found.truncate(limit);
    hits.extend(found.into_iter().map(|(position, row)| Hit { position, spans: batch.select([row]) }));
    hits.sort_by_key(|hit| hit.position.order());
    hits.truncate(limit);
}

/// Joins what the parts of a store found into one page. Each part must have given its first `scan.limit` rows.
///
/// Rows at one position (a span appended twice) are never divided between pages: a position is all that the next page
/// knows, and it goes on behind it.
pub(crate) fn page(scan: &Scan, mut hits: Vec<Hit>) -> ScanPage {
    let mut end = hits.len().min(scan.limit);
    while end > 0 && end < hits.len() && hits[end].position == hits[end - 1].position {
        end += 1;
    }
    let more = hits.len() >= scan.limit && end > 0;
    hits.truncate(end);
    let next = hits.last().filter(|_| more).map(|hit| hit.position);
    let mut spans = SpanBatch::new();
    for hit in &hits {
        spans.append(&hit.spans);
    }
    ScanPage { spans, next }
}

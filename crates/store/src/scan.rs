//! Reading by time and predicates.

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

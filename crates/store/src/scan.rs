//! Reading by time and predicates.

use std::cmp::Reverse;

use tracewell_model::{NewSpan, SpanBatch, SpanId, TimeRange, TraceId};

use crate::compiled::Compiled;
use crate::{Predicate, StoreError};

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
    /// Trace id, span id and start; the end is the start, too.
    Ids,
    /// What says who calls whom: ids, parent, start and end, kind, status code; of the resource only the service.
    Tree,
    /// Everything but attributes, events and links; of the resource only the service.
    Core,
    /// What a comparison of many spans looks at: ids, parent, start and end, name, kind, status code, the whole resource,
    /// and of the span's own attributes those with these keys.
    Outline(&'static [&'static str]),
    /// Everything.
    All,
}

impl Projection {
    /// Whether it asks for a span's own attribute with this key.
    pub fn has_attribute(self, key: &str) -> bool {
        match self {
            Self::Ids | Self::Tree | Self::Core => false,
            Self::Outline(keys) => keys.contains(&key),
            Self::All => true,
        }
    }
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

/// The part of a store that a row was found in; what the numbers mean is the store's own affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Source {
    pub(crate) part: u32,
    pub(crate) place: u32,
}

/// A row that a part of a store contributes to a scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) position: ScanPosition,
    pub(crate) source: Source,
    pub(crate) row: u32,
}

/// The first rows, in the order of a scan, of those offered.
pub(crate) struct Top {
    /// One more than a page holds, which tells whether there is more.
    limit: usize,
    found: Vec<Found>,
    /// Whether `found` is sorted and no longer than the limit.
    settled: bool,
}

impl Top {
    pub(crate) fn new(scan: &Scan) -> Self {
        Self { limit: scan.limit.saturating_add(1), found: Vec::new(), settled: true }
    }

    /// The last of the first rows, if there are enough of them: what comes after it is not asked for.
    pub(crate) fn worst(&self) -> Option<ScanPosition> {
        if self.settled { self.found.get(self.limit - 1).map(|found| found.position) } else { None }
    }

    pub(crate) fn offer(&mut self, found: Vec<Found>) {
        if found.is_empty() {
            return;
        }
        self.found.extend(found);
        self.settled = false;
        if self.found.len() >= self.limit {
            self.settle();
        }
    }

    /// Appends the traces of all rows that were offered, of rows that follow one another only one.
    pub(crate) fn trace_ids(&self, ids: &mut Vec<TraceId>) {
        let runs = self.found.chunk_by(|left, right| left.position.trace_id == right.position.trace_id);
        ids.extend(runs.map(|run| run[0].position.trace_id));
    }

    fn settle(&mut self) {
        self.found.sort_by_key(|found| found.position.order());
        self.found.truncate(self.limit);
        self.settled = true;
    }

    /// The rows of the page, and where the next one begins.
    ///
    /// Rows at one position (a span appended twice) are never divided between pages: a position is all that the next
    /// page knows, and it goes on behind it.
    pub(crate) fn page(mut self) -> (Vec<Found>, Option<ScanPosition>) {
        self.settle();
        let mut end = self.found.len().min(self.limit - 1);
        while end > 0 && end < self.found.len() && self.found[end].position == self.found[end - 1].position {
            end += 1;
        }
        let more = self.found.len() >= self.limit - 1 && end > 0;
        self.found.truncate(end);
        let next = self.found.last().filter(|_| more).map(|found| found.position);
        (self.found, next)
    }
}

/// Offers the rows of a batch that belong to a scan.
pub(crate) fn offer_rows(scan: &Scan, batch: &SpanBatch, source: Source, top: &mut Top) {
    let Some(compiled) = Compiled::new(&scan.predicates, batch) else { return };
    let spans = batch.spans();
    let worst = top.worst();
    let mut found = Vec::new();
    for row in 0..batch.len() {
        let start = spans.start_unix_nano[row];
        if !scan.time.contains(start)
            || scan.after.is_some_and(|after| start > after.start_unix_nano)
            || worst.is_some_and(|worst| start < worst.start_unix_nano)
            || !compiled.matches(batch, row)
        {
            continue;
        }
        let position = ScanPosition::of(batch, row);
        if scan.after.is_none_or(|after| position.order() > after.order()) {
            found.push(Found { position, source, row: row as u32 });
        }
    }
    top.offer(found);
}

/// The rows that a scan found as [`Projection::Ids`] has them, which is what is known of a row that was found.
pub(crate) fn ids_of(found: &[Found]) -> SpanBatch {
    let mut spans = SpanBatch::new();
    spans.reserve_spans(found.len());
    let (resource, scope) = (spans.add_resource(&[], 0, ""), spans.add_scope("", "", &[], 0, ""));
    for Found { position: ScanPosition { start_unix_nano, trace_id, span_id }, .. } in found.iter().copied() {
        let ids = NewSpan { trace_id, span_id, start_unix_nano, ..NewSpan::new(resource, scope) };
        spans.push_span(NewSpan { end_unix_nano: start_unix_nano, ..ids });
    }
    spans
}

/// Bytes that a page of a scan may have, about: with fewer rows it has a next page like any other.
pub(crate) const MAX_PAGE_BYTES: usize = 16 << 20;

/// The rows of a page: as many of those that were found as have at most about `max_bytes`, in the order of the scan, and
/// where the next page begins. `read` is that of [`fetch`].
pub(crate) fn fetch_page(
    (mut found, mut next): (Vec<Found>, Option<ScanPosition>),
    max_bytes: usize,
    mut read: impl FnMut(usize, &[(u32, Vec<usize>)], usize, &mut SpanBatch) -> Result<Option<Vec<usize>>, StoreError>,
) -> Result<ScanPage, StoreError> {
    loop {
        // Rows at one position are not divided; see `Top::page`.
        let ends_at = |end: usize| end == found.len() || found[end].position != found[end - 1].position;
        let half = (found.len().div_ceil(2)..=found.len()).find(|end| *end == 0 || ends_at(*end));
        let half = half.unwrap_or(found.len());
        let max_bytes = if half == found.len() { usize::MAX } else { max_bytes };
        if let Some(spans) = fetch(&found, |part, wanted, spans| read(part, wanted, max_bytes, spans))? {
            return Ok(ScanPage { spans, next });
        }
        found.truncate(half);
        next = found.last().map(|found| found.position);
    }
}

/// The rows that a scan found, in its order. `read` appends rows of one part of the store, given by place and sorted rows,
/// and says how many of each place were there, or nothing if that is too much; it is asked once for each part.
fn fetch(
    found: &[Found],
    mut read: impl FnMut(usize, &[(u32, Vec<usize>)], &mut SpanBatch) -> Result<Option<Vec<usize>>, StoreError>,
) -> Result<Option<SpanBatch>, StoreError> {
    let mut order: Vec<usize> = (0..found.len()).collect();
    order.sort_unstable_by_key(|place| (found[*place].source, found[*place].row));
    let mut spans = SpanBatch::new();
    // Where each row of the page came to lie; a damaged row lies nowhere.
    let mut places = vec![usize::MAX; found.len()];
    for part in order.chunk_by(|left, right| found[*left].source.part == found[*right].source.part) {
        let mut wanted: Vec<(u32, Vec<usize>)> = Vec::new();
        for place in part {
            let Found { source, row, .. } = found[*place];
            match wanted.last_mut() {
                Some((known, rows)) if *known == source.place => rows.push(row as usize),
                _ => wanted.push((source.place, vec![row as usize])),
            }
        }
        let mut at = spans.len();
        let Some(appended) = read(found[part[0]].source.part as usize, &wanted, &mut spans)? else { return Ok(None) };
        let mut first = 0;
        for ((_, rows), appended) in wanted.iter().zip(appended) {
            for (place, row) in part[first..first + appended].iter().zip(at..) {
                places[*place] = row;
            }
            at += appended;
            first += rows.len();
        }
    }
    places.retain(|place| *place != usize::MAX);
    Ok(Some(if places.is_sorted() { spans } else { spans.select(places) }))
}

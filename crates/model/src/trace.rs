//! The spans of one request, joined into a tree.

mod nesting;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

pub use nesting::Nesting;

use crate::{SpanBatch, SpanId, SpanKind, SpanRef, TraceId};

/// A whole trace: its spans sorted by start, and who is nested in whom.
///
/// What senders get wrong is normalised here, for every reader alike, and counted in [`TraceNotes`]:
/// - spans that are equal in id, kind, service, name, start and end are one span, sent twice;
/// - a span that names itself as its parent, or is part of a cycle of parents, becomes a root;
/// - a span whose parent is not in the trace is an *orphan*: a root that has lost its parent;
/// - where a client and a server share one span id (Zipkin's habit), the server span is nested in the client span.
#[derive(Clone, Debug)]
pub struct Trace {
    batch: SpanBatch,
    nesting: Nesting,
    notes: TraceNotes,
}

/// What was normalised when a trace was assembled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceNotes {
    /// Spans left out because an equal one was there.
    pub duplicates: usize,
    /// Spans that named themselves as their parent.
    pub self_parents: usize,
    /// Cycles of parents that were cut.
    pub cycles: usize,
    /// Spans whose parent is not in the trace.
    pub orphans: usize,
    /// Spans that end before they start.
    pub negative_durations: usize,
}

impl Trace {
    /// Joins spans, which must all carry the same trace id; an empty batch makes an empty trace.
    ///
    /// # Panics
    /// When the spans are of more than one trace.
    pub fn assemble(spans: SpanBatch) -> Self {
        let trace_ids = &spans.spans().trace_id;
        assert!(trace_ids.windows(2).all(|pair| pair[0] == pair[1]), "the spans are of more than one trace");
        let mut notes = TraceNotes::default();
        let all = spans.len();
        let rows = rows_in_order(&spans, (0..all).collect());
        notes.duplicates = all - rows.len();
        let nesting = Nesting::of_rows(&spans, &rows, &mut notes);
        let is_as_it_is = notes.duplicates == 0 && rows.is_sorted();
        Self { batch: if is_as_it_is { spans } else { spans.select(rows) }, nesting, notes }
    }

    /// Splits spans of any traces into whole traces, in the order in which the traces first occur.
    pub fn assemble_all(spans: &SpanBatch) -> Vec<Self> {
        Self::rows_by_trace(spans).into_iter().map(|rows| Self::of_rows(spans, rows)).collect()
    }

    /// The rows of each trace in a batch, in the order in which the traces first occur.
    pub fn rows_by_trace(spans: &SpanBatch) -> Vec<Vec<usize>> {
        let mut places: HashMap<TraceId, usize, RandomState> = HashMap::default();
        let mut rows: Vec<Vec<usize>> = Vec::new();
        let mut before = None;
        for (row, trace_id) in spans.spans().trace_id.iter().enumerate() {
            // Spans of a trace mostly follow one another.
            let place = match before {
                Some((id, place)) if id == *trace_id => place,
                _ => *places.entry(*trace_id).or_insert_with(|| {
                    rows.push(Vec::new());
                    rows.len() - 1
                }),
            };
            before = Some((*trace_id, place));
            rows[place].push(row);
        }
        rows
    }

    /// Joins some rows of a batch, which must all carry the same trace id.
    pub fn of_rows(spans: &SpanBatch, rows: Vec<usize>) -> Self {
        let all = rows.len();
        let rows = Self::in_order(spans, rows);
        let mut notes = TraceNotes { duplicates: all - rows.len(), ..TraceNotes::default() };
        let nesting = Nesting::of_rows(spans, &rows, &mut notes);
        Self { batch: spans.select(rows), nesting, notes }
    }

    /// Rows of a batch in the order of a trace, of equal spans only one.
    pub fn in_order(spans: &SpanBatch, rows: Vec<usize>) -> Vec<usize> {
        rows_in_order(spans, rows)
    }

    /// The row of the span that [`root`](Self::root) would give, of rows that are [in order](Self::in_order), where no
    /// tree is needed to tell: where the first that names no parent is nested in none.
    pub fn root_without_parent(spans: &SpanBatch, rows: &[usize]) -> Option<usize> {
        let columns = spans.spans();
        let first = rows.iter().copied().find(|row| columns.parent_span_id[*row].is_zero())?;
        // A server span may have the id of the client span that it is nested in.
        let is_client_of = |other: &usize| {
            columns.kind[*other] == SpanKind::Client && columns.span_id[*other] == columns.span_id[first]
        };
        let is_nested = columns.kind[first] == SpanKind::Server && rows.iter().any(is_client_of);
        (!is_nested).then_some(first)
    }

    /// The spans, sorted by start (ties: the longer first, then by id).
    pub fn batch(&self) -> &SpanBatch {
        &self.batch
    }

    /// The trace's id; zero if it is empty.
    pub fn trace_id(&self) -> TraceId {
        self.batch.spans().trace_id.first().copied().unwrap_or_default()
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether there are no spans.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// A view of one span.
    pub fn span(&self, row: usize) -> SpanRef<'_> {
        self.batch.span(row)
    }

    /// Who is nested in whom.
    pub fn nesting(&self) -> &Nesting {
        &self.nesting
    }

    /// The row of the span that this one is nested in.
    pub fn parent(&self, row: usize) -> Option<usize> {
        self.nesting.parent(row)
    }

    /// The rows of the spans nested directly in this one, by start.
    pub fn children(&self, row: usize) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        self.nesting.children(row)
    }

    /// The rows without a parent in this trace, by start: one in a healthy trace.
    pub fn roots(&self) -> &[usize] {
        self.nesting.roots()
    }

    /// The span that stands for the trace: the earliest root that names no parent, else the earliest root.
    pub fn root(&self) -> Option<SpanRef<'_>> {
        self.nesting.root().map(|row| self.span(row))
    }

    /// The earliest start of a span, in Unix nanoseconds; 0 if the trace is empty.
    pub fn start_unix_nano(&self) -> u64 {
        self.batch.spans().start_unix_nano.first().copied().unwrap_or(0)
    }

    /// The latest end of a span, never before the start; 0 if the trace is empty.
    pub fn end_unix_nano(&self) -> u64 {
        let last = self.batch.spans().end_unix_nano.iter().copied().max().unwrap_or(0);
        last.max(self.start_unix_nano())
    }

    /// From the earliest start to the latest end.
    pub fn duration_nanos(&self) -> u64 {
        self.end_unix_nano() - self.start_unix_nano()
    }

    /// What was normalised.
    pub fn notes(&self) -> TraceNotes {
        self.notes
    }

    /// Every row with its depth, parents before children, children by start: the order of a waterfall.
    pub fn depth_first(&self) -> Vec<(usize, usize)> {
        self.nesting.depth_first()
    }
}

/// Rows in the order of a trace, of equal spans only one.
fn rows_in_order(spans: &SpanBatch, mut rows: Vec<usize>) -> Vec<usize> {
    let columns = spans.spans();
    let starts = &columns.start_unix_nano;
    // Stores keep a trace by start, so mostly nothing is to be moved.
    if !rows.is_sorted_by_key(|row| starts[*row]) {
        rows.sort_by_key(|row| starts[*row]);
    }
    if rows.windows(2).all(|pair| starts[pair[0]] != starts[pair[1]]) {
        return rows;
    }
    let compare = |left: &usize, right: &usize| {
        let numbers =
            |row: usize| (std::cmp::Reverse(columns.end_unix_nano[row]), columns.span_id[row], columns.kind[row]);
        // Names are looked at only where nothing else tells two spans apart.
        numbers(*left).cmp(&numbers(*right)).then_with(|| {
            let names = |row: usize| (spans.span(row).service(), spans.span(row).name());
            names(*left).cmp(&names(*right))
        })
    };
    let pending = spans.strings().find(PENDING);
    let is_pending = |row: usize| pending.is_some_and(|key| spans.span(row).attributes().raw_keys().contains(&key));
    let mut kept = Vec::with_capacity(rows.len());
    // Spans that are equal, or the same before and after its end, have the same start, and few others have it too.
    for group in rows.chunk_by_mut(|left, right| starts[*left] == starts[*right]) {
        if let [row] = group {
            kept.push(*row);
            continue;
        }
        group.sort_by(compare);
        let first = kept.len();
        for row in group.iter() {
            if kept.len() == first || compare(&kept[kept.len() - 1], row).is_ne() {
                kept.push(*row);
            }
        }
        if pending.is_some() {
            let group = kept.split_off(first);
            kept.extend(without_replaced(spans, &group, is_pending));
        }
    }
    kept
}

/// The attribute of a span that was sent before it had ended; sent again when it has.
pub const PENDING: &str = "tracewell.pending";

/// Rows of one start without what a span was said to be before it ended, where it is known how it ended, or later.
fn without_replaced(
    spans: &SpanBatch,
    rows: &[usize],
    is_pending: impl Fn(usize) -> bool,
) -> impl Iterator<Item = usize> {
    let columns = spans.spans();
    let key = |row: usize| (columns.span_id[row], columns.kind[row] as u8);
    // Of each span the first of its rows, and whether it is known how it ended.
    let mut twins: HashMap<(SpanId, u8), (usize, bool), RandomState> = HashMap::default();
    for (at, row) in rows.iter().enumerate() {
        let (_, has_ended) = twins.entry(key(*row)).or_insert((at, false));
        *has_ended |= !is_pending(*row);
    }
    rows.iter().enumerate().filter_map(move |(at, row)| {
        let (first, has_ended) = twins.get(&key(*row)).copied().unwrap_or((at, true));
        // Of two that are pending, the one that ends later is listed first.
        let is_replaced = is_pending(*row) && (first < at || has_ended);
        (!is_replaced).then_some(*row)
    })
}

#[cfg(test)]
mod tests;

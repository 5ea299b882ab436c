//! The spans of one request, joined into a tree.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

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
    parents: Vec<Option<u32>>,
    children: Vec<u32>,
    children_end: Vec<u32>,
    roots: Vec<usize>,
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
        let is_as_it_is = notes.duplicates == 0 && rows.is_sorted();
        Self::join(if is_as_it_is { spans } else { spans.select(rows) }, notes)
    }

    /// Joins spans that are in order and each there once.
    fn join(batch: SpanBatch, mut notes: TraceNotes) -> Self {
        let mut parents = find_parents(&batch, &mut notes);
        cut_cycles(&mut parents, &mut notes);
        notes.negative_durations = batch.iter().filter(|span| span.end_unix_nano() < span.start_unix_nano()).count();

        let mut counts = vec![0u32; batch.len()];
        for parent in parents.iter().flatten() {
            counts[*parent as usize] += 1;
        }
        let children_end: Vec<u32> = counts
            .iter()
            .scan(0, |end, count| {
                *end += count;
                Some(*end)
            })
            .collect();
        let mut next: Vec<u32> = children_end.iter().zip(&counts).map(|(end, count)| end - count).collect();
        let mut children = vec![0; children_end.last().map_or(0, |end| *end as usize)];
        for (row, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                let place = &mut next[*parent as usize];
                children[*place as usize] = row as u32;
                *place += 1;
            }
        }
        let roots = (0..batch.len()).filter(|row| parents[*row].is_none()).collect();
        Self { batch, parents, children, children_end, roots, notes }
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
        let notes = TraceNotes { duplicates: all - rows.len(), ..TraceNotes::default() };
        Self::join(spans.select(rows), notes)
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

    /// The row of the span that this one is nested in.
    pub fn parent(&self, row: usize) -> Option<usize> {
        self.parents[row].map(|parent| parent as usize)
    }

    /// The rows of the spans nested directly in this one, by start.
    pub fn children(&self, row: usize) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        let start = if row == 0 { 0 } else { self.children_end[row - 1] as usize };
        self.children[start..self.children_end[row] as usize].iter().map(|child| *child as usize)
    }

    /// The rows without a parent in this trace, by start: one in a healthy trace.
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The span that stands for the trace: the earliest root that names no parent, else the earliest root.
    pub fn root(&self) -> Option<SpanRef<'_>> {
        let spans = self.batch.spans();
        let real = self.roots.iter().find(|row| spans.parent_span_id[**row].is_zero());
        real.or(self.roots.first()).map(|row| self.span(*row))
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
        let mut out = Vec::with_capacity(self.len());
        let mut stack: Vec<(usize, usize)> = self.roots.iter().rev().map(|row| (*row, 0)).collect();
        while let Some((row, depth)) = stack.pop() {
            out.push((row, depth));
            stack.extend(self.children(row).rev().map(|child| (child, depth + 1)));
        }
        out
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
const PENDING: &str = "tracewell.pending";

/// Rows of one start without what a span was said to be before it ended, where it is known how it ended, or later.
fn without_replaced(
    spans: &SpanBatch,
    rows: &[usize],
    is_pending: impl Fn(usize) -> bool,
) -> impl Iterator<Item = usize> {
    let columns = spans.spans();
    let same = |left: usize, right: usize| {
        columns.span_id[left] == columns.span_id[right] && columns.kind[left] == columns.kind[right]
    };
    rows.iter().enumerate().filter_map(move |(at, row)| {
        let mut others = rows.iter().enumerate().filter(|(other, twin)| *other != at && same(*row, **twin));
        // Of two that are pending, the one that ends later is listed first.
        let is_replaced = is_pending(*row) && others.any(|(other, twin)| other < at || !is_pending(*twin));
        (!is_replaced).then_some(*row)
    })
}

/// The rows of each span id. More than one span can carry an id: a client and the server it called (Zipkin), or a broken
/// sender.
struct RowsById {
    first: HashMap<SpanId, u32, RandomState>,
    /// The next row with the same id; `NONE` for the last.
    next: Vec<u32>,
}

impl RowsById {
    const NONE: u32 = u32::MAX;

    fn new(ids: &[SpanId]) -> Self {
        let mut first = HashMap::with_capacity_and_hasher(ids.len(), RandomState::default());
        let mut next = vec![Self::NONE; ids.len()];
        // From the last to the first, so that the rows of an id are listed in order.
        for (row, id) in ids.iter().enumerate().rev() {
            if let Some(later) = first.insert(*id, row as u32) {
                next[row] = later;
            }
        }
        Self { first, next }
    }

    fn rows(&self, id: SpanId) -> impl Iterator<Item = u32> {
        let first = self.first.get(&id).copied();
        std::iter::successors(first, |row| Some(self.next[*row as usize]).filter(|next| *next != Self::NONE))
    }
}

fn find_parents(batch: &SpanBatch, notes: &mut TraceNotes) -> Vec<Option<u32>> {
    let columns = batch.spans();
    let places = RowsById::new(&columns.span_id);
    let is = |kind: SpanKind| move |row: &u32| columns.kind[*row as usize] == kind;
    (0..batch.len())
        .map(|row| {
            if columns.kind[row] == SpanKind::Server {
                let client = places.rows(columns.span_id[row]).find(is(SpanKind::Client));
                if client.is_some() {
                    return client;
                }
            }
            let parent_id = columns.parent_span_id[row];
            if parent_id.is_zero() {
                return None;
            }
            if parent_id == columns.span_id[row] {
                notes.self_parents += 1;
                return None;
            }
            let first = places.rows(parent_id).next();
            if first.is_none() {
                notes.orphans += 1;
                return None;
            }
            // Of a shared pair the server span is the inner one, where work is nested.
            places.rows(parent_id).find(is(SpanKind::Server)).or(first)
        })
        .collect()
}

fn cut_cycles(parents: &mut [Option<u32>], notes: &mut TraceNotes) {
    const UNSEEN: u32 = 0;
    // A row's mark is the number of the walk that first met it; meeting the walk's own mark again is a cycle.
    let mut marks = vec![UNSEEN; parents.len()];
    for first in 0..parents.len() {
        let walk = first as u32 + 1;
        let mut row = first;
        while marks[row] == UNSEEN {
            marks[row] = walk;
            let Some(parent) = parents[row] else { break };
            row = parent as usize;
            if marks[row] == walk {
                // The earliest span of the cycle becomes the root: rows are sorted by start.
                let members = std::iter::successors(parents[row], |member| parents[*member as usize]);
                let others = members.take_while(|member| *member as usize != row).min();
                let earliest = others.map_or(row, |other| row.min(other as usize));
                parents[earliest] = None;
                notes.cycles += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;

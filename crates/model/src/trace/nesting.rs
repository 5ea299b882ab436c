//! Who is nested in whom.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::TraceNotes;
use crate::{SpanBatch, SpanId, SpanKind};

/// The tree of one trace's spans, by their places in the order of the trace.
#[derive(Clone, Debug, Default)]
pub struct Nesting {
    parents: Vec<Option<u32>>,
    children: Vec<u32>,
    children_end: Vec<u32>,
    roots: Vec<usize>,
    root: Option<usize>,
}

impl Nesting {
    /// Of rows of a batch that are [in order](super::Trace::in_order); of each, the place is what counts here. What was
    /// normalised is added to the notes.
    pub fn of_rows(spans: &SpanBatch, rows: &[usize], notes: &mut TraceNotes) -> Self {
        let columns = spans.spans();
        let mut parents = find_parents(spans, rows, notes);
        cut_cycles(&mut parents, notes);
        let ends_early = |row: &&usize| columns.end_unix_nano[**row] < columns.start_unix_nano[**row];
        notes.negative_durations = rows.iter().filter(ends_early).count();

        let mut counts = vec![0u32; rows.len()];
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
        for (place, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                let next = &mut next[*parent as usize];
                children[*next as usize] = place as u32;
                *next += 1;
            }
        }
        let roots: Vec<usize> = (0..rows.len()).filter(|place| parents[*place].is_none()).collect();
        let real = roots.iter().find(|place| columns.parent_span_id[rows[**place]].is_zero());
        let root = real.or(roots.first()).copied();
        Self { parents, children, children_end, roots, root }
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// The span that this one is nested in.
    pub fn parent(&self, place: usize) -> Option<usize> {
        self.parents[place].map(|parent| parent as usize)
    }

    /// The spans nested directly in this one, by start.
    pub fn children(&self, place: usize) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        let start = if place == 0 { 0 } else { self.children_end[place - 1] as usize };
        self.children[start..self.children_end[place] as usize].iter().map(|child| *child as usize)
    }

    /// Those without a parent in this trace, by start: one in a healthy trace.
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The span that stands for the trace: the earliest root that names no parent, else the earliest root.
    pub fn root(&self) -> Option<usize> {
        self.root
    }

    /// Every span with its depth, parents before children, children by start: the order of a waterfall.
    pub fn depth_first(&self) -> Vec<(usize, usize)> {
        let mut out = Vec::with_capacity(self.len());
        let mut stack: Vec<(usize, usize)> = self.roots.iter().rev().map(|place| (*place, 0)).collect();
        while let Some((place, depth)) = stack.pop() {
            out.push((place, depth));
            stack.extend(self.children(place).rev().map(|child| (child, depth + 1)));
        }
        out
    }
}

/// The rows that a span id stands for. More than one span can carry an id: a client and the server it called (Zipkin), or
/// a broken sender. However many there are, three of them count.
#[derive(Clone, Copy)]
struct RowsOfId {
    first: u32,
    client: Option<u32>,
    server: Option<u32>,
}

fn rows_by_id(spans: &SpanBatch, rows: &[usize]) -> HashMap<SpanId, RowsOfId, RandomState> {
    let columns = spans.spans();
    let mut places = HashMap::with_capacity_and_hasher(rows.len(), RandomState::default());
    for (place, row) in (0..).zip(rows) {
        let known = places.entry(columns.span_id[*row]);
        let known = known.or_insert(RowsOfId { first: place, client: None, server: None });
        match columns.kind[*row] {
            SpanKind::Client => known.client = known.client.or(Some(place)),
            SpanKind::Server => known.server = known.server.or(Some(place)),
            _ => {}
        }
    }
    places
}

fn find_parents(spans: &SpanBatch, rows: &[usize], notes: &mut TraceNotes) -> Vec<Option<u32>> {
    let columns = spans.spans();
    let places = rows_by_id(spans, rows);
    rows.iter()
        .copied()
        .map(|row| {
            if columns.kind[row] == SpanKind::Server {
                let client = places.get(&columns.span_id[row]).and_then(|known| known.client);
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
            match places.get(&parent_id) {
                // Of a shared pair the server span is the inner one, where work is nested.
                Some(known) => known.server.or(Some(known.first)),
                None => {
                    notes.orphans += 1;
                    None
                }
            }
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

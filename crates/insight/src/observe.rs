//! What of a trace a comparison needs: a few numbers a place, so that traces need not stay in memory.

use std::collections::HashMap;

use tracewell_model::{SpanKind, Trace, TraceId};

use crate::critical_path::critical_path_on;
use crate::place::{Entry, Place, Places};
use crate::self_time::exclusive_nanos;
use crate::timeline::Timeline;

/// One trace in numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    pub(crate) trace_id: TraceId,
    /// The critical path's length: the root's duration.
    pub(crate) total_nanos: u64,
    /// What kind of request it is, by number; first with what lies behind a gateway, then without.
    pub(crate) entry: u32,
    pub(crate) coarse_entry: u32,
    /// Whether the root failed.
    pub(crate) failed: bool,
    /// Whether some spans lost their parents.
    pub(crate) has_orphans: bool,
    /// How far two of its clocks are apart.
    pub(crate) skew_nanos: u64,
    /// The places it passed, by place.
    pub(crate) visits: Vec<Visit>,
    /// What called what, by parent and child.
    pub(crate) links: Vec<Link>,
    /// Places whose children could run at once, by place.
    pub(crate) forks: Vec<Fork>,
}

/// The spans of one trace at one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) place: u32,
    pub(crate) spans: u32,
    /// Their own time, on the critical path or not.
    pub(crate) own_nanos: u64,
    pub(crate) path_spans: u32,
    pub(crate) path_nanos: u64,
    /// Those that failed while no child of theirs did: where an error begins.
    pub(crate) first_errors: u32,
}

/// The spans at one place that are children of spans at another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) parent: u32,
    pub(crate) child: u32,
    pub(crate) spans: u32,
    /// Critical path of the children with all below them.
    pub(crate) path_nanos: u64,
}

/// How much the children of spans at one place ran at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fork {
    pub(crate) place: u32,
    /// What running at once saved: the sum of the children's durations less their union.
    pub(crate) saved_nanos: u64,
    /// What it could save at most: the sum less the longest child.
    pub(crate) possible_nanos: u64,
}

/// Turns traces into observations, with the same numbers for the same names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observer {
    pub(crate) places: Places,
    entries: HashMap<[u32; 4], u32>,
}

/// The spans of one trace, by row.
pub(crate) struct Rows {
    pub(crate) places: Vec<u32>,
    pub(crate) own_nanos: Vec<u64>,
    pub(crate) first_error: Vec<bool>,
    timeline: Timeline,
}

impl Observer {
    /// The numbers of a trace; `None` if it is empty.
    pub(crate) fn observe(&mut self, trace: &Trace) -> Option<Observation> {
        let root = trace.root()?;
        let entry = Entry::of(trace)?;
        let rows = self.rows(trace);
        let mut path_nanos = vec![0; trace.len()];
        for piece in critical_path_on(trace, &rows.timeline) {
            path_nanos[piece.span] += piece.duration_nanos();
        }
        let (entry, coarse_entry) = self.entry(entry);
        Some(Observation {
            trace_id: trace.trace_id(),
            total_nanos: root.duration_nanos(),
            entry,
            coarse_entry,
            failed: root.is_error(),
            has_orphans: trace.roots().len() > 1,
            skew_nanos: rows.timeline.most_skew_nanos,
            visits: visits(&rows, &path_nanos),
            links: links(trace, &rows.places, &path_nanos),
            forks: forks(trace, &rows),
        })
    }

    /// Where each span of a trace belongs and what it took.
    pub(crate) fn rows(&mut self, trace: &Trace) -> Rows {
        let timeline = Timeline::corrected(trace);
        let places = self.places.of_rows(trace);
        let own_nanos = exclusive_nanos(trace, &timeline);
        let is_error = |row: usize| trace.span(row).is_error();
        let first_error = (0..trace.len()).map(|row| is_error(row) && !trace.children(row).any(is_error)).collect();
        Rows { places, own_nanos, first_error, timeline }
    }

    fn entry(&mut self, entry: Entry<'_>) -> (u32, u32) {
        let symbols = &mut self.places.symbols;
        let root = [symbols.intern(entry.root.0), symbols.intern(entry.root.1)];
        let behind = entry.behind.map_or([0, 0], |behind| [symbols.intern(behind.0), symbols.intern(behind.1)]);
        let mut number = |key: [u32; 4]| {
            let next = self.entries.len() as u32;
            *self.entries.entry(key).or_insert(next)
        };
        (number([root[0], root[1], behind[0], behind[1]]), number([root[0], root[1], 0, 0]))
    }
}

fn visits(rows: &Rows, path_nanos: &[u64]) -> Vec<Visit> {
    let mut order: Vec<usize> = (0..rows.places.len()).collect();
    order.sort_by_key(|row| rows.places[*row]);
    let mut visits: Vec<Visit> = Vec::new();
    for row in order {
        let place = rows.places[row];
        if visits.last().is_none_or(|last| last.place != place) {
            visits.push(Visit { place, ..Visit::default() });
        }
        let Some(visit) = visits.last_mut() else { continue };
        visit.spans += 1;
        visit.own_nanos += rows.own_nanos[row];
        visit.path_spans += u32::from(path_nanos[row] > 0);
        visit.path_nanos += path_nanos[row];
        visit.first_errors += u32::from(rows.first_error[row]);
    }
    visits
}

fn links(trace: &Trace, places: &[u32], path_nanos: &[u64]) -> Vec<Link> {
    let mut whole = path_nanos.to_vec();
    for (row, _) in trace.depth_first().into_iter().rev() {
        if let Some(parent) = trace.parent(row) {
            whole[parent] += whole[row];
        }
    }
    let mut all: Vec<Link> = (0..trace.len())
        .filter_map(|row| {
            let parent = trace.parent(row)?;
            Some(Link { parent: places[parent], child: places[row], spans: 1, path_nanos: whole[row] })
        })
        .collect();
    all.sort_by_key(|link| (link.parent, link.child));
    all.dedup_by(|next, kept| {
        let same = (next.parent, next.child) == (kept.parent, kept.child);
        if same {
            kept.spans += next.spans;
            kept.path_nanos += next.path_nanos;
        }
        same
    });
    all
}

fn forks(trace: &Trace, rows: &Rows) -> Vec<Fork> {
    let mut forks: Vec<Fork> = (0..trace.len()).filter_map(|row| rows.fork(trace, row)).collect();
    forks.sort_by_key(|fork| fork.place);
    forks.dedup_by(|next, kept| {
        let same = next.place == kept.place;
        if same {
            kept.saved_nanos += next.saved_nanos;
            kept.possible_nanos += next.possible_nanos;
        }
        same
    });
    forks
}

impl Rows {
    /// How much the children of a span ran at the same time; `None` if there are not two.
    fn fork(&self, trace: &Trace, row: usize) -> Option<Fork> {
        if trace.children(row).len() < 2 {
            return None;
        }
        let kinds = &trace.batch().spans().kind;
        let (start, end) = (self.timeline.start(row), self.timeline.end(row));
        let mut children: Vec<(u64, u64)> = trace
            .children(row)
            .filter(|child| kinds[*child] != SpanKind::Consumer)
            .map(|child| (self.timeline.start(child).max(start), self.timeline.end(child).min(end)))
            .filter(|(start, end)| start < end)
            .collect();
        if children.len() < 2 {
            return None;
        }
        children.sort_unstable();
        let (mut sum, mut longest, mut union, mut until) = (0, 0, 0, 0);
        for (start, end) in children {
            sum += end - start;
            longest = longest.max(end - start);
            union += end.saturating_sub(start.max(until));
            until = until.max(end);
        }
        Some(Fork { place: self.places[row], saved_nanos: sum - union, possible_nanos: sum - longest })
    }

    /// The part of what running at once could save that it does save.
    pub(crate) fn overlap(&self, trace: &Trace, row: usize) -> Option<f64> {
        let fork = self.fork(trace, row).filter(|fork| fork.possible_nanos > 0)?;
        Some(fork.saved_nanos as f64 / fork.possible_nanos as f64)
    }
}

impl Observation {
    /// The visit of a place.
    pub(crate) fn visit(&self, place: u32) -> Option<&Visit> {
        let found = self.visits.binary_search_by_key(&place, |visit| visit.place).ok()?;
        Some(&self.visits[found])
    }

    /// How often a place called another.
    pub(crate) fn link(&self, parent: u32, child: u32) -> Option<&Link> {
        let found = self.links.binary_search_by_key(&(parent, child), |link| (link.parent, link.child)).ok()?;
        Some(&self.links[found])
    }

    /// Critical path at some places.
    pub(crate) fn path_nanos(&self, places: &PlaceSet) -> u64 {
        self.visits.iter().filter(|visit| places.contains(visit.place)).map(|visit| visit.path_nanos).sum()
    }
}

/// Some places, quickly looked up.
pub(crate) struct PlaceSet(Vec<bool>);

impl PlaceSet {
    /// Of all so many places, these.
    pub(crate) fn new(all: usize, places: &[u32]) -> Self {
        let mut set = vec![false; all];
        places.iter().for_each(|place| set[*place as usize] = true);
        Self(set)
    }

    fn contains(&self, place: u32) -> bool {
        self.0[place as usize]
    }
}

/// Whether calls from a place are told apart: an edge has one callee and a dependency none.
pub(crate) fn calls_others(place: Place) -> bool {
    matches!(place, Place::Own { .. } | Place::Waiting { .. })
}

//! What of a trace a comparison needs: a few numbers a place, so that traces need not stay in memory.

use std::collections::{HashMap, HashSet};

use tracewell_model::{SpanKind, TraceId};

use crate::critical_path::path_nanos_on;
use crate::outline::Outline;
use crate::place::{Entry, Place, Places};
use crate::postings::Postings;
use crate::self_time::exclusive_nanos;
use crate::symbols::BatchNames;
use crate::timeline::Timeline;

/// Many traces in numbers, by place. A trace is a row; rows are numbered as they come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observations {
    pub(crate) traces: Vec<Observed>,
    /// The spans of a trace at each place, by place.
    visits: Vec<Postings<5>>,
    /// What called what, by parent and child.
    links: HashMap<(u32, u32), Postings<2>, foldhash::fast::RandomState>,
    /// How much the children of spans at a place ran at the same time, by place.
    forks: HashMap<u32, Postings<2>, foldhash::fast::RandomState>,
}

/// What is known of one trace as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) trace_id: TraceId,
    pub(crate) start_unix_nano: u64,
    pub(crate) end_unix_nano: u64,
    /// The critical path's length: the root's duration.
    pub(crate) total_nanos: u64,
    /// How far two of its clocks are apart.
    pub(crate) skew_nanos: u64,
    /// What kind of request it is, by number; first with what lies behind a gateway, then without.
    pub(crate) entry: u32,
    pub(crate) coarse_entry: u32,
    pub(crate) spans: u32,
    /// Whether the root failed.
    pub(crate) failed: bool,
    /// Whether some spans lost their parents.
    pub(crate) has_orphans: bool,
}

/// The spans of one trace at one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) spans: u64,
    /// Their own time, on the critical path or not.
    pub(crate) own_nanos: u64,
    pub(crate) path_spans: u64,
    pub(crate) path_nanos: u64,
    /// Those that failed while no child of theirs did: where an error begins.
    pub(crate) first_errors: u64,
}

/// The spans at one place that are children of spans at another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) spans: u64,
    /// Critical path of the children with all below them.
    pub(crate) path_nanos: u64,
}

/// How much the children of spans at one place ran at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fork {
    /// What running at once saved: the sum of the children's durations less their union.
    pub(crate) saved_nanos: u64,
    /// What it could save at most: the sum less the longest child.
    pub(crate) possible_nanos: u64,
}

/// Turns traces into observations, with the same numbers for the same names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observer {
    pub(crate) places: Places,
    entries: HashMap<[u32; 4], u32, foldhash::fast::RandomState>,
}

/// The spans of one trace, by row.
pub(crate) struct Rows {
    pub(crate) places: Vec<u32>,
    pub(crate) own_nanos: Vec<u64>,
    pub(crate) first_error: Vec<bool>,
    timeline: Timeline,
}

impl Observer {
    /// Adds the numbers of a trace, which is not empty.
    pub(crate) fn observe(&mut self, trace: &Outline, names: &mut BatchNames<'_>, out: &mut Observations) {
        let (Some(root), Some(entry)) = (trace.root(), Entry::of(trace)) else { return };
        let rows = self.rows(trace, names);
        let path_nanos = path_nanos_on(trace, &rows.timeline);
        let (entry, coarse_entry) = self.entry(entry, names);
        let number = out.traces.len() as u32;
        out.visits.resize(out.visits.len().max(self.places.len()), Postings::default());
        out.add_visits(number, &rows, &path_nanos);
        out.add_links(number, trace, &rows.places, path_nanos);
        out.add_forks(number, trace, &rows);
        out.traces.push(Observed {
            trace_id: trace.trace_id,
            start_unix_nano: trace.start(),
            end_unix_nano: trace.end(),
            total_nanos: trace.total_nanos(),
            skew_nanos: rows.timeline.most_skew_nanos,
            entry,
            coarse_entry,
            spans: trace.len() as u32,
            failed: trace.is_error[root],
            has_orphans: trace.nesting.roots().len() > 1,
        });
    }

    /// Where each span of a trace belongs and what it took.
    pub(crate) fn rows(&mut self, trace: &Outline, names: &mut BatchNames<'_>) -> Rows {
        let timeline = Timeline::corrected(trace);
        let places = self.places.of_rows(trace, names);
        let own_nanos = exclusive_nanos(trace, &timeline);
        let is_error = |row: usize| trace.is_error[row];
        let first_error = (0..trace.len()).map(|row| is_error(row) && !trace.children(row).any(is_error)).collect();
        Rows { places, own_nanos, first_error, timeline }
    }

    /// Bytes held, about.
    pub(crate) fn size_bytes(&self) -> usize {
        self.places.size_bytes() + self.entries.len() * 2 * size_of::<([u32; 4], u32)>()
    }

    /// Forgets names that no trace has any more.
    pub(crate) fn forget_unused(&mut self, observed: &mut Observations) {
        let visited = |place: u32| observed.visits.get(place as usize).is_some_and(|postings| postings.len() > 0);
        let mut is_used: Vec<bool> = (0..self.places.len() as u32).map(visited).collect();
        for (parent, child) in observed.links.keys() {
            is_used[*parent as usize] = true;
            is_used[*child as usize] = true;
        }
        observed.forks.keys().for_each(|place| is_used[*place as usize] = true);
        let (mut places, numbers) = self.places.kept(|place| is_used[place as usize]);
        let number = |place: u32| numbers[place as usize].unwrap_or(0);
        let mut visits = vec![Postings::default(); places.len()];
        for (place, postings) in std::mem::take(&mut observed.visits).into_iter().enumerate() {
            if let Some(number) = numbers.get(place).copied().flatten() {
                visits[number as usize] = postings;
            }
        }
        observed.visits = visits;
        let links = std::mem::take(&mut observed.links);
        observed.links = links.into_iter().map(|((from, to), links)| ((number(from), number(to)), links)).collect();
        let forks = std::mem::take(&mut observed.forks);
        observed.forks = forks.into_iter().map(|(place, forks)| (number(place), forks)).collect();

        let used: HashSet<u32> = observed.traces.iter().flat_map(|trace| [trace.entry, trace.coarse_entry]).collect();
        let mut entries: Vec<([u32; 4], u32)> =
            std::mem::take(&mut self.entries).into_iter().filter(|(_, number)| used.contains(number)).collect();
        // Numbers keep their order: what is found in it is told in it.
        entries.sort_unstable_by_key(|(_, number)| *number);
        let mut renumbered: HashMap<u32, u32> = HashMap::with_capacity(entries.len());
        for (key, number) in entries {
            let key = key.map(|symbol| places.symbols.intern(self.places.text(symbol)));
            let next = self.entries.len() as u32;
            renumbered.insert(number, *self.entries.entry(key).or_insert(next));
        }
        for trace in &mut observed.traces {
            trace.entry = renumbered.get(&trace.entry).copied().unwrap_or(0);
            trace.coarse_entry = renumbered.get(&trace.coarse_entry).copied().unwrap_or(0);
        }
        self.places = places;
    }

    fn entry(&mut self, entry: Entry, names: &mut BatchNames<'_>) -> (u32, u32) {
        let mut pair = |(service, operation)| [service, operation].map(|id| names.symbol(id, &mut self.places.symbols));
        let root = pair(entry.root);
        let behind = entry.behind.map_or([0, 0], pair);
        let mut number = |key: [u32; 4]| {
            let next = self.entries.len() as u32;
            *self.entries.entry(key).or_insert(next)
        };
        (number([root[0], root[1], behind[0], behind[1]]), number([root[0], root[1], 0, 0]))
    }
}

impl Observations {
    fn add_visits(&mut self, number: u32, rows: &Rows, path_nanos: &[u64]) {
        let mut order: Vec<(u32, u32)> = rows.places.iter().copied().zip(0..).collect();
        order.sort_unstable();
        for same in order.chunk_by(|left, right| left.0 == right.0) {
            let mut visit = Visit::default();
            for row in same.iter().map(|(_, row)| *row as usize) {
                visit.spans += 1;
                visit.own_nanos = visit.own_nanos.saturating_add(rows.own_nanos[row]);
                visit.path_spans += u64::from(path_nanos[row] > 0);
                visit.path_nanos = visit.path_nanos.saturating_add(path_nanos[row]);
                visit.first_errors += u64::from(rows.first_error[row]);
            }
            let Visit { spans, own_nanos, path_spans, path_nanos, first_errors } = visit;
            self.visits[same[0].0 as usize].push(number, [spans, own_nanos, path_spans, path_nanos, first_errors]);
        }
    }

    fn add_links(&mut self, number: u32, trace: &Outline, places: &[u32], path_nanos: Vec<u64>) {
        let mut whole = path_nanos;
        for row in trace.order.iter().rev().copied() {
            if let Some(parent) = trace.parent(row) {
                whole[parent] = whole[parent].saturating_add(whole[row]);
            }
        }
        let mut all: Vec<((u32, u32), u64)> =
            (0..trace.len()).filter_map(|row| Some(((places[trace.parent(row)?], places[row]), whole[row]))).collect();
        all.sort_unstable();
        for same in all.chunk_by(|left, right| left.0 == right.0) {
            let nanos = same.iter().map(|(_, nanos)| *nanos).fold(0, u64::saturating_add);
            self.links.entry(same[0].0).or_default().push(number, [same.len() as u64, nanos]);
        }
    }

    fn add_forks(&mut self, number: u32, trace: &Outline, rows: &Rows) {
        let mut all: Vec<(u32, (u64, u64))> =
            (0..trace.len()).filter_map(|row| Some((rows.places[row], rows.fork(trace, row)?))).collect();
        all.sort_unstable_by_key(|(place, _)| *place);
        for same in all.chunk_by(|left, right| left.0 == right.0) {
            let sum = |of: fn(&(u64, u64)) -> u64| same.iter().map(|(_, fork)| of(fork)).fold(0, u64::saturating_add);
            self.forks.entry(same[0].0).or_default().push(number, [sum(|fork| fork.0), sum(|fork| fork.1)]);
        }
    }

    /// The traces that pass a place, with what they do there.
    pub(crate) fn visits(&self, place: u32) -> impl Iterator<Item = (usize, Visit)> {
        let postings = self.visits.get(place as usize).into_iter().flat_map(Postings::iter);
        postings.map(|(row, [spans, own_nanos, path_spans, path_nanos, first_errors])| {
            (row, Visit { spans, own_nanos, path_spans, path_nanos, first_errors })
        })
    }

    /// The traces in which one place calls another, with how often.
    pub(crate) fn link(&self, parent: u32, child: u32) -> impl Iterator<Item = (usize, Link)> {
        let postings = self.links.get(&(parent, child)).into_iter().flat_map(Postings::iter);
        postings.map(|(row, [spans, path_nanos])| (row, Link { spans, path_nanos }))
    }

    /// The traces in which a place has children that could run at once.
    pub(crate) fn forks(&self, place: u32) -> impl Iterator<Item = (usize, Fork)> {
        let postings = self.forks.get(&place).into_iter().flat_map(Postings::iter);
        postings.map(|(row, [saved_nanos, possible_nanos])| (row, Fork { saved_nanos, possible_nanos }))
    }

    /// All pairs of a caller and what it calls, sorted.
    pub(crate) fn links(&self) -> Vec<(u32, u32)> {
        let mut links: Vec<(u32, u32)> = self.links.keys().copied().collect();
        links.sort_unstable();
        links
    }

    /// All places whose children could run at once, sorted.
    pub(crate) fn forking(&self) -> Vec<u32> {
        let mut places: Vec<u32> = self.forks.keys().copied().collect();
        places.sort_unstable();
        places
    }

    /// Bytes held.
    pub(crate) fn size_bytes(&self) -> usize {
        let visits: usize = self.visits.iter().map(Postings::size_bytes).sum();
        let links: usize = self.links.values().map(Postings::size_bytes).sum();
        let forks: usize = self.forks.values().map(Postings::size_bytes).sum();
        visits + links + forks + self.traces.capacity() * size_of::<Observed>()
    }

    /// Forgets all traces but some; they are asked for in their order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Observed) -> bool) {
        let mut kept = Vec::new();
        let mut new_rows = Vec::with_capacity(self.traces.len());
        for trace in &self.traces {
            let is_kept = keep(trace);
            new_rows.push(is_kept.then_some(kept.len() as u32));
            kept.extend(is_kept.then_some(*trace));
        }
        self.traces = kept;
        self.visits.iter_mut().for_each(|postings| *postings = postings.renumbered(&new_rows));
        self.links.values_mut().for_each(|postings| *postings = postings.renumbered(&new_rows));
        self.forks.values_mut().for_each(|postings| *postings = postings.renumbered(&new_rows));
        self.links.retain(|_, postings| postings.len() > 0);
        self.forks.retain(|_, postings| postings.len() > 0);
    }
}

impl Rows {
    /// How much the children of a span ran at the same time: what that saved, the sum of their durations less their
    /// union, and what it could save at most, the sum less the longest. `None` if there are not two.
    fn fork(&self, trace: &Outline, row: usize) -> Option<(u64, u64)> {
        if trace.children(row).len() < 2 {
            return None;
        }
        let (start, end) = (self.timeline.start(row), self.timeline.end(row));
        let mut children: Vec<(u64, u64)> = trace
            .children(row)
            .filter(|child| trace.kind[*child] != SpanKind::Consumer)
            .map(|child| (self.timeline.start(child).max(start), self.timeline.end(child).min(end)))
            .filter(|(start, end)| start < end)
            .collect();
        if children.len() < 2 {
            return None;
        }
        children.sort_unstable();
        let (mut sum, mut longest, mut union, mut until) = (0, 0, 0, 0);
        for (start, end) in children {
            sum = u64::saturating_add(sum, end - start);
            longest = longest.max(end - start);
            union = u64::saturating_add(union, end.saturating_sub(start.max(until)));
            until = until.max(end);
        }
        Some((sum.saturating_sub(union), sum.saturating_sub(longest)))
    }

    /// The part of what running at once could save that it does save.
    pub(crate) fn overlap(&self, trace: &Outline, row: usize) -> Option<f64> {
        let (saved, possible) = self.fork(trace, row).filter(|(_, possible)| *possible > 0)?;
        Some(saved as f64 / possible as f64)
    }
}

/// Whether calls from a place are told apart: an edge has one callee and a dependency none.
pub(crate) fn calls_others(place: Place) -> bool {
    matches!(place, Place::Own { .. } | Place::Waiting { .. })
}

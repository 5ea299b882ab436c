//! Traces side by side, by structure: call paths are aligned, so that the same operation called from two places is two
//! rows, and one that is missing on a side is seen to be.

mod summary;
mod tree;

use std::collections::BTreeMap;

use tracewell_model::{SpanId, SpanKind, Trace, TraceId};

use crate::critical_path::path_nanos_on;
use crate::outline::Outline;
use crate::self_time::self_time_on;
use crate::timeline::Timeline;
use crate::wording::{count, duration, have, were};
use tree::Tree;

/// Traces that a side names, at most.
const MOST_EXAMPLES: usize = 10;

/// Two traces or two sets of traces, A and B, side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What differs, in a few sentences.
    pub summary: String,
    /// A and B.
    pub sides: [ComparedSide; 2],
    /// The call paths of both: parents first, and children in the order in which they begin.
    pub paths: Vec<ComparedPath>,
    /// What the figures cannot tell.
    pub caveats: Vec<String>,
}

/// One of the two sets of traces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComparedSide {
    /// How many there are.
    pub traces: usize,
    /// Spans of all of them.
    pub spans: usize,
    /// Of these, the ones that failed.
    pub errors: usize,
    /// How long a trace takes, on average.
    pub duration_nanos: f64,
    /// The service of the root span; of several kinds of request, that of the most frequent one.
    pub root_service: String,
    /// The root span's name.
    pub root_operation: String,
    /// When the first begins.
    pub start_unix_nano: u64,
    /// When the last one ends.
    pub end_unix_nano: u64,
    /// Some of them, those that were added first.
    pub examples: Vec<TraceId>,
}

/// One call path on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedPath {
    /// What it is called from: its place among the paths, before this one. `None` for a root.
    pub parent: Option<usize>,
    /// How deep it is; 0 is a root.
    pub depth: usize,
    /// The service.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// The kind of its spans.
    pub kind: SpanKind,
    /// What A and B did there.
    pub sides: [PathStats; 2],
}

impl ComparedPath {
    /// Whether only B has it.
    pub fn is_new(&self) -> bool {
        self.sides[0].longest.is_none()
    }

    /// Whether only A has it.
    pub fn is_missing(&self) -> bool {
        self.sides[1].longest.is_none()
    }

    /// How much more of the critical path is B's; the roots' durations differ by the sum over all paths.
    pub fn added_nanos(&self) -> f64 {
        self.sides[1].critical_nanos - self.sides[0].critical_nanos
    }
}

/// What traces did at a call path; each figure is a mean over all traces of a side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathStats {
    /// Spans a trace.
    pub calls: f64,
    /// Their durations a trace, in nanoseconds.
    pub duration_nanos: f64,
    /// Of these, self time.
    pub self_nanos: f64,
    /// Of the critical path, what is theirs without what is below.
    pub critical_nanos: f64,
    /// Spans that failed a trace.
    pub errors: f64,
    /// The longest of the spans: what to look at. `None` if there is no span.
    pub longest: Option<(TraceId, SpanId)>,
}

/// A comparison while traces are added, one after the other: what is kept grows with the call paths, not the traces.
#[derive(Clone, Debug)]
pub struct Comparer {
    sides: [Side; 2],
    tree: Tree,
    most_skew_nanos: u64,
    /// Traces whose clocks were moved, and traces with spans whose parent is not there.
    moved: usize,
    torn: usize,
    spans_left_out: usize,
}

#[derive(Clone, Debug, Default)]
struct Side {
    totals: ComparedSide,
    /// How many requests there are of each kind.
    entries: BTreeMap<(String, String), usize>,
}

impl Comparer {
    /// For at most so many call paths; spans on further ones are left out, and counted.
    pub fn new(most_paths: usize) -> Self {
        Self {
            sides: Default::default(),
            tree: Tree::new(most_paths),
            most_skew_nanos: 0,
            moved: 0,
            torn: 0,
            spans_left_out: 0,
        }
    }

    /// Adds a trace to A (0) or B (1). One without spans counts for nothing.
    pub fn add(&mut self, side: usize, trace: &Trace) {
        let Some(root) = trace.root() else { return };
        let Side { totals, entries } = &mut self.sides[side];
        *entries.entry((root.service().to_owned(), root.name().to_owned())).or_default() += 1;
        totals.traces += 1;
        totals.spans += trace.len();
        totals.duration_nanos += trace.duration_nanos() as f64;
        let earliest = if totals.traces == 1 { u64::MAX } else { totals.start_unix_nano };
        totals.start_unix_nano = earliest.min(trace.start_unix_nano());
        totals.end_unix_nano = totals.end_unix_nano.max(trace.end_unix_nano());
        if totals.examples.len() < MOST_EXAMPLES {
            totals.examples.push(trace.trace_id());
        }

        let outline = Outline::of(trace);
        let timeline = Timeline::corrected(&outline);
        self.moved += usize::from(timeline.most_skew_nanos > 0);
        self.most_skew_nanos = self.most_skew_nanos.max(timeline.most_skew_nanos);
        self.torn += usize::from(trace.notes().orphans > 0);
        let own = self_time_on(&outline, &timeline);
        let critical = path_nanos_on(&outline, &timeline);
        let mut nodes = vec![None; trace.len()];
        for (row, _) in trace.depth_first() {
            let span = trace.span(row);
            let is_error = span.is_error();
            totals.errors += usize::from(is_error);
            let parent = trace.parent(row).map(|parent| nodes[parent]);
            let Some(node) = self.tree.node(parent, span) else {
                self.spans_left_out += 1;
                continue;
            };
            nodes[row] = Some(node);
            let begins_nanos = timeline.start(row).saturating_sub(trace.start_unix_nano());
            let place = &mut self.tree.nodes[node];
            place.begins_nanos += begins_nanos as f64;
            place.spans += 1.0;
            let stats = &mut place.sides[side];
            stats.calls += 1.0;
            stats.duration_nanos += span.duration_nanos() as f64;
            stats.self_nanos += own[row] as f64;
            stats.critical_nanos += critical[row] as f64;
            stats.errors += f64::from(is_error);
            if stats.longest.is_none() || span.duration_nanos() > place.longest_nanos[side] {
                place.longest_nanos[side] = span.duration_nanos();
                stats.longest = Some((trace.trace_id(), span.span_id()));
            }
        }
    }

    /// Spans that were added to a side.
    pub fn spans(&self, side: usize) -> usize {
        self.sides[side].totals.spans
    }

    /// Traces that were added to a side.
    pub fn traces(&self, side: usize) -> usize {
        self.sides[side].totals.traces
    }

    /// What came of it.
    pub fn conclude(self) -> Comparison {
        let caveats = self.caveats();
        let sides = self.sides.map(|Side { mut totals, entries }| {
            totals.duration_nanos /= totals.traces.max(1) as f64;
            // Of equally frequent ones the first in the alphabet, so that the answer is always the same.
            if let Some(((service, operation), _)) = entries.into_iter().rev().max_by_key(|(_, count)| *count) {
                (totals.root_service, totals.root_operation) = (service, operation);
            }
            totals
        });
        let paths = self.tree.paths([sides[0].traces, sides[1].traces]);
        Comparison { summary: summary::summary(&sides, &paths), sides, paths, caveats }
    }

    fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        let [a, b] = &self.sides;
        if a.entries.len() > 1 || b.entries.len() > 1 {
            caveats.push(format!(
                "There is more than one kind of request ({} in A, {} in B), so part of a difference may be another mix of \
                 them; name an operation to look at one.",
                a.entries.len(),
                b.entries.len()
            ));
        }
        if self.moved > 0 {
            let most = duration(self.most_skew_nanos);
            caveats.push(format!(
                "The clocks of {} were brought together, by {most} at most.",
                count(self.moved, "trace")
            ));
        }
        if self.torn > 0 {
            caveats.push(format!(
                "{} spans whose parent is not there: these stand as roots, and nobody is seen to wait for them.",
                have(self.torn, "trace")
            ));
        }
        if self.spans_left_out > 0 {
            caveats.push(format!(
                "{} left out: there are more than {} call paths.",
                were(self.spans_left_out, "span"),
                self.tree.most
            ));
        }
        caveats
    }
}

#[cfg(test)]
mod tests;

//! Clocks that disagree, brought together as far as the spans allow.
//!
//! A call is answered within the time in which it is waited for, so a callee's span lies within its caller's. Where two
//! hosts' clocks put it outside, the callee's clock is off by at least so much:
//!
//! ```text
//! caller      ████████████████                   the callee's clock is ahead by 3 to 9:
//! callee             ░░░░░░░░░░▒▒▒               moved back by the least that fits, 3
//! corrected       ██████████
//! ```
//!
//! All calls of a trace between the same two processes share one offset, the smallest that fits all of them. What an
//! edge takes in both directions together does not depend on the offset; how it divides into there and back does, and
//! cannot be known. Jaeger centres the callee instead, which moves spans that need no move.

use tracewell_model::{ResourceId, SpanKind};

use crate::outline::Outline;

/// When the spans of a trace ran, by one clock: the root's.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    start_unix_nano: Vec<u64>,
    end_unix_nano: Vec<u64>,
    /// The largest offset between two clocks.
    pub(crate) most_skew_nanos: u64,
}

impl Timeline {
    /// The clocks as they are.
    pub(crate) fn as_recorded(trace: &Outline) -> Self {
        Self {
            start_unix_nano: trace.start_unix_nano.clone(),
            end_unix_nano: trace.end_unix_nano.clone(),
            most_skew_nanos: 0,
        }
    }

    /// The clocks brought together.
    pub(crate) fn corrected(trace: &Outline) -> Self {
        let mut timeline = Self::as_recorded(trace);
        let offsets = timeline.offsets(trace);
        if offsets.is_empty() {
            return timeline;
        }
        // Parents come before their children, so a parent's total is known when a child needs it.
        let mut totals: Vec<i64> = vec![0; trace.len()];
        for row in trace.order.iter().copied() {
            let Some(parent) = trace.parent(row) else { continue };
            let processes = processes(trace, parent, row);
            let known = offsets.binary_search_by_key(&processes, |(known, _)| *known);
            let own = known.map_or(0, |place| offsets[place].1);
            totals[row] = totals[parent].saturating_add(own);
            timeline.start_unix_nano[row] = timeline.start_unix_nano[row].saturating_add_signed(totals[row]);
            timeline.end_unix_nano[row] = timeline.end_unix_nano[row].saturating_add_signed(totals[row]);
        }
        timeline
    }

    /// When a span started.
    pub(crate) fn start(&self, row: usize) -> u64 {
        self.start_unix_nano[row]
    }

    /// When it ended; may lie before the start.
    pub(crate) fn end(&self, row: usize) -> u64 {
        self.end_unix_nano[row]
    }

    /// By how much each callee's clock is to be moved against its caller's, where it is to be moved; sorted.
    fn offsets(&mut self, trace: &Outline) -> Vec<(Processes, i64)> {
        // What each call allows: the callee's start not before the caller's, its end not after.
        let mut calls: Vec<(Processes, i64, i64)> = Vec::new();
        for row in 0..trace.len() {
            let Some(parent) = trace.parent(row) else { continue };
            let (from, to) = processes(trace, parent, row);
            if from == to {
                continue;
            }
            let least = signed(self.start(parent), self.start(row));
            let most = signed(self.end(parent), self.end(row));
            // A message may be taken long after it was sent, and a callee may work on after its caller gave up: then
            // only the start says something.
            let is_message = trace.kind[row] == SpanKind::Consumer;
            let most = if is_message || most < least { i64::MAX } else { most };
            calls.push(((from, to), least, most));
        }
        calls.sort_unstable();
        let mut offsets = Vec::new();
        for calls in calls.chunk_by(|left, right| left.0 == right.0) {
            let least = calls.iter().map(|(_, least, _)| *least).max().unwrap_or(i64::MIN);
            let most = calls.iter().map(|(_, _, most)| *most).min().unwrap_or(i64::MAX);
            if least > 0 || most < 0 {
                // Where calls contradict each other, the clock stepped in between; the starts are believed.
                offsets.push((calls[0].0, if least > 0 || most < least { least } else { most }));
            }
        }
        self.most_skew_nanos = offsets.iter().map(|(_, offset)| offset.unsigned_abs()).max().unwrap_or(0);
        offsets
    }
}

/// Caller and callee.
type Processes = (ResourceId, ResourceId);

fn processes(trace: &Outline, parent: usize, row: usize) -> Processes {
    (trace.process[parent], trace.process[row])
}

/// `left - right`.
fn signed(left: u64, right: u64) -> i64 {
    i64::try_from(i128::from(left) - i128::from(right)).unwrap_or(if left > right { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critical_path::testing::{TraceBuilder, kind::*};
    use tracewell_model::Trace;

    fn times(trace: &Trace, name: &str) -> (u64, u64) {
        let row = (0..trace.len()).find(|row| trace.span(*row).name() == name).unwrap();
        let timeline = Timeline::corrected(&Outline::of(trace));
        (timeline.start(row), timeline.end(row))
    }

    #[test]
    fn a_callee_outside_its_caller_is_moved_by_the_least_that_fits_with_all_below() {
        let mut builder = TraceBuilder::default();
        let root = builder.span(0, "a", "root", SERVER, 1_000, 2_000);
        let call = builder.span(root, "a", "call", CLIENT, 1_100, 1_900);
        let serve = builder.span(call, "b", "serve", SERVER, 1_500, 2_200);
        builder.span(serve, "b", "query", CLIENT, 1_600, 1_700);
        let trace = builder.build();
        assert_eq!(times(&trace, "serve"), (1_200, 1_900));
        assert_eq!(times(&trace, "query"), (1_300, 1_400));
        let timeline = Timeline::corrected(&Outline::of(&trace));
        assert_eq!(timeline.most_skew_nanos, 300);
    }

    #[test]
    fn calls_between_the_same_processes_share_one_offset() {
        let mut builder = TraceBuilder::default();
        let root = builder.span(0, "a", "root", SERVER, 1_000, 3_000);
        let first = builder.span(root, "a", "first", CLIENT, 1_100, 1_900);
        builder.span(first, "b", "tight", SERVER, 1_000, 1_700);
        let second = builder.span(root, "a", "second", CLIENT, 2_000, 2_900);
        builder.span(second, "b", "loose", SERVER, 2_100, 2_200);
        let trace = builder.build();
        assert_eq!(times(&trace, "tight"), (1_100, 1_800));
        assert_eq!(times(&trace, "loose"), (2_200, 2_300));
    }

    #[test]
    fn clocks_that_agree_are_left_alone_and_so_is_a_callee_that_works_on() {
        let mut builder = TraceBuilder::default();
        let root = builder.span(0, "a", "root", SERVER, 1_000, 2_000);
        let call = builder.span(root, "a", "gave up", CLIENT, 1_100, 1_300);
        builder.span(call, "b", "works on", SERVER, 1_150, 9_000);
        let trace = builder.build();
        assert_eq!(times(&trace, "works on"), (1_150, 9_000));
        assert_eq!(Timeline::corrected(&Outline::of(&trace)).most_skew_nanos, 0);
    }
}

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

use std::collections::HashMap;

use tracewell_model::{ResourceId, SpanKind, Trace};

/// When the spans of a trace ran, by one clock: the root's.
#[derive(Clone, Debug)]
pub struct Timeline {
    start_unix_nano: Vec<u64>,
    end_unix_nano: Vec<u64>,
    /// How many calls were seen to lie outside their callers.
    pub corrected_calls: usize,
    /// The largest offset between two clocks.
    pub most_skew_nanos: u64,
}

impl Timeline {
    /// The clocks as they are.
    pub fn as_recorded(trace: &Trace) -> Self {
        let spans = trace.batch().spans();
        Self {
            start_unix_nano: spans.start_unix_nano.clone(),
            end_unix_nano: spans.end_unix_nano.clone(),
            corrected_calls: 0,
            most_skew_nanos: 0,
        }
    }

    /// The clocks brought together.
    pub fn corrected(trace: &Trace) -> Self {
        let mut timeline = Self::as_recorded(trace);
        let offsets = timeline.offsets(trace);
        if offsets.is_empty() {
            return timeline;
        }
        // Parents come before their children, so a parent's total is known when a child needs it.
        let mut totals: Vec<i64> = vec![0; trace.len()];
        for (row, _) in trace.depth_first() {
            let Some(parent) = trace.parent(row) else { continue };
            let own = offsets.get(&processes(trace, parent, row)).copied().unwrap_or(0);
            totals[row] = totals[parent].saturating_add(own);
            timeline.start_unix_nano[row] = timeline.start_unix_nano[row].saturating_add_signed(totals[row]);
            timeline.end_unix_nano[row] = timeline.end_unix_nano[row].saturating_add_signed(totals[row]);
        }
        timeline
    }

    /// When a span started.
    pub fn start(&self, row: usize) -> u64 {
        self.start_unix_nano[row]
    }

    /// When it ended; may lie before the start.
    pub fn end(&self, row: usize) -> u64 {
        self.end_unix_nano[row]
    }

    /// By how much each callee's clock is to be moved against its caller's.
    fn offsets(&mut self, trace: &Trace) -> HashMap<(ResourceId, ResourceId), i64> {
        // What each call allows: the callee's start not before the caller's, its end not after.
        let mut allowed: HashMap<(ResourceId, ResourceId), (i64, i64)> = HashMap::new();
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
            let is_message = trace.span(row).kind() == SpanKind::Consumer;
            let most = if is_message || most < least { i64::MAX } else { most };
            if least > 0 || most < 0 {
                self.corrected_calls += 1;
            }
            let range = allowed.entry((from, to)).or_insert((i64::MIN, i64::MAX));
            *range = (range.0.max(least), range.1.min(most));
        }
        allowed.retain(|_, (least, most)| *least > 0 || *most < 0);
        let offsets: HashMap<_, _> = allowed
            .into_iter()
            // Where calls contradict each other, the clock stepped in between; the starts are believed.
            .map(|(processes, (least, most))| (processes, if least > 0 || most < least { least } else { most }))
            .collect();
        self.most_skew_nanos = offsets.values().map(|offset| offset.unsigned_abs()).max().unwrap_or(0);
        offsets
    }
}

fn processes(trace: &Trace, parent: usize, row: usize) -> (ResourceId, ResourceId) {
    let resources = &trace.batch().spans().resource;
    (resources[parent], resources[row])
}

/// `left - right`.
fn signed(left: u64, right: u64) -> i64 {
    i64::try_from(i128::from(left) - i128::from(right)).unwrap_or(if left > right { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critical_path::testing::{TraceBuilder, kind::*};

    fn times(trace: &Trace, name: &str) -> (u64, u64) {
        let row = (0..trace.len()).find(|row| trace.span(*row).name() == name).unwrap();
        let timeline = Timeline::corrected(trace);
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
        let timeline = Timeline::corrected(&trace);
        assert_eq!((timeline.corrected_calls, timeline.most_skew_nanos), (1, 300));
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
        assert_eq!(Timeline::corrected(&trace).corrected_calls, 0);
    }
}

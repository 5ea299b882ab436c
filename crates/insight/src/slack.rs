//! Drag and slack: what a span costs the request, and what it could cost more without anybody noticing.

use tracewell_model::{SpanKind, Trace};

use crate::critical_path::path_nanos_on;
use crate::outline::Outline;
use crate::timeline::Timeline;

/// What a span means to the duration of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leeway {
    /// By how much the request would be shorter if the span took no time, with all below it. Less than its time on the
    /// critical path if something else ran beside it that would then be waited for.
    pub drag_nanos: u64,
    /// By how much longer the span could take before the request does. 0 on the critical path.
    pub slack_nanos: u64,
}

/// Drag and slack of each span, by row (after Devaux, "Total Project Control", 1999, and the critical path method's
/// float), by the clocks as they are, like [`critical_path`](crate::critical_path).
///
/// ```text
/// parent  ██░░░░░░░░░░░░██        first: drag 0, slack 4: until second ends, nobody waits for it
/// first     ██████                second: drag 4: without it, first would be waited for
/// second    ██████████
/// ```
///
/// What is waited for when is not recorded. It is taken that a parent waits for a child until it does something itself,
/// or starts another child.
pub fn leeway(trace: &Trace) -> Vec<Leeway> {
    let trace = &Outline::of(trace);
    let timeline = Timeline::as_recorded(trace);
    let mut path_nanos = path_nanos_on(trace, &timeline);
    for row in trace.order.iter().rev() {
        if let Some(parent) = trace.parent(*row) {
            path_nanos[parent] = path_nanos[parent].saturating_add(path_nanos[*row]);
        }
    }
    let mut siblings: Vec<Option<Siblings>> = vec![None; trace.len()];
    let mut leeway = vec![Leeway::default(); trace.len()];
    for row in trace.order.iter().copied() {
        let Some(parent) = trace.parent(row) else {
            leeway[row].drag_nanos = path_nanos[row];
            continue;
        };
        let siblings = siblings[parent].get_or_insert_with(|| Siblings::below(trace, &timeline, parent));
        let (start, end) = (timeline.start(row), timeline.end(row));
        if path_nanos[row] > 0 {
            let alone = end.saturating_sub(siblings.last_end_before(row, end).unwrap_or(start).max(start));
            leeway[row].drag_nanos = path_nanos[row].min(alone).min(leeway[parent].drag_nanos);
        } else if trace.kind[row] == SpanKind::Consumer {
            // Nobody waits for who takes a message.
            leeway[row].slack_nanos = u64::MAX;
        } else {
            let own = siblings.joined(end).min(timeline.end(parent)).saturating_sub(end);
            leeway[row].slack_nanos = own.saturating_add(leeway[parent].slack_nanos);
        }
    }
    leeway
}

/// The children of one span, so that each of many finds its neighbours at once.
#[derive(Clone)]
struct Siblings {
    /// Starts, and the latest end of those up to each.
    starts: Vec<u64>,
    latest_ends: Vec<u64>,
    /// Ends with their rows.
    ends: Vec<(u64, usize)>,
}

impl Siblings {
    fn below(trace: &Outline, timeline: &Timeline, parent: usize) -> Self {
        let mut times: Vec<(u64, u64)> =
            trace.children(parent).map(|child| (timeline.start(child), timeline.end(child))).collect();
        times.sort_unstable();
        let mut latest = 0;
        let latest_ends = times.iter().map(|(_, end)| {
            latest = latest.max(*end);
            latest
        });
        let latest_ends = latest_ends.collect();
        let takes_time = |child: &usize| timeline.start(*child) < timeline.end(*child);
        let ends = trace.children(parent).filter(takes_time).map(|child| (timeline.end(child), child));
        let mut ends: Vec<(u64, usize)> = ends.collect();
        ends.sort_unstable();
        Self { starts: times.into_iter().map(|(start, _)| start).collect(), latest_ends, ends }
    }

    /// When the last of the others ends that does so by a moment.
    fn last_end_before(&self, row: usize, moment: u64) -> Option<u64> {
        let count = self.ends.partition_point(|(end, _)| *end <= moment);
        self.ends[..count].iter().rev().find(|(_, other)| *other != row).map(|(end, _)| *end)
    }

    /// When the parent goes on after a moment: when all that ran then have ended, or the next one starts.
    fn joined(&self, moment: u64) -> u64 {
        let before = self.starts.partition_point(|start| *start < moment);
        let until = before.checked_sub(1).map_or(moment, |last| self.latest_ends[last]).max(moment);
        let next = self.starts.get(before).copied().unwrap_or(u64::MAX);
        if until > moment { until.min(next) } else { moment }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critical_path::testing::{TraceBuilder, kind::*};

    #[test]
    fn what_runs_beside_something_longer_has_slack_and_takes_from_its_drag() {
        let mut builder = TraceBuilder::default();
        let root = builder.span(0, "a", "root", SERVER, 0, 100);
        builder.span(root, "a", "short", CLIENT, 10, 50);
        builder.span(root, "a", "long", CLIENT, 10, 80);
        builder.span(root, "a", "after", CLIENT, 85, 95);
        let trace = builder.build();
        let leeway = leeway(&trace);
        let of = |name: &str| leeway[(0..trace.len()).find(|row| trace.span(*row).name() == name).unwrap()];
        assert_eq!(of("root"), Leeway { drag_nanos: 100, slack_nanos: 0 });
        assert_eq!(of("short"), Leeway { drag_nanos: 0, slack_nanos: 30 });
        assert_eq!(of("long"), Leeway { drag_nanos: 30, slack_nanos: 0 });
        assert_eq!(of("after"), Leeway { drag_nanos: 10, slack_nanos: 0 });
    }

    #[test]
    fn slack_adds_up_from_parent_to_child_and_a_message_has_no_end_of_it() {
        let mut builder = TraceBuilder::default();
        let root = builder.span(0, "a", "root", SERVER, 0, 100);
        builder.span(root, "a", "long", CLIENT, 0, 90);
        let short = builder.span(root, "a", "short", INTERNAL, 0, 40);
        builder.span(short, "a", "inner", CLIENT, 5, 30);
        let send = builder.span(root, "a", "send", PRODUCER, 92, 93);
        builder.span(send, "b", "process", CONSUMER, 95, 500);
        let trace = builder.build();
        let leeway = leeway(&trace);
        let of = |name: &str| leeway[(0..trace.len()).find(|row| trace.span(*row).name() == name).unwrap()];
        assert_eq!(of("short").slack_nanos, 50);
        assert_eq!(of("inner").slack_nanos, 50, "short itself goes on right after it");
        assert_eq!(of("process").slack_nanos, u64::MAX);
    }
}

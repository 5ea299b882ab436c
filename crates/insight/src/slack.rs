//! Drag and slack: what a span costs the request, and what it could cost more without anybody noticing.

use tracewell_model::{SpanKind, Trace};

use crate::critical_path::critical_path_on;
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
/// float), by corrected clocks.
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
    let timeline = Timeline::corrected(trace);
    let mut path_nanos = vec![0u64; trace.len()];
    for piece in critical_path_on(trace, &timeline) {
        path_nanos[piece.span] += piece.duration_nanos();
    }
    for row in trace.order.iter().rev() {
        if let Some(parent) = trace.parent(*row) {
            path_nanos[parent] += path_nanos[*row];
        }
    }
    let mut leeway = vec![Leeway::default(); trace.len()];
    for row in trace.order.iter().copied() {
        let is_on_path = path_nanos[row] > 0;
        let Some(parent) = trace.parent(row) else {
            leeway[row].drag_nanos = path_nanos[row];
            continue;
        };
        let (start, end) = (timeline.start(row), timeline.end(row));
        let others = || trace.children(parent).filter(|other| *other != row);
        if is_on_path {
            let beside = others()
                .filter(|other| timeline.start(*other) < end && timeline.end(*other) <= end)
                .map(|other| timeline.end(other))
                .max();
            let alone = end.saturating_sub(beside.unwrap_or(start).max(start));
            leeway[row].drag_nanos = path_nanos[row].min(alone).min(leeway[parent].drag_nanos);
        } else if trace.kind[row] == SpanKind::Consumer {
            // Nobody waits for who takes a message.
            leeway[row].slack_nanos = u64::MAX;
        } else {
            let joined = joined(trace, &timeline, parent, end);
            let own = joined.saturating_sub(end);
            leeway[row].slack_nanos = own.saturating_add(leeway[parent].slack_nanos);
        }
    }
    leeway
}

/// When the parent goes on after a moment: at the first gap between its children, or the first child that starts later.
fn joined(trace: &Outline, timeline: &Timeline, parent: usize, moment: u64) -> u64 {
    let mut now = moment;
    loop {
        let running = trace
            .children(parent)
            .filter(|child| timeline.start(*child) < moment && timeline.end(*child) > now)
            .map(|child| timeline.end(child))
            .max();
        let next = trace.children(parent).map(|child| timeline.start(child)).filter(|start| *start >= moment).min();
        let end = timeline.end(parent);
        match running {
            None => return now.min(end),
            Some(until) => {
                let until = next.map_or(until, |next| until.min(next)).min(end);
                if until <= now || next.is_some_and(|next| next <= until) {
                    return until;
                }
                now = until;
            }
        }
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

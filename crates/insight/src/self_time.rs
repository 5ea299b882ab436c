//! Self time.

use tracewell_model::{SpanKind, Trace};

use crate::outline::Outline;
use crate::timeline::Timeline;

/// How long each span did work of its own, by row, in nanoseconds: its duration minus the union of its children's
/// intervals clipped to it. 0 for a span that ends before it starts.
pub fn self_time_nanos(trace: &Trace) -> Vec<u64> {
    let outline = Outline::of(trace);
    let timeline = Timeline::as_recorded(&outline);
    (0..trace.len()).map(|row| uncovered_nanos(&timeline, row, trace.children(row))).collect()
}

/// Self time by the clock of a timeline.
pub(crate) fn self_time_on(trace: &Outline, timeline: &Timeline) -> Vec<u64> {
    let mut children = Vec::new();
    (0..trace.len())
        .map(|row| {
            children.clear();
            children.extend(trace.children(row));
            // A clock that was moved may have changed their order.
            children.sort_by_key(|child| timeline.start(*child));
            uncovered_nanos(timeline, row, children.iter().copied())
        })
        .collect()
}

/// Self time by the clock of a timeline, without what an internal span spends beside a call that started after it: where
/// a framework loses the context in asynchronous code, a span that waits for a call becomes the call's sibling.
///
/// ```text
/// GET /              ██──────────────────██
///   handle (internal)  ██░░░░░░░░░░░░░░░░          self time of handle: the blocks
///   POST (client)        ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒
/// ```
pub(crate) fn exclusive_nanos(trace: &Outline, timeline: &Timeline) -> Vec<u64> {
    let kinds = &trace.kind;
    (0..trace.len())
        .map(|row| {
            if kinds[row] != SpanKind::Internal {
                return uncovered_nanos(timeline, row, trace.children(row));
            }
            let calls_beside =
                trace.parent(row).into_iter().flat_map(|parent| trace.children(parent)).filter(|other| {
                    *other != row && kinds[*other] == SpanKind::Client && timeline.start(*other) >= timeline.start(row)
                });
            let mut calls_beside = calls_beside.peekable();
            if calls_beside.peek().is_none() {
                return uncovered_nanos(timeline, row, trace.children(row));
            }
            let mut inside: Vec<usize> = trace.children(row).chain(calls_beside).collect();
            inside.sort_by_key(|other| timeline.start(*other));
            uncovered_nanos(timeline, row, inside.into_iter())
        })
        .collect()
}

/// What of a span is not covered by others, which come by start.
fn uncovered_nanos(timeline: &Timeline, row: usize, others: impl Iterator<Item = usize>) -> u64 {
    let (start, end) = (timeline.start(row), timeline.end(row));
    let mut covered_nanos = 0;
    // They come by start, so what is covered so far always ends at one moment.
    let mut covered_until = start;
    for other in others {
        let other_end = timeline.end(other).min(end);
        let other_start = timeline.start(other).max(covered_until);
        if other_end > other_start {
            covered_nanos += other_end - other_start;
            covered_until = other_end;
        }
    }
    end.saturating_sub(start) - covered_nanos
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critical_path::testing::{TraceBuilder, kind::*};

    #[test]
    fn overlapping_children_count_once_and_what_lies_outside_not_at_all() {
        let mut builder = TraceBuilder::default();
        let root = builder.span(0, "a", "root", INTERNAL, 100, 200);
        builder.span(root, "a", "left", INTERNAL, 110, 150);
        builder.span(root, "a", "inside left", INTERNAL, 120, 130);
        builder.span(root, "a", "overlaps left", INTERNAL, 140, 160);
        builder.span(root, "a", "outlives the root", INTERNAL, 190, 500);
        builder.span(root, "a", "before the root", INTERNAL, 10, 20);
        builder.span(root, "a", "backwards", INTERNAL, 180, 170);
        let trace = builder.build();
        let root = trace.root().unwrap().row();
        assert_eq!(self_time_nanos(&trace)[root], 100 - 50 - 10);
        let leaf = (0..trace.len()).find(|row| trace.span(*row).name() == "outlives the root").unwrap();
        assert_eq!(self_time_nanos(&trace)[leaf], 310);
        let backwards = (0..trace.len()).find(|row| trace.span(*row).name() == "backwards").unwrap();
        assert_eq!(self_time_nanos(&trace)[backwards], 0);
    }

    #[test]
    fn an_internal_span_beside_a_call_that_it_waits_for_has_only_the_rest() {
        let mut builder = TraceBuilder::default();
        let root = builder.span(0, "a", "root", SERVER, 0, 100);
        builder.span(root, "a", "handle", INTERNAL, 10, 90);
        builder.span(root, "a", "POST", CLIENT, 20, 95);
        let trace = builder.build();
        let handle = (0..trace.len()).find(|row| trace.span(*row).name() == "handle").unwrap();
        let outline = Outline::of(&trace);
        assert_eq!(exclusive_nanos(&outline, &Timeline::corrected(&outline))[handle], 10);
        assert_eq!(self_time_nanos(&trace)[handle], 80);
    }
}

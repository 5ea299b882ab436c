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
///
/// Takes O(n log n) for n spans, however many of them are siblings.
pub(crate) fn exclusive_nanos(trace: &Outline, timeline: &Timeline) -> Vec<u64> {
    let mut nanos: Vec<u64> = (0..trace.len()).map(|row| uncovered_nanos(timeline, row, trace.children(row))).collect();
    for parent in 0..trace.len() {
        let latest_first = |kind: SpanKind| {
            let mut rows: Vec<usize> = trace.children(parent).filter(|row| trace.kind[*row] == kind).collect();
            rows.sort_by_key(|row| std::cmp::Reverse(timeline.start(*row)));
            rows
        };
        if trace.children(parent).len() < 2 {
            continue;
        }
        let mut calls = latest_first(SpanKind::Client).into_iter().peekable();
        if calls.peek().is_none() {
            continue;
        }
        let mut covered = Covered::default();
        for row in latest_first(SpanKind::Internal) {
            while let Some(call) = calls.next_if(|call| timeline.start(*call) >= timeline.start(row)) {
                covered.add_before(timeline.start(call), timeline.end(call));
            }
            if !covered.parts.is_empty() {
                nanos[row] = uncovered_beside(trace, timeline, row, &covered);
            }
        }
    }
    nanos
}

/// What of a span is covered neither by its children nor by what else is.
fn uncovered_beside(trace: &Outline, timeline: &Timeline, row: usize, covered: &Covered) -> u64 {
    let (start, end) = (timeline.start(row), timeline.end(row));
    let mut children: Vec<(u64, u64)> =
        trace.children(row).map(|child| (timeline.start(child), timeline.end(child).min(end))).collect();
    children.sort_unstable();
    let mut uncovered_nanos = 0;
    let mut now = start;
    for (child_start, child_end) in children.into_iter().chain([(end, end)]) {
        let gap_end = child_start.clamp(now, end.max(now));
        uncovered_nanos += gap_end - now - covered.nanos_between(now, gap_end);
        now = gap_end.max(child_end);
    }
    uncovered_nanos
}

/// Stretches of time, disjoint, the latest first.
#[derive(Default)]
struct Covered {
    parts: Vec<Part>,
}

struct Part {
    start: u64,
    end: u64,
    /// What all later parts take together.
    later_nanos: u64,
}

impl Covered {
    /// Adds a stretch that starts before all others, or with the first.
    fn add_before(&mut self, start: u64, mut end: u64) {
        if end <= start {
            return;
        }
        while let Some(reached) = self.parts.pop_if(|part| part.start <= end) {
            end = end.max(reached.end);
        }
        let later_nanos = self.parts.last().map_or(0, |part| part.later_nanos + (part.end - part.start));
        self.parts.push(Part { start, end, later_nanos });
    }

    fn nanos_between(&self, from: u64, to: u64) -> u64 {
        self.nanos_after(from) - self.nanos_after(to)
    }

    fn nanos_after(&self, moment: u64) -> u64 {
        let after = self.parts.partition_point(|part| part.end > moment);
        let first = after.checked_sub(1).map(|place| &self.parts[place]);
        first.map_or(0, |part| part.later_nanos + (part.end - part.start.max(moment)))
    }
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

    /// The same by looking at all siblings of each span.
    fn exclusive_one_by_one(trace: &Outline, timeline: &Timeline) -> Vec<u64> {
        let inside = |row: usize| {
            let beside = trace.parent(row).into_iter().flat_map(|parent| trace.children(parent)).filter(|other| {
                trace.kind[row] == SpanKind::Internal
                    && trace.kind[*other] == SpanKind::Client
                    && timeline.start(*other) >= timeline.start(row)
            });
            let mut inside: Vec<usize> = trace.children(row).chain(beside).collect();
            inside.sort_by_key(|other| timeline.start(*other));
            inside
        };
        (0..trace.len()).map(|row| uncovered_nanos(timeline, row, inside(row).into_iter())).collect()
    }

    proptest::proptest! {
        #[test]
        fn calls_beside_are_found_as_by_looking_at_all_siblings(
            spans in proptest::collection::vec((0_usize..4, 0_u64..100, 0_u64..60, 0_u8..20, proptest::bool::ANY), 1..40),
        ) {
            let mut builder = TraceBuilder::default();
            let mut parents = vec![builder.span(0, "a", "root", SERVER, 0, 100)];
            for (parent, start, length, is_backwards, is_internal) in spans {
                let end = if is_backwards == 0 { start.saturating_sub(length) } else { start + length };
                let kind = if is_internal { INTERNAL } else { CLIENT };
                parents.push(builder.span(parents[parent.min(parents.len() - 1)], "a", "span", kind, start, end));
            }
            let outline = Outline::of(&builder.build());
            let timeline = Timeline::as_recorded(&outline);
            proptest::prop_assert_eq!(
                exclusive_nanos(&outline, &timeline),
                exclusive_one_by_one(&outline, &timeline)
            );
        }
    }

    #[test]
    fn a_hundred_thousand_siblings_are_no_trouble() {
        let mut builder = TraceBuilder::default();
        let root = builder.span(0, "a", "root", SERVER, 0, 1_000_000);
        for start in 0..100_000 {
            builder.span(root, "a", "span", if start % 2 == 0 { INTERNAL } else { CLIENT }, start, 1_000_000);
        }
        let outline = Outline::of(&builder.build());
        let nanos = exclusive_nanos(&outline, &Timeline::as_recorded(&outline));
        // Each works alone until the next call.
        assert_eq!(nanos.iter().filter(|nanos| **nanos == 1).count(), 50_000);
    }
}

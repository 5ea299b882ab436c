//! Self time.

use tracewell_model::Trace;

/// How long each span did work of its own, by row, in nanoseconds: its duration minus the union of its children's
/// intervals clipped to it. 0 for a span that ends before it starts.
pub fn self_time_nanos(trace: &Trace) -> Vec<u64> {
    (0..trace.len())
        .map(|row| {
            let span = trace.span(row);
            let (start, end) = (span.start_unix_nano(), span.end_unix_nano());
            let mut covered_nanos = 0;
            // Children come by start, so what is covered so far always ends at one moment.
            let mut covered_until = start;
            for child in trace.children(row).map(|child| trace.span(child)) {
                let child_end = child.end_unix_nano().min(end);
                let child_start = child.start_unix_nano().max(covered_until);
                if child_end > child_start {
                    covered_nanos += child_end - child_start;
                    covered_until = child_end;
                }
            }
            span.duration_nanos() - covered_nanos
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critical_path::testing::{TraceBuilder, kind::INTERNAL};

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
}

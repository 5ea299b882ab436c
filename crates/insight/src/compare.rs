//! Traces side by side, by structure: call paths are aligned, so that the same operation called from two places is two
//! rows, and one that is missing on a side is seen to be.

use std::collections::BTreeMap;

use tracewell_model::{SpanKind, Trace};

use crate::critical_path::critical_path_on;
use crate::outline::Outline;
use crate::self_time::exclusive_nanos;
use crate::timeline::Timeline;

/// One call path on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparedPath {
    /// How deep it is; 0 is a root.
    pub depth: usize,
    /// The service.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// The kind of its spans.
    pub kind: SpanKind,
    /// What the first traces did there.
    pub first: PathStats,
    /// What the second ones did.
    pub second: PathStats,
}

/// What traces did at a call path; each a mean over all traces of a side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathStats {
    /// Spans a trace.
    pub calls: f64,
    /// Their durations a trace, in nanoseconds.
    pub duration_nanos: f64,
    /// Of these, work of their own.
    pub self_nanos: f64,
    /// Of the critical path, what is theirs without what is below.
    pub critical_nanos: f64,
    /// Spans that failed a trace.
    pub errors: f64,
}

/// Compares two traces, or two sets of traces. The rows come parents first, and children in the order in which they begin.
pub fn compare(first: &[Trace], second: &[Trace]) -> Vec<ComparedPath> {
    let mut tree = Tree::default();
    for (side, traces) in [first, second].into_iter().enumerate() {
        for trace in traces {
            tree.add(trace, side, 1.0 / traces.len() as f64);
        }
    }
    tree.rows()
}

type Step = (String, String, SpanKind);

#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    roots: BTreeMap<Step, usize>,
}

struct Node {
    step: Step,
    children: BTreeMap<Step, usize>,
    sides: [PathStats; 2],
    /// When it begins after its root, summed over its spans.
    begins: f64,
    spans: f64,
}

impl Tree {
    fn add(&mut self, trace: &Trace, side: usize, part: f64) {
        let outline = Outline::of(trace);
        let timeline = Timeline::corrected(&outline);
        let own = exclusive_nanos(&outline, &timeline);
        let mut path = vec![0; trace.len()];
        for piece in critical_path_on(&outline, &timeline) {
            path[piece.span] += piece.duration_nanos();
        }
        let mut nodes = vec![0; trace.len()];
        for (row, _) in trace.depth_first() {
            let span = trace.span(row);
            let step = (span.service().to_owned(), span.name().to_owned(), span.kind());
            let parent = trace.parent(row).map(|parent| nodes[parent]);
            let node = self.node(parent, step);
            nodes[row] = node;
            let node = &mut self.nodes[node];
            node.begins += timeline.start(row).saturating_sub(trace.start_unix_nano()) as f64;
            node.spans += 1.0;
            let stats = &mut node.sides[side];
            stats.calls += part;
            stats.duration_nanos += part * span.duration_nanos() as f64;
            stats.self_nanos += part * own[row] as f64;
            stats.critical_nanos += part * path[row] as f64;
            stats.errors += part * f64::from(span.is_error());
        }
    }

    fn node(&mut self, parent: Option<usize>, step: Step) -> usize {
        let next = self.nodes.len();
        let siblings = match parent {
            Some(parent) => &mut self.nodes[parent].children,
            None => &mut self.roots,
        };
        if let Some(known) = siblings.get(&step) {
            return *known;
        }
        siblings.insert(step.clone(), next);
        self.nodes.push(Node { step, children: BTreeMap::new(), sides: Default::default(), begins: 0.0, spans: 0.0 });
        next
    }

    fn rows(&self) -> Vec<ComparedPath> {
        let in_order = |siblings: &BTreeMap<Step, usize>| {
            let mut nodes: Vec<usize> = siblings.values().copied().collect();
            let begin = |node: &usize| self.nodes[*node].begins / self.nodes[*node].spans;
            // The last comes first off the stack.
            nodes.sort_by(|left, right| begin(right).total_cmp(&begin(left)));
            nodes
        };
        let mut rows = Vec::with_capacity(self.nodes.len());
        let mut stack: Vec<(usize, usize)> = in_order(&self.roots).into_iter().map(|node| (node, 0)).collect();
        while let Some((number, depth)) = stack.pop() {
            let node = &self.nodes[number];
            let (service, operation, kind) = node.step.clone();
            rows.push(ComparedPath { depth, service, operation, kind, first: node.sides[0], second: node.sides[1] });
            stack.extend(in_order(&node.children).into_iter().map(|child| (child, depth + 1)));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::critical_path::testing::{TraceBuilder, kind::*};

    fn request(id: u128, queries: u64) -> Trace {
        let mut builder = TraceBuilder::new(id);
        let root = builder.span(0, "api", "GET /", SERVER, 0, 100 * (queries + 2));
        builder.span(root, "api", "check", INTERNAL, 10, 20);
        for query in 0..queries {
            builder.span(root, "api", "SELECT", CLIENT, 100 * (query + 1), 100 * (query + 1) + 50);
        }
        builder.build()
    }

    #[test]
    fn call_paths_are_aligned_and_what_one_side_lacks_is_seen() {
        let mut other = TraceBuilder::new(3);
        let root = other.span(0, "api", "GET /", SERVER, 0, 500);
        let check = other.span(root, "api", "check", INTERNAL, 10, 20);
        other.span(check, "api", "SELECT", CLIENT, 12, 15);
        let rows = compare(&[request(1, 1), request(2, 3)], &[other.build()]);
        let words: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {} {} {}", row.depth, row.operation, row.first.calls, row.second.calls))
            .collect();
        assert_eq!(words, ["0 GET / 1 1", "1 check 1 1", "2 SELECT 0 1", "1 SELECT 2 0"]);
        assert!((rows[3].first.duration_nanos - 100.0).abs() < 1e-9);
        let critical: f64 = rows.iter().map(|row| row.second.critical_nanos).sum();
        assert!((critical - 500.0).abs() < 1e-9, "the critical path is divided without rest");
    }
}

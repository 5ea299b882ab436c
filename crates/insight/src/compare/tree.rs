//! The call paths of both sides in one tree.

use std::collections::BTreeMap;

use tracewell_model::{SpanKind, SpanRef};

use super::{ComparedPath, PathStats};
use crate::symbols::Symbols;

#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) most: usize,
    known: BTreeMap<(Option<usize>, Step), usize>,
    names: Symbols,
}

/// Service, operation and kind.
type Step = (u32, u32, SpanKind);

#[derive(Clone, Debug)]
pub(super) struct Node {
    parent: Option<usize>,
    step: Step,
    /// Sums over all traces.
    pub(super) sides: [PathStats; 2],
    pub(super) longest_nanos: [u64; 2],
    /// When it begins after its root, summed over its spans.
    pub(super) begins_nanos: f64,
    pub(super) spans: f64,
}

impl Tree {
    pub(super) fn new(most: usize) -> Self {
        Self { nodes: Vec::new(), most, known: BTreeMap::new(), names: Symbols::default() }
    }

    /// The node of a span below one (a root has none; a parent that was left out is `Some(None)`). `None` if there are too
    /// many.
    pub(super) fn node(&mut self, parent: Option<Option<usize>>, span: SpanRef<'_>) -> Option<usize> {
        if parent == Some(None) {
            return None;
        }
        let parent = parent.flatten();
        // Names are kept only of what is: what is left out must not grow.
        if self.nodes.len() >= self.most {
            let step = (self.names.find(span.service())?, self.names.find(span.name())?, span.kind());
            return self.known.get(&(parent, step)).copied();
        }
        let step = (self.names.intern(span.service()), self.names.intern(span.name()), span.kind());
        Some(*self.known.entry((parent, step)).or_insert_with(|| {
            self.nodes.push(Node {
                parent,
                step,
                sides: Default::default(),
                longest_nanos: [0; 2],
                begins_nanos: 0.0,
                spans: 0.0,
            });
            self.nodes.len() - 1
        }))
    }

    /// All paths, each figure divided by the number of its side's traces.
    pub(super) fn paths(&self, traces: [usize; 2]) -> Vec<ComparedPath> {
        let mut roots = Vec::new();
        let mut children = vec![Vec::new(); self.nodes.len()];
        for (number, node) in self.nodes.iter().enumerate() {
            node.parent.map_or(&mut roots, |parent| &mut children[parent]).push(number);
        }
        let begin = |node: &usize| self.nodes[*node].begins_nanos / self.nodes[*node].spans;
        for siblings in children.iter_mut().chain([&mut roots]) {
            // The last comes first off the stack; names decide between those that begin at once.
            siblings.sort_by(|left, right| {
                let names = |node: &usize| self.names_of(self.nodes[*node].step);
                begin(right).total_cmp(&begin(left)).then_with(|| names(right).cmp(&names(left)))
            });
        }
        let mut paths = Vec::with_capacity(self.nodes.len());
        let mut stack: Vec<(usize, Option<usize>, usize)> = roots.into_iter().map(|node| (node, None, 0)).collect();
        while let Some((number, parent, depth)) = stack.pop() {
            let node = &self.nodes[number];
            let (service, operation, kind) = self.names_of(node.step);
            stack.extend(children[number].iter().map(|child| (*child, Some(paths.len()), depth + 1)));
            paths.push(ComparedPath {
                parent,
                depth,
                service: service.to_owned(),
                operation: operation.to_owned(),
                kind,
                sides: [0, 1].map(|side| node.sides[side].over(traces[side])),
            });
        }
        paths
    }

    fn names_of(&self, (service, operation, kind): Step) -> (&str, &str, SpanKind) {
        (self.names.text(service), self.names.text(operation), kind)
    }
}

impl PathStats {
    fn over(self, traces: usize) -> Self {
        let traces = traces.max(1) as f64;
        Self {
            calls: self.calls / traces,
            duration_nanos: self.duration_nanos / traces,
            self_nanos: self.self_nanos / traces,
            critical_nanos: self.critical_nanos / traces,
            errors: self.errors / traces,
            longest: self.longest,
        }
    }
}

//! The critical path of one trace.
//!
//! The walk goes backwards from the root's end, as Uber's CRISP does (Zhang et al., "CRISP: Critical Path Analysis of
//! Large-Scale Microservice Architectures", USENIX ATC 2022) and, after it, Jaeger's UI: the child that finished last
//! is what its parent was waiting for; before that child's start, the one that finished last before it; where no child
//! was running, the parent itself was at work.
//!
//! ```text
//! root   ████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒██      █ on the path, as itself
//! first      █████·                  ▒ waits for a child
//! second        ···█████████         · runs, but nobody waits for it
//!            (second finished last; of first, only what lies before second's start)
//! ```
//!
//! It differs from CRISP where siblings overlap: CRISP drops a sibling that was still running when the next one
//! started, and charges its time to the parent. Here the sibling keeps the part before. Clocks are not that exact: two
//! calls made one after the other often overlap by some microseconds, and dropping the first would blame the parent.

use tracewell_model::{SpanKind, Trace};

use crate::outline::Outline;
use crate::timeline::Timeline;

/// A stretch of time in which the request was waiting for one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The span's row in the trace.
    pub span: usize,
    /// Where the piece starts, in Unix nanoseconds.
    pub start_unix_nano: u64,
    /// Where it ends, in Unix nanoseconds; always after the start.
    pub end_unix_nano: u64,
    /// Whose time it is.
    pub kind: PieceKind,
}

impl Piece {
    /// How long it is.
    pub fn duration_nanos(&self) -> u64 {
        self.end_unix_nano - self.start_unix_nano
    }
}

/// Whose time a [`Piece`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PieceKind {
    /// The span's own work, or work in it that nothing finer records.
    SelfTime,
    /// Time between two services: the caller's span was open, the callee's was not. Network, queues, TLS, proxies. It
    /// runs from the piece's span to the span in row `remote`.
    Edge {
        /// The row of the callee's span.
        remote: usize,
    },
    /// Waiting for something that records no spans of its own: a database, a cache, a third party.
    External,
}

/// What the request was waiting for, from the root span's start to its end: pieces sorted by time, disjoint, without
/// holes. Empty for a trace that is empty or whose root takes no time.
///
/// - Only the main root ([`Trace::root`]) has a path: spans under other roots cannot be placed in it.
/// - Children are clipped to their parents. A child that outlives its parent counts up to the parent's end, but a
///   consumer that outlives the producer of its message does not count: nobody waited for it.
/// - Clocks are taken as they are, so that the path can be drawn over the spans as recorded: a child that another
///   host's clock puts wholly outside its parent is left out, and its time stays with the parent (on an edge, if the
///   parent is a client).
///
/// Takes O(n log n) for n spans and no recursion.
pub fn critical_path(trace: &Trace) -> Vec<Piece> {
    let outline = Outline::of(trace);
    critical_path_on(&outline, &Timeline::as_recorded(&outline))
}

/// The critical path by the clock of a timeline; otherwise as [`critical_path`].
pub(crate) fn critical_path_on(trace: &Outline, timeline: &Timeline) -> Vec<Piece> {
    let Some(root) = trace.root() else { return Vec::new() };
    let mut pieces: Vec<Piece> = Vec::new();
    let (start, end) = (timeline.start(root), timeline.end(root));
    let mut walks = vec![Walk::new(trace, timeline, root, start, end)];
    while let Some(walk) = walks.last_mut() {
        let step = walk.step(timeline);
        let (span, kind) = (walk.span, walk.kind);
        match step {
            Step::Own { start, end } => match pieces.last_mut() {
                // Pieces arrive latest first, so a neighbour of the same span is extended to the left.
                Some(last) if last.span == span && last.start_unix_nano == end => last.start_unix_nano = start,
                _ => pieces.push(Piece { span, start_unix_nano: start, end_unix_nano: end, kind }),
            },
            Step::Child { row, start, end } => walks.push(Walk::new(trace, timeline, row, start, end)),
            Step::Done => {
                walks.pop();
            }
        }
    }
    pieces.reverse();
    pieces
}

/// How much of the critical path is each span's, by row.
pub(crate) fn path_nanos_on(trace: &Outline, timeline: &Timeline) -> Vec<u64> {
    let mut nanos: Vec<u64> = vec![0; trace.len()];
    for piece in critical_path_on(trace, timeline) {
        nanos[piece.span] = nanos[piece.span].saturating_add(piece.duration_nanos());
    }
    nanos
}

/// Backwards through one span, within the window in which it is on the path.
struct Walk {
    span: usize,
    kind: PieceKind,
    /// The window's start.
    start: u64,
    /// What lies from here on is done.
    now: u64,
    /// Children not yet met, the one that finishes last at the end.
    children: Vec<usize>,
}

enum Step {
    Own { start: u64, end: u64 },
    Child { row: usize, start: u64, end: u64 },
    Done,
}

impl Walk {
    fn new(trace: &Outline, timeline: &Timeline, row: usize, start: u64, end: u64) -> Self {
        let mut children: Vec<usize> = trace
            .children(row)
            .filter(|child| {
                let (child_start, child_end) = (timeline.start(*child), timeline.end(*child));
                let takes_time_inside = child_start.max(start) < child_end.min(end) && child_end > child_start;
                let is_left_behind = trace.kind[*child] == SpanKind::Consumer && child_end > timeline.end(row);
                takes_time_inside && !is_left_behind
            })
            .collect();
        children.sort_by_key(|child| timeline.end(*child));
        Self { span: row, kind: kind_of(trace, row), start, now: end, children }
    }

    fn step(&mut self, timeline: &Timeline) -> Step {
        if self.now <= self.start {
            return Step::Done;
        }
        // Of the children running now, the one that started first explains the most. One that starts at or after now is
        // done with: now only moves back.
        let mut running: Option<(u64, usize)> = None;
        while let Some(child) = self.children.last().copied() {
            if timeline.start(child) >= self.now {
                self.children.pop();
            } else if timeline.end(child) >= self.now {
                self.children.pop();
                running = running.into_iter().chain([(timeline.start(child), child)]).min();
            } else {
                break;
            }
        }
        let end = self.now;
        if let Some((start, row)) = running {
            self.now = start.max(self.start);
            return Step::Child { row, start: self.now, end };
        }
        self.now = self.children.last().map_or(self.start, |child| timeline.end(*child).max(self.start));
        Step::Own { start: self.now, end }
    }
}

/// Whose time a span's self time is.
pub(crate) fn kind_of(trace: &Outline, row: usize) -> PieceKind {
    let calls_out = |row: usize| matches!(trace.kind[row], SpanKind::Client | SpanKind::Producer);
    let serves = |row: usize| matches!(trace.kind[row], SpanKind::Server | SpanKind::Consumer);
    if !calls_out(row) && (serves(row) || !trace.is_database[row]) {
        return PieceKind::SelfTime;
    }
    // A server span in the same service is a call to itself, over the network like any other.
    let remote = trace.children(row).find(|child| trace.service[*child] != trace.service[row] || serves(*child));
    if let Some(remote) = remote {
        return if calls_out(row) { PieceKind::Edge { remote } } else { PieceKind::SelfTime };
    }
    // A client span around another one (an RPC library on an HTTP library) only prepares the call.
    let is_wrapper = trace.children(row).any(|child| calls_out(child) || trace.is_database[child]);
    if is_wrapper { PieceKind::SelfTime } else { PieceKind::External }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

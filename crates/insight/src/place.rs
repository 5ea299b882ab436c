//! Where the time of a critical path belongs.

use std::collections::HashMap;

use tracewell_model::{SpanKind, SpanRef, Trace, ValueRef};

use crate::critical_path::{DATABASE_KEYS, PieceKind, critical_path};

/// Where time is spent, named so that the same place in two traces is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place<'a> {
    /// A service's own work.
    Own { service: &'a str, operation: &'a str },
    /// Between two services.
    Edge { from: &'a str, to: &'a str, operation: &'a str },
    /// A service waiting for something that records no spans; `target` names it as well as the span does.
    External { service: &'a str, target: &'a str, operation: &'a str },
}

/// The places on one trace's critical path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile<'a> {
    /// The places with their nanoseconds and how many spans contributed, in a fixed order.
    pub(crate) places: Vec<(Place<'a>, Spent)>,
    /// The path's length: the root's duration.
    pub(crate) total_nanos: u64,
}

/// Time at a place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) nanos: u64,
    pub(crate) spans: u64,
}

/// Sums up the critical path of a trace by place.
pub(crate) fn profile(trace: &Trace) -> Profile<'_> {
    let pieces = critical_path(trace);
    let mut places: HashMap<Place<'_>, Spent> = HashMap::new();
    let mut seen = vec![false; trace.len()];
    for piece in &pieces {
        let spent = places.entry(place_of(trace, piece.span, piece.kind)).or_default();
        spent.nanos += piece.duration_nanos();
        spent.spans += u64::from(!std::mem::replace(&mut seen[piece.span], true));
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_unstable_by_key(|(place, _)| *place);
    Profile { places, total_nanos: pieces.iter().map(|piece| piece.duration_nanos()).sum() }
}

fn place_of(trace: &Trace, row: usize, kind: PieceKind) -> Place<'_> {
    let span = trace.span(row);
    let (service, operation) = (span.service(), span.name());
    match kind {
        PieceKind::SelfTime => Place::Own { service, operation },
        PieceKind::Edge { remote } => {
            let remote = trace.span(remote);
            // The callee's name says more: a client span is often called only "GET".
            Place::Edge { from: service, to: remote.service(), operation: remote.name() }
        }
        PieceKind::External => Place::External { service, target: target_of(span), operation },
    }
}

/// Attributes that name what a client span calls, the most telling first (OpenTelemetry semantic conventions, current
/// names before older ones).
const TARGET_KEYS: [&str; 7] = [
    DATABASE_KEYS[0],
    DATABASE_KEYS[1],
    "messaging.system",
    "peer.service",
    "server.address",
    "net.peer.name",
    "rpc.service",
];

fn target_of(span: SpanRef<'_>) -> &str {
    let attributes = span.attributes();
    TARGET_KEYS
        .iter()
        .find_map(|key| match attributes.get(key) {
            Some(ValueRef::Str(target)) if !target.is_empty() => Some(target),
            _ => None,
        })
        .unwrap_or_default()
}

/// What kind of request a trace is: traces are compared only with traces of the same entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry<'a> {
    /// The root's service and operation.
    pub(crate) root: (&'a str, &'a str),
    /// Behind a root that only passes the request on (a gateway, whose one operation is often `/*`): the service and
    /// operation that it passes it to.
    pub(crate) behind: Option<(&'a str, &'a str)>,
}

impl<'a> Entry<'a> {
    /// The entry of a trace; `None` if it is empty.
    pub(crate) fn of(trace: &'a Trace) -> Option<Self> {
        let root = trace.root()?;
        let mut behind = None;
        let mut row = root.row();
        while let Some(child) = only(trace.children(row)) {
            let span = trace.span(child);
            if span.service() != root.service() && span.kind() == SpanKind::Server {
                behind = Some((span.service(), span.name()));
                break;
            }
            row = child;
        }
        Some(Self { root: (root.service(), root.name()), behind })
    }

    /// The same without what lies behind the root.
    pub(crate) fn coarse(self) -> Self {
        Self { behind: None, ..self }
    }
}

fn only(mut items: impl Iterator<Item = usize>) -> Option<usize> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

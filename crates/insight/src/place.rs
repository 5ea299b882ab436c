//! Where time is spent, named so that the same place in two traces is equal.

use std::collections::HashMap;

use tracewell_model::{SpanKind, SpanRef, Trace, ValueRef};

use crate::critical_path::{DATABASE_KEYS, PieceKind, kind_of};
use crate::symbols::Symbols;

/// A place, in numbers of [`Places`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// A service's own work.
    Own { service: u32, operation: u32 },
    /// A service waiting in itself, for a lock or a pool.
    Waiting { service: u32, operation: u32 },
    /// Between two services.
    Edge { from: u32, to: u32, operation: u32 },
    /// A service waiting for something that records no spans; `target` names it as well as the span does.
    External { service: u32, target: u32, operation: u32 },
}

impl Place {
    /// The service whose spans show it.
    pub(crate) fn service(self) -> u32 {
        match self {
            Self::Own { service, .. } | Self::Waiting { service, .. } | Self::External { service, .. } => service,
            Self::Edge { from, .. } => from,
        }
    }

    /// The operation; of an edge, the callee's.
    pub(crate) fn operation(self) -> u32 {
        match self {
            Self::Own { operation, .. }
            | Self::Waiting { operation, .. }
            | Self::External { operation, .. }
            | Self::Edge { operation, .. } => operation,
        }
    }
}

/// All places met so far, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) symbols: Symbols,
    ids: HashMap<Place, u32, foldhash::fast::RandomState>,
    places: Vec<Place>,
}

impl Places {
    /// The place with this number.
    pub(crate) fn get(&self, id: u32) -> Place {
        self.places[id as usize]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// A string by number.
    pub(crate) fn text(&self, symbol: u32) -> &str {
        self.symbols.text(symbol)
    }

    fn id(&mut self, place: Place) -> u32 {
        if let Some(id) = self.ids.get(&place) {
            return *id;
        }
        let id = self.places.len() as u32;
        self.places.push(place);
        self.ids.insert(place, id);
        id
    }

    /// The place of each span of a trace, by row.
    pub(crate) fn of_rows(&mut self, trace: &Trace) -> Vec<u32> {
        // A trace has few strings and many spans.
        let mut known: Vec<Option<u32>> = vec![None; trace.batch().strings().len()];
        let columns = trace.batch().spans();
        let resources = trace.batch().resources();
        (0..trace.len())
            .map(|row| {
                let mut symbol = |row: usize, is_service: bool| {
                    let id =
                        if is_service { resources[columns.resource[row].index()].service } else { columns.name[row] };
                    let place = &mut known[id.index()];
                    *place.get_or_insert_with(|| self.symbols.intern(trace.batch().string(id)))
                };
                let (service, operation) = (symbol(row, true), symbol(row, false));
                let place = match kind_of(trace, row) {
                    PieceKind::SelfTime if is_waiting(trace.span(row)) => Place::Waiting { service, operation },
                    PieceKind::SelfTime => Place::Own { service, operation },
                    // The callee's name says more: a client span is often called only "GET".
                    PieceKind::Edge { remote } => {
                        Place::Edge { from: service, to: symbol(remote, true), operation: symbol(remote, false) }
                    }
                    PieceKind::External => {
                        Place::External { service, target: self.symbols.intern(target_of(trace.span(row))), operation }
                    }
                };
                self.id(place)
            })
            .collect()
    }
}

/// Words that programmers use for spans in which nothing happens but waiting.
const WAITING_WORDS: [&str; 13] = [
    "acquire",
    "acquiring",
    "wait",
    "waiting",
    "await",
    "lock",
    "locked",
    "mutex",
    "semaphore",
    "pool",
    "queue",
    "queued",
    "blocked",
];

/// Whether an internal span is waiting for a lock, a pool or a queue, going by its name: there is no attribute for it.
fn is_waiting(span: SpanRef<'_>) -> bool {
    if !matches!(span.kind(), SpanKind::Internal | SpanKind::Unspecified) {
        return false;
    }
    let is_word = |word: &str| WAITING_WORDS.iter().any(|waiting| word.eq_ignore_ascii_case(waiting));
    span.name().split(|letter: char| !letter.is_ascii_alphabetic()).any(is_word)
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
        // A framework may wrap the way on in a span of its own, beside the call: of the children, one leads elsewhere.
        while let Some(child) = only(trace, row) {
            let span = trace.span(child);
            if span.service() != root.service() && span.kind() == SpanKind::Server {
                behind = Some((span.service(), span.name()));
                break;
            }
            row = child;
        }
        Some(Self { root: (root.service(), root.name()), behind })
    }
}

/// The only child, leaving out internal ones without children of their own.
fn only(trace: &Trace, row: usize) -> Option<usize> {
    let leads_on = |child: &usize| trace.span(*child).kind() != SpanKind::Internal || trace.children(*child).len() > 0;
    let mut children = trace.children(row).filter(leads_on);
    let first = children.next()?;
    children.next().is_none().then_some(first)
}

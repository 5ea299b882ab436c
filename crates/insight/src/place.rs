//! Where time is spent, named so that the same place in two traces is equal.

use std::collections::HashMap;

use tracewell_model::{SpanKind, StrId};

use crate::critical_path::{PieceKind, kind_of};
use crate::outline::Outline;
use crate::symbols::{BatchNames, Symbols};

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
    /// Of each string, once it was asked for: whether it names a span that waits.
    waiting: Vec<Option<bool>>,
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

    /// Bytes held, about.
    pub(crate) fn size_bytes(&self) -> usize {
        self.symbols.size_bytes() + self.places.len() * (3 * size_of::<Place>() + 8) + self.waiting.len()
    }

    /// The same places with some of them forgotten: those that are kept, and the new number of each.
    pub(crate) fn kept(&self, is_kept: impl Fn(u32) -> bool) -> (Self, Vec<Option<u32>>) {
        let mut kept = Self::default();
        let mut numbers = Vec::with_capacity(self.places.len());
        for (number, place) in (0..).zip(&self.places) {
            let mut moved = |symbol: u32| kept.symbols.intern(self.text(symbol));
            let place = match *place {
                _ if !is_kept(number) => {
                    numbers.push(None);
                    continue;
                }
                Place::Own { service, operation } => {
                    Place::Own { service: moved(service), operation: moved(operation) }
                }
                Place::Waiting { service, operation } => {
                    Place::Waiting { service: moved(service), operation: moved(operation) }
                }
                Place::Edge { from, to, operation } => {
                    Place::Edge { from: moved(from), to: moved(to), operation: moved(operation) }
                }
                Place::External { service, target, operation } => {
                    Place::External { service: moved(service), target: moved(target), operation: moved(operation) }
                }
            };
            numbers.push(Some(kept.id(place)));
        }
        (kept, numbers)
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
    pub(crate) fn of_rows(&mut self, trace: &Outline, names: &mut BatchNames<'_>) -> Vec<u32> {
        (0..trace.len())
            .map(|row| {
                let service = names.symbol(trace.service[row], &mut self.symbols);
                let operation = names.symbol(trace.name[row], &mut self.symbols);
                let place = match kind_of(trace, row) {
                    PieceKind::SelfTime if self.is_waiting(trace.kind[row], operation) => {
                        Place::Waiting { service, operation }
                    }
                    PieceKind::SelfTime => Place::Own { service, operation },
                    // The callee's name says more: a client span is often called only "GET".
                    PieceKind::Edge { remote } => Place::Edge {
                        from: service,
                        to: names.symbol(trace.service[remote], &mut self.symbols),
                        operation: names.symbol(trace.name[remote], &mut self.symbols),
                    },
                    PieceKind::External => {
                        let target = names.symbol(trace.target[row], &mut self.symbols);
                        Place::External { service, target, operation }
                    }
                };
                self.id(place)
            })
            .collect()
    }

    /// Whether an internal span is waiting for a lock, a pool or a queue, going by its name: there is no attribute for it.
    fn is_waiting(&mut self, kind: SpanKind, operation: u32) -> bool {
        if !matches!(kind, SpanKind::Internal | SpanKind::Unspecified) {
            return false;
        }
        let operation = operation as usize;
        if self.waiting.len() <= operation {
            self.waiting.resize(operation + 1, None);
        }
        *self.waiting[operation].get_or_insert_with(|| says_waiting(self.symbols.text(operation as u32)))
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

fn says_waiting(name: &str) -> bool {
    let is_word = |word: &str| WAITING_WORDS.iter().any(|waiting| word.eq_ignore_ascii_case(waiting));
    name.split(|letter: char| !letter.is_ascii_alphabetic()).any(is_word)
}

/// What kind of request a trace is: traces are compared only with traces of the same entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The root's service and operation.
    pub(crate) root: (StrId, StrId),
    /// Behind a root that only passes the request on (a gateway, whose one operation is often `/*`): the service and
    /// operation that it passes it to.
    pub(crate) behind: Option<(StrId, StrId)>,
}

impl Entry {
    /// The entry of a trace; `None` if it is empty.
    pub(crate) fn of(trace: &Outline) -> Option<Self> {
        let root = trace.root()?;
        let mut behind = None;
        let mut row = root;
        // A framework may wrap the way on in a span of its own, beside the call: of the children, one leads elsewhere.
        while let Some(child) = only(trace, row) {
            if trace.service[child] != trace.service[root] && trace.kind[child] == SpanKind::Server {
                behind = Some((trace.service[child], trace.name[child]));
                break;
            }
            row = child;
        }
        Some(Self { root: (trace.service[root], trace.name[root]), behind })
    }
}

/// The only child, leaving out internal ones without children of their own.
fn only(trace: &Outline, row: usize) -> Option<usize> {
    let leads_on = |child: &usize| trace.kind[*child] != SpanKind::Internal || trace.children(*child).len() > 0;
    let mut children = trace.children(row).filter(leads_on);
    let first = children.next()?;
    children.next().is_none().then_some(first)
}

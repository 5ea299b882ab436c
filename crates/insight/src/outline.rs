//! One trace in numbers: who is nested in whom, when each span ran and of what kind it is. No string and no attribute is
//! copied, so that many traces can lie in one batch and be looked at one after the other.

use tracewell_model::{Nesting, ResourceId, SpanBatch, SpanKind, StatusCode, StrId, Trace, TraceId, TraceNotes, Value};

/// The spans of one trace in the order of the trace, a number in each column for every span. Strings and resources are
/// named as the batch names them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    pub(crate) trace_id: TraceId,
    pub(crate) nesting: Nesting,
    /// Parents before children.
    pub(crate) order: Vec<usize>,
    pub(crate) start_unix_nano: Vec<u64>,
    pub(crate) end_unix_nano: Vec<u64>,
    pub(crate) kind: Vec<SpanKind>,
    pub(crate) is_error: Vec<bool>,
    /// Whether it calls a database, whatever its kind.
    pub(crate) is_database: Vec<bool>,
    pub(crate) service: Vec<StrId>,
    pub(crate) name: Vec<StrId>,
    /// What a client span calls, as well as the span says.
    pub(crate) target: Vec<StrId>,
    pub(crate) process: Vec<ResourceId>,
}

/// Attributes that name what a client span calls, the most telling first (OpenTelemetry semantic conventions, current
/// names before older ones). With them a batch says all that an outline needs.
pub(crate) const KEYS: [&str; 7] = [
    DATABASE_KEYS[0],
    DATABASE_KEYS[1],
    "messaging.system",
    "peer.service",
    "server.address",
    "net.peer.name",
    "rpc.service",
];

/// What marks a database call whatever its kind: the name since semantic conventions 1.28, and the one before.
const DATABASE_KEYS: [&str; 2] = ["db.system.name", "db.system"];

/// The batch's numbers of the keys that are looked at.
pub(crate) struct Keys([Option<StrId>; KEYS.len()]);

impl Keys {
    pub(crate) fn of(spans: &SpanBatch) -> Self {
        Self(KEYS.map(|key| spans.strings().find(key)))
    }
}

impl Outline {
    /// Of a trace.
    pub(crate) fn of(trace: &Trace) -> Self {
        let rows: Vec<usize> = (0..trace.len()).collect();
        Self::with(trace.batch(), &rows, trace.nesting().clone(), &Keys::of(trace.batch()))
    }

    /// Of the rows of one trace in a batch, in any order; spans that were sent twice count once. What
    /// [`Trace::of_rows`] makes a trace of, without copying anything but numbers.
    pub(crate) fn of_rows(spans: &SpanBatch, rows: Vec<usize>, keys: &Keys) -> (Self, Vec<usize>) {
        let rows = Trace::in_order(spans, rows);
        let nesting = Nesting::of_rows(spans, &rows, &mut TraceNotes::default());
        (Self::with(spans, &rows, nesting, keys), rows)
    }

    fn with(spans: &SpanBatch, rows: &[usize], nesting: Nesting, keys: &Keys) -> Self {
        let columns = spans.spans();
        let mut outline = Self {
            trace_id: rows.first().map_or(TraceId::ZERO, |row| columns.trace_id[*row]),
            order: nesting.depth_first().into_iter().map(|(row, _)| row).collect(),
            nesting,
            start_unix_nano: rows.iter().map(|row| columns.start_unix_nano[*row]).collect(),
            end_unix_nano: rows.iter().map(|row| columns.end_unix_nano[*row]).collect(),
            kind: rows.iter().map(|row| columns.kind[*row]).collect(),
            is_error: rows.iter().map(|row| columns.status_code[*row] == StatusCode::Error).collect(),
            is_database: Vec::with_capacity(rows.len()),
            service: rows.iter().map(|row| spans.resources()[columns.resource[*row].index()].service).collect(),
            name: rows.iter().map(|row| columns.name[*row]).collect(),
            target: Vec::with_capacity(rows.len()),
            process: rows.iter().map(|row| columns.resource[*row]).collect(),
        };
        for row in rows {
            let (is_database, target) = keys.target(spans, *row);
            outline.is_database.push(is_database);
            outline.target.push(target);
        }
        outline
    }

    pub(crate) fn len(&self) -> usize {
        self.start_unix_nano.len()
    }

    pub(crate) fn parent(&self, row: usize) -> Option<usize> {
        self.nesting.parent(row)
    }

    pub(crate) fn children(&self, row: usize) -> impl DoubleEndedIterator<Item = usize> + ExactSizeIterator {
        self.nesting.children(row)
    }

    pub(crate) fn root(&self) -> Option<usize> {
        self.nesting.root()
    }

    /// The root's duration; 0 if it ends before it starts.
    pub(crate) fn total_nanos(&self) -> u64 {
        self.root().map_or(0, |root| self.end_unix_nano[root].saturating_sub(self.start_unix_nano[root]))
    }

    pub(crate) fn start(&self) -> u64 {
        self.start_unix_nano.first().copied().unwrap_or(0)
    }

    /// The latest end, never before the start.
    pub(crate) fn end(&self) -> u64 {
        self.end_unix_nano.iter().copied().max().unwrap_or(0).max(self.start())
    }
}

impl Keys {
    /// Whether a span calls a database, and what it calls.
    fn target(&self, spans: &SpanBatch, row: usize) -> (bool, StrId) {
        let attributes = spans.span(row).attributes();
        let mut best: Option<(usize, StrId)> = None;
        let mut is_database = false;
        // Of an attribute that occurs twice, the first counts.
        let mut seen = [false; KEYS.len()];
        for (key, value) in attributes.raw_keys().iter().zip(attributes.raw_values()) {
            let Some(place) = self.0.iter().position(|known| *known == Some(*key)) else { continue };
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            is_database |= place < DATABASE_KEYS.len();
            if let Value::Str(target) = value
                && *target != StrId::EMPTY
                && best.is_none_or(|(before, _)| place < before)
            {
                best = Some((place, *target));
            }
        }
        (is_database, best.map_or(StrId::EMPTY, |(_, target)| target))
    }
}

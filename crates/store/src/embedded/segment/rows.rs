//! Rows of a segment in memory: what a block holds, decoded.

use tracewell_model::TraceId;

use super::coding::Texts;
use super::table::{Column, Storage};

/// The values of a column, one for each span whose template names it (or more, where it names it twice).
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// Numbers: integers in zigzag, doubles as their bits, booleans as 0 and 1.
    Numbers(Vec<u64>),
    /// Places in the column's dictionary.
    Codes(Vec<u32>),
    Texts(Texts),
}

/// Spans in columns, traces together.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// A trace for each run of rows.
    pub(super) trace_ids: Vec<TraceId>,
    /// How many rows each run has.
    pub(super) trace_rows: Vec<u32>,
    pub(super) span_id: Vec<u64>,
    pub(super) parent_span_id: Vec<u64>,
    pub(super) start_unix_nano: Vec<u64>,
    /// End less start, modulo 2^64.
    pub(super) duration_nanos: Vec<u64>,
    pub(super) template: Vec<u32>,
    pub(super) resource: Vec<u32>,
    pub(super) values: Vec<Values>,
}

/// The part of a row that every span has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) trace_id: TraceId,
    pub(super) span_id: u64,
    pub(super) parent_span_id: u64,
    pub(super) start_unix_nano: u64,
    pub(super) duration_nanos: u64,
    pub(super) template: u32,
    pub(super) resource: u32,
}

/// How long a span takes, given its end less its start modulo 2^64: no time, if it ends before it starts.
pub(super) fn lasting_nanos(start_unix_nano: u64, duration_nanos: u64) -> u64 {
    if start_unix_nano.checked_add(duration_nanos).is_some() { duration_nanos } else { 0 }
}

impl Values {
    pub(super) fn new(storage: Storage) -> Self {
        match storage {
            Storage::Number | Storage::RareNumber => Self::Numbers(Vec::new()),
            Storage::Dictionary => Self::Codes(Vec::new()),
            Storage::Text => Self::Texts(Texts::default()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Codes(codes) => codes.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    /// One of the values, if they are texts or places in a dictionary of texts.
    pub(super) fn text<'a>(&'a self, dictionary: &'a Texts, place: usize) -> Option<&'a [u8]> {
        match self {
            Self::Codes(codes) => Some(dictionary.get(codes[place] as usize)),
            Self::Texts(texts) => Some(texts.get(place)),
            Self::Numbers(_) => None,
        }
    }

    pub(super) fn texts(&self) -> Option<&Texts> {
        match self {
            Self::Texts(texts) => Some(texts),
            Self::Numbers(_) | Self::Codes(_) => None,
        }
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len() * 8,
            Self::Codes(codes) => codes.len() * 4,
            Self::Texts(texts) => texts.size_bytes(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Numbers(numbers) => numbers.clear(),
            Self::Codes(codes) => codes.clear(),
            Self::Texts(texts) => texts.clear(),
        }
    }
}

impl Rows {
    pub(super) fn new(columns: &[Column]) -> Self {
        Self { values: columns.iter().map(|column| Values::new(column.storage)).collect(), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.span_id.len()
    }

    pub(super) fn lasting_nanos(&self, row: usize) -> u64 {
        lasting_nanos(self.start_unix_nano[row], self.duration_nanos[row])
    }

    /// Bytes held, for bounds.
    pub(super) fn size_bytes(&self) -> usize {
        self.len() * 40 + self.trace_ids.len() * 20 + self.values.iter().map(Values::size_bytes).sum::<usize>()
    }

    /// Adds a row. The values of what varies in its template are pushed by the caller.
    #[inline]
    pub(super) fn push(&mut self, row: Row) {
        match self.trace_rows.last_mut() {
            Some(rows) if self.trace_ids.last() == Some(&row.trace_id) => *rows += 1,
            _ => {
                self.trace_ids.push(row.trace_id);
                self.trace_rows.push(1);
            }
        }
        self.span_id.push(row.span_id);
        self.parent_span_id.push(row.parent_span_id);
        self.start_unix_nano.push(row.start_unix_nano);
        self.duration_nanos.push(row.duration_nanos);
        self.template.push(row.template);
        self.resource.push(row.resource);
    }

    pub(super) fn clear(&mut self) {
        self.trace_ids.clear();
        self.trace_rows.clear();
        self.span_id.clear();
        self.parent_span_id.clear();
        self.start_unix_nano.clear();
        self.duration_nanos.clear();
        self.template.clear();
        self.resource.clear();
        self.values.iter_mut().for_each(Values::clear);
    }
}

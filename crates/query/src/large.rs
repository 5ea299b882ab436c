//! Traces that are too large to be in memory at once.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use tracewell_model::{PENDING, ServiceCount, SpanBatch, TraceId, TraceSummary};
use tracewell_store::{Projection, TraceReader};

use crate::QueryError;

/// Bytes of spans that are read at once; a trace that has more is read in portions of this size.
pub const PORTION_BYTES: usize = 4 << 20;

/// How much is remembered at once to find spans that were sent twice: 8 bytes of each span, and 48 of each whose id occurs
/// more than once. Where there is more, the trace is read again for each part of it.
const MAX_IDS: usize = 2 << 20;
const MAX_RECORDS: usize = 256 << 10;
/// With this many parts, what is left in one cannot be divided: spans that are the same but for their names and ends.
const MAX_PARTS: u64 = 16;

/// A trace that is read a portion at a time, each span once: spans that were sent twice, or again when they had ended, are
/// found beforehand, in memory that does not grow with the trace but for one bit a span.
pub struct LargeTrace {
    reader: Box<dyn TraceReader>,
    trace_id: TraceId,
    /// Rows that are left out, in the order of the reader, by number.
    left_out: Bits,
    duplicates: usize,
    rows: usize,
    /// The earliest start and the latest.
    starts: (u64, u64),
    next_row: usize,
    is_read: bool,
}

/// A bit for each row.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, row: usize) {
        let word = row / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (row % 64);
    }

    fn has(&self, row: usize) -> bool {
        self.0.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }
}

/// What tells whether two spans with one id are one span.
#[derive(Clone, Copy)]
struct Record {
    key: u64,
    span_id: u64,
    start: u64,
    end: u64,
    names: u64,
    row: u32,
    kind: u8,
    is_pending: bool,
}

impl LargeTrace {
    /// Looks through a trace, of which the reader reads all spans and no others.
    pub async fn new(reader: Box<dyn TraceReader>, trace_id: TraceId) -> Result<Self, QueryError> {
        Self::within(reader, trace_id, MAX_IDS, MAX_RECORDS).await
    }

    async fn within(
        reader: Box<dyn TraceReader>,
        trace_id: TraceId,
        max_ids: usize,
        max_records: usize,
    ) -> Result<Self, QueryError> {
        let starts = (u64::MAX, 0);
        let mut trace = Self {
            reader,
            trace_id,
            left_out: Bits::default(),
            duplicates: 0,
            rows: 0,
            starts,
            next_row: 0,
            is_read: false,
        };
        let hasher = RandomState::default();
        let (mut part, mut parts) = (0, 1);
        while part < parts {
            match trace.repeated(&hasher, part, parts, max_ids).await? {
                Some(repeated) => {
                    trace.leave_out(&hasher, &repeated, max_records).await?;
                    part += 1;
                }
                None => (part, parts) = (0, parts * 4),
            }
        }
        trace.restart(Projection::All);
        Ok(trace)
    }

    /// The trace's id.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// How many spans it has, each counted once.
    pub fn spans(&self) -> usize {
        self.rows - self.duplicates
    }

    /// Begins again, to read as much of the spans as the projection asks for.
    pub fn restart(&mut self, projection: Projection) {
        self.reader.restart(projection);
        (self.next_row, self.is_read) = (0, false);
    }

    /// The next spans, with the rows that count, by start; `None` when there are no more.
    pub async fn next(&mut self) -> Result<Option<(SpanBatch, Vec<usize>)>, QueryError> {
        if self.is_read {
            return Ok(None);
        }
        let portion = self.reader.next(PORTION_BYTES).await?;
        self.is_read = portion.is_last;
        let first = self.next_row;
        self.next_row += portion.spans.len();
        let mut rows: Vec<usize> = (0..portion.spans.len()).filter(|row| !self.left_out.has(first + row)).collect();
        rows.sort_by_key(|row| portion.spans.spans().start_unix_nano[*row]);
        Ok(Some((portion.spans, rows)))
    }

    /// The first of the spans by start, or nearly so where many start at once: at most `max_spans`, in about
    /// `max_bytes`.
    pub async fn first(
        &mut self,
        projection: Projection,
        max_spans: usize,
        max_bytes: usize,
    ) -> Result<SpanBatch, QueryError> {
        const BUCKETS: usize = 1 << 16;
        let (earliest, latest) = self.starts;
        let width = (latest.saturating_sub(earliest) / BUCKETS as u64).saturating_add(1);
        let bucket = |start: u64| (start.saturating_sub(earliest) / width).min(BUCKETS as u64 - 1) as usize;
        let mut counts = vec![0u64; BUCKETS];
        self.restart(Projection::Ids);
        while let Some((spans, rows)) = self.next().await? {
            rows.iter().for_each(|row| counts[bucket(spans.spans().start_unix_nano[*row])] += 1);
        }
        // All of the buckets before the last one, and of that as many as there is room for.
        let mut left = max_spans as u64;
        let whole = counts.iter().take_while(|count| {
            let fits = **count <= left;
            left -= if fits { **count } else { 0 };
            fits
        });
        let last = whole.count();
        let mut chosen = SpanBatch::new();
        self.restart(projection);
        while let Some((spans, rows)) = self.next().await? {
            let mut copier = tracewell_model::BatchCopier::new(&spans);
            for row in rows {
                let place = bucket(spans.spans().start_unix_nano[row]);
                if place > last || (place == last && left == 0) || chosen.content_bytes() >= max_bytes {
                    continue;
                }
                left -= u64::from(place == last);
                copier.copy_span(row, &mut chosen);
            }
        }
        Ok(chosen)
    }

    /// What a list says of it.
    pub async fn summary(&mut self) -> Result<TraceSummary, QueryError> {
        self.restart(Projection::Core);
        let mut sum = Sum::default();
        while let Some((spans, rows)) = self.next().await? {
            sum.add(&spans, &rows);
            tokio::task::consume_budget().await;
        }
        Ok(sum.summary(self.trace_id))
    }

    /// Hashes of span ids that occur more than once, of one part of all ids, sorted; `None` if there are too many ids.
    async fn repeated(
        &mut self,
        hasher: &RandomState,
        part: u64,
        parts: u64,
        max_ids: usize,
    ) -> Result<Option<Vec<u64>>, QueryError> {
        let (mut ids, mut repeated): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        self.restart(Projection::Ids);
        self.rows = 0;
        while !self.is_read {
            let portion = self.reader.next(PORTION_BYTES).await?;
            self.is_read = portion.is_last;
            let columns = portion.spans.spans();
            self.rows += portion.spans.len();
            for start in &columns.start_unix_nano {
                self.starts = (self.starts.0.min(*start), self.starts.1.max(*start));
            }
            let hashes = columns.span_id.iter().map(|id| hasher.hash_one(id.as_u64()));
            ids.extend(hashes.filter(|hash| (hash >> 32) % parts == part));
            if ids.len() > max_ids {
                // One id that comes again and again is remembered once.
                take_repeated(&mut ids, &mut repeated);
                if ids.len() > max_ids / 2 && parts < MAX_PARTS * MAX_PARTS {
                    return Ok(None);
                }
            }
        }
        take_repeated(&mut ids, &mut repeated);
        Ok(Some(repeated))
    }

    /// Leaves out what is there twice, of the spans whose ids have one of some hashes.
    async fn leave_out(
        &mut self,
        hasher: &RandomState,
        repeated: &[u64],
        max_records: usize,
    ) -> Result<(), QueryError> {
        if repeated.is_empty() {
            return Ok(());
        }
        let (mut part, mut parts) = (0, 1);
        while part < parts {
            let Some(records) = self.records(hasher, repeated, part, parts, max_records).await? else {
                (part, parts) = (0, parts * 4);
                continue;
            };
            replaced(records).into_iter().for_each(|row| self.leave_out_row(row));
            part += 1;
        }
        Ok(())
    }

    fn leave_out_row(&mut self, row: usize) {
        if !self.left_out.has(row) {
            self.left_out.set(row);
            self.duplicates += 1;
        }
    }

    async fn records(
        &mut self,
        hasher: &RandomState,
        repeated: &[u64],
        part: u64,
        parts: u64,
        max_records: usize,
    ) -> Result<Option<Vec<Record>>, QueryError> {
        let mut records: Vec<Record> = Vec::new();
        self.restart(Projection::Outline(&[PENDING]));
        let mut first = 0;
        while !self.is_read {
            let portion = self.reader.next(PORTION_BYTES).await?;
            self.is_read = portion.is_last;
            let pending = portion.spans.strings().find(PENDING);
            for span in portion.spans.iter() {
                let span_id = span.span_id().as_u64();
                if repeated.binary_search(&hasher.hash_one(span_id)).is_err() {
                    continue;
                }
                let kind = span.kind() as u8;
                let key = hasher.hash_one((span_id, span.start_unix_nano(), kind));
                if (key >> 32) % parts != part {
                    continue;
                }
                records.push(Record {
                    key,
                    span_id,
                    start: span.start_unix_nano(),
                    end: span.end_unix_nano(),
                    names: hasher.hash_one((span.service(), span.name())),
                    row: (first + span.row()) as u32,
                    kind,
                    is_pending: pending.is_some_and(|key| span.attributes().raw_keys().contains(&key)),
                });
            }
            first += portion.spans.len();
            if records.len() > max_records && parts < MAX_PARTS {
                // Spans that are sent again and again are joined as they come.
                let before = records.len();
                records = self.joined(records);
                if records.len() > before / 2 {
                    return Ok(None);
                }
            }
        }
        Ok(Some(records))
    }

    /// Of equal spans the first, the others left out.
    fn joined(&mut self, mut records: Vec<Record>) -> Vec<Record> {
        sort(&mut records);
        records.dedup_by(|later, first| {
            let is_equal = order(later) == order(first);
            if is_equal {
                self.leave_out_row(later.row as usize);
            }
            is_equal
        });
        records
    }
}

/// Leaves each of some numbers once, and notes those that were there more than once; both are then sorted.
fn take_repeated(ids: &mut Vec<u64>, repeated: &mut Vec<u64>) {
    ids.sort_unstable();
    repeated.extend(ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]));
    repeated.sort_unstable();
    repeated.dedup();
    ids.dedup();
}

/// What is known of a trace of which some spans were read.
#[derive(Default)]
struct Sum {
    services: HashMap<String, (usize, usize)>,
    spans: usize,
    first: Option<First>,
    end_unix_nano: u64,
    start_unix_nano: Option<u64>,
}

/// The span that stands for the trace: the first without a parent, else the first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct First {
    has_parent: bool,
    start_unix_nano: u64,
    end_unix_nano: Reverse<u64>,
    span_id: u64,
    kind: u8,
    service: String,
    name: String,
}

impl Sum {
    fn add(&mut self, spans: &SpanBatch, rows: &[usize]) {
        let mut counts = vec![(0, 0); spans.resources().len()];
        for row in rows {
            let span = spans.span(*row);
            let (own, errors) = &mut counts[spans.spans().resource[*row].index()];
            *own += 1;
            *errors += usize::from(span.is_error());
            self.spans += 1;
            self.end_unix_nano = self.end_unix_nano.max(span.end_unix_nano());
            let start = span.start_unix_nano();
            self.start_unix_nano = Some(self.start_unix_nano.map_or(start, |known| known.min(start)));
            let has_parent = !span.parent_span_id().is_zero();
            let known = self.first.as_ref().map(|first| (first.has_parent, first.start_unix_nano));
            if known.is_none_or(|known| (has_parent, start) <= known) {
                let first = First {
                    has_parent,
                    start_unix_nano: start,
                    end_unix_nano: Reverse(span.end_unix_nano()),
                    span_id: span.span_id().as_u64(),
                    kind: span.kind() as u8,
                    service: span.service().to_owned(),
                    name: span.name().to_owned(),
                };
                self.first = self.first.take().into_iter().chain([first]).min();
            }
        }
        for (resource, (own, errors)) in spans.resources().iter().zip(counts).filter(|(_, (own, _))| *own > 0) {
            let service = self.services.entry(spans.string(resource.service).to_owned()).or_default();
            service.0 += own;
            service.1 += errors;
        }
    }

    fn summary(self, trace_id: TraceId) -> TraceSummary {
        let counts = self.services.iter().map(|(name, (spans, errors))| (name.as_str(), *spans, *errors));
        let services = ServiceCount::by_service(counts);
        let start_unix_nano = self.start_unix_nano.unwrap_or(0);
        let (root_service, root_operation) =
            self.first.map_or_else(Default::default, |first| (first.service, first.name));
        TraceSummary {
            trace_id,
            root_service,
            root_operation,
            start_unix_nano,
            duration_nanos: self.end_unix_nano.max(start_unix_nano) - start_unix_nano,
            spans: self.spans,
            errors: services.iter().map(|service| service.errors).sum(),
            services,
        }
    }
}

/// Those that end later first, as in a trace that is joined in memory.
fn order(record: &Record) -> (u64, u64, u64, u8, Reverse<u64>, u64) {
    let Record { key, span_id, start, end, names, kind, .. } = *record;
    (key, span_id, start, kind, Reverse(end), names)
}

fn sort(records: &mut [Record]) {
    records.sort_unstable_by_key(|record| (order(record), record.row));
}

/// The rows of spans that are there twice, or that are said otherwise where it is known how they ended: what
/// `Trace::in_order` leaves out.
fn replaced(mut records: Vec<Record>) -> Vec<usize> {
    sort(&mut records);
    let span = |record: &Record| (record.span_id, record.start, record.kind);
    let mut rows = Vec::new();
    for group in records.chunk_by(|left, right| span(left) == span(right)) {
        let mut kept: Vec<&Record> = Vec::new();
        for record in group {
            if kept.last().is_some_and(|last| order(last) == order(record)) {
                rows.push(record.row as usize);
            } else {
                kept.push(record);
            }
        }
        let has_ended = kept.iter().any(|record| !record.is_pending);
        for (place, record) in kept.iter().enumerate() {
            if record.is_pending && (place > 0 || has_ended) {
                rows.push(record.row as usize);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests;

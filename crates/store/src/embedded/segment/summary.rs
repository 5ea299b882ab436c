//! What a list says of a large trace, kept where its rows end, so that a list does not have to read them.

use std::cmp::Reverse;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tracewell_model::{ServiceCount, StatusCode, TraceId, TraceSummary};

use super::coding::{Damaged, Input, Zstd, get_bytes, put_bytes, put_varint};
use super::dictionary::Dictionary;
use super::rows::Rows;
use super::table::Table;

/// Traces of fewer rows are read as quickly as a summary of them.
const LEAST_ROWS: usize = 128;
/// Of larger ones there is none: to see that no id occurs twice takes memory. What follows is summed up by itself, which a
/// reader does not take for the trace, as it is of fewer blocks.
const MOST_ROWS: usize = 1 << 20;
/// What the summaries of a block may take.
const MOST_BYTES: usize = 64 << 20;

/// Sums up traces as blocks are written.
#[derive(Default)]
pub(super) struct Summaries {
    /// The trace that the last block ended in, if it may go on.
    open: Option<Sum>,
    /// Those that end in the block, as they will lie.
    bytes: Vec<u8>,
    count: usize,
}

/// One run of rows, which may reach over several blocks.
struct Sum {
    trace_id: TraceId,
    blocks: u64,
    span_ids: Vec<u64>,
    start_unix_nano: u64,
    end_unix_nano: u64,
    root: Option<Root>,
    /// Spans, and those that failed, by resource.
    counts: HashMap<u32, (u64, u64), RandomState>,
}

/// The first span that names no parent, in the order of a trace.
struct Root {
    start_unix_nano: u64,
    end_unix_nano: u64,
    span_id: u64,
    resource: u32,
    name: Vec<u8>,
}

impl Summaries {
    /// Takes the rows of a block; `ends_with_trace` says that the last trace goes on in no other.
    pub(super) fn add_block(&mut self, table: &Table, dictionaries: &[Dictionary], rows: &Rows, ends_with_trace: bool) {
        self.bytes.clear();
        self.count = 0;
        let mut before = self.open.take();
        let mut at = 0;
        for (place, (id, length)) in rows.trace_ids.iter().zip(&rows.trace_rows).enumerate() {
            let length = *length as usize;
            let goes_on = !ends_with_trace && place + 1 == rows.trace_ids.len();
            let begun = before.take().filter(|sum| sum.trace_id == *id);
            if begun.is_some() || goes_on || length >= LEAST_ROWS {
                let mut sum = begun.unwrap_or_else(|| Sum::new(*id));
                sum.add(table, dictionaries, rows, at, length);
                if !goes_on {
                    self.end(place, sum);
                } else if sum.span_ids.len() <= MOST_ROWS {
                    self.open = Some(sum);
                }
            }
            at += length;
        }
    }

    /// Writes down what is to be known of a trace that ended: nothing where it takes more than counting.
    fn end(&mut self, place: usize, mut sum: Sum) {
        let rows = sum.span_ids.len();
        sum.span_ids.sort_unstable();
        let is_plain = sum.span_ids.windows(2).all(|pair| pair[0] != pair[1]);
        let Some(root) = sum.root.filter(|_| is_plain && rows >= LEAST_ROWS) else { return };
        let mut counts: Vec<(u32, (u64, u64))> = sum.counts.into_iter().collect();
        counts.sort_unstable();
        for number in [
            place as u64,
            sum.blocks,
            rows as u64,
            sum.start_unix_nano,
            sum.end_unix_nano.max(sum.start_unix_nano) - sum.start_unix_nano,
            u64::from(root.resource),
            root.name.len() as u64,
        ] {
            put_varint(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(&root.name);
        put_varint(&mut self.bytes, counts.len() as u64);
        for (resource, (spans, errors)) in counts {
            [u64::from(resource), spans, errors].iter().for_each(|number| put_varint(&mut self.bytes, *number));
        }
        self.count += 1;
    }

    /// Appends the summaries of the block that was added last, and says how many they are.
    pub(super) fn put(&self, zstd: &mut Zstd, out: &mut Vec<u8>) -> usize {
        if self.count > 0 {
            put_bytes(zstd, &self.bytes, out);
        }
        self.count
    }
}

impl Sum {
    fn new(trace_id: TraceId) -> Self {
        Self {
            trace_id,
            blocks: 0,
            span_ids: Vec::new(),
            start_unix_nano: u64::MAX,
            end_unix_nano: 0,
            root: None,
            counts: HashMap::default(),
        }
    }

    fn add(&mut self, table: &Table, dictionaries: &[Dictionary], rows: &Rows, at: usize, length: usize) {
        self.blocks += 1;
        let status = &table.templates.spans().status_code;
        for row in at..at + length {
            let start = rows.start_unix_nano[row];
            let end = start.wrapping_add(rows.duration_nanos[row]);
            self.start_unix_nano = self.start_unix_nano.min(start);
            self.end_unix_nano = self.end_unix_nano.max(end);
            let template = rows.template[row];
            let (spans, errors) = self.counts.entry(rows.resource[row]).or_default();
            *spans += 1;
            *errors += u64::from(status[template as usize] == StatusCode::Error);
            if rows.parent_span_id[row] == 0 {
                let order = |start, end, id| (start, Reverse(end), id);
                let own = order(start, end, rows.span_id[row]);
                let is_first = self
                    .root
                    .as_ref()
                    .is_none_or(|root| own < order(root.start_unix_nano, root.end_unix_nano, root.span_id));
                if is_first {
                    self.root = Some(Root {
                        start_unix_nano: start,
                        end_unix_nano: end,
                        span_id: rows.span_id[row],
                        resource: rows.resource[row],
                        name: name_of(table, dictionaries, rows, row),
                    });
                }
            }
        }
        self.span_ids.extend_from_slice(&rows.span_id[at..at + length]);
    }
}

/// The name of a row: its template's, or a value of its own.
fn name_of(table: &Table, dictionaries: &[Dictionary], rows: &Rows, row: usize) -> Vec<u8> {
    let template = rows.template[row];
    let own = table.name_column(template).and_then(|column| {
        let before = rows.template[..row].iter().filter(|template| table.name_column(**template).is_some());
        rows.values[column].text(&dictionaries[column].texts, before.count())
    });
    own.map_or_else(|| table.template(template).name().as_bytes().to_vec(), <[u8]>::to_vec)
}

/// What is known of a trace that ends in a block.
pub(super) struct Known {
    /// Which of the block's traces it is.
    pub(super) place: usize,
    /// How many blocks its rows lie in.
    pub(super) blocks: usize,
    rows: usize,
    start_unix_nano: u64,
    duration_nanos: u64,
    root_resource: usize,
    root_name: String,
    /// Resource, spans, errors.
    counts: Vec<(usize, usize, usize)>,
}

impl Known {
    /// The summary, with the names of services from the segment's table.
    pub(super) fn summary(&self, trace_id: TraceId, table: &Table) -> TraceSummary {
        let services = ServiceCount::by_service(
            self.counts.iter().map(|(resource, spans, errors)| (table.service(*resource), *spans, *errors)),
        );
        TraceSummary {
            trace_id,
            root_service: table.service(self.root_resource).to_owned(),
            root_operation: self.root_name.clone(),
            start_unix_nano: self.start_unix_nano,
            duration_nanos: self.duration_nanos,
            spans: self.rows,
            errors: services.iter().map(|service| service.errors).sum(),
            services,
        }
    }
}

/// Reads the summaries of a block.
pub(super) fn get_summaries(zstd: &mut Zstd, bytes: &[u8], count: usize, table: &Table) -> Result<Vec<Known>, Damaged> {
    let bytes = get_bytes(zstd, &mut Input(bytes), MOST_BYTES)?;
    let mut input = Input(&bytes);
    let most = usize::MAX;
    let resources = table.resources.len().checked_sub(1).ok_or(Damaged("there are no resources"))?;
    (0..count)
        .map(|_| {
            Ok(Known {
                place: input.size(most)?,
                blocks: input.size(most)?,
                rows: input.size(most)?,
                start_unix_nano: input.varint()?,
                duration_nanos: input.varint()?,
                root_resource: input.size(resources)?,
                root_name: input.text()?.to_owned(),
                counts: (0..input.size(bytes.len())?)
                    .map(|_| Ok((input.size(resources)?, input.size(most)?, input.size(most)?)))
                    .collect::<Result<_, Damaged>>()?,
            })
        })
        .collect()
}

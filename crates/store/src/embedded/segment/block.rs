//! Blocks: some thousand rows each, a chunk of bytes for each column, so that a reader decodes only what it needs.

use super::coding::{
    Damaged, Input, Runs, Zstd, get_bytes, get_codes, get_numbers, get_texts, put_bytes, put_codes, put_numbers,
    put_texts, put_varint,
};
use super::rows::{Rows, Values};
use super::summary::Summaries;
use super::table::{Column, Storage, unzigzag, zigzag};
use tracewell_model::TraceId;

/// Rows of a block, but for the last: enough that columns compress, few enough that one trace is read quickly.
pub(super) const BLOCK_ROWS: usize = 4096;
/// No block has more rows; a reader refuses one that says so.
pub(super) const MOST_BLOCK_ROWS: usize = 16 * BLOCK_ROWS;

/// Which column a chunk holds. Values that vary are numbered from [`Chunk::FIRST_COLUMN`] on.
pub(super) struct Chunk;

impl Chunk {
    pub(super) const TRACES: u32 = 0;
    pub(super) const TEMPLATE: u32 = 1;
    pub(super) const RESOURCE: u32 = 2;
    pub(super) const START: u32 = 3;
    pub(super) const DURATION: u32 = 4;
    pub(super) const SPAN_ID: u32 = 5;
    pub(super) const PARENT: u32 = 6;
    pub(super) const SUMMARIES: u32 = 7;
    pub(super) const FIRST_COLUMN: u32 = 8;

    /// The name that people see.
    pub(super) fn name(number: u32, columns: &[Column]) -> String {
        let fixed = ["traces", "template", "resource", "start", "duration", "span_id", "parent", "summaries"];
        match fixed.get(number as usize) {
            Some(name) => (*name).to_owned(),
            None => columns
                .get(number.wrapping_sub(Self::FIRST_COLUMN) as usize)
                .map_or_else(|| format!("chunk {number}"), Column::name),
        }
    }
}

/// A chunk's place in its block.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkPlace {
    pub(super) number: u32,
    /// Values in it.
    pub(super) count: u32,
    /// From the block's beginning.
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) checksum: u32,
}

/// Appends a block and returns the length of its header, which lists the chunks.
pub(super) fn put_block(zstd: &mut Zstd, rows: &Rows, summaries: &Summaries, out: &mut Vec<u8>) -> usize {
    let mut header = Vec::new();
    let mut chunks = Vec::new();
    let mut count = 0u64;
    let mut chunk = |number: u32, values: usize, chunks: &mut Vec<u8>, start: usize| {
        put_varint(&mut header, u64::from(number));
        put_varint(&mut header, values as u64);
        put_varint(&mut header, (chunks.len() - start) as u64);
        header.extend_from_slice(&crc32fast::hash(&chunks[start..]).to_le_bytes());
        count += 1;
    };
    put_traces(zstd, rows, &mut chunks);
    chunk(Chunk::TRACES, rows.trace_ids.len(), &mut chunks, 0);
    let mut start = chunks.len();
    put_codes(zstd, &rows.template, &mut chunks);
    chunk(Chunk::TEMPLATE, rows.len(), &mut chunks, start);
    start = chunks.len();
    put_codes(zstd, &rows.resource, &mut chunks);
    chunk(Chunk::RESOURCE, rows.len(), &mut chunks, start);
    start = chunks.len();
    put_starts(zstd, rows, &mut chunks);
    chunk(Chunk::START, rows.len(), &mut chunks, start);
    start = chunks.len();
    put_numbers(zstd, &rows.duration_nanos, &mut chunks);
    chunk(Chunk::DURATION, rows.len(), &mut chunks, start);
    start = chunks.len();
    rows.span_id.iter().for_each(|id| chunks.extend_from_slice(&id.to_be_bytes()));
    chunk(Chunk::SPAN_ID, rows.len(), &mut chunks, start);
    start = chunks.len();
    put_parents(zstd, rows, &mut chunks);
    chunk(Chunk::PARENT, rows.len(), &mut chunks, start);
    start = chunks.len();
    let summed_up = summaries.put(zstd, &mut chunks);
    if summed_up > 0 {
        chunk(Chunk::SUMMARIES, summed_up, &mut chunks, start);
    }
    for (place, values) in rows.values.iter().enumerate().filter(|(_, values)| values.len() > 0) {
        start = chunks.len();
        match values {
            Values::Numbers(numbers) => put_numbers(zstd, numbers, &mut chunks),
            Values::Codes(codes) => put_codes(zstd, codes, &mut chunks),
            Values::Texts(texts) => put_texts(zstd, texts, &mut chunks),
        }
        chunk(Chunk::FIRST_COLUMN + place as u32, values.len(), &mut chunks, start);
    }
    let begin = out.len();
    put_varint(out, count);
    out.extend_from_slice(&header);
    let length = out.len() - begin;
    out.extend_from_slice(&chunks);
    length
}

/// Reads a block's header, which takes the first `header_length` of its `length` bytes.
pub(super) fn get_chunks(header: &[u8], length: usize) -> Result<Vec<ChunkPlace>, Damaged> {
    let mut input = Input(header);
    let count = input.size(header.len())?;
    let mut places = Vec::with_capacity(count);
    let mut offset = header.len();
    for _ in 0..count {
        let place = ChunkPlace {
            number: u32::try_from(input.varint()?).map_err(|_| Damaged("a chunk's number is too large"))?,
            count: input.size(u32::MAX as usize)? as u32,
            offset: offset as u32,
            length: input.size(length.saturating_sub(offset))? as u32,
            checksum: input.u32()?,
        };
        offset += place.length as usize;
        places.push(place);
    }
    Ok(places)
}

/// The runs of rows that are a trace each: ids, then lengths.
fn put_traces(zstd: &mut Zstd, rows: &Rows, out: &mut Vec<u8>) {
    rows.trace_ids.iter().for_each(|id| out.extend_from_slice(id.as_bytes()));
    let lengths: Vec<u64> = rows.trace_rows.iter().map(|rows| u64::from(*rows)).collect();
    put_numbers(zstd, &lengths, out);
}

pub(super) fn get_traces(
    zstd: &mut Zstd,
    bytes: &[u8],
    count: usize,
    rows: usize,
) -> Result<(Vec<TraceId>, Vec<u32>), Damaged> {
    let mut input = Input(bytes);
    let ids = input.take(count.checked_mul(16).ok_or(Damaged("too many traces"))?)?;
    let ids = ids.chunks_exact(16).filter_map(TraceId::from_slice).collect();
    let lengths = get_numbers(zstd, &mut input, count, &Runs::all(count))?;
    let total = lengths.iter().try_fold(0u64, |total, length| total.checked_add(*length));
    if total != Some(rows as u64) {
        return Err(Damaged("the traces of a block are not its rows"));
    }
    Ok((ids, lengths.into_iter().map(|length| length as u32).collect()))
}

/// The first row's start; then of each trace's first row its distance to the first row of the trace before, and of each
/// other row its distance to the row before.
fn put_starts(zstd: &mut Zstd, rows: &Rows, out: &mut Vec<u8>) {
    let mut distances = Vec::with_capacity(rows.len());
    let mut at = 0;
    let mut before_trace = rows.start_unix_nano.first().copied().unwrap_or(0);
    put_varint(out, before_trace);
    for length in &rows.trace_rows {
        let mut before = before_trace;
        for start in &rows.start_unix_nano[at..at + *length as usize] {
            distances.push(start.wrapping_sub(before));
            before = *start;
        }
        before_trace = rows.start_unix_nano[at];
        at += *length as usize;
    }
    // Sorted rows have no distance to the left, and then a bit of each is saved.
    let sorted = distances.iter().all(|distance| *distance <= i64::MAX as u64);
    out.push(u8::from(sorted));
    if !sorted {
        distances.iter_mut().for_each(|distance| *distance = zigzag(*distance as i64));
    }
    put_numbers(zstd, &distances, out);
}

/// The starts of the rows that are wanted. On the way to them lie the first rows of the traces before, and the rows before
/// in their own traces.
pub(super) fn get_starts(
    zstd: &mut Zstd,
    bytes: &[u8],
    trace_rows: &[u32],
    rows: usize,
    wanted: &Runs,
) -> Result<Vec<u64>, Damaged> {
    let mut input = Input(bytes);
    let mut before_trace = input.varint()?;
    let sorted = input.byte()? == 1;
    let mut needed = Runs::default();
    let mut lengths = Vec::new();
    let mut runs = wanted.iter().peekable();
    let mut at = 0;
    for length in trace_rows.iter().map(|length| *length as usize).filter(|length| *length > 0) {
        if at >= wanted.end() {
            break;
        }
        let trace_end = at + length;
        let mut end = at + 1;
        while let Some(run) = runs.peek().filter(|run| run.start < trace_end) {
            end = end.max(run.end.min(trace_end));
            if run.end > trace_end {
                break;
            }
            runs.next();
        }
        needed.push(at..end);
        lengths.push(end - at);
        at = trace_end;
    }
    let mut starts = get_numbers(zstd, &mut input, rows, &needed)?;
    if !sorted {
        starts.iter_mut().for_each(|distance| *distance = unzigzag(*distance) as u64);
    }
    let mut at = 0;
    for length in lengths {
        let mut before = before_trace;
        for start in &mut starts[at..at + length] {
            *start = before.wrapping_add(*start);
            before = *start;
        }
        before_trace = starts[at];
        at += length;
    }
    if needed == *wanted { Ok(starts) } else { wanted.within(&needed).pick(&starts) }
}

pub(super) fn get_span_ids(bytes: &[u8], rows: usize, wanted: &Runs) -> Result<Vec<u64>, Damaged> {
    if bytes.len() != rows * 8 {
        return Err(Damaged("the span ids of a block are not its rows"));
    }
    wanted.check(rows)?;
    let mut ids = Vec::with_capacity(wanted.len());
    for run in wanted.iter() {
        let run = &bytes[run.start * 8..run.end * 8];
        ids.extend(run.chunks_exact(8).map(|id| id.try_into().map_or(0, u64::from_be_bytes)));
    }
    Ok(ids)
}

/// Ids that are parents and no rows of the block, each once; then for each row: 0 for no parent, else from 1 on the rows
/// of the block by their distance (zigzag: 1 is the row before, 2 the row after, 3 two rows before), interleaved with
/// the listed ids: odd numbers are rows, even ones are listed.
fn put_parents(zstd: &mut Zstd, rows: &Rows, out: &mut Vec<u8>) {
    let mut places = Places::new(rows.len());
    for (row, id) in rows.span_id.iter().enumerate() {
        places.insert(*id, row as u32);
    }
    let mut elsewhere: Vec<u64> = Vec::new();
    let mut listed = Places::new(rows.len());
    let mut names = Vec::with_capacity(rows.len());
    for (row, parent) in rows.parent_span_id.iter().enumerate() {
        let name = if *parent == 0 {
            0
        } else if let Some(place) = places.get(*parent) {
            zigzag(row as i64 - i64::from(place)) * 2 + 1
        } else {
            let place = listed.get(*parent).unwrap_or_else(|| {
                elsewhere.push(*parent);
                listed.insert(*parent, elsewhere.len() as u32 - 1);
                elsewhere.len() as u32 - 1
            });
            u64::from(place) * 2 + 2
        };
        names.push(name as u32);
    }
    put_varint(out, elsewhere.len() as u64);
    elsewhere.iter().for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
    put_codes(zstd, &names, out);
}

/// The parents of the rows that are wanted, given the span ids of all rows as they lie in their chunk.
pub(super) fn get_parents(zstd: &mut Zstd, bytes: &[u8], span_ids: &[u8], wanted: &Runs) -> Result<Vec<u64>, Damaged> {
    let mut input = Input(bytes);
    let count = input.size(bytes.len() / 8)?;
    let elsewhere = input.take(count * 8)?;
    let names = get_codes(zstd, &mut input, span_ids.len() / 8, wanted)?;
    let id_at = |ids: &[u8], place: usize| {
        let id = ids.get(place * 8..place * 8 + 8).and_then(|id| id.try_into().ok());
        id.map(u64::from_be_bytes).ok_or(Damaged("a parent is not there"))
    };
    let parent = |(row, name): (usize, u32)| match name {
        0 => Ok(0),
        row_name if row_name % 2 == 1 => {
            let place = row as i64 - unzigzag(u64::from(row_name / 2));
            // A place before the first row is behind the last one, too, and is not there.
            id_at(span_ids, usize::try_from(place).unwrap_or(span_ids.len()))
        }
        listed => id_at(elsewhere, (listed / 2 - 1) as usize),
    };
    let mut parents = Vec::with_capacity(names.len());
    for named in wanted.places().zip(names) {
        parents.push(parent(named)?);
    }
    Ok(parents)
}

/// Of so many values of a column those that are wanted.
pub(super) fn get_values(
    zstd: &mut Zstd,
    bytes: &[u8],
    storage: Storage,
    count: usize,
    wanted: &Runs,
) -> Result<Values, Damaged> {
    let mut input = Input(bytes);
    Ok(match storage {
        Storage::Number | Storage::RareNumber => Values::Numbers(get_numbers(zstd, &mut input, count, wanted)?),
        Storage::Dictionary => Values::Codes(get_codes(zstd, &mut input, count, wanted)?),
        Storage::Text => Values::Texts(get_texts(zstd, &mut input, count, wanted)?),
    })
}

/// A small hash table from span ids to numbers: the first insertion of an id counts.
struct Places {
    slots: Vec<(u64, u32)>,
    shift: u32,
}

impl Places {
    const FREE: u32 = u32::MAX;

    fn new(entries: usize) -> Self {
        let slots = (entries * 2).next_power_of_two().max(2);
        Self { slots: vec![(0, Self::FREE); slots], shift: 64 - slots.trailing_zeros() }
    }

    #[inline]
    fn slot(&self, id: u64) -> usize {
        let mut slot = (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        while self.slots[slot].1 != Self::FREE && self.slots[slot].0 != id {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    #[inline]
    fn insert(&mut self, id: u64, number: u32) {
        let slot = self.slot(id);
        if self.slots[slot].1 == Self::FREE {
            self.slots[slot] = (id, number);
        }
    }

    #[inline]
    fn get(&self, id: u64) -> Option<u32> {
        let (_, number) = self.slots[self.slot(id)];
        (number != Self::FREE).then_some(number)
    }
}

/// Keeps a list of bytes: the form of the filter's and other sections.
pub(super) fn put_section(zstd: &mut Zstd, bytes: &[u8], out: &mut Vec<u8>) {
    put_bytes(zstd, bytes, out);
}

pub(super) fn get_section(zstd: &mut Zstd, bytes: &[u8]) -> Result<Vec<u8>, Damaged> {
    const MOST_SECTION_BYTES: usize = 1 << 30;
    get_bytes(zstd, &mut Input(bytes), MOST_SECTION_BYTES)
}

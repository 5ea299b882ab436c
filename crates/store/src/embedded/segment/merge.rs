//! Several segments become one, a block at a time: memory does not grow with what is merged.
//!
//! Values are copied, not decoded into spans: templates, resources and dictionary texts get new numbers once each. A
//! trace that lies in several segments is held back until its last part comes by, so that its rows lie together again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use tracewell_model::{BatchCopier, SpanBatch, TraceId};
use tracewell_wire::otlp::parts;

use super::block::Chunk;
use super::coding::{Borrowed, Damaged};
use super::dictionary::Dictionary;
use super::footer::Origin;
use super::index::{self, ENTRY_BYTES};
use super::read::{Contents, Segment};
use super::rows::{Row, Rows, Values};
use super::scan::count_at;
use super::table::{Column, Part, Place, Storage, Table, ValueType, Variable};
use super::write::SegmentWriter;
use crate::embedded::catalog::SegmentEntry;
use crate::embedded::files::SegmentFiles;
use crate::{StoreError, Tenant};

/// Level 3 takes a tenth longer and saves 0.1 bytes a span.
const MERGE_LEVEL: i32 = 1;
/// Rows of traces that are held back, at most; over it they are written as they are. Tests see to it that this happens.
const MOST_HELD_BYTES: usize = if cfg!(test) { 64 << 10 } else { 16 << 20 };
/// A dictionary that would get larger is written as texts.
const MOST_DICTIONARY_TEXTS: usize = 64 * 1024;
/// Segments that would have more templates together are left as they are: a table is held in memory.
const MOST_TEMPLATES: usize = 64 * 1024;
/// And those that would have more columns.
const MOST_COLUMNS: usize = 4 * 1024;

/// A merge that is under way.
pub(crate) struct Merge<'a> {
    inputs: Vec<Input<'a>>,
    writer: SegmentWriter,
    lists: Lists,
    /// In how many inputs each trace still is, of those that are in more than one, by hash.
    split: HashMap<u64, u32, RandomState>,
    held: HashMap<TraceId, Held, RandomState>,
    held_bytes: usize,
}

struct Held {
    rows: Rows,
    left: u32,
}

/// The columns of lists, in an input or in the output.
#[derive(Clone, Copy)]
struct Lists {
    event_time: usize,
    event_body: usize,
    link_body: usize,
}

impl Lists {
    fn of(columns: &[Column]) -> Self {
        let place = |part: Part| columns.iter().position(|column| column.part == part).unwrap_or(usize::MAX);
        Self {
            event_time: place(Part::EventTime),
            event_body: place(Part::EventBody),
            link_body: place(Part::LinkBody),
        }
    }
}

/// A segment that is read from its beginning to its end.
struct Input<'a> {
    segment: &'a Segment,
    contents: Arc<Contents>,
    zstd: Borrowed,
    lists: Lists,
    templates: Vec<u32>,
    resources: Vec<u32>,
    columns: Vec<usize>,
    /// The output's code of each text of each dictionary, `u32::MAX` until it is asked for.
    codes: Vec<Vec<u32>>,
    next_block: usize,
    rows: Rows,
    /// The next run of rows, the next row, and the next value of each column.
    run: usize,
    row: usize,
    places: Vec<usize>,
}

impl<'a> Merge<'a> {
    /// Whether these segments can be merged within bounds.
    pub(crate) fn fits(segments: &[Arc<Segment>]) -> Result<bool, StoreError> {
        let (mut templates, mut columns) = (0, HashSet::<(Part, ValueType), RandomState>::default());
        for segment in segments {
            let contents = segment.contents()?;
            templates += contents.table.templates.len();
            columns.extend(contents.table.columns.iter().map(|column| (column.part.clone(), column.value_type)));
        }
        Ok(templates <= MOST_TEMPLATES && columns.len() <= MOST_COLUMNS)
    }

    pub(crate) fn new(
        files: &dyn SegmentFiles,
        number: u64,
        tenant: &Tenant,
        segments: &'a [Arc<Segment>],
        dates: Option<(u64, u64)>,
    ) -> Result<Self, StoreError> {
        let mut joined = Joined::default();
        let mut inputs = Vec::new();
        for segment in segments {
            let contents = segment.contents()?;
            let (templates, resources, columns) = joined.add(&contents);
            inputs.push(Input {
                segment,
                zstd: segment.zstd()?,
                lists: Lists::of(&contents.table.columns),
                templates,
                resources,
                columns,
                codes: contents.dictionaries.iter().map(|texts| vec![u32::MAX; texts.len()]).collect(),
                next_block: 0,
                rows: Rows::default(),
                run: 0,
                row: 0,
                places: vec![0; contents.table.columns.len()],
                contents,
            });
        }
        let spans: u64 = segments.iter().map(|segment| segment.entry.spans).sum();
        let table = joined.finish(spans);
        let merged = segments.iter().map(|segment| segment.entry.number).collect();
        let logs = segments.iter().filter_map(|segment| segment.footer.origin.log);
        let origin = Origin { log: logs.max(), merged, has_more: false, dates };
        let lists = Lists::of(&table.columns);
        let mut writer = SegmentWriter::create(files, number, tenant, origin, table, MERGE_LEVEL)?;
        for segment in segments {
            // Names that lie encoded in columns are known from the inputs.
            writer.names().merge_names(segment.names()?.as_ref());
        }
        let split = split_traces(segments)?;
        Ok(Self { inputs, writer, lists, split, held: HashMap::default(), held_bytes: 0 })
    }

    /// Writes the merged segment. `pause` is called now and then, and may end the merge with an error.
    pub(crate) fn run(mut self, mut pause: impl FnMut() -> Result<(), StoreError>) -> Result<SegmentEntry, StoreError> {
        let mut order: BinaryHeap<Reverse<(u64, TraceId, usize)>> = BinaryHeap::new();
        for place in 0..self.inputs.len() {
            if let Some((start, id)) = self.inputs[place].next_trace()? {
                order.push(Reverse((start, id, place)));
            }
        }
        let mut rows_since_pause = 0;
        while let Some(Reverse((_, id, place))) = order.pop() {
            rows_since_pause += self.take(place, id)?;
            if let Some((start, id)) = self.inputs[place].next_trace()? {
                order.push(Reverse((start, id, place)));
            }
            if rows_since_pause > 32 * 1024 {
                rows_since_pause = 0;
                pause()?;
            }
        }
        self.release_all()?;
        self.writer.finish()
    }

    /// Takes the next trace of an input, to be written or held back.
    fn take(&mut self, place: usize, id: TraceId) -> Result<usize, StoreError> {
        let hash = index::hash_of(id);
        let Some(left) = self.split.get(&hash).copied() else {
            let rows = self.inputs[place].run_rows();
            self.writer.before_trace(rows)?;
            return self.inputs[place].copy_trace(id, |input, rows| input.copy_rows(rows, &mut self.writer, None));
        };
        let columns = &self.writer.table.columns;
        let mut held = self.held.remove(&id).unwrap_or_else(|| Held { rows: Rows::new(columns), left });
        self.held_bytes -= held.rows.size_bytes();
        let taken = self.inputs[place]
            .copy_trace(id, |input, rows| input.copy_rows(rows, &mut self.writer, Some(&mut held.rows)))?;
        held.left = held.left.saturating_sub(1);
        if held.left == 0 {
            self.release(&held.rows)?;
        } else {
            self.held_bytes += held.rows.size_bytes();
            self.held.insert(id, held);
            if self.held_bytes > MOST_HELD_BYTES {
                self.release_all()?;
            }
        }
        Ok(taken)
    }

    fn release_all(&mut self) -> Result<(), StoreError> {
        let mut held: Vec<(TraceId, Held)> = self.held.drain().collect();
        held.sort_by_key(|(id, held)| (held.rows.start_unix_nano.first().copied(), *id));
        self.held_bytes = 0;
        held.iter().try_for_each(|(_, held)| self.release(&held.rows))
    }

    /// Writes the rows of a trace that was held back, by start: its parts overlap in time.
    fn release(&mut self, rows: &Rows) -> Result<(), StoreError> {
        self.writer.before_trace(rows.len())?;
        // Where the values of each row lie: column and place.
        let mut values: Vec<(u32, u32)> = Vec::new();
        let mut ends = Vec::with_capacity(rows.len());
        let mut places = vec![0; rows.values.len()];
        for template in &rows.template {
            let variables = &self.writer.table.variables[*template as usize];
            for_each_value(variables, self.lists, rows, &mut places, |column, place| {
                values.push((column as u32, place as u32));
                true
            });
            ends.push(values.len());
        }
        let ids: Vec<TraceId> = rows
            .trace_ids
            .iter()
            .zip(&rows.trace_rows)
            .flat_map(|(id, count)| std::iter::repeat_n(*id, *count as usize))
            .collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|row| rows.start_unix_nano[*row]);
        for row in order {
            self.writer.rows.push(Row { trace_id: ids[row], ..row_of(rows, row) });
            let begin = if row == 0 { 0 } else { ends[row - 1] };
            for (column, place) in &values[begin..ends[row]] {
                let (column, place) = (*column as usize, *place as usize);
                match (&rows.values[column], &mut self.writer.rows.values[column]) {
                    (Values::Numbers(from), Values::Numbers(to)) => to.push(from[place]),
                    (Values::Codes(from), Values::Codes(to)) => to.push(from[place]),
                    (Values::Texts(from), Values::Texts(to)) => to.push(from.get(place)),
                    // Both have the columns of the output.
                    _ => {}
                }
            }
            self.writer.after_row()?;
        }
        Ok(())
    }
}

fn row_of(rows: &Rows, row: usize) -> Row {
    Row {
        trace_id: TraceId::ZERO,
        span_id: rows.span_id[row],
        parent_span_id: rows.parent_span_id[row],
        start_unix_nano: rows.start_unix_nano[row],
        duration_nanos: rows.duration_nanos[row],
        template: rows.template[row],
        resource: rows.resource[row],
    }
}

/// Calls for each value of a row with its column and its place there; false ends it.
#[inline]
fn for_each_value(
    variables: &[Variable],
    lists: Lists,
    rows: &Rows,
    places: &mut [usize],
    mut each: impl FnMut(usize, usize) -> bool,
) -> bool {
    let mut next = |column: usize, places: &mut [usize]| {
        let place = places[column];
        places[column] += 1;
        each(column, place)
    };
    for variable in variables {
        let column = variable.column as usize;
        let count = match variable.place {
            Place::Events | Place::Links => count_at(&rows.values[column], places[column]),
            _ => 0,
        };
        if !next(column, places) {
            return false;
        }
        for _ in 0..count {
            let complete = if variable.place == Place::Events {
                next(lists.event_time, places) && next(lists.event_body, places)
            } else {
                next(lists.link_body, places)
            };
            if !complete {
                return false;
            }
        }
    }
    true
}

impl Input<'_> {
    /// The start and the id of the next trace; reads the next block if this one is at its end.
    fn next_trace(&mut self) -> Result<Option<(u64, TraceId)>, StoreError> {
        while self.run == self.rows.trace_ids.len() {
            if self.next_block == self.segment.footer.blocks.len() {
                return Ok(None);
            }
            let mut block = self.segment.whole_block(self.next_block)?;
            self.next_block += 1;
            for chunk in [Chunk::START, Chunk::TEMPLATE, Chunk::RESOURCE, Chunk::DURATION, Chunk::PARENT] {
                block.load(&mut self.zstd, chunk)?;
            }
            for column in 0..self.contents.table.columns.len() {
                block.load_column(&mut self.zstd, &self.contents, column)?;
            }
            self.rows = block.rows;
            self.run = 0;
            self.row = 0;
            self.places.fill(0);
        }
        Ok(Some((self.rows.start_unix_nano[self.row], self.rows.trace_ids[self.run])))
    }

    /// How many rows of the next trace lie in this block.
    fn run_rows(&self) -> usize {
        self.rows.trace_rows[self.run] as usize
    }

    /// Copies all runs of a trace that follow one another, and says how many rows that were.
    fn copy_trace(
        &mut self,
        id: TraceId,
        mut copy: impl FnMut(&mut Self, usize) -> Result<(), StoreError>,
    ) -> Result<usize, StoreError> {
        let mut copied = 0;
        while let Some((_, next)) = self.next_trace()?
            && next == id
        {
            let rows = self.run_rows();
            copy(self, rows)?;
            self.run += 1;
            copied += rows;
        }
        Ok(copied)
    }

    /// Copies the next rows to the writer, or to where they are held back.
    fn copy_rows(
        &mut self,
        count: usize,
        writer: &mut SegmentWriter,
        mut held: Option<&mut Rows>,
    ) -> Result<(), StoreError> {
        let trace_id = self.rows.trace_ids[self.run];
        for row in self.row..self.row + count {
            let own = row_of(&self.rows, row);
            let template = self.templates[own.template as usize];
            let resource = self.resources[own.resource as usize];
            let target = match &mut held {
                Some(held) => held,
                None => &mut writer.rows,
            };
            target.push(Row { trace_id, template, resource, ..own });
            let variables = &self.contents.table.variables[own.template as usize];
            let (columns, codes, contents) = (&self.columns, &mut self.codes, &self.contents);
            let rows = &self.rows;
            let complete = for_each_value(variables, self.lists, rows, &mut self.places, |column, place| {
                let to = columns[column];
                copy_value(
                    &rows.values[column],
                    place,
                    &mut codes[column],
                    contents,
                    column,
                    &mut target.values[to],
                    &mut writer.dictionaries[to],
                )
            });
            if !complete {
                let offset = self.segment.footer.blocks[self.next_block - 1].offset;
                return Err(self.segment.damaged(offset, Damaged("a value is missing")));
            }
            if held.is_none() {
                writer.after_row()?;
            }
        }
        self.row += count;
        Ok(())
    }
}

#[inline]
fn copy_value(
    from: &Values,
    place: usize,
    codes: &mut [u32],
    contents: &Contents,
    column: usize,
    to: &mut Values,
    dictionary: &mut Dictionary,
) -> bool {
    match (from, to) {
        (Values::Numbers(from), Values::Numbers(to)) if place < from.len() => to.push(from[place]),
        (Values::Codes(from), Values::Codes(to)) if place < from.len() => {
            let known = &mut codes[from[place] as usize];
            if *known == u32::MAX {
                *known = dictionary.code(contents.dictionaries[column].get(from[place] as usize));
            }
            to.push(*known);
        }
        (Values::Codes(from), Values::Texts(to)) if place < from.len() => {
            to.push(contents.dictionaries[column].get(from[place] as usize));
        }
        (Values::Texts(from), Values::Texts(to)) if place < from.len() => to.push(from.get(place)),
        (Values::Texts(from), Values::Codes(to)) if place < from.len() => to.push(dictionary.code(from.get(place))),
        _ => return false,
    }
    true
}

/// The traces that are in more than one segment, with the number of segments.
fn split_traces(segments: &[Arc<Segment>]) -> Result<HashMap<u64, u32, RandomState>, StoreError> {
    let mut lists = Vec::new();
    for segment in segments {
        let bytes = segment.section(segment.footer.index)?;
        let hash = |entry: &[u8]| index::hash_of_entry(entry.try_into().map_or(0, u64::from_le_bytes));
        lists.push(bytes.chunks_exact(ENTRY_BYTES).map(hash).collect::<Vec<u64>>());
    }
    let mut places = vec![0; lists.len()];
    let mut split: HashMap<u64, u32, RandomState> = HashMap::default();
    while let Some(least) = lists.iter().zip(&places).filter_map(|(list, place)| list.get(*place)).min().copied() {
        let mut holders = 0;
        for (list, place) in lists.iter().zip(&mut places) {
            let before = *place;
            while list.get(*place) == Some(&least) {
                *place += 1;
            }
            holders += u32::from(*place > before);
        }
        if holders > 1 {
            split.insert(least, holders);
        }
    }
    Ok(split)
}

/// The table of several segments together.
#[derive(Default)]
struct Joined {
    table: Table,
    /// Templates and resources by what they say.
    templates: HashMap<Vec<u8>, u32, RandomState>,
    resources: HashMap<Vec<u8>, u32, RandomState>,
    columns: HashMap<(Part, ValueType), usize, RandomState>,
    texts: Vec<usize>,
}

impl Joined {
    /// Adds a segment's table; returns its templates', resources' and columns' places in the joined one.
    fn add(&mut self, contents: &Contents) -> (Vec<u32>, Vec<u32>, Vec<usize>) {
        let from = &contents.table;
        let mut columns = Vec::new();
        for (place, column) in from.columns.iter().enumerate() {
            let own = &mut self.table.columns;
            let new = *self.columns.entry((column.part.clone(), column.value_type)).or_insert_with(|| {
                own.push(column.clone());
                own.len() - 1
            });
            own[new].storage = own[new].storage.max(column.storage);
            self.texts.resize(own.len(), 0);
            self.texts[new] += contents.dictionaries[place].len();
            columns.push(new);
        }
        let batch = &from.templates;
        let mut copier = BatchCopier::new(batch);
        let mut resources = Vec::new();
        for id in &from.resources {
            let key = parts::encode_resource(batch, &batch.resources()[id.index()]);
            let table = &mut self.table;
            resources.push(*self.resources.entry(key).or_insert_with(|| {
                table.resources.push(copier.resource(*id, &mut table.templates));
                table.resources.len() as u32 - 1
            }));
        }
        let mut templates = Vec::new();
        for (row, variables) in from.variables.iter().enumerate() {
            let variables: Vec<Variable> = variables
                .iter()
                .map(|variable| Variable { column: columns[variable.column as usize] as u32, ..*variable })
                .collect();
            let key = template_key(batch, row, &variables);
            let table = &mut self.table;
            templates.push(*self.templates.entry(key).or_insert_with(|| {
                copier.copy_span(row, &mut table.templates);
                table.variables.push(variables);
                table.variables.len() as u32 - 1
            }));
        }
        (templates, resources, columns)
    }

    fn finish(mut self, spans: u64) -> Table {
        for (column, texts) in self.table.columns.iter_mut().zip(&self.texts) {
            if column.storage == Storage::Dictionary && *texts > MOST_DICTIONARY_TEXTS.min(spans as usize / 4).max(256)
            {
                column.storage = Storage::Text;
            }
        }
        self.table
    }
}

/// All that a template says, as bytes.
fn template_key(batch: &SpanBatch, row: usize, variables: &[Variable]) -> Vec<u8> {
    let span = batch.span(row);
    let mut key = parts::encode_scope(batch, span.scope());
    for text in [span.name(), span.status_message(), span.trace_state()] {
        key.extend_from_slice(&(text.len() as u64).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
    }
    key.extend_from_slice(&[span.kind() as u8, span.status_code() as u8]);
    for number in [
        span.flags(),
        span.dropped_attributes_count(),
        span.dropped_events_count(),
        span.dropped_links_count(),
        variables.len() as u32,
    ] {
        key.extend_from_slice(&number.to_le_bytes());
    }
    for variable in variables {
        key.extend_from_slice(&variable.column.to_le_bytes());
        if let Place::Attribute(place) = variable.place {
            key.extend_from_slice(&place.to_le_bytes());
        }
    }
    for (name, value) in span.attributes().iter() {
        parts::encode_attribute(name, value, &mut key);
    }
    key
}

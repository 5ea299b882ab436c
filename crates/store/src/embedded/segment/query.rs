//! What is asked of a segment.

use std::collections::{BTreeMap, BTreeSet};

use tracewell_model::{SpanBatch, TraceId, TraceSummary, ValueRef};

use super::block::Chunk;
use super::coding::{Damaged, Runs, Zstd};
use super::emit::Emitter;
use super::footer::MAGIC;
use super::read::{Block, Contents, Segment};
use super::rows::Values;
use super::scan::Plan;
use super::table::{Part, Place, Storage, ValueType, unzigzag};
use crate::embedded::damage::Tolerance;
use crate::scan::{Source, Top};
use crate::values::ValuesOf;
use crate::{Projection, Scan, StoreError, stop};

/// Traces of which a block may hold spans.
pub(crate) struct HeldTraces {
    block: usize,
    /// Sorted.
    ids: Vec<TraceId>,
}

impl Segment {
    /// Appends the spans of some traces. What is damaged is noted and left out.
    pub(crate) fn traces(
        &self,
        ids: &[TraceId],
        projection: Projection,
        tolerance: &Tolerance<'_>,
        out: &mut SpanBatch,
    ) -> Result<(), StoreError> {
        let mut held = self.holding(ids, tolerance)?;
        held.reverse();
        self.traces_of(&mut held, projection, tolerance, usize::MAX, out)
    }

    /// The blocks that may have spans of some traces, in order.
    pub(crate) fn holding(&self, ids: &[TraceId], tolerance: &Tolerance<'_>) -> Result<Vec<HeldTraces>, StoreError> {
        let mut blocks: BTreeMap<usize, Vec<TraceId>> = BTreeMap::new();
        for (id, held) in ids.iter().zip(self.blocks_of(ids, tolerance)?) {
            for block in held {
                blocks.entry(block).or_default().push(*id);
            }
        }
        let held = blocks.into_iter().map(|(block, mut ids)| {
            ids.sort_unstable();
            ids.dedup();
            HeldTraces { block, ids }
        });
        Ok(held.collect())
    }

    /// Appends the spans that blocks hold of traces, and takes these blocks from the end of the list, until the batch has so
    /// many bytes.
    pub(crate) fn traces_of(
        &self,
        held: &mut Vec<HeldTraces>,
        projection: Projection,
        tolerance: &Tolerance<'_>,
        max_bytes: usize,
        out: &mut SpanBatch,
    ) -> Result<(), StoreError> {
        if held.is_empty() {
            return Ok(());
        }
        let contents = self.contents()?;
        let mut zstd = self.zstd()?;
        let mut emitter = Emitter::new(&contents, projection, std::mem::take(out));
        let mut read_all = || -> Result<(), StoreError> {
            while emitter.content_bytes() < max_bytes
                && let Some(HeldTraces { block: number, ids }) = held.pop()
            {
                stop::check()?;
                let mut read = || -> Result<(), StoreError> {
                    let mut block =
                        if projection == Projection::All { self.whole_block(number) } else { self.block(number) }?;
                    block.load(&mut zstd, Chunk::TRACES)?;
                    let rows = block.rows_of(|id| ids.binary_search(&id).is_ok());
                    if rows.is_empty() {
                        return Ok(());
                    }
                    emitter.emit(&mut zstd, &mut block, &rows)
                };
                self.tolerate_block(number, tolerance, read())?;
            }
            Ok(())
        };
        let read = read_all();
        *out = emitter.into_batch();
        read
    }

    /// What a list says of a trace, if it is kept and the rows in these blocks, in order, are all that there are of it.
    pub(crate) fn summary(&self, id: TraceId, blocks: &[usize]) -> Result<Option<TraceSummary>, StoreError> {
        let (Some(first), Some(last)) = (blocks.first().copied(), blocks.last().copied()) else { return Ok(None) };
        let mut block = self.block(last)?;
        let contents = self.contents()?;
        let mut zstd = self.zstd()?;
        let summaries = block.summaries(&mut zstd, &contents.table)?;
        if summaries.is_empty() {
            return Ok(None);
        }
        block.load(&mut zstd, Chunk::TRACES)?;
        let place = only_place(&block.rows.trace_ids, id);
        let Some(known) = summaries.into_iter().find(|known| Some(known.place) == place) else { return Ok(None) };
        // A trace that was written in two parts lies in other blocks, too, or twice in the first of its last part.
        let is_all = known.blocks == blocks.len() && last - first + 1 == blocks.len();
        if !is_all {
            return Ok(None);
        }
        if first != last {
            let mut block = self.block(first)?;
            block.load(&mut zstd, Chunk::TRACES)?;
            if only_place(&block.rows.trace_ids, id).is_none() {
                return Ok(None);
            }
        }
        Ok(Some(known.summary(id, &contents.table)))
    }

    /// Appends the traces that have a row of a scan.
    pub(crate) fn trace_ids(
        &self,
        scan: &Scan,
        tolerance: &Tolerance<'_>,
        ids: &mut Vec<TraceId>,
    ) -> Result<(), StoreError> {
        let contents = self.contents()?;
        let Some(plan) = Plan::new(self, &contents, scan, tolerance)? else { return Ok(()) };
        let mut zstd = self.zstd()?;
        for (number, place) in self.footer.blocks.iter().enumerate() {
            stop::check()?;
            let (first, last) = (place.first_start_unix_nano, place.last_start_unix_nano);
            if !scan.time.overlaps(first, last) || !plan.may_match(self, number) {
                continue;
            }
            let every_row_matches = scan.predicates.is_empty() && scan.time.contains(first) && scan.time.contains(last);
            let mut read = || -> Result<(), StoreError> {
                let mut block = self.block(number)?;
                if every_row_matches {
                    block.load(&mut zstd, Chunk::TRACES)?;
                    ids.extend(&block.rows.trace_ids);
                } else {
                    let mut top = Top::new(scan);
                    plan.find(&mut zstd, &contents, &mut block, scan, Source { part: 0, place: 0 }, &mut top)?;
                    top.trace_ids(ids);
                }
                Ok(())
            };
            self.tolerate_block(number, tolerance, read())?;
        }
        Ok(())
    }

    /// Offers the rows of a scan. Blocks are visited newest first, and those that lie behind the last row that is asked
    /// for are not read.
    pub(crate) fn scan(
        &self,
        scan: &Scan,
        part: u32,
        tolerance: &Tolerance<'_>,
        top: &mut Top,
    ) -> Result<(), StoreError> {
        let contents = self.contents()?;
        let Some(plan) = Plan::new(self, &contents, scan, tolerance)? else { return Ok(()) };
        let blocks = &self.footer.blocks;
        let mut order: Vec<usize> = (0..blocks.len())
            .filter(|number| {
                let block = &blocks[*number];
                scan.time.overlaps(block.first_start_unix_nano, block.last_start_unix_nano)
                    && scan.after.is_none_or(|after| block.first_start_unix_nano <= after.start_unix_nano)
                    && plan.may_match(self, *number)
            })
            .collect();
        order.sort_by_key(|number| std::cmp::Reverse(blocks[*number].last_start_unix_nano));
        let mut zstd = self.zstd()?;
        for number in order {
            if top.worst().is_some_and(|worst| blocks[number].last_start_unix_nano < worst.start_unix_nano) {
                break;
            }
            stop::check()?;
            let found = self.block(number).and_then(|mut block| {
                plan.find(&mut zstd, &contents, &mut block, scan, Source { part, place: number as u32 }, top)
            });
            self.tolerate_block(number, tolerance, found)?;
        }
        Ok(())
    }

    /// Appends rows of some blocks, sorted, and says how many were appended for each block, or nothing if that is too much.
    pub(crate) fn rows(
        &self,
        wanted: &[(u32, Vec<usize>)],
        projection: Projection,
        tolerance: &Tolerance<'_>,
        max_bytes: usize,
        out: &mut SpanBatch,
    ) -> Result<Option<Vec<usize>>, StoreError> {
        let contents = self.contents()?;
        let mut zstd = self.zstd()?;
        let mut emitter = Emitter::new(&contents, projection, std::mem::take(out));
        let mut appended = Vec::with_capacity(wanted.len());
        for (number, rows) in wanted {
            stop::check()?;
            if emitter.content_bytes() > max_bytes {
                *out = emitter.into_batch();
                return Ok(None);
            }
            let before = emitter.len();
            let rows = Runs::of_places(rows);
            let read = self.block(*number as usize).and_then(|mut block| emitter.emit(&mut zstd, &mut block, &rows));
            tolerance.tolerate(self.entry.number, || self.block_as_part(*number as usize), read)?;
            appended.push(emitter.len() - before);
        }
        *out = emitter.into_batch();
        Ok(Some(appended))
    }

    /// Adds values of an attribute as text.
    pub(crate) fn values(
        &self,
        wanted: &ValuesOf<'_>,
        tolerance: &Tolerance<'_>,
        out: &mut BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let contents = self.contents()?;
        let table = &contents.table;
        let is_whole = |first: u64, last: u64| wanted.time.contains(first) && wanted.time.contains(last);
        let mut zstd = self.zstd()?;
        let columns: Vec<usize> = (0..table.columns.len())
            .filter(|column| matches!(&table.columns[*column].part, Part::Attribute(key) if key == wanted.key))
            .collect();
        let has_rest = table.columns.iter().any(|column| column.part == Part::Attributes);
        let every_row_counts = !has_rest && is_whole(self.entry.first_start_unix_nano, self.entry.last_start_unix_nano);
        if every_row_counts {
            (0..table.templates.len() as u32).for_each(|template| template_values(&contents, template, wanted, out));
            (0..table.resources.len() as u32).for_each(|resource| resource_values(&contents, resource, wanted, out));
            for column in &columns {
                contents.dictionaries[*column].iter().for_each(|text| {
                    text_value(table.columns[*column].value_type, text, wanted, out);
                });
            }
        }
        let blocks = &self.footer.blocks;
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        order.sort_by_key(|number| std::cmp::Reverse(blocks[*number].last_start_unix_nano));
        for number in order {
            let place = &blocks[number];
            let (first, last) = (place.first_start_unix_nano, place.last_start_unix_nano);
            if !wanted.time.overlaps(first, last) {
                continue;
            }
            if wanted.is_exhausted() {
                break;
            }
            stop::check()?;
            let mut read = || -> Result<(), StoreError> {
                if has_rest || !is_whole(first, last) {
                    let mut block = self.whole_block(number)?;
                    let mut emitter = Emitter::new(&contents, Projection::All, SpanBatch::new());
                    emitter.emit(&mut zstd, &mut block, &Runs::all(place.rows as usize))?;
                    wanted.collect(&emitter.into_batch(), out);
                    wanted.look_at_rare(place.rows as usize);
                    return Ok(());
                }
                if every_row_counts
                    && columns.iter().all(|column| table.columns[*column].storage == Storage::Dictionary)
                {
                    return Ok(());
                }
                let mut block = self.block(number)?;
                block_values(&mut zstd, &contents, &mut block, &columns, wanted, every_row_counts, out)
            };
            self.tolerate_block(number, tolerance, read())?;
        }
        Ok(())
    }

    /// Bytes by column.
    pub(crate) fn bytes_by_column(&self, out: &mut BTreeMap<String, u64>) -> Result<(), StoreError> {
        let contents = self.contents()?;
        let mut add = |name: String, bytes: u64| *out.entry(name).or_default() += bytes;
        for number in 0..self.footer.blocks.len() {
            let block = self.block(number)?;
            for chunk in block.chunks() {
                add(Chunk::name(chunk.number, &contents.table.columns), u64::from(chunk.length));
            }
            add("block headers".to_owned(), u64::from(block.place.header_length));
        }
        for (name, section) in [
            ("templates and resources", self.footer.table),
            ("dictionaries", self.footer.dictionaries),
            ("names", self.footer.names),
            ("trace index", self.footer.index),
            ("filter", self.footer.filter),
            ("postings", self.footer.postings.unwrap_or_default()),
        ] {
            add(name.to_owned(), section.length);
        }
        Ok(())
    }

    /// Keys of span attributes with the names of their types, those of the most templates first.
    pub(crate) fn attribute_columns(&self) -> Result<Vec<(String, &'static str)>, StoreError> {
        let contents = self.contents()?;
        let table = &contents.table;
        let mut counts: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
        for (span, variables) in table.templates.iter().zip(&table.variables) {
            for (place, (key, value)) in span.attributes().iter().enumerate() {
                let column = variables.iter().find(|variable| variable.place == Place::Attribute(place as u32));
                let value_type = match column {
                    Some(variable) => Some(table.columns[variable.column as usize].value_type),
                    None => ValueType::of_ref(value),
                };
                if let Some(value_type) = value_type {
                    *counts.entry((key.to_owned(), value_type.name())).or_default() += 1;
                }
            }
        }
        let mut columns: Vec<_> = counts.into_iter().collect();
        columns.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Ok(columns.into_iter().map(|(column, _)| column).collect())
    }

    /// How many traces have spans here; one that lies in two places counts twice.
    pub(crate) fn traces_held(&self) -> u64 {
        self.footer.traces
    }

    /// Reads and checks every byte, calling for each piece of damage. The number of spans that can be read is returned.
    pub(crate) fn verify(&self, mut damaged: impl FnMut(StoreError)) -> Result<u64, StoreError> {
        let mut spans = 0;
        if self.bytes(0, MAGIC.len())? != *MAGIC {
            damaged(self.damaged(0, Damaged("it does not begin as a segment does: no span is lost")));
        }
        for section in [self.footer.names, self.footer.index, self.footer.filter].iter().chain(&self.footer.postings) {
            match self.section(*section) {
                Ok(_) => {}
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => damaged(error),
            }
        }
        let contents = self.contents()?;
        let mut zstd = self.zstd()?;
        for number in 0..self.footer.blocks.len() {
            // A block that cannot be read is met again below, with its spans.
            let Ok(block) = self.block(number) else { continue };
            match block.summaries(&mut zstd, &contents.table) {
                Ok(_) => {}
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => damaged(error),
            }
        }
        self.every_span(
            |batch| {
                spans += batch.len() as u64;
                Ok(())
            },
            damaged,
        )?;
        Ok(spans)
    }
}

/// Where an id is, if it is there once.
fn only_place(ids: &[TraceId], id: TraceId) -> Option<usize> {
    let mut places = ids.iter().enumerate().filter(|(_, other)| **other == id).map(|(place, _)| place);
    let first = places.next()?;
    places.next().is_none().then_some(first)
}

fn text_value(value_type: ValueType, text: &[u8], wanted: &ValuesOf<'_>, out: &mut BTreeSet<String>) {
    match value_type {
        ValueType::Bytes => wanted.add(ValueRef::Bytes(text), out),
        ValueType::Nested => wanted.add(ValueRef::Nested(text), out),
        _ => {
            if let Ok(text) = std::str::from_utf8(text) {
                wanted.add(ValueRef::Str(text), out);
            }
        }
    }
}

fn template_values(contents: &Contents, template: u32, wanted: &ValuesOf<'_>, out: &mut BTreeSet<String>) {
    let span = contents.table.template(template);
    let variables = &contents.table.variables[template as usize];
    for (place, (key, value)) in span.attributes().iter().enumerate() {
        let varies = || variables.iter().any(|variable| variable.place == Place::Attribute(place as u32));
        if key == wanted.key && !varies() {
            wanted.add(value, out);
        }
    }
    span.scope_attributes().filter(|(key, _)| *key == wanted.key).for_each(|(_, value)| wanted.add(value, out));
}

fn resource_values(contents: &Contents, resource: u32, wanted: &ValuesOf<'_>, out: &mut BTreeSet<String>) {
    let batch = &contents.table.templates;
    let resource = &batch.resources()[contents.table.resources[resource as usize].index()];
    for (key, value) in &resource.attributes {
        if batch.string(*key) == wanted.key {
            wanted.add(batch.value(*value), out);
        }
    }
}

/// The values in a block all of whose rows count.
fn block_values(
    zstd: &mut Zstd,
    contents: &Contents,
    block: &mut Block<'_>,
    columns: &[usize],
    wanted: &ValuesOf<'_>,
    shared_is_known: bool,
    out: &mut BTreeSet<String>,
) -> Result<(), StoreError> {
    let distinct = |codes: &[u32]| codes.iter().copied().collect::<std::collections::HashSet<u32>>();
    if !shared_is_known {
        block.load(zstd, Chunk::TEMPLATE)?;
        block.load(zstd, Chunk::RESOURCE)?;
        for template in distinct(&block.rows.template) {
            template_values(contents, template, wanted, out);
        }
        for resource in distinct(&block.rows.resource) {
            resource_values(contents, resource, wanted, out);
        }
    }
    for column in columns {
        block.load_column(zstd, contents, *column)?;
        let value_type = contents.table.columns[*column].value_type;
        match &block.rows.values[*column] {
            Values::Codes(codes) => {
                for code in distinct(codes) {
                    text_value(value_type, contents.dictionaries[*column].get(code as usize), wanted, out);
                }
            }
            Values::Texts(texts) => {
                texts.iter().for_each(|text| text_value(value_type, text, wanted, out));
                wanted.look_at_rare(texts.len());
            }
            Values::Numbers(numbers) => {
                if contents.table.columns[*column].storage == Storage::RareNumber {
                    wanted.look_at_rare(numbers.len());
                }
                for number in numbers.iter().copied().collect::<std::collections::HashSet<u64>>() {
                    wanted.add(
                        match value_type {
                            ValueType::Bool => ValueRef::Bool(number != 0),
                            ValueType::Double => ValueRef::Double(f64::from_bits(number)),
                            _ => ValueRef::Int(unzigzag(number)),
                        },
                        out,
                    );
                }
            }
        }
    }
    if block.len() == 0 { Err(block.lost("rows", Damaged("there are none"))) } else { Ok(()) }
}

//! Rows of blocks as spans.

use tracewell_model::{BatchCopier, NewSpan, ResourceId, SpanBatch, SpanId, StrId, TraceId, Value};
use tracewell_wire::otlp::parts::PartsDecoder;

use super::block::Chunk;
use super::coding::{Damaged, Zstd};
use super::read::{Block, Contents, Segment};
use super::rows::Values;
use super::table::{Part, Place, ValueType, Variable, unzigzag};
use crate::{Projection, StoreError};

/// Turns rows of one segment into spans of one batch, translating templates, resources and strings once each.
pub(super) struct Emitter<'a> {
    contents: &'a Contents,
    projection: Projection,
    out: PartsDecoder,
    copier: BatchCopier<'a>,
    templates: Vec<Option<Template>>,
    resources: Vec<Option<ResourceId>>,
    /// The batch's number of each text of each dictionary, made when the first is asked for.
    strings: Vec<Vec<Option<StrId>>>,
    /// The next value of each column.
    cursors: Vec<usize>,
    lists: Lists,
    /// Which columns the projection asks for.
    wanted: Vec<bool>,
    scratch: Vec<(StrId, Value)>,
}

/// A template in the batch's own numbers.
struct Template {
    span: NewSpan,
    attributes: Vec<(StrId, Value)>,
    /// What varies and is asked for.
    variables: Vec<Variable>,
}

#[derive(Clone, Copy)]
struct Lists {
    event_time: usize,
    event_body: usize,
    link_body: usize,
}

impl<'a> Emitter<'a> {
    /// Goes on filling a batch with rows of a segment.
    pub(super) fn new(contents: &'a Contents, projection: Projection, out: SpanBatch) -> Self {
        let table = &contents.table;
        let column = |part: Part| table.column(&part).map_or(usize::MAX, |column| column as usize);
        let wanted = |part: &Part| match projection {
            Projection::Ids => false,
            Projection::Core => !matches!(
                part,
                Part::Attribute(_)
                    | Part::Attributes
                    | Part::Events
                    | Part::EventTime
                    | Part::EventBody
                    | Part::Links
                    | Part::LinkBody
            ),
            Projection::Outline(keys) => match part {
                Part::Name | Part::Attributes => true,
                Part::Attribute(key) => keys.contains(&key.as_str()),
                _ => false,
            },
            Projection::All => true,
        };
        Self {
            contents,
            projection,
            out: PartsDecoder::new(out),
            copier: BatchCopier::new(&table.templates),
            templates: table.variables.iter().map(|_| None).collect(),
            resources: vec![None; table.resources.len()],
            strings: vec![Vec::new(); table.columns.len()],
            cursors: vec![0; table.columns.len()],
            lists: Lists {
                event_time: column(Part::EventTime),
                event_body: column(Part::EventBody),
                link_body: column(Part::LinkBody),
            },
            wanted: table.columns.iter().map(|column| wanted(&column.part)).collect(),
            scratch: Vec::new(),
        }
    }

    /// How many spans the batch has so far.
    pub(super) fn len(&mut self) -> usize {
        self.out.batch().len()
    }

    pub(super) fn into_batch(self) -> SpanBatch {
        self.out.into_batch()
    }

    /// Appends rows of a block, which must be sorted. On an error, which is damage, none or some of them are appended.
    pub(super) fn emit(&mut self, zstd: &mut Zstd, block: &mut Block<'_>, rows: &[usize]) -> Result<(), StoreError> {
        block.load(zstd, Chunk::START)?;
        block.load(zstd, Chunk::SPAN_ID)?;
        self.out.batch().reserve_spans(rows.len());
        let result = if self.projection == Projection::Ids {
            self.emit_ids(block, rows);
            Ok(())
        } else {
            for chunk in [Chunk::TEMPLATE, Chunk::RESOURCE, Chunk::DURATION, Chunk::PARENT] {
                block.load(zstd, chunk)?;
            }
            self.load_columns(zstd, block, rows)?;
            self.emit_spans(block, rows).map_err(|damaged| block.lost("values", damaged))
        };
        self.out.batch().abandon_span();
        result
    }

    fn emit_ids(&mut self, block: &Block<'_>, rows: &[usize]) {
        let batch = self.out.batch();
        let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
        let mut traces = TraceCursor::default();
        for row in rows {
            batch.push_span(NewSpan {
                trace_id: traces.at(block, *row),
                span_id: SpanId::from_u64(block.rows.span_id[*row]),
                start_unix_nano: block.rows.start_unix_nano[*row],
                end_unix_nano: block.rows.start_unix_nano[*row],
                ..NewSpan::new(resource, scope)
            });
        }
    }

    /// Decodes the columns that the rows need.
    fn load_columns(&mut self, zstd: &mut Zstd, block: &mut Block<'_>, rows: &[usize]) -> Result<(), StoreError> {
        if !self.wanted.contains(&true) {
            return Ok(());
        }
        // Before a wanted row, values of others are counted: the lists among them by their lengths.
        let last = rows.last().map_or(0, |row| row + 1);
        let mut seen = vec![false; self.templates.len()];
        let mut needed = vec![false; self.wanted.len()];
        for row in rows {
            seen[block.rows.template[*row] as usize] = true;
        }
        let variables = &self.contents.table.variables;
        for (template, _) in seen.iter().enumerate().filter(|(_, seen)| **seen) {
            for variable in &variables[template] {
                needed[variable.column as usize] = self.wanted[variable.column as usize];
                match variable.place {
                    Place::Events if self.projection == Projection::All => {
                        needed[self.lists.event_time] = true;
                        needed[self.lists.event_body] = true;
                    }
                    Place::Links if self.projection == Projection::All => needed[self.lists.link_body] = true,
                    _ => {}
                }
            }
        }
        debug_assert!(last <= block.len());
        for column in (0..needed.len()).filter(|column| needed[*column]) {
            block.load_column(zstd, self.contents, column)?;
        }
        Ok(())
    }

    fn emit_spans(&mut self, block: &Block<'_>, rows: &[usize]) -> Result<(), Damaged> {
        self.cursors.fill(0);
        let walks = self.wanted.contains(&true);
        let mut traces = TraceCursor::default();
        let mut next = 0;
        for row in rows {
            if walks {
                for passed in next..*row {
                    self.pass(block, block.rows.template[passed]);
                }
                next = row + 1;
            }
            self.emit_span(block, *row, traces.at(block, *row))?;
        }
        Ok(())
    }

    /// Moves the cursors behind the values of a row that is not asked for.
    fn pass(&mut self, block: &Block<'_>, template: u32) {
        for variable in &self.contents.table.variables[template as usize] {
            let column = variable.column as usize;
            if matches!(variable.place, Place::Events | Place::Links) {
                let count = count_at(block, column, self.cursors[column]);
                if variable.place == Place::Events {
                    self.cursors[self.lists.event_time] += count;
                    self.cursors[self.lists.event_body] += count;
                } else {
                    self.cursors[self.lists.link_body] += count;
                }
            }
            self.cursors[column] += 1;
        }
    }

    fn emit_span(&mut self, block: &Block<'_>, row: usize, trace_id: TraceId) -> Result<(), Damaged> {
        let number = block.rows.template[row];
        let template = match self.templates[number as usize].take() {
            Some(known) => known,
            None => self.template(number),
        };
        let start_unix_nano = block.rows.start_unix_nano[row];
        let mut span = NewSpan {
            trace_id,
            span_id: SpanId::from_u64(block.rows.span_id[row]),
            parent_span_id: SpanId::from_u64(block.rows.parent_span_id[row]),
            start_unix_nano,
            end_unix_nano: start_unix_nano.wrapping_add(block.rows.duration_nanos[row]),
            resource: self.resource(block.rows.resource[row]),
            ..template.span
        };
        let mut pushed = 0;
        let variables = if self.wanted.is_empty() { &[][..] } else { &template.variables };
        for variable in variables {
            let column = variable.column as usize;
            match variable.place {
                Place::Attribute(place) => {
                    let place = place as usize;
                    for (key, value) in &template.attributes[pushed..place] {
                        self.out.batch().push_attribute(*key, *value);
                    }
                    let value = self.value(block, column)?;
                    self.out.batch().push_attribute(template.attributes[place].0, value);
                    pushed = place + 1;
                }
                Place::Name => span.name = self.string(block, column)?,
                Place::StatusMessage => span.status_message = self.string(block, column)?,
                Place::TraceState => span.trace_state = self.string(block, column)?,
                Place::Flags => span.flags = self.number(block, column)? as u32,
                Place::DroppedAttributes => span.dropped_attributes_count = self.number(block, column)? as u32,
                Place::DroppedEvents => span.dropped_events_count = self.number(block, column)? as u32,
                Place::DroppedLinks => span.dropped_links_count = self.number(block, column)? as u32,
                Place::Attributes => {
                    let bytes = self.bytes(block, column)?;
                    self.scratch.clear();
                    let read = self.out.attributes(bytes, &mut self.scratch);
                    read.map_err(|_| Damaged("attributes are not OTLP"))?;
                    for (key, value) in &self.scratch {
                        let batch = self.out.batch();
                        if self.projection.has_attribute(batch.string(*key)) {
                            batch.push_attribute(*key, *value);
                        }
                    }
                }
                Place::Events => {
                    for _ in 0..self.number(block, column)? {
                        let after = self.number(block, self.lists.event_time)?;
                        let bytes = self.bytes(block, self.lists.event_body)?;
                        let time = start_unix_nano.wrapping_add(after as u64);
                        self.out.event(bytes, time).map_err(|_| Damaged("an event is not OTLP"))?;
                    }
                }
                Place::Links => {
                    for _ in 0..self.number(block, column)? {
                        let bytes = self.bytes(block, self.lists.link_body)?;
                        self.out.link(bytes).map_err(|_| Damaged("a link is not OTLP"))?;
                    }
                }
            }
        }
        for (key, value) in &template.attributes[pushed..] {
            self.out.batch().push_attribute(*key, *value);
        }
        self.out.batch().push_span(span);
        self.templates[number as usize] = Some(template);
        Ok(())
    }

    /// The place of the next value of a column.
    fn next(&mut self, column: usize) -> usize {
        let place = self.cursors[column];
        self.cursors[column] += 1;
        place
    }

    fn number(&mut self, block: &Block<'_>, column: usize) -> Result<i64, Damaged> {
        let place = self.next(column);
        match &block.rows.values[column] {
            Values::Numbers(numbers) => numbers.get(place).map(|number| unzigzag(*number)),
            Values::Codes(_) | Values::Texts(_) => None,
        }
        .ok_or(Damaged("a value is missing"))
    }

    fn bytes<'b>(&mut self, block: &'b Block<'_>, column: usize) -> Result<&'b [u8], Damaged>
    where
        'a: 'b,
    {
        let place = self.next(column);
        let contents: &'a Contents = self.contents;
        match &block.rows.values[column] {
            Values::Codes(codes) => codes.get(place).map(|code| contents.dictionaries[column].get(*code as usize)),
            Values::Texts(texts) if place < texts.len() => Some(texts.get(place)),
            Values::Texts(_) | Values::Numbers(_) => None,
        }
        .ok_or(Damaged("a value is missing"))
    }

    fn string(&mut self, block: &Block<'_>, column: usize) -> Result<StrId, Damaged> {
        if let Values::Codes(codes) = &block.rows.values[column] {
            let place = self.next(column);
            let code = *codes.get(place).ok_or(Damaged("a value is missing"))? as usize;
            let dictionary = &self.contents.dictionaries[column];
            let known = &mut self.strings[column];
            if known.is_empty() {
                known.resize(dictionary.len(), None);
            }
            if let Some(id) = known[code] {
                return Ok(id);
            }
            let text = std::str::from_utf8(dictionary.get(code)).map_err(|_| Damaged("a text is not UTF-8"))?;
            let id = self.out.batch().intern(text);
            known[code] = Some(id);
            return Ok(id);
        }
        let text = std::str::from_utf8(self.bytes(block, column)?).map_err(|_| Damaged("a text is not UTF-8"))?;
        Ok(self.out.batch().intern(text))
    }

    fn value(&mut self, block: &Block<'_>, column: usize) -> Result<Value, Damaged> {
        let value_type = self.contents.table.columns[column].value_type;
        if value_type == ValueType::Str {
            return Ok(Value::Str(self.string(block, column)?));
        }
        if value_type.is_text() {
            let bytes = self.bytes(block, column)?;
            let blob = self.out.batch().add_blob(bytes);
            return Ok(if value_type == ValueType::Bytes { Value::Bytes(blob) } else { Value::Nested(blob) });
        }
        let place = self.next(column);
        let Values::Numbers(numbers) = &block.rows.values[column] else { return Err(Damaged("a value is missing")) };
        let number = *numbers.get(place).ok_or(Damaged("a value is missing"))?;
        Ok(match value_type {
            ValueType::Bool => Value::Bool(number != 0),
            ValueType::Double => Value::Double(f64::from_bits(number)),
            _ => Value::Int(unzigzag(number)),
        })
    }

    fn template(&mut self, number: u32) -> Template {
        let contents: &'a Contents = self.contents;
        let table = &contents.table;
        let row = number as usize;
        let own = table.templates.span(row);
        let batch = self.out.batch();
        let fixed = self.copier.fixed(row, batch);
        let span = if matches!(self.projection, Projection::Outline(_)) {
            let bare = NewSpan::new(fixed.resource, batch.add_scope("", "", &[], 0, ""));
            NewSpan { name: fixed.name, kind: fixed.kind, status_code: fixed.status_code, ..bare }
        } else {
            fixed
        };
        let mut attributes = Vec::new();
        // Where each attribute of the template lies among those that are asked for.
        let mut places = Vec::new();
        for (key, value) in own.attributes().raw_keys().iter().zip(own.attributes().raw_values()) {
            places.push(attributes.len() as u32);
            if self.projection.has_attribute(table.templates.string(*key)) {
                attributes.push((self.copier.string(*key, batch), self.copier.value(*value, batch)));
            }
        }
        let wanted = |variable: &&Variable| self.wanted[variable.column as usize];
        let place = |variable: &Variable| match variable.place {
            Place::Attribute(place) => {
                Variable { place: Place::Attribute(places[place as usize]), column: variable.column }
            }
            _ => *variable,
        };
        let variables = table.variables[row].iter().filter(wanted).map(place).collect();
        Template { span, attributes, variables }
    }

    fn resource(&mut self, number: u32) -> ResourceId {
        if let Some(known) = self.resources[number as usize] {
            return known;
        }
        let table = &self.contents.table;
        let id = table.resources[number as usize];
        let batch = self.out.batch();
        let new = if self.projection > Projection::Core {
            self.copier.resource(id, batch)
        } else {
            let service = table.templates.resources()[id.index()].service;
            service_only(batch, table.templates.string(service))
        };
        self.resources[number as usize] = Some(new);
        new
    }
}

/// A resource of which only the service is said.
pub(crate) fn service_only(batch: &mut SpanBatch, service: &str) -> ResourceId {
    if service == tracewell_model::UNKNOWN_SERVICE {
        return batch.add_resource(&[], 0, "");
    }
    let attribute = (batch.intern("service.name"), Value::Str(batch.intern(service)));
    batch.add_resource(&[attribute], 0, "")
}

fn count_at(block: &Block<'_>, column: usize, place: usize) -> usize {
    match block.rows.values.get(column) {
        Some(Values::Numbers(numbers)) => numbers.get(place).map_or(0, |count| unzigzag(*count) as usize),
        _ => 0,
    }
}

/// Finds the traces of rows that are asked for in order.
#[derive(Default)]
struct TraceCursor {
    run: usize,
    end: usize,
}

impl TraceCursor {
    fn at(&mut self, block: &Block<'_>, row: usize) -> TraceId {
        let rows = &block.rows;
        if self.end == 0 {
            self.end = rows.trace_rows[0] as usize;
        }
        while row >= self.end {
            self.run += 1;
            self.end += rows.trace_rows[self.run] as usize;
        }
        rows.trace_ids[self.run]
    }
}

impl Segment {
    /// All spans, block after block. What is damaged is told and left out.
    ///
    /// # Errors
    /// When nothing can be read, or `each` fails.
    pub(crate) fn every_span(
        &self,
        mut each: impl FnMut(SpanBatch) -> Result<(), StoreError>,
        mut damaged: impl FnMut(StoreError),
    ) -> Result<(), StoreError> {
        let contents = self.contents()?;
        let mut zstd = self.zstd()?;
        for number in 0..self.footer.blocks.len() {
            let read = self.whole_block(number).and_then(|mut block| {
                let mut emitter = Emitter::new(&contents, Projection::All, SpanBatch::new());
                let rows: Vec<usize> = (0..block.len()).collect();
                emitter.emit(&mut zstd, &mut block, &rows)?;
                Ok(emitter.into_batch())
            });
            match read {
                Ok(batch) => each(batch)?,
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => damaged(error),
            }
        }
        Ok(())
    }
}

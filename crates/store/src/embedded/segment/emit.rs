//! Rows of blocks as spans.

use tracewell_model::{BatchCopier, NewSpan, ResourceId, SpanBatch, SpanId, StrId, TraceId, Value};
use tracewell_wire::otlp::parts::PartsDecoder;

use super::block::Chunk;
use super::coding::{Damaged, Runs, Zstd};
use super::read::{Block, Contents, Segment};
use super::rows::Values;
use super::table::{Part, Place, ValueType, Variable, unzigzag};
use crate::{Projection, StoreError};

/// A dictionary with more texts for each row that is read is not made room for: finding a text of which the batch may have
/// a number takes as long as to make room for so many.
const TEXTS_A_ROW: usize = 64;

/// Turns rows of one segment into spans of one batch, translating templates, resources and strings once each.
pub(super) struct Emitter<'a> {
    contents: &'a Contents,
    projection: Projection,
    copier: BatchCopier<'a>,
    templates: Vec<Option<Template>>,
    resources: Vec<Option<ResourceId>>,
    /// Which columns the projection asks for.
    wanted: Vec<bool>,
    values: ValueReader<'a>,
}

/// Takes values from a block's columns, one after the other, into the batch.
struct ValueReader<'a> {
    contents: &'a Contents,
    projection: Projection,
    out: PartsDecoder,
    /// The batch's number of each text of each dictionary that is small beside the rows, made when the first is asked for.
    strings: Vec<Vec<Option<StrId>>>,
    /// The next value of each column.
    cursors: Vec<usize>,
    /// How many rows of the block are read.
    rows: usize,
    lists: Lists,
    scratch: Vec<(StrId, Value)>,
}

/// A template in the batch's own numbers.
struct Template {
    span: NewSpan,
    keys: Vec<StrId>,
    /// Where a value varies, it is none.
    values: Vec<Value>,
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
            Projection::Ids | Projection::Tree => false,
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
        let lists = Lists {
            event_time: column(Part::EventTime),
            event_body: column(Part::EventBody),
            link_body: column(Part::LinkBody),
        };
        Self {
            contents,
            projection,
            copier: BatchCopier::new(&table.templates),
            templates: table.variables.iter().map(|_| None).collect(),
            resources: vec![None; table.resources.len()],
            wanted: table.columns.iter().map(|column| wanted(&column.part)).collect(),
            values: ValueReader {
                contents,
                projection,
                out: PartsDecoder::new(out),
                strings: vec![Vec::new(); table.columns.len()],
                cursors: vec![0; table.columns.len()],
                rows: 0,
                lists,
                scratch: Vec::new(),
            },
        }
    }

    /// How many spans the batch has so far.
    pub(super) fn len(&mut self) -> usize {
        self.values.out.batch().len()
    }

    /// Bytes of what the batch says so far.
    pub(super) fn content_bytes(&mut self) -> usize {
        self.values.out.batch().content_bytes()
    }

    pub(super) fn into_batch(self) -> SpanBatch {
        self.values.out.into_batch()
    }

    /// Appends rows of a block, of which at most the traces were decoded. On an error, which is damage, none or some of
    /// them are appended.
    pub(super) fn emit(&mut self, zstd: &mut Zstd, block: &mut Block<'_>, rows: &Runs) -> Result<(), StoreError> {
        block.narrow(rows);
        block.load(zstd, Chunk::START)?;
        block.load(zstd, Chunk::SPAN_ID)?;
        self.values.out.batch().reserve_spans(rows.len());
        let result = if self.projection == Projection::Ids {
            self.emit_ids(block, rows);
            Ok(())
        } else {
            for chunk in [Chunk::TEMPLATE, Chunk::RESOURCE, Chunk::DURATION, Chunk::PARENT] {
                block.load(zstd, chunk)?;
            }
            self.load_columns(zstd, block, rows)?;
            self.reserve(block, rows);
            self.emit_spans(block, rows).map_err(|damaged| block.lost("values", damaged))
        };
        self.values.out.batch().abandon_span();
        result
    }

    fn emit_ids(&mut self, block: &Block<'_>, rows: &Runs) {
        let batch = self.values.out.batch();
        let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
        let mut traces = TraceCursor::default();
        for (place, row) in rows.places().enumerate() {
            batch.push_span(NewSpan {
                trace_id: traces.at(block, row),
                span_id: SpanId::from_u64(block.rows.span_id[place]),
                start_unix_nano: block.rows.start_unix_nano[place],
                end_unix_nano: block.rows.start_unix_nano[place],
                ..NewSpan::new(resource, scope)
            });
        }
    }

    /// Decodes the values of rows. Where they lie in their columns is known from the templates of the rows before; where
    /// events and links lie, from how many each of those rows has.
    fn load_columns(&self, zstd: &mut Zstd, block: &mut Block<'_>, rows: &Runs) -> Result<(), StoreError> {
        if !self.wanted.contains(&true) {
            return Ok(());
        }
        let mut places = Places::new(self.contents);
        let mut at = 0;
        for run in rows.iter() {
            places.pass(&block.rows.template[at..run.start]);
            places.take(&block.rows.template[run.clone()], &self.wanted);
            at = run.end;
        }
        let lists = self.values.lists;
        let columns = &self.contents.table.columns;
        for (column, wanted) in places.wanted.iter().enumerate().filter(|(_, wanted)| !wanted.is_empty()) {
            let members: &[usize] = match columns[column].part {
                Part::Events => &[lists.event_time, lists.event_body],
                Part::Links => &[lists.link_body],
                _ => {
                    block.load_values(zstd, self.contents, column, Some(wanted))?;
                    continue;
                }
            };
            block.load_column(zstd, self.contents, column)?;
            let wanted_members = block.pick_counts(column, wanted)?;
            for member in members.iter().filter(|_| !wanted_members.is_empty()) {
                if *member >= columns.len() {
                    return Err(block.lost("events or links", Damaged("their columns are missing")));
                }
                block.load_values(zstd, self.contents, *member, Some(&wanted_members))?;
            }
        }
        Ok(())
    }

    /// Makes room for what the rows have many of.
    fn reserve(&mut self, block: &Block<'_>, rows: &Runs) {
        if self.projection != Projection::All {
            return;
        }
        let templates = &self.contents.table.templates;
        let attributes = |row: usize| templates.span(block.rows.template[row] as usize).attributes().len();
        let (mut strings, mut bytes) = (0, 0);
        for texts in block.rows.values.iter().filter_map(Values::texts) {
            strings += texts.len();
            bytes += texts.size_bytes();
        }
        let batch = self.values.out.batch();
        batch.reserve_attributes(rows.places().map(attributes).sum());
        batch.reserve_strings(strings, bytes);
    }

    fn emit_spans(&mut self, block: &Block<'_>, rows: &Runs) -> Result<(), Damaged> {
        self.values.cursors.fill(0);
        self.values.rows = rows.len();
        let mut traces = TraceCursor::default();
        for (place, row) in rows.places().enumerate() {
            let number = block.rows.template[row];
            if self.templates[number as usize].is_none() {
                self.templates[number as usize] = Some(self.template(number));
            }
            let resource = self.resource(block.rows.resource[place]);
            let start_unix_nano = block.rows.start_unix_nano[place];
            if let Some(template) = &self.templates[number as usize] {
                let span = NewSpan {
                    trace_id: traces.at(block, row),
                    span_id: SpanId::from_u64(block.rows.span_id[place]),
                    parent_span_id: SpanId::from_u64(block.rows.parent_span_id[place]),
                    start_unix_nano,
                    end_unix_nano: start_unix_nano.wrapping_add(block.rows.duration_nanos[place]),
                    resource,
                    ..template.span
                };
                self.values.span(block, template, span)?;
            }
        }
        Ok(())
    }

    fn template(&mut self, number: u32) -> Template {
        let contents: &'a Contents = self.contents;
        let table = &contents.table;
        let row = number as usize;
        let own = table.templates.span(row);
        let batch = self.values.out.batch();
        if self.projection == Projection::Tree {
            let bare = NewSpan::new(batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
            let span = NewSpan { kind: own.kind(), status_code: own.status_code(), ..bare };
            return Template { span, keys: Vec::new(), values: Vec::new(), variables: Vec::new() };
        }
        let fixed = self.copier.fixed(row, batch);
        let span = if matches!(self.projection, Projection::Outline(_)) {
            let bare = NewSpan::new(fixed.resource, batch.add_scope("", "", &[], 0, ""));
            NewSpan { name: fixed.name, kind: fixed.kind, status_code: fixed.status_code, ..bare }
        } else {
            fixed
        };
        let count = own.attributes().len();
        let (mut keys, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
        // Where each attribute of the template lies among those that are asked for.
        let mut places = Vec::with_capacity(count);
        for (key, value) in own.attributes().raw_keys().iter().zip(own.attributes().raw_values()) {
            places.push(keys.len() as u32);
            if self.projection.has_attribute(table.templates.string(*key)) {
                keys.push(self.copier.string(*key, batch));
                values.push(self.copier.value(*value, batch));
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
        Template { span, keys, values, variables }
    }

    fn resource(&mut self, number: u32) -> ResourceId {
        if let Some(known) = self.resources[number as usize] {
            return known;
        }
        let table = &self.contents.table;
        let id = table.resources[number as usize];
        let batch = self.values.out.batch();
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

impl<'a> ValueReader<'a> {
    /// Adds a span of a template with the values that vary in it.
    fn span(&mut self, block: &Block<'_>, template: &Template, mut span: NewSpan) -> Result<(), Damaged> {
        let first = self.out.batch().push_attributes(&template.keys, &template.values);
        for variable in &template.variables {
            let column = variable.column as usize;
            match variable.place {
                Place::Attribute(place) => {
                    let value = self.value(block, column)?;
                    self.out.batch().set_attribute(first + place as usize, value);
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
                        let time = span.start_unix_nano.wrapping_add(after as u64);
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
        self.out.batch().push_span(span);
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
            if known.is_empty() && dictionary.len() / TEXTS_A_ROW <= self.rows {
                known.resize(dictionary.len(), None);
            }
            if let Some(Some(id)) = known.get(code) {
                return Ok(*id);
            }
            let text = std::str::from_utf8(dictionary.get(code)).map_err(|_| Damaged("a text is not UTF-8"))?;
            let id = self.out.batch().intern(text);
            if let Some(known) = known.get_mut(code) {
                *known = Some(id);
            }
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
}

/// A resource of which only the service is said.
pub(crate) fn service_only(batch: &mut SpanBatch, service: &str) -> ResourceId {
    if service == tracewell_model::UNKNOWN_SERVICE {
        return batch.add_resource(&[], 0, "");
    }
    let attribute = (batch.intern("service.name"), Value::Str(batch.intern(service)));
    batch.add_resource(&[attribute], 0, "")
}

/// Where in each column the values of rows lie that are asked for.
struct Places<'a> {
    variables: &'a [Vec<Variable>],
    /// Values of each column up to here.
    passed: Vec<usize>,
    wanted: Vec<Runs>,
    /// How many of some rows are of each template, and of which there are any.
    uses: Vec<u32>,
    used: Vec<u32>,
}

impl<'a> Places<'a> {
    fn new(contents: &'a Contents) -> Self {
        let (columns, variables) = (contents.table.columns.len(), &contents.table.variables);
        Self {
            variables,
            passed: vec![0; columns],
            wanted: vec![Runs::default(); columns],
            uses: vec![0; variables.len()],
            used: Vec::new(),
        }
    }

    /// Goes on behind rows of these templates.
    fn pass(&mut self, templates: &[u32]) {
        self.each(templates, |passed, _, _, count| *passed += count);
    }

    /// The same, and their values are asked for, as far as their columns are.
    fn take(&mut self, templates: &[u32], columns: &[bool]) {
        self.each(templates, |passed, wanted, column, count| {
            if columns[column] {
                wanted.push(*passed..*passed + count);
            }
            *passed += count;
        });
    }

    fn each(&mut self, templates: &[u32], mut each: impl FnMut(&mut usize, &mut Runs, usize, usize)) {
        for template in templates {
            let uses = &mut self.uses[*template as usize];
            if *uses == 0 {
                self.used.push(*template);
            }
            *uses += 1;
        }
        for template in self.used.drain(..) {
            let count = std::mem::take(&mut self.uses[template as usize]) as usize;
            for variable in &self.variables[template as usize] {
                let column = variable.column as usize;
                each(&mut self.passed[column], &mut self.wanted[column], column, count);
            }
        }
    }
}

/// Finds the traces of rows that are asked for in order.
#[derive(Default)]
pub(super) struct TraceCursor {
    run: usize,
    end: usize,
}

impl TraceCursor {
    pub(super) fn at(&mut self, block: &Block<'_>, row: usize) -> TraceId {
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
                let rows = Runs::all(block.len());
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

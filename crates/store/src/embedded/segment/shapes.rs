//! From spans to templates: which spans say the same, and in what they differ.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::{HashSet, HashTable};
use tracewell_model::{BatchCopier, NewSpan, ResourceId, SpanBatch, StrId, Value};

use super::hash;
use super::table::{ColumnPlaces, Part, Place, Storage, Table, ValueType, Variable};

/// Beyond this many templates, spans like no other keep their attributes as one value: a table is held in memory.
const MOST_TEMPLATES: usize = 16 * 1024;
/// Beyond this many columns, spans that would need others keep their attributes as one value: a block lists its columns.
const MOST_COLUMNS: usize = 1024;
/// So many distinct values of flags or of a count may each have templates of their own.
const MOST_NUMBERS: usize = 16;
/// Values of a column that are looked at to decide how it is stored.
const SAMPLED_VALUES: usize = 4096;

/// What is known of some batches before their rows are written.
pub(super) struct Shapes {
    pub(super) table: Table,
    /// The template of each row of each batch.
    pub(super) templates: Vec<Vec<u32>>,
    /// The place in the table of each resource of each batch.
    pub(super) resources: Vec<Vec<u32>>,
}

/// Which parts of a span vary in every template, because they would make too many of them.
#[derive(Clone, Copy, Default)]
struct Varying {
    name: bool,
    status_message: bool,
    trace_state: bool,
    flags: bool,
    dropped: bool,
}

impl Shapes {
    pub(super) fn of(batches: &[&SpanBatch]) -> Self {
        let mut finder = Finder::new(Varying::of(batches));
        let mut templates = Vec::with_capacity(batches.len());
        let mut resources = Vec::with_capacity(batches.len());
        for batch in batches {
            let (own_templates, own_resources) = finder.add(batch);
            templates.push(own_templates);
            resources.push(own_resources);
        }
        let mut table = finder.finish();
        choose_storage(batches, &templates, &mut table);
        Self { table, templates, resources }
    }
}

impl Varying {
    fn of(batches: &[&SpanBatch]) -> Self {
        let rows: usize = batches.iter().map(|batch| batch.len()).sum();
        let texts = |column: fn(&SpanBatch) -> &[StrId]| {
            let mut distinct: HashSet<u64, RandomState> = HashSet::default();
            for batch in batches {
                let mut before = StrId::EMPTY;
                let mut seen = vec![false; batch.strings().len()];
                for id in column(batch) {
                    if *id != before && !std::mem::replace(&mut seen[id.index()], true) {
                        distinct.insert(hash::of_bytes(0, batch.string(*id).as_bytes()));
                    }
                    before = *id;
                }
            }
            distinct.len()
        };
        let numbers = |column: fn(&SpanBatch) -> &[u32]| {
            let mut distinct: HashSet<u32, RandomState> = HashSet::default();
            batches.iter().flat_map(|batch| column(batch)).any(|number| {
                distinct.insert(*number);
                distinct.len() > MOST_NUMBERS
            })
        };
        Self {
            name: texts(|batch| &batch.spans().name) > 512.max(rows / 32),
            status_message: texts(|batch| &batch.spans().status_message) > 64.max(rows / 256),
            trace_state: texts(|batch| &batch.spans().trace_state) > 16.max(rows / 1024),
            flags: numbers(|batch| &batch.spans().flags),
            dropped: numbers(|batch| &batch.spans().dropped_attributes_count)
                || numbers(|batch| &batch.spans().dropped_events_count)
                || numbers(|batch| &batch.spans().dropped_links_count),
        }
    }
}

/// What one template is found by, within a batch: a row that has it.
struct Finder {
    varying: Varying,
    table: Table,
    own_resource: ResourceId,
    /// Templates by what spans must share to have one.
    places: HashTable<u32>,
    /// For each template, which attributes vary; and whether it keeps all of them as one value.
    attribute_varies: Vec<Vec<bool>>,
    is_rest: Vec<bool>,
    has_events: Vec<bool>,
    has_links: Vec<bool>,
    resource_places: HashTable<u32>,
    hasher: RandomState,
}

/// A template as a row of a batch has it.
struct Local {
    row: u32,
    template: u32,
}

fn same_value(left: Value, right: Value) -> bool {
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => left.to_bits() == right.to_bits(),
        // Blobs are rare and are not compared.
        (Value::Bytes(_) | Value::Nested(_), _) => false,
        _ => left == right,
    }
}

impl Finder {
    fn new(varying: Varying) -> Self {
        let mut table = Table::default();
        let own_resource = table.templates.add_resource(&[], 0, "");
        Self {
            varying,
            table,
            own_resource,
            places: HashTable::new(),
            attribute_varies: Vec::new(),
            is_rest: Vec::new(),
            has_events: Vec::new(),
            has_links: Vec::new(),
            resource_places: HashTable::new(),
            hasher: RandomState::default(),
        }
    }

    /// The templates of a batch's rows and the places of its resources.
    fn add(&mut self, batch: &SpanBatch) -> (Vec<u32>, Vec<u32>) {
        let mut copier = BatchCopier::new(batch);
        // Of a resource that only refused spans had, nothing is kept.
        let mut resources = vec![u32::MAX; batch.resources().len()];
        for id in &batch.spans().resource {
            if resources[id.index()] == u32::MAX {
                resources[id.index()] = self.resource(*id, &mut copier);
            }
        }
        let mut locals: Vec<Local> = Vec::new();
        let mut local_places: HashTable<u32> = HashTable::new();
        let mut templates = Vec::with_capacity(batch.len());
        let spans = batch.spans();
        let values = &batch.span_attributes().value;
        for row in 0..batch.len() {
            let hash = self.local_hash(batch, row);
            let found =
                local_places.find(hash, |local| self.same_shape(batch, locals[*local as usize].row as usize, row));
            let Some(local) = found.map(|local| &locals[*local as usize]) else {
                let template = self.template(batch, row, &mut copier);
                let place = locals.len() as u32;
                local_places
                    .insert_unique(hash, place, |place| self.local_hash(batch, locals[*place as usize].row as usize));
                locals.push(Local { row: row as u32, template });
                templates.push(template);
                continue;
            };
            if !self.is_rest[local.template as usize] {
                // Strings have one number each in a batch, so this compares numbers only.
                let known = attributes(&spans.attributes_end, local.row as usize);
                let own = attributes(&spans.attributes_end, row);
                let varies = &mut self.attribute_varies[local.template as usize];
                for ((varies, known), own) in varies.iter_mut().zip(&values[known]).zip(&values[own]) {
                    *varies |= !same_value(*known, *own);
                }
            }
            templates.push(local.template);
        }
        (templates, resources)
    }

    fn local_hash(&self, batch: &SpanBatch, row: usize) -> u64 {
        let spans = batch.spans();
        let name = if self.varying.name { 0 } else { spans.name[row].index() as u64 };
        let fixed = (spans.kind[row] as u64) << 8 | spans.status_code[row] as u64;
        let mut hash = hash::of_number(name, fixed << 32 | spans.scope[row].index() as u64);
        let range = attributes(&spans.attributes_end, row);
        let columns = batch.span_attributes();
        for (key, value) in columns.key[range.clone()].iter().zip(&columns.value[range]) {
            let value_type = ValueType::of(*value).map_or(7, |value_type| value_type as u64);
            hash = (hash.rotate_left(5) ^ (key.index() as u64) << 3 ^ value_type).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        hash ^ hash >> 32
    }

    /// Whether two rows of a batch have one template, as far as it can be told before values are compared.
    fn same_shape(&self, batch: &SpanBatch, left: usize, right: usize) -> bool {
        let spans = batch.spans();
        let Varying { name, status_message, trace_state, flags, dropped } = self.varying;
        let has = |ends: &[u32], row: usize| !attributes(ends, row).is_empty();
        if (spans.kind[left], spans.status_code[left], spans.scope[left])
            != (spans.kind[right], spans.status_code[right], spans.scope[right])
            || !(name || spans.name[left] == spans.name[right])
            || !(status_message || spans.status_message[left] == spans.status_message[right])
            || !(trace_state || spans.trace_state[left] == spans.trace_state[right])
            || !(flags || spans.flags[left] == spans.flags[right])
            || has(&spans.events_end, left) != has(&spans.events_end, right)
            || has(&spans.links_end, left) != has(&spans.links_end, right)
        {
            return false;
        }
        let counts = |row: usize| {
            (spans.dropped_attributes_count[row], spans.dropped_events_count[row], spans.dropped_links_count[row])
        };
        if !dropped && counts(left) != counts(right) {
            return false;
        }
        let (left, right) = (attributes(&spans.attributes_end, left), attributes(&spans.attributes_end, right));
        let columns = batch.span_attributes();
        columns.key[left.clone()] == columns.key[right.clone()]
            && columns.value[left]
                .iter()
                .zip(&columns.value[right])
                .all(|(left, right)| ValueType::of(*left) == ValueType::of(*right))
    }

    /// The template of a row that is the first of its shape in its batch.
    fn template(&mut self, batch: &SpanBatch, row: usize, copier: &mut BatchCopier<'_>) -> u32 {
        let is_rest = self.table.templates.len() >= MOST_TEMPLATES;
        let found = self.find_template(batch, row, false, copier);
        if let Some(template) = found {
            return template;
        }
        if is_rest && let Some(template) = self.find_template(batch, row, true, copier) {
            return template;
        }
        self.new_template(batch, row, is_rest, copier)
    }

    fn find_template(
        &mut self,
        batch: &SpanBatch,
        row: usize,
        is_rest: bool,
        copier: &mut BatchCopier<'_>,
    ) -> Option<u32> {
        let wanted = self.prototype(batch, row, is_rest, copier);
        let hash = self.hash_of(&wanted, is_rest);
        let template = *self.places.find(hash, |place| self.is_template(*place, &wanted, is_rest))?;
        let known = self.table.templates.span(template as usize);
        let varies = &mut self.attribute_varies[template as usize];
        for (place, (varies, known)) in varies.iter_mut().zip(known.attributes().raw_values()).enumerate() {
            *varies |= !same_value(*known, wanted.attributes[place].1);
        }
        Some(template)
    }

    /// A row in the table's own numbers.
    fn prototype(&mut self, batch: &SpanBatch, row: usize, is_rest: bool, copier: &mut BatchCopier<'_>) -> Prototype {
        let spans = batch.spans();
        let table = &mut self.table.templates;
        let varying = self.varying;
        let mut text = |varies: bool, id: StrId| {
            if is_rest || varies { StrId::EMPTY } else { copier.string(id, table) }
        };
        let name = text(varying.name, spans.name[row]);
        let status_message = text(varying.status_message, spans.status_message[row]);
        let trace_state = text(varying.trace_state, spans.trace_state[row]);
        let number = |varies: bool, number: u32| if is_rest || varies { 0 } else { number };
        let span = NewSpan {
            name,
            status_message,
            trace_state,
            kind: spans.kind[row],
            status_code: spans.status_code[row],
            flags: number(varying.flags, spans.flags[row]),
            dropped_attributes_count: number(varying.dropped, spans.dropped_attributes_count[row]),
            dropped_events_count: number(varying.dropped, spans.dropped_events_count[row]),
            dropped_links_count: number(varying.dropped, spans.dropped_links_count[row]),
            ..NewSpan::new(self.own_resource, copier.scope(spans.scope[row], table))
        };
        let range = attributes(&spans.attributes_end, row);
        let columns = batch.span_attributes();
        let pairs = columns.key[range.clone()].iter().zip(&columns.value[range]);
        let attributes = if is_rest {
            Vec::new()
        } else {
            pairs
                .map(|(key, value)| {
                    let value = match *value {
                        Value::Str(id) => Value::Str(copier.string(id, table)),
                        // Blobs vary always, and are not kept in the table.
                        blob => blob,
                    };
                    (copier.string(*key, table), value)
                })
                .collect()
        };
        Prototype {
            span,
            attributes,
            has_events: !self::attributes(&spans.events_end, row).is_empty(),
            has_links: !self::attributes(&spans.links_end, row).is_empty(),
        }
    }

    fn hash_of(&self, prototype: &Prototype, is_rest: bool) -> u64 {
        let span = &prototype.span;
        let keys = prototype.attributes.iter().map(|(key, value)| (key.index(), ValueType::of(*value)));
        self.hasher.hash_one((
            (is_rest, span.name, span.kind, span.status_code, span.scope, prototype.has_events, prototype.has_links),
            keys.collect::<Vec<_>>(),
        ))
    }

    fn is_template(&self, template: u32, wanted: &Prototype, is_rest: bool) -> bool {
        let place = template as usize;
        let known = self.table.templates.span(place);
        let spans = self.table.templates.spans();
        let span = &wanted.span;
        self.is_rest[place] == is_rest
            && self.has_events[place] == wanted.has_events
            && self.has_links[place] == wanted.has_links
            && (spans.name[place], spans.kind[place], spans.status_code[place], spans.scope[place])
                == (span.name, span.kind, span.status_code, span.scope)
            && (spans.status_message[place], spans.trace_state[place], spans.flags[place])
                == (span.status_message, span.trace_state, span.flags)
            && (
                spans.dropped_attributes_count[place],
                spans.dropped_events_count[place],
                spans.dropped_links_count[place],
            ) == (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count)
            && known.attributes().len() == wanted.attributes.len()
            && known.attributes().raw_keys().iter().zip(known.attributes().raw_values()).zip(&wanted.attributes).all(
                |((known_key, known), (key, value))| known_key == key && ValueType::of(*known) == ValueType::of(*value),
            )
    }

    fn new_template(&mut self, batch: &SpanBatch, row: usize, is_rest: bool, copier: &mut BatchCopier<'_>) -> u32 {
        let prototype = self.prototype(batch, row, is_rest, copier);
        let hash = self.hash_of(&prototype, is_rest);
        let mut varies = Vec::with_capacity(prototype.attributes.len());
        for (key, value) in &prototype.attributes {
            varies.push(matches!(value, Value::Bytes(_) | Value::Nested(_)));
            self.table.templates.push_attribute(*key, *value);
        }
        let template = self.table.templates.push_span(prototype.span) as u32;
        self.attribute_varies.push(varies);
        self.is_rest.push(is_rest);
        self.has_events.push(prototype.has_events);
        self.has_links.push(prototype.has_links);
        // Growing needs the hashes of what is there; they are made again from the table.
        let mut places = std::mem::take(&mut self.places);
        places.insert_unique(hash, template, |place| {
            self.hash_of(&self.prototype_of(*place), self.is_rest[*place as usize])
        });
        self.places = places;
        template
    }

    /// A template as a prototype, to hash it again.
    fn prototype_of(&self, template: u32) -> Prototype {
        let place = template as usize;
        let spans = self.table.templates.spans();
        let known = self.table.templates.span(place).attributes();
        Prototype {
            span: NewSpan {
                name: spans.name[place],
                kind: spans.kind[place],
                status_code: spans.status_code[place],
                ..NewSpan::new(self.own_resource, spans.scope[place])
            },
            attributes: known.raw_keys().iter().copied().zip(known.raw_values().iter().copied()).collect(),
            has_events: self.has_events[place],
            has_links: self.has_links[place],
        }
    }

    fn resource(&mut self, id: ResourceId, copier: &mut BatchCopier<'_>) -> u32 {
        let id = copier.resource(id, &mut self.table.templates);
        let hash = self.hasher.hash_one(id);
        if let Some(known) = self.resource_places.find(hash, |known| self.table.resources[*known as usize] == id) {
            return *known;
        }
        let new = self.table.resources.len() as u32;
        self.table.resources.push(id);
        let (resources, hasher) = (&self.table.resources, &self.hasher);
        self.resource_places.insert_unique(hash, new, |known| hasher.hash_one(resources[*known as usize]));
        new
    }

    /// The table, with columns for what varies, and the templates without the values that do.
    fn finish(self) -> Table {
        let Self { mut table, varying, attribute_varies, is_rest, has_events, has_links, .. } = self;
        let mut places = ColumnPlaces::default();
        let mut columns = Vec::new();
        let old = std::mem::take(&mut table.templates);
        let mut copier = BatchCopier::new(&old);
        let mut new = SpanBatch::new();
        for id in &mut table.resources {
            *id = copier.resource(*id, &mut new);
        }
        for row in 0..old.len() {
            let mut variables = Vec::new();
            let keeps_as_one = is_rest[row] || columns.len() >= MOST_COLUMNS;
            // Values of lists have columns, and no place of their own.
            let mut add = |place: Option<Place>, part: Part, value_type: ValueType| {
                let column = places.place(&mut columns, part, value_type);
                variables.extend(place.map(|place| Variable { place, column }));
            };
            let rest = is_rest[row];
            if rest || varying.name {
                add(Some(Place::Name), Part::Name, ValueType::Str);
            }
            if rest || varying.status_message {
                add(Some(Place::StatusMessage), Part::StatusMessage, ValueType::Str);
            }
            if rest || varying.trace_state {
                add(Some(Place::TraceState), Part::TraceState, ValueType::Str);
            }
            if rest || varying.flags {
                add(Some(Place::Flags), Part::Flags, ValueType::Int);
            }
            if rest || varying.dropped {
                add(Some(Place::DroppedAttributes), Part::DroppedAttributes, ValueType::Int);
                add(Some(Place::DroppedEvents), Part::DroppedEvents, ValueType::Int);
                add(Some(Place::DroppedLinks), Part::DroppedLinks, ValueType::Int);
            }
            if keeps_as_one {
                add(Some(Place::Attributes), Part::Attributes, ValueType::Bytes);
            }
            let known = old.span(row).attributes();
            let kept = if keeps_as_one { 0 } else { known.len() };
            for (place, (key, value)) in known.raw_keys().iter().zip(known.raw_values()).take(kept).enumerate() {
                let new_key = copier.string(*key, &mut new);
                let varies = attribute_varies[row][place];
                let value_type = ValueType::of(*value).filter(|_| varies);
                if let Some(value_type) = value_type {
                    let part = Part::Attribute(old.string(*key).to_owned());
                    add(Some(Place::Attribute(place as u32)), part, value_type);
                }
                let kept = if value_type.is_some() { Value::Empty } else { copier.value(*value, &mut new) };
                new.push_attribute(new_key, kept);
            }
            if has_events[row] {
                add(Some(Place::Events), Part::Events, ValueType::Int);
                add(None, Part::EventTime, ValueType::Int);
                add(None, Part::EventBody, ValueType::Bytes);
            }
            if has_links[row] {
                add(Some(Place::Links), Part::Links, ValueType::Int);
                add(None, Part::LinkBody, ValueType::Bytes);
            }
            let span = copier.fixed(row, &mut new);
            new.push_span(span);
            table.variables.push(variables);
        }
        table.columns = columns;
        table.templates = new;
        table
    }
}

struct Prototype {
    span: NewSpan,
    attributes: Vec<(StrId, Value)>,
    has_events: bool,
    has_links: bool,
}

pub(super) fn attributes(ends: &[u32], row: usize) -> std::ops::Range<usize> {
    let start = if row == 0 { 0 } else { ends[row - 1] as usize };
    start..ends[row] as usize
}

/// Looks at some values of each column: those that hardly repeat are not worth a dictionary.
fn choose_storage(batches: &[&SpanBatch], templates: &[Vec<u32>], table: &mut Table) {
    let mut seen: Vec<(HashSet<u64, RandomState>, usize)> = vec![Default::default(); table.columns.len()];
    let step = (batches.len() / 64).max(1);
    for (batch, templates) in batches.iter().zip(templates).step_by(step) {
        let spans = batch.spans();
        for (row, template) in templates.iter().enumerate() {
            for variable in &table.variables[*template as usize] {
                let (distinct, looked_at) = &mut seen[variable.column as usize];
                if *looked_at >= SAMPLED_VALUES {
                    continue;
                }
                let text = |id: StrId| hash::of_bytes(0, batch.string(id).as_bytes());
                let value = match variable.place {
                    Place::Name => text(spans.name[row]),
                    Place::StatusMessage => text(spans.status_message[row]),
                    Place::TraceState => text(spans.trace_state[row]),
                    Place::Attribute(place) => {
                        match batch.span_attributes().value[attributes(&spans.attributes_end, row)][place as usize] {
                            Value::Str(id) => text(id),
                            Value::Bytes(id) | Value::Nested(id) => hash::of_bytes(0, batch.blob(id)),
                            Value::Int(number) => hash::of_number(0, number as u64),
                            _ => continue,
                        }
                    }
                    _ => continue,
                };
                distinct.insert(value);
                *looked_at += 1;
            }
        }
    }
    for (column, (distinct, looked_at)) in table.columns.iter_mut().zip(seen) {
        let repeated = looked_at - distinct.len();
        column.storage = match column.value_type {
            _ if column.part == Part::Attributes || column.part == Part::LinkBody => Storage::Text,
            ValueType::Str | ValueType::Bytes | ValueType::Nested => {
                if looked_at >= 64 && distinct.len() * 2 > looked_at { Storage::Text } else { Storage::Dictionary }
            }
            ValueType::Int if looked_at >= 256 && repeated <= looked_at / 200 => Storage::RareNumber,
            _ => Storage::Number,
        };
    }
}

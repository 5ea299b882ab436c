//! What the spans of a segment have in common.
//!
//! Spans of one place in the code say mostly the same: name, kind, scope, the keys of their attributes in one order, and
//! many values. A *template* is all of that, written once, with a list of what varies; a span is then the number of its
//! template and the values that vary, which lie in columns. Templates, and the resources, are themselves kept as a batch
//! of spans, so everything that reads spans reads them.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tracewell_model::{NewSpan, ResourceId, SpanBatch, SpanKind, SpanRef, StatusCode, StrId, Value, ValueRef};
use tracewell_wire::otlp::parts::{self, PartsDecoder};

use super::coding::{Damaged, Input, put_varint};

/// A part of a span that varies, or may.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    Name,
    StatusMessage,
    TraceState,
    Flags,
    DroppedAttributes,
    DroppedEvents,
    DroppedLinks,
    /// An attribute with this key.
    Attribute(String),
    /// All attributes at once, as OTLP: of spans whose keys are like no other span's.
    Attributes,
    /// How many events; then each event's time less the span's start, and each event without its time, as OTLP.
    Events,
    EventTime,
    EventBody,
    /// How many links; then each link as OTLP.
    Links,
    LinkBody,
}

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ValueType {
    Str,
    Bool,
    Int,
    Double,
    Bytes,
    Nested,
}

/// How a column's values lie in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Storage {
    /// As numbers.
    Number,
    /// As numbers that hardly repeat, so that the filter knows them.
    RareNumber,
    /// As places in the segment's dictionary of the column.
    Dictionary,
    /// As texts, which hardly repeat; the filter knows them.
    Text,
}

/// A column of values that vary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) part: Part,
    pub(super) value_type: ValueType,
    pub(super) storage: Storage,
}

/// Where a value that varies belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Name,
    StatusMessage,
    TraceState,
    Flags,
    DroppedAttributes,
    DroppedEvents,
    DroppedLinks,
    Attributes,
    Events,
    Links,
    /// The attribute at this place among the template's.
    Attribute(u32),
}

/// Something that varies in a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Variable {
    pub(super) place: Place,
    pub(super) column: u32,
}

/// The templates, resources and columns of a segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// A row for each template. What varies holds its zero value.
    pub(super) templates: SpanBatch,
    /// What varies in each template, in the order in which a span's values are read.
    pub(super) variables: Vec<Vec<Variable>>,
    pub(super) columns: Vec<Column>,
    /// Spans name a resource by its place in here.
    pub(super) resources: Vec<ResourceId>,
}

impl ValueType {
    pub(super) const ALL: [Self; 6] = [Self::Str, Self::Bool, Self::Int, Self::Double, Self::Bytes, Self::Nested];

    pub(super) fn of(value: Value) -> Option<Self> {
        Some(match value {
            Value::Empty => return None,
            Value::Str(_) => Self::Str,
            Value::Bool(_) => Self::Bool,
            Value::Int(_) => Self::Int,
            Value::Double(_) => Self::Double,
            Value::Bytes(_) => Self::Bytes,
            Value::Nested(_) => Self::Nested,
        })
    }

    /// The type of a value as it is read.
    pub(super) fn of_ref(value: ValueRef<'_>) -> Option<Self> {
        Some(match value {
            ValueRef::Empty => return None,
            ValueRef::Str(_) => Self::Str,
            ValueRef::Bool(_) => Self::Bool,
            ValueRef::Int(_) => Self::Int,
            ValueRef::Double(_) => Self::Double,
            ValueRef::Bytes(_) => Self::Bytes,
            ValueRef::Nested(_) => Self::Nested,
        })
    }

    /// The name that people see.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Str => "string",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::Nested => "nested",
        }
    }

    /// Whether values are bytes or text, not numbers.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Str | Self::Bytes | Self::Nested)
    }
}

/// A signed number as an unsigned one, small for small numbers of either sign.
pub(super) fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

impl Place {
    fn number(self) -> u64 {
        match self {
            Self::Name => 0,
            Self::StatusMessage => 1,
            Self::TraceState => 2,
            Self::Flags => 3,
            Self::DroppedAttributes => 4,
            Self::DroppedEvents => 5,
            Self::DroppedLinks => 6,
            Self::Attributes => 7,
            Self::Events => 8,
            Self::Links => 9,
            Self::Attribute(place) => 10 + u64::from(place),
        }
    }

    fn from_number(number: u64) -> Result<Self, Damaged> {
        Ok(match number {
            0 => Self::Name,
            1 => Self::StatusMessage,
            2 => Self::TraceState,
            3 => Self::Flags,
            4 => Self::DroppedAttributes,
            5 => Self::DroppedEvents,
            6 => Self::DroppedLinks,
            7 => Self::Attributes,
            8 => Self::Events,
            9 => Self::Links,
            attribute => Self::Attribute(u32::try_from(attribute - 10).map_err(|_| Damaged("an unknown place"))?),
        })
    }
}

const STORAGES: [Storage; 4] = [Storage::Number, Storage::RareNumber, Storage::Dictionary, Storage::Text];

impl Column {
    /// The name that people see.
    pub(super) fn name(&self) -> String {
        match &self.part {
            Part::Attribute(key) => format!("attribute {key}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        let (number, key) = match &self.part {
            Part::Name => (0, ""),
            Part::StatusMessage => (1, ""),
            Part::TraceState => (2, ""),
            Part::Flags => (3, ""),
            Part::DroppedAttributes => (4, ""),
            Part::DroppedEvents => (5, ""),
            Part::DroppedLinks => (6, ""),
            Part::Attributes => (7, ""),
            Part::Events => (8, ""),
            Part::Links => (9, ""),
            Part::EventTime => (10, ""),
            Part::EventBody => (11, ""),
            Part::LinkBody => (12, ""),
            Part::Attribute(key) => (13, key.as_str()),
        };
        out.extend_from_slice(&[number, self.value_type as u8, self.storage as u8]);
        put_text(out, key);
    }

    fn get(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let (number, value_type, storage) = (input.byte()?, input.byte()?, input.byte()?);
        let key = input.text()?;
        let part = match number {
            0 => Part::Name,
            1 => Part::StatusMessage,
            2 => Part::TraceState,
            3 => Part::Flags,
            4 => Part::DroppedAttributes,
            5 => Part::DroppedEvents,
            6 => Part::DroppedLinks,
            7 => Part::Attributes,
            8 => Part::Events,
            9 => Part::Links,
            10 => Part::EventTime,
            11 => Part::EventBody,
            12 => Part::LinkBody,
            13 => Part::Attribute(key.to_owned()),
            _ => return Err(Damaged("a column of an unknown part")),
        };
        let value_type = *ValueType::ALL.get(usize::from(value_type)).ok_or(Damaged("a column of an unknown type"))?;
        let storage = *STORAGES.get(usize::from(storage)).ok_or(Damaged("a column of an unknown storage"))?;
        if value_type.is_text() != matches!(storage, Storage::Dictionary | Storage::Text) {
            return Err(Damaged("a column's storage does not fit its type"));
        }
        Ok(Self { part, value_type, storage })
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_slice(out, text.as_bytes());
}

fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

impl Table {
    pub(super) fn template(&self, number: u32) -> SpanRef<'_> {
        self.templates.span(number as usize)
    }

    /// The column of a template's name, if that varies.
    pub(super) fn name_column(&self, template: u32) -> Option<usize> {
        let variable = self.variables[template as usize].first()?;
        (variable.place == Place::Name).then_some(variable.column as usize)
    }

    /// A resource's service.
    pub(super) fn service_id(&self, resource: usize) -> StrId {
        self.templates.resources()[self.resources[resource].index()].service
    }

    pub(super) fn service(&self, resource: usize) -> &str {
        self.templates.string(self.service_id(resource))
    }

    /// Bytes held, for bounds.
    pub(super) fn size_bytes(&self) -> usize {
        let variables: usize = self.variables.iter().map(|variables| 24 + variables.len() * 12).sum();
        self.templates.size_bytes() + variables + self.columns.len() * 64 + self.resources.len() * 4
    }

    pub(super) fn column(&self, part: &Part) -> Option<u32> {
        self.columns.iter().position(|column| column.part == *part).map(|place| place as u32)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.columns.len() as u64);
        self.columns.iter().for_each(|column| column.put(out));
        let batch = &self.templates;
        put_varint(out, self.resources.len() as u64);
        for resource in &self.resources {
            put_slice(out, &parts::encode_resource(batch, &batch.resources()[resource.index()]));
        }
        put_varint(out, batch.scopes().len() as u64);
        for scope in batch.scopes() {
            put_slice(out, &parts::encode_scope(batch, scope));
        }
        put_varint(out, batch.len() as u64);
        let mut attributes = Vec::new();
        for (span, variables) in batch.iter().zip(&self.variables) {
            put_varint(out, batch.spans().scope[span.row()].index() as u64);
            out.extend_from_slice(&[span.kind() as u8, span.status_code() as u8]);
            put_text(out, span.name());
            put_text(out, span.status_message());
            put_text(out, span.trace_state());
            for number in
                [span.flags(), span.dropped_attributes_count(), span.dropped_events_count(), span.dropped_links_count()]
            {
                put_varint(out, u64::from(number));
            }
            attributes.clear();
            for (key, value) in span.attributes().iter() {
                parts::encode_attribute(key, value, &mut attributes);
            }
            put_slice(out, &attributes);
            put_varint(out, variables.len() as u64);
            for variable in variables {
                put_varint(out, variable.place.number());
                put_varint(out, u64::from(variable.column));
            }
        }
    }

    pub(super) fn get(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut input = Input(bytes);
        let input = &mut input;
        // Nothing that is listed takes less than a byte.
        let most = bytes.len();
        let not_otlp = |_| Damaged("a part of the table is not OTLP");
        let columns = (0..input.size(most)?).map(|_| Column::get(input)).collect::<Result<Vec<_>, _>>()?;
        let mut decoder = PartsDecoder::default();
        let resources = (0..input.size(most)?)
            .map(|_| decoder.resource(input.slice()?).map_err(not_otlp))
            .collect::<Result<Vec<_>, _>>()?;
        let scopes = (0..input.size(most)?)
            .map(|_| decoder.scope(input.slice()?).map_err(not_otlp))
            .collect::<Result<Vec<_>, _>>()?;
        let own_resource = decoder.batch().add_resource(&[], 0, "");
        let mut variables = Vec::new();
        let mut attributes = Vec::new();
        for _ in 0..input.size(most)? {
            let scope = *scopes.get(input.size(most)?).ok_or(Damaged("a template of an unknown scope"))?;
            let (kind, status_code) = (input.byte()?, input.byte()?);
            let (name, status_message, trace_state) = (input.text()?, input.text()?, input.text()?);
            let mut number = || u32::try_from(input.varint()?).map_err(|_| Damaged("a count is too large"));
            let span = NewSpan {
                kind: SpanKind::from_number(i64::from(kind)).ok_or(Damaged("an unknown kind"))?,
                status_code: StatusCode::from_number(i64::from(status_code)).ok_or(Damaged("an unknown status"))?,
                name: decoder.batch().intern(name),
                status_message: decoder.batch().intern(status_message),
                trace_state: decoder.batch().intern(trace_state),
                flags: number()?,
                dropped_attributes_count: number()?,
                dropped_events_count: number()?,
                dropped_links_count: number()?,
                ..NewSpan::new(own_resource, scope)
            };
            attributes.clear();
            decoder.attributes(input.slice()?, &mut attributes).map_err(not_otlp)?;
            attributes.iter().for_each(|(key, value)| decoder.batch().push_attribute(*key, *value));
            decoder.batch().push_span(span);
            let own = (0..input.size(most)?)
                .map(|_| {
                    let variable =
                        Variable { place: Place::from_number(input.varint()?)?, column: input.varint()? as u32 };
                    let fits = (variable.column as usize) < columns.len()
                        && !matches!(variable.place, Place::Attribute(place) if place as usize >= attributes.len());
                    if fits { Ok(variable) } else { Err(Damaged("a template names what is not there")) }
                })
                .collect::<Result<Vec<_>, _>>()?;
            variables.push(own);
        }
        let table = Self { templates: decoder.into_batch(), variables, columns, resources };
        table.check()?;
        Ok(table)
    }

    /// Whether every variable's column is of the part and type that its place needs.
    fn check(&self) -> Result<(), Damaged> {
        for (row, variables) in self.variables.iter().enumerate() {
            for variable in variables {
                let column = &self.columns[variable.column as usize];
                let fits = match variable.place {
                    Place::Name => column.part == Part::Name,
                    Place::StatusMessage => column.part == Part::StatusMessage,
                    Place::TraceState => column.part == Part::TraceState,
                    Place::Flags => column.part == Part::Flags,
                    Place::DroppedAttributes => column.part == Part::DroppedAttributes,
                    Place::DroppedEvents => column.part == Part::DroppedEvents,
                    Place::DroppedLinks => column.part == Part::DroppedLinks,
                    Place::Attributes => column.part == Part::Attributes,
                    Place::Events => column.part == Part::Events,
                    Place::Links => column.part == Part::Links,
                    Place::Attribute(place) => {
                        let template = self.templates.span(row);
                        let key = template.attributes().raw_keys()[place as usize];
                        matches!(&column.part, Part::Attribute(name) if name == self.templates.string(key))
                    }
                };
                let typed = match variable.place {
                    Place::Attribute(_) => true,
                    Place::Name | Place::StatusMessage | Place::TraceState => column.value_type == ValueType::Str,
                    Place::Attributes => column.value_type == ValueType::Bytes,
                    _ => column.value_type == ValueType::Int,
                };
                if !fits || !typed {
                    return Err(Damaged("a template's column is of another part"));
                }
            }
        }
        for column in &self.columns {
            let typed = match column.part {
                Part::Events | Part::Links | Part::EventTime => column.value_type == ValueType::Int,
                Part::EventBody | Part::LinkBody => column.value_type == ValueType::Bytes,
                _ => true,
            };
            if !typed {
                return Err(Damaged("a column is of another type"));
            }
        }
        Ok(())
    }
}

/// The columns of a table that is being made, found by part and type.
#[derive(Default)]
pub(super) struct ColumnPlaces(HashMap<(Part, ValueType), u32, RandomState>);

impl ColumnPlaces {
    /// The place of a column, which is added if it is new.
    pub(super) fn place(&mut self, columns: &mut Vec<Column>, part: Part, value_type: ValueType) -> u32 {
        *self.0.entry((part.clone(), value_type)).or_insert_with(|| {
            let storage = if value_type.is_text() { Storage::Dictionary } else { Storage::Number };
            columns.push(Column { part, value_type, storage });
            columns.len() as u32 - 1
        })
    }
}

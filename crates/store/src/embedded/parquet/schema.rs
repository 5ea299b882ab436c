//! The columns of a segment.
//!
//! Attributes that occur often are columns of their own type, named `attr.<type>.<key>`; the rest share `attributes_rest`.
//! `attributes_shape` says, for each span, where its attributes are, in the sender's order: one varint each, 0 for the next
//! of `attributes_rest` and n for the n-th attribute column.

use std::collections::HashMap;

use arrow_schema::{DataType, Field, Schema};
use tracewell_model::{SpanBatch, Value};

/// At most so many attributes have a column of their own in a segment.
const MOST_ATTRIBUTE_COLUMNS: usize = 96;

/// The type of an attribute column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ColumnType {
    Str,
    Bool,
    Int,
    Double,
}

impl ColumnType {
    pub(super) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Str(_) => Some(Self::Str),
            Value::Bool(_) => Some(Self::Bool),
            Value::Int(_) => Some(Self::Int),
            Value::Double(_) => Some(Self::Double),
            Value::Empty | Value::Bytes(_) | Value::Nested(_) => None,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Str => "attr.str.",
            Self::Bool => "attr.bool.",
            Self::Int => "attr.int.",
            Self::Double => "attr.double.",
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Str => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Double => DataType::Float64,
        }
    }
}

/// An attribute that has a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AttributeColumn {
    pub(super) key: String,
    pub(super) column_type: ColumnType,
}

impl AttributeColumn {
    pub(super) fn name(&self) -> String {
        format!("{}{}", self.column_type.prefix(), self.key)
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [ColumnType::Str, ColumnType::Bool, ColumnType::Int, ColumnType::Double].into_iter().find_map(|column_type| {
            let key = name.strip_prefix(column_type.prefix())?;
            Some(Self { key: key.to_owned(), column_type })
        })
    }
}

/// The attributes that deserve a column: the most frequent ones.
pub(super) fn choose_attribute_columns(batch: &SpanBatch) -> Vec<AttributeColumn> {
    let mut counts: HashMap<(u32, ColumnType), usize> = HashMap::new();
    let attributes = batch.span_attributes();
    for (key, value) in attributes.key.iter().zip(&attributes.value) {
        if let Some(column_type) = ColumnType::of(*value) {
            *counts.entry((key.index() as u32, column_type)).or_default() += 1;
        }
    }
    let names: HashMap<u32, &str> = batch.strings().iter().map(|(id, name)| (id.index() as u32, name)).collect();
    let mut frequent: Vec<_> = counts.into_iter().collect();
    frequent.sort_by_key(|((key, column_type), count)| (std::cmp::Reverse(*count), names[key], *column_type));
    frequent.truncate(MOST_ATTRIBUTE_COLUMNS);
    frequent
        .into_iter()
        .map(|((key, column_type), _)| AttributeColumn { key: names[&key].to_owned(), column_type })
        .collect()
}

/// Names of the columns that every segment has.
pub(super) mod column {
    pub(in super::super) const TRACE_ID: &str = "trace_id";
    pub(in super::super) const SPAN_ID: &str = "span_id";
    pub(in super::super) const PARENT_SPAN_ID: &str = "parent_span_id";
    pub(in super::super) const START: &str = "start_unix_nano";
    pub(in super::super) const DURATION: &str = "duration_nanos";
    pub(in super::super) const NAME: &str = "name";
    pub(in super::super) const SERVICE: &str = "service";
    pub(in super::super) const KIND: &str = "kind";
    pub(in super::super) const STATUS_CODE: &str = "status_code";
    pub(in super::super) const STATUS_MESSAGE: &str = "status_message";
    pub(in super::super) const TRACE_STATE: &str = "trace_state";
    pub(in super::super) const FLAGS: &str = "flags";
    pub(in super::super) const DROPPED_ATTRIBUTES: &str = "dropped_attributes_count";
    pub(in super::super) const DROPPED_EVENTS: &str = "dropped_events_count";
    pub(in super::super) const DROPPED_LINKS: &str = "dropped_links_count";
    pub(in super::super) const RESOURCE: &str = "resource";
    pub(in super::super) const SCOPE: &str = "scope";
    pub(in super::super) const EVENTS: &str = "events";
    pub(in super::super) const LINKS: &str = "links";
    pub(in super::super) const SHAPE: &str = "attributes_shape";
    pub(in super::super) const REST: &str = "attributes_rest";
}

/// The whole schema, attribute columns last.
pub(super) fn schema(attributes: &[AttributeColumn]) -> Schema {
    let plain = |name: &str, data_type| Field::new(name, data_type, false);
    let mut fields = vec![
        plain(column::TRACE_ID, DataType::FixedSizeBinary(16)),
        plain(column::SPAN_ID, DataType::FixedSizeBinary(8)),
        Field::new(column::PARENT_SPAN_ID, DataType::FixedSizeBinary(8), true),
        plain(column::START, DataType::UInt64),
        plain(column::DURATION, DataType::Int64),
        plain(column::NAME, DataType::Utf8),
        plain(column::SERVICE, DataType::Utf8),
        plain(column::KIND, DataType::UInt8),
        plain(column::STATUS_CODE, DataType::UInt8),
        plain(column::STATUS_MESSAGE, DataType::Utf8),
        plain(column::TRACE_STATE, DataType::Utf8),
        plain(column::FLAGS, DataType::UInt32),
        plain(column::DROPPED_ATTRIBUTES, DataType::UInt32),
        plain(column::DROPPED_EVENTS, DataType::UInt32),
        plain(column::DROPPED_LINKS, DataType::UInt32),
        plain(column::RESOURCE, DataType::Binary),
        plain(column::SCOPE, DataType::Binary),
        plain(column::EVENTS, DataType::Binary),
        plain(column::LINKS, DataType::Binary),
        plain(column::SHAPE, DataType::Binary),
        plain(column::REST, DataType::Binary),
    ];
    fields.extend(attributes.iter().map(|column| Field::new(column.name(), column.column_type.data_type(), true)));
    Schema::new(fields)
}

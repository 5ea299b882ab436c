//! Spans as Parquet, for whoever wants to ask them with DuckDB, Polars or Spark.
//!
//! A row is a span. The attributes that most templates have are columns of their own type, named `attr.KEY` (or
//! `attr.KEY.TYPE` where a key has values of several types); the others, the resource, events and links are JSON.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder, StringBuilder, UInt64Builder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value as Json};
use tracewell_model::{SpanBatch, SpanRef, ValueRef};

use super::Place;
use super::look::look;
use crate::{StoreError, Tenant};

/// At most so many attributes have a column of their own.
const MOST_ATTRIBUTE_COLUMNS: usize = 96;

/// Writes what a store holds as Parquet files into a directory, and returns the files: `NUMBER.parquet` for each segment,
/// `log-NUMBER-TENANT.parquet` for what is in a log file only. A server may have the store open.
pub fn export_parquet(place: &Place, output: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut logs: BTreeMap<(u64, Tenant), Vec<SpanBatch>> = BTreeMap::new();
    let found = look(place, |batch| match batch {
        Some((number, tenant, batch)) => logs.entry((number, tenant)).or_default().push(batch),
        None => logs.clear(),
    })?;
    found.damages.iter().for_each(|damage| tracing::error!(damage, "left out of the export"));
    std::fs::create_dir_all(output).map_err(|source| StoreError::io(format!("create {}", output.display()), source))?;
    let mut files = Vec::new();
    for segment in found.segments {
        let path = output.join(format!("{:010}.parquet", segment.entry.number));
        let mut file = ParquetFile::create(&path, Columns::of(segment.attribute_columns()?))?;
        segment.every_span(|batch| file.write(&batch), |damage| tracing::error!(%damage, "left out of the export"))?;
        file.finish()?;
        files.push(path);
    }
    for ((number, tenant), batches) in logs {
        let path = output.join(format!("log-{number:010}-{}.parquet", tenant.as_str()));
        let mut file = ParquetFile::create(&path, Columns::of(attributes_of(&batches)))?;
        batches.iter().try_for_each(|batch| file.write(batch))?;
        file.finish()?;
        files.push(path);
    }
    Ok(files)
}

/// A Parquet file that is being written.
struct ParquetFile<'a> {
    writer: ArrowWriter<BufWriter<File>>,
    columns: Columns,
    schema: Arc<Schema>,
    path: &'a Path,
}

impl<'a> ParquetFile<'a> {
    fn create(path: &'a Path, columns: Columns) -> Result<Self, StoreError> {
        let file = File::create(path).map_err(|source| failed(path, source))?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
        let schema = Arc::new(columns.schema());
        let writer = ArrowWriter::try_new(BufWriter::new(file), schema.clone(), Some(properties))
            .map_err(|error| failed(path, error))?;
        Ok(Self { writer, columns, schema, path })
    }

    fn write(&mut self, batch: &SpanBatch) -> Result<(), StoreError> {
        let rows = RecordBatch::try_new(self.schema.clone(), self.columns.arrays(batch))
            .map_err(|error| failed(self.path, error))?;
        self.writer.write(&rows).map_err(|error| failed(self.path, error))
    }

    fn finish(self) -> Result<(), StoreError> {
        self.writer.close().map_err(|error| failed(self.path, error))?;
        Ok(())
    }
}

fn failed(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::io(format!("write {}", path.display()), std::io::Error::other(error))
}

/// The attributes of some batches and the types they occur with, the most frequent first.
fn attributes_of(batches: &[SpanBatch]) -> Vec<(String, &'static str)> {
    let mut counts: BTreeMap<(&str, &'static str), usize> = BTreeMap::new();
    for (key, value) in batches.iter().flat_map(SpanBatch::iter).flat_map(|span| span.attributes().iter()) {
        if let Some(of_type) = Type::of(value) {
            *counts.entry((key, of_type.name())).or_default() += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.into_iter().map(|((key, name), _)| (key.to_owned(), name)).collect()
}

/// The type of an attribute column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Type {
    Str,
    Bool,
    Int,
    Double,
}

impl Type {
    const ALL: [Self; 4] = [Self::Str, Self::Bool, Self::Int, Self::Double];

    fn name(self) -> &'static str {
        match self {
            Self::Str => "string",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Double => "double",
        }
    }

    fn of(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Str(_) => Some(Self::Str),
            ValueRef::Bool(_) => Some(Self::Bool),
            ValueRef::Int(_) => Some(Self::Int),
            ValueRef::Double(_) => Some(Self::Double),
            ValueRef::Empty | ValueRef::Bytes(_) | ValueRef::Nested(_) => None,
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

/// The attributes that have a column.
struct Columns {
    places: HashMap<String, Vec<(Type, usize)>>,
    fields: Vec<(String, Type)>,
}

impl Columns {
    /// From attributes and the types that they occur with, the most frequent first.
    fn of(attributes: Vec<(String, &'static str)>) -> Self {
        let mut columns = Self { places: HashMap::new(), fields: Vec::new() };
        for (key, name) in attributes {
            let Some(of_type) = Type::ALL.into_iter().find(|known| known.name() == name) else { continue };
            if columns.fields.len() == MOST_ATTRIBUTE_COLUMNS {
                break;
            }
            let known = columns.places.entry(key.clone()).or_default();
            let name = if known.is_empty() { format!("attr.{key}") } else { format!("attr.{key}.{name}") };
            known.push((of_type, columns.fields.len()));
            columns.fields.push((name, of_type));
        }
        columns
    }

    fn schema(&self) -> Schema {
        let plain = |name: &str, data_type| Field::new(name, data_type, false);
        let mut fields = vec![
            plain("trace_id", DataType::FixedSizeBinary(16)),
            plain("span_id", DataType::FixedSizeBinary(8)),
            Field::new("parent_span_id", DataType::FixedSizeBinary(8), true),
            plain("start_unix_nano", DataType::UInt64),
            plain("end_unix_nano", DataType::UInt64),
            plain("service", DataType::Utf8),
            plain("name", DataType::Utf8),
            plain("kind", DataType::Utf8),
            plain("status", DataType::Utf8),
            plain("status_message", DataType::Utf8),
            plain("trace_state", DataType::Utf8),
            plain("scope", DataType::Utf8),
            plain("resource_json", DataType::Utf8),
            plain("events_json", DataType::Utf8),
            plain("links_json", DataType::Utf8),
            plain("attributes_json", DataType::Utf8),
        ];
        fields.extend(self.fields.iter().map(|(name, of_type)| Field::new(name, of_type.data_type(), true)));
        Schema::new(fields)
    }

    fn arrays(&self, batch: &SpanBatch) -> Vec<ArrayRef> {
        let mut ids = [16, 8, 8].map(FixedSizeBinaryBuilder::new);
        let mut times = [UInt64Builder::new(), UInt64Builder::new()];
        let mut texts: [StringBuilder; 11] = std::array::from_fn(|_| StringBuilder::new());
        let mut attributes: Vec<Builder> = self.fields.iter().map(|(_, of_type)| Builder::new(*of_type)).collect();
        let fits = "an id has its own length";
        let resources: Vec<String> = batch
            .resources()
            .iter()
            .map(|resource| {
                let pairs = resource.attributes.iter();
                object(pairs.map(|(key, value)| (batch.string(*key), batch.value(*value)))).to_string()
            })
            .collect();
        let mut row_values: Vec<Option<ValueRef<'_>>> = vec![None; self.fields.len()];
        for span in batch.iter() {
            ids[0].append_value(span.trace_id().as_bytes()).expect(fits);
            ids[1].append_value(span.span_id().as_bytes()).expect(fits);
            if span.parent_span_id().is_zero() {
                ids[2].append_null();
            } else {
                ids[2].append_value(span.parent_span_id().as_bytes()).expect(fits);
            }
            times[0].append_value(span.start_unix_nano());
            times[1].append_value(span.end_unix_nano());
            row_values.fill(None);
            let mut others = Map::new();
            for (key, value) in span.attributes().iter() {
                let place = self.places.get(key).and_then(|places| {
                    let own = Type::of(value)?;
                    places.iter().find(|(of_type, _)| *of_type == own).map(|(_, place)| *place)
                });
                match place {
                    Some(place) if row_values[place].is_none() => row_values[place] = Some(value),
                    _ => {
                        others.insert(key.to_owned(), json(value));
                    }
                }
            }
            for (builder, value) in attributes.iter_mut().zip(&row_values) {
                builder.push(*value);
            }
            let others = Json::Object(others).to_string();
            let (events, links) = (events(span).to_string(), links(span).to_string());
            let own = [
                span.service(),
                span.name(),
                span.kind().as_str(),
                span.status_code().as_str(),
                span.status_message(),
                span.trace_state(),
                batch.string(span.scope().name),
                &resources[batch.spans().resource[span.row()].index()],
                &events,
                &links,
                &others,
            ];
            texts.iter_mut().zip(own).for_each(|(builder, text)| builder.append_value(text));
        }
        let mut arrays: Vec<ArrayRef> = Vec::new();
        arrays.extend(ids.map(|mut builder| Arc::new(builder.finish()) as ArrayRef));
        arrays.extend(times.map(|mut builder| Arc::new(builder.finish()) as ArrayRef));
        arrays.extend(texts.map(|mut builder| Arc::new(builder.finish()) as ArrayRef));
        arrays.extend(attributes.into_iter().map(Builder::finish));
        arrays
    }
}

fn json(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Empty => Json::Null,
        ValueRef::Bool(value) => Json::from(value),
        ValueRef::Int(value) => Json::from(value),
        ValueRef::Double(value) if value.is_finite() => Json::from(value),
        // The text of a nested value is JSON.
        ValueRef::Nested(_) => serde_json::from_str(&value.to_string()).unwrap_or(Json::Null),
        other => Json::from(other.to_string()),
    }
}

fn object<'a>(pairs: impl Iterator<Item = (&'a str, ValueRef<'a>)>) -> Json {
    Json::Object(pairs.map(|(key, value)| (key.to_owned(), json(value))).collect())
}

fn events(span: SpanRef<'_>) -> Json {
    let event = |event: tracewell_model::EventRef<'_>| {
        serde_json::json!({
            "time_unix_nano": event.time_unix_nano(),
            "name": event.name(),
            "attributes": object(event.attributes().iter()),
        })
    };
    Json::Array(span.events().map(event).collect())
}

fn links(span: SpanRef<'_>) -> Json {
    let link = |link: tracewell_model::LinkRef<'_>| {
        serde_json::json!({
            "trace_id": link.trace_id().to_string(),
            "span_id": link.span_id().to_string(),
            "attributes": object(link.attributes().iter()),
        })
    };
    Json::Array(span.links().map(link).collect())
}

enum Builder {
    Str(StringBuilder),
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Double(Float64Builder),
}

impl Builder {
    fn new(of_type: Type) -> Self {
        match of_type {
            Type::Str => Self::Str(StringBuilder::new()),
            Type::Bool => Self::Bool(BooleanBuilder::new()),
            Type::Int => Self::Int(Int64Builder::new()),
            Type::Double => Self::Double(Float64Builder::new()),
        }
    }

    fn push(&mut self, value: Option<ValueRef<'_>>) {
        match (self, value) {
            (Self::Str(builder), Some(ValueRef::Str(text))) => builder.append_value(text),
            (Self::Str(builder), _) => builder.append_null(),
            (Self::Bool(builder), Some(ValueRef::Bool(value))) => builder.append_value(value),
            (Self::Bool(builder), _) => builder.append_null(),
            (Self::Int(builder), Some(ValueRef::Int(value))) => builder.append_value(value),
            (Self::Int(builder), _) => builder.append_null(),
            (Self::Double(builder), Some(ValueRef::Double(value))) => builder.append_value(value),
            (Self::Double(builder), _) => builder.append_null(),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Str(mut builder) => Arc::new(builder.finish()),
            Self::Bool(mut builder) => Arc::new(builder.finish()),
            Self::Int(mut builder) => Arc::new(builder.finish()),
            Self::Double(mut builder) => Arc::new(builder.finish()),
        }
    }
}

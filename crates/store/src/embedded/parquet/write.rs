//! Writing a segment.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder, StringBuilder,
};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt8Array, UInt32Array, UInt64Array};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use tracewell_model::{SpanBatch, StrId, TraceId, Value};
use tracewell_wire::otlp::parts;

use super::schema::{AttributeColumn, ColumnType, choose_attribute_columns, column, schema};
use super::{index_path, names_path, parquet_path};
use crate::embedded::catalog::SegmentEntry;
use crate::names::Names;
use crate::{StoreError, Tenant};

const ROWS_PER_GROUP: usize = 64 * 1024;
const ROWS_PER_PAGE: usize = 8 * 1024;

/// Writes the spans of some batches as one segment. On return its files are on the disk, and not yet in the catalog.
pub(crate) fn write(
    folder: &Path,
    number: u64,
    tenant: &Tenant,
    batches: &[SpanBatch],
) -> Result<SegmentEntry, StoreError> {
    let (batch, index) = sorted(batches);
    let path = parquet_path(folder, number);
    let io = |source| StoreError::Io { context: format!("write segment {}", path.display()), source };
    let parquet = |error: parquet::errors::ParquetError| io(std::io::Error::other(error));

    let attributes = choose_attribute_columns(&batch);
    let schema = Arc::new(schema(&attributes));
    let file = File::create(&path).map_err(io)?;
    let mut writer = ArrowWriter::try_new(BufWriter::new(file), schema.clone(), Some(properties())).map_err(parquet)?;
    let mut shared = SharedBytes::new(&batch);
    for start in (0..batch.len()).step_by(ROWS_PER_PAGE) {
        let rows = start..(start + ROWS_PER_PAGE).min(batch.len());
        let arrays = arrays(&batch, rows, &attributes, &mut shared);
        let record_batch =
            RecordBatch::try_new(schema.clone(), arrays).map_err(|error| io(std::io::Error::other(error)))?;
        writer.write(&record_batch).map_err(parquet)?;
    }
    let file = writer.into_inner().map_err(parquet)?.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();

    write_index(&index_path(folder, number), &index)?;
    let mut names = Names::default();
    names.add(&batch);
    let names = serde_json::to_vec(&names).map_err(|error| io(std::io::Error::other(error)))?;
    write_file(&names_path(folder, number), &names)?;
    crate::embedded::sync_folder(folder)?;

    let starts = &batch.spans().start_unix_nano;
    Ok(SegmentEntry {
        number,
        tenant: tenant.as_str().to_owned(),
        spans: batch.len() as u64,
        bytes: bytes + index.len() as u64 * 24 + names.len() as u64,
        first_start_unix_nano: starts.iter().copied().min().unwrap_or(0),
        last_start_unix_nano: starts.iter().copied().max().unwrap_or(0),
    })
}

fn properties() -> WriterProperties {
    let plain = |builder: parquet::file::properties::WriterPropertiesBuilder, name: &str, encoding| {
        let path = ColumnPath::from(name);
        builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding)
    };
    let builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_column_statistics_enabled(ColumnPath::from(column::START), EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .set_data_page_row_count_limit(ROWS_PER_PAGE);
    // Ids are random and times are new: a dictionary of them would only cost.
    let builder = plain(builder, column::SPAN_ID, Encoding::PLAIN);
    let builder = plain(builder, column::PARENT_SPAN_ID, Encoding::PLAIN);
    let builder = plain(builder, column::START, Encoding::DELTA_BINARY_PACKED);
    plain(builder, column::DURATION, Encoding::DELTA_BINARY_PACKED).build()
}

/// A trace's place in a segment.
pub(super) struct IndexEntry {
    pub(super) trace_id: TraceId,
    pub(super) first_row: u32,
    pub(super) rows: u32,
}

/// All spans in one batch, traces together and in the order of their first starts; and where each trace is.
fn sorted(batches: &[SpanBatch]) -> (SpanBatch, Vec<IndexEntry>) {
    let mut first_starts: HashMap<TraceId, u64> = HashMap::new();
    for batch in batches {
        for (trace_id, start) in batch.spans().trace_id.iter().zip(&batch.spans().start_unix_nano) {
            first_starts.entry(*trace_id).and_modify(|first| *first = (*first).min(*start)).or_insert(*start);
        }
    }
    let mut order: Vec<(u64, TraceId, u64, u32, u32)> = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        for (row, (trace_id, start)) in batch.spans().trace_id.iter().zip(&batch.spans().start_unix_nano).enumerate() {
            order.push((first_starts[trace_id], *trace_id, *start, number as u32, row as u32));
        }
    }
    order.sort_unstable();
    let mut copiers: Vec<_> = batches.iter().map(tracewell_model::BatchCopier::new).collect();
    let mut out = SpanBatch::new();
    let mut index: Vec<IndexEntry> = Vec::new();
    for (_, trace_id, _, number, row) in order {
        let new_row = copiers[number as usize].copy_span(row as usize, &mut out);
        match index.last_mut().filter(|entry| entry.trace_id == trace_id) {
            Some(entry) => entry.rows += 1,
            None => index.push(IndexEntry { trace_id, first_row: new_row as u32, rows: 1 }),
        }
    }
    index.sort_by_key(|entry| entry.trace_id);
    (out, index)
}

fn write_index(path: &Path, index: &[IndexEntry]) -> Result<(), StoreError> {
    let mut bytes = Vec::with_capacity(index.len() * 24 + 4);
    for entry in index {
        bytes.extend_from_slice(entry.trace_id.as_bytes());
        bytes.extend_from_slice(&entry.first_row.to_le_bytes());
        bytes.extend_from_slice(&entry.rows.to_le_bytes());
    }
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    write_file(path, &bytes)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let context = |source| StoreError::Io { context: format!("write {}", path.display()), source };
    let mut file = File::create(path).map_err(context)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(context)
}

/// The encoded resources and scopes, made once each.
struct SharedBytes {
    resources: Vec<Vec<u8>>,
    scopes: Vec<Vec<u8>>,
}

impl SharedBytes {
    fn new(batch: &SpanBatch) -> Self {
        Self {
            resources: batch.resources().iter().map(|resource| parts::encode_resource(batch, resource)).collect(),
            scopes: batch.scopes().iter().map(|scope| parts::encode_scope(batch, scope)).collect(),
        }
    }
}

enum AttributeBuilder {
    Str(StringBuilder),
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Double(Float64Builder),
}

impl AttributeBuilder {
    fn new(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::Str => Self::Str(StringBuilder::new()),
            ColumnType::Bool => Self::Bool(BooleanBuilder::new()),
            ColumnType::Int => Self::Int(Int64Builder::new()),
            ColumnType::Double => Self::Double(Float64Builder::new()),
        }
    }

    fn push(&mut self, batch: &SpanBatch, value: Option<Value>) {
        match (self, value) {
            (Self::Str(builder), Some(Value::Str(id))) => builder.append_value(batch.string(id)),
            (Self::Str(builder), _) => builder.append_null(),
            (Self::Bool(builder), Some(Value::Bool(value))) => builder.append_value(value),
            (Self::Bool(builder), _) => builder.append_null(),
            (Self::Int(builder), Some(Value::Int(value))) => builder.append_value(value),
            (Self::Int(builder), _) => builder.append_null(),
            (Self::Double(builder), Some(Value::Double(value))) => builder.append_value(value),
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

fn arrays(
    batch: &SpanBatch,
    rows: std::ops::Range<usize>,
    attributes: &[AttributeColumn],
    shared: &mut SharedBytes,
) -> Vec<ArrayRef> {
    let spans = batch.spans();
    let mut trace_ids = FixedSizeBinaryBuilder::new(16);
    let mut span_ids = FixedSizeBinaryBuilder::new(8);
    let mut parents = FixedSizeBinaryBuilder::new(8);
    let (mut names, mut services) = (StringBuilder::new(), StringBuilder::new());
    let (mut messages, mut trace_states) = (StringBuilder::new(), StringBuilder::new());
    let (mut resources, mut scopes) = (BinaryBuilder::new(), BinaryBuilder::new());
    let (mut events, mut links) = (BinaryBuilder::new(), BinaryBuilder::new());
    let (mut shapes, mut rests) = (BinaryBuilder::new(), BinaryBuilder::new());
    let mut columns: Vec<AttributeBuilder> =
        attributes.iter().map(|column| AttributeBuilder::new(column.column_type)).collect();
    let places: HashMap<(StrId, ColumnType), usize> = attributes
        .iter()
        .enumerate()
        .filter_map(|(place, column)| Some(((batch.strings().find(&column.key)?, column.column_type), place)))
        .collect();
    let mut row_values: Vec<Option<Value>> = vec![None; attributes.len()];
    let mut bytes = Vec::new();
    let mut rest = Vec::new();
    for row in rows.clone() {
        let span = batch.span(row);
        // The sizes are those that the builders were made with.
        let fits = "an id has its own length";
        trace_ids.append_value(spans.trace_id[row].as_bytes()).expect(fits);
        span_ids.append_value(spans.span_id[row].as_bytes()).expect(fits);
        if spans.parent_span_id[row].is_zero() {
            parents.append_null();
        } else {
            parents.append_value(spans.parent_span_id[row].as_bytes()).expect(fits);
        }
        names.append_value(span.name());
        services.append_value(span.service());
        messages.append_value(span.status_message());
        trace_states.append_value(span.trace_state());
        resources.append_value(&shared.resources[spans.resource[row].index()]);
        scopes.append_value(&shared.scopes[spans.scope[row].index()]);
        bytes.clear();
        parts::encode_events(span, &mut bytes);
        events.append_value(&bytes);
        bytes.clear();
        parts::encode_links(span, &mut bytes);
        links.append_value(&bytes);

        bytes.clear();
        rest.clear();
        row_values.fill(None);
        for (key, value) in span.attributes().raw_keys().iter().zip(span.attributes().raw_values()) {
            let place = ColumnType::of(*value).and_then(|column_type| places.get(&(*key, column_type)).copied());
            match place {
                // A key that occurs twice has its first value in the column and the others in the rest.
                Some(place) if row_values[place].is_none() => {
                    row_values[place] = Some(*value);
                    put_place(&mut bytes, place + 1);
                }
                _ => {
                    parts::encode_attribute(batch.string(*key), batch.value(*value), &mut rest);
                    put_place(&mut bytes, 0);
                }
            }
        }
        shapes.append_value(&bytes);
        rests.append_value(&rest);
        for (column, value) in columns.iter_mut().zip(&row_values) {
            column.push(batch, *value);
        }
    }
    let part = |values: &[u32]| -> ArrayRef { Arc::new(UInt32Array::from(values[rows.clone()].to_vec())) };
    let durations = rows.clone().map(|row| spans.end_unix_nano[row].wrapping_sub(spans.start_unix_nano[row]) as i64);
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(trace_ids.finish()),
        Arc::new(span_ids.finish()),
        Arc::new(parents.finish()),
        Arc::new(UInt64Array::from(spans.start_unix_nano[rows.clone()].to_vec())),
        Arc::new(durations.collect::<Int64Array>()),
        Arc::new(names.finish()),
        Arc::new(services.finish()),
        Arc::new(spans.kind[rows.clone()].iter().map(|kind| *kind as u8).map(Some).collect::<UInt8Array>()),
        Arc::new(spans.status_code[rows.clone()].iter().map(|code| *code as u8).map(Some).collect::<UInt8Array>()),
        Arc::new(messages.finish()),
        Arc::new(trace_states.finish()),
        part(&spans.flags),
        part(&spans.dropped_attributes_count),
        part(&spans.dropped_events_count),
        part(&spans.dropped_links_count),
        Arc::new(resources.finish()),
        Arc::new(scopes.finish()),
        Arc::new(events.finish()),
        Arc::new(links.finish()),
        Arc::new(shapes.finish()),
        Arc::new(rests.finish()),
    ];
    arrays.extend(columns.into_iter().map(AttributeBuilder::finish));
    arrays
}

/// Places are below 128 columns, so one byte each holds the varint.
fn put_place(out: &mut Vec<u8>, place: usize) {
    debug_assert!(place < 0x80, "more attribute columns than a byte can name");
    out.push(place as u8);
}

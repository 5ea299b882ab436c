//! Reading a segment.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt8Type, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::statistics::Statistics;
use tracewell_model::{NewSpan, ResourceId, ScopeId, SpanBatch, SpanId, SpanKind, StatusCode, StrId, TraceId, Value};
use tracewell_wire::otlp::parts::PartsDecoder;

use super::schema::{AttributeColumn, ColumnType, column};
use super::{index_path, names_path, parquet_path};
use crate::embedded::catalog::SegmentEntry;
use crate::names::{Names, ValuesOf};
use crate::scan::{self, Hit};
use crate::{Scan, StoreError};

const INDEX_ENTRY_BYTES: usize = 24;

/// A segment whose files are open: it can be read even after it was dropped from the catalog.
pub(crate) struct Segment {
    pub(crate) entry: SegmentEntry,
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    index: File,
    traces: u64,
    names: Names,
    /// The first row, and the earliest and latest start, of each row group.
    groups: Vec<(u64, u64)>,
}

impl Segment {
    pub(crate) fn open(folder: &Path, entry: SegmentEntry) -> Result<Self, StoreError> {
        let path = parquet_path(folder, entry.number);
        let io = |source| StoreError::Io { context: format!("open segment {}", path.display()), source };
        let damaged = |what: String| StoreError::Corrupt(format!("segment {}: {what}", path.display()));
        let file = File::open(&path).map_err(io)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|error| damaged(error.to_string()))?;
        let index = File::open(index_path(folder, entry.number)).map_err(io)?;
        let traces = (index.metadata().map_err(io)?.len().saturating_sub(4)) / INDEX_ENTRY_BYTES as u64;
        let names = std::fs::read(names_path(folder, entry.number)).map_err(io)?;
        let names = serde_json::from_slice(&names).map_err(|error| damaged(error.to_string()))?;
        let start_column = metadata
            .parquet_schema()
            .columns()
            .iter()
            .position(|found| found.name() == column::START)
            .ok_or_else(|| damaged(format!("no column {}", column::START)))?;
        let groups = metadata
            .metadata()
            .row_groups()
            .iter()
            .map(|group| match group.column(start_column).statistics() {
                Some(Statistics::Int64(statistics)) => {
                    let bound = |value: Option<&i64>, otherwise| value.map_or(otherwise, |value| *value as u64);
                    (bound(statistics.min_opt(), 0), bound(statistics.max_opt(), u64::MAX))
                }
                _ => (0, u64::MAX),
            })
            .collect();
        Ok(Self { entry, path, file, metadata, index, traces, names, groups })
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Every span, for a merge.
    pub(crate) fn read_all(&self, each: impl FnMut(SpanBatch)) -> Result<(), StoreError> {
        self.read(None, None, each)
    }

    /// Appends the spans of some traces.
    pub(crate) fn traces(&self, ids: &[TraceId], out: &mut SpanBatch) -> Result<(), StoreError> {
        let mut ranges = Vec::new();
        for id in ids {
            if let Some((first, rows)) = self.find(*id)? {
                ranges.push((first as usize, rows as usize));
            }
        }
        if ranges.is_empty() {
            return Ok(());
        }
        ranges.sort_unstable();
        ranges.dedup();
        self.read(None, Some(selection(&ranges)), |batch| out.append(&batch))
    }

    /// The rows of a trace, by binary search in the index file.
    fn find(&self, wanted: TraceId) -> Result<Option<(u32, u32)>, StoreError> {
        let (mut low, mut high) = (0, self.traces);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut entry = [0; INDEX_ENTRY_BYTES];
            self.index.read_exact_at(&mut entry, middle * INDEX_ENTRY_BYTES as u64).map_err(|source| {
                StoreError::Io { context: format!("read the trace index of {}", self.path.display()), source }
            })?;
            let number = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
            let found = TraceId::from_slice(&entry[..16]).unwrap_or_default();
            match found.cmp(&wanted) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some((number(16), number(20)))),
            }
        }
        Ok(None)
    }

    /// Appends the rows of a scan that come first in its order. Row groups are visited newest first, and those that lie
    /// behind the `limit`-th row found so far are not read.
    pub(crate) fn scan(&self, scan: &Scan, limit: usize, out: &mut Vec<Hit>) -> Result<(), StoreError> {
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.sort_by_key(|group| std::cmp::Reverse(self.groups[*group].1));
        for group in order {
            let (first, last) = self.groups[group];
            let too_new = scan.after.is_some_and(|after| first > after.start_unix_nano);
            if !scan.time.overlaps(first, last) || too_new {
                continue;
            }
            if out.get(limit.wrapping_sub(1)).is_some_and(|worst| last < worst.position.start_unix_nano) {
                break;
            }
            self.read(Some(group), None, |batch| scan::add_hits(scan, &batch, limit, out))?;
        }
        Ok(())
    }

    /// Adds values of an attribute as text.
    pub(crate) fn values(&self, wanted: &ValuesOf<'_>, out: &mut BTreeSet<String>) -> Result<(), StoreError> {
        for (group, (first, last)) in self.groups.iter().enumerate() {
            if wanted.time.overlaps(*first, *last) {
                self.read(Some(group), None, |batch| wanted.collect(&batch, out))?;
            }
        }
        Ok(())
    }

    fn read(
        &self,
        group: Option<usize>,
        selection: Option<RowSelection>,
        mut each: impl FnMut(SpanBatch),
    ) -> Result<(), StoreError> {
        let damaged = |what: String| StoreError::Corrupt(format!("segment {}: {what}", self.path.display()));
        let file = self
            .file
            .try_clone()
            .map_err(|source| StoreError::Io { context: format!("read segment {}", self.path.display()), source })?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_projection(ProjectionMask::all())
            .with_batch_size(8 * 1024);
        if let Some(group) = group {
            builder = builder.with_row_groups(vec![group]);
        }
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        for record_batch in builder.build().map_err(|error| damaged(error.to_string()))? {
            let record_batch = record_batch.map_err(|error| damaged(error.to_string()))?;
            each(span_batch(&record_batch).map_err(damaged)?);
        }
        Ok(())
    }
}

fn selection(ranges: &[(usize, usize)]) -> RowSelection {
    let mut selectors = Vec::with_capacity(ranges.len() * 2);
    let mut at = 0;
    for (first, rows) in ranges {
        if *first > at {
            selectors.push(RowSelector::skip(first - at));
        }
        selectors.push(RowSelector::select(*rows));
        at = first + rows;
    }
    RowSelection::from(selectors)
}

/// A record batch back as spans.
fn span_batch(record_batch: &RecordBatch) -> Result<SpanBatch, String> {
    let find = |name: &str| record_batch.column_by_name(name).ok_or_else(|| format!("no column {name}"));
    macro_rules! typed {
        ($name:expr, $as:ident $(::<$kind:ty>)?) => {
            find($name)?.$as$(::<$kind>)?().ok_or_else(|| format!("column {} has another type", $name))?
        };
    }
    let trace_ids = typed!(column::TRACE_ID, as_fixed_size_binary_opt);
    let span_ids = typed!(column::SPAN_ID, as_fixed_size_binary_opt);
    let parents = typed!(column::PARENT_SPAN_ID, as_fixed_size_binary_opt);
    let starts = typed!(column::START, as_primitive_opt::<UInt64Type>);
    let durations = typed!(column::DURATION, as_primitive_opt::<Int64Type>);
    let names = typed!(column::NAME, as_string_opt::<i32>);
    let kinds = typed!(column::KIND, as_primitive_opt::<UInt8Type>);
    let status_codes = typed!(column::STATUS_CODE, as_primitive_opt::<UInt8Type>);
    let messages = typed!(column::STATUS_MESSAGE, as_string_opt::<i32>);
    let trace_states = typed!(column::TRACE_STATE, as_string_opt::<i32>);
    let flags = typed!(column::FLAGS, as_primitive_opt::<UInt32Type>);
    let dropped_attributes = typed!(column::DROPPED_ATTRIBUTES, as_primitive_opt::<UInt32Type>);
    let dropped_events = typed!(column::DROPPED_EVENTS, as_primitive_opt::<UInt32Type>);
    let dropped_links = typed!(column::DROPPED_LINKS, as_primitive_opt::<UInt32Type>);
    let resources = typed!(column::RESOURCE, as_binary_opt::<i32>);
    let scopes = typed!(column::SCOPE, as_binary_opt::<i32>);
    let events = typed!(column::EVENTS, as_binary_opt::<i32>);
    let links = typed!(column::LINKS, as_binary_opt::<i32>);
    let shapes = typed!(column::SHAPE, as_binary_opt::<i32>);
    let rests = typed!(column::REST, as_binary_opt::<i32>);

    let mut decoder = PartsDecoder::default();
    let columns: Vec<(StrId, ColumnType, &dyn Array)> = record_batch
        .schema_ref()
        .fields()
        .iter()
        .zip(record_batch.columns())
        .filter_map(|(field, array)| {
            let column = AttributeColumn::from_name(field.name())?;
            Some((decoder.batch().intern(&column.key), column.column_type, array.as_ref()))
        })
        .collect();
    let mut known_resources: HashMap<&[u8], ResourceId> = HashMap::new();
    let mut known_scopes: HashMap<&[u8], ScopeId> = HashMap::new();
    let mut rest = Vec::new();
    let text = |error: tracewell_wire::DecodeError| error.to_string();
    for row in 0..record_batch.num_rows() {
        let resource = match known_resources.get(resources.value(row)) {
            Some(known) => *known,
            None => {
                let new = decoder.resource(resources.value(row)).map_err(text)?;
                known_resources.insert(resources.value(row), new);
                new
            }
        };
        let scope = match known_scopes.get(scopes.value(row)) {
            Some(known) => *known,
            None => {
                let new = decoder.scope(scopes.value(row)).map_err(text)?;
                known_scopes.insert(scopes.value(row), new);
                new
            }
        };
        rest.clear();
        decoder.attributes(rests.value(row), &mut rest).map_err(text)?;
        let mut rest = rest.iter();
        for place in shapes.value(row) {
            let (key, value) = match place {
                0 => *rest.next().ok_or("an attribute is missing")?,
                place => {
                    let (key, column_type, array) =
                        columns.get(usize::from(*place) - 1).ok_or("an attribute column is missing")?;
                    (
                        *key,
                        attribute_value(*column_type, *array, row, decoder.batch())
                            .ok_or("an attribute has another type")?,
                    )
                }
            };
            decoder.batch().push_attribute(key, value);
        }
        decoder.span_parts(events.value(row)).map_err(text)?;
        decoder.span_parts(links.value(row)).map_err(text)?;
        let batch = decoder.batch();
        let start_unix_nano = starts.value(row);
        let span = NewSpan {
            trace_id: TraceId::from_slice(trace_ids.value(row)).ok_or("a trace id has another length")?,
            span_id: SpanId::from_slice(span_ids.value(row)).ok_or("a span id has another length")?,
            parent_span_id: if parents.is_null(row) {
                SpanId::ZERO
            } else {
                SpanId::from_slice(parents.value(row)).ok_or("a span id has another length")?
            },
            start_unix_nano,
            end_unix_nano: start_unix_nano.wrapping_add(durations.value(row) as u64),
            name: batch.intern(names.value(row)),
            kind: SpanKind::from_number(i64::from(kinds.value(row))).unwrap_or_default(),
            status_code: StatusCode::from_number(i64::from(status_codes.value(row))).unwrap_or_default(),
            status_message: batch.intern(messages.value(row)),
            trace_state: batch.intern(trace_states.value(row)),
            flags: flags.value(row),
            dropped_attributes_count: dropped_attributes.value(row),
            dropped_events_count: dropped_events.value(row),
            dropped_links_count: dropped_links.value(row),
            resource,
            scope,
        };
        batch.push_span(span);
    }
    Ok(decoder.into_batch())
}

fn attribute_value(column_type: ColumnType, array: &dyn Array, row: usize, batch: &mut SpanBatch) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    Some(match column_type {
        ColumnType::Str => Value::Str(batch.intern(array.as_string_opt::<i32>()?.value(row))),
        ColumnType::Bool => Value::Bool(array.as_boolean_opt()?.value(row)),
        ColumnType::Int => Value::Int(array.as_primitive_opt::<Int64Type>()?.value(row)),
        ColumnType::Double => Value::Double(array.as_primitive_opt::<Float64Type>()?.value(row)),
    })
}

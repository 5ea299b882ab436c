//! From batches in memory to a segment.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use tracewell_model::{SpanBatch, StrId, TraceId, Value};
use tracewell_wire::otlp::parts;

use super::dictionary::Dictionary;
use super::footer::Origin;
use super::rows::{Row, Values};
use super::shapes::{Shapes, attributes};
use super::table::{Part, Place, zigzag};
use super::write::SegmentWriter;
use crate::embedded::catalog::SegmentEntry;
use crate::embedded::files::SegmentFiles;
use crate::{AttributeScope, StoreError, Tenant};

/// zstd's fastest level that still finds what repeats: what is flushed is merged soon.
const FLUSH_LEVEL: i32 = 1;

/// Writes the spans of some batches as one segment. On return its file is on the disk, and not yet in the catalog.
pub(crate) fn write(
    files: &dyn SegmentFiles,
    number: u64,
    tenant: &Tenant,
    origin: Origin,
    batches: &[&SpanBatch],
) -> Result<SegmentEntry, StoreError> {
    let Shapes { table, templates, resources } = Shapes::of(batches);
    let mut writer = SegmentWriter::create(files, number, tenant, origin, table, FLUSH_LEVEL)?;
    let columns = writer.table.columns.clone();
    let place_of = |part: Part| columns.iter().position(|column| column.part == part).unwrap_or(0);
    let lists = Lists {
        event_time: place_of(Part::EventTime),
        event_body: place_of(Part::EventBody),
        link_body: place_of(Part::LinkBody),
    };
    for batch in batches {
        let mut keys: HashSet<(StrId, StrId), RandomState> = HashSet::default();
        for span in batch.iter().filter(|span| span.events().len() > 0) {
            let service = batch.resources()[batch.spans().resource[span.row()].index()].service;
            for event in span.events() {
                keys.extend(event.attributes().raw_keys().iter().map(|key| (service, *key)));
            }
        }
        for (service, key) in keys {
            writer.names().add_key(batch.string(service), AttributeScope::Event, batch.string(key));
        }
    }
    let mut codes: Vec<CodeMemo> = batches.iter().map(|batch| CodeMemo::new(batch.strings().len())).collect();
    let mut scratch = Vec::new();
    let sorted = Sorted::of(batches);
    let mut at = 0;
    for length in &sorted.trace_rows {
        writer.before_trace(*length as usize)?;
        for (batch_number, row) in &sorted.rows[at..at + *length as usize] {
            let (place, row) = (*batch_number as usize, *row as usize);
            let batch = batches[place];
            let spans = batch.spans();
            let template = templates[place][row];
            let start_unix_nano = spans.start_unix_nano[row];
            writer.rows.push(Row {
                trace_id: spans.trace_id[row],
                span_id: spans.span_id[row].as_u64(),
                parent_span_id: spans.parent_span_id[row].as_u64(),
                start_unix_nano,
                duration_nanos: spans.end_unix_nano[row].wrapping_sub(start_unix_nano),
                template,
                resource: resources[place][spans.resource[row].index()],
            });
            let mut target = Target {
                values: &mut writer.rows.values,
                dictionaries: &mut writer.dictionaries,
                codes: &mut codes[place],
                batch,
            };
            for variable in &writer.table.variables[template as usize] {
                let column = variable.column as usize;
                match variable.place {
                    Place::Name => target.string(column, spans.name[row]),
                    Place::StatusMessage => target.string(column, spans.status_message[row]),
                    Place::TraceState => target.string(column, spans.trace_state[row]),
                    Place::Flags => target.count(column, spans.flags[row]),
                    Place::DroppedAttributes => target.count(column, spans.dropped_attributes_count[row]),
                    Place::DroppedEvents => target.count(column, spans.dropped_events_count[row]),
                    Place::DroppedLinks => target.count(column, spans.dropped_links_count[row]),
                    Place::Attribute(place) => {
                        let range = attributes(&spans.attributes_end, row);
                        target.value(column, batch.span_attributes().value[range.start + place as usize]);
                    }
                    Place::Attributes => {
                        scratch.clear();
                        for (key, value) in batch.span(row).attributes().iter() {
                            parts::encode_attribute(key, value, &mut scratch);
                        }
                        target.bytes(column, &scratch);
                    }
                    Place::Events => {
                        target.count(column, batch.span(row).events().len() as u32);
                        for event in batch.span(row).events() {
                            let after = event.time_unix_nano().wrapping_sub(start_unix_nano);
                            target.number(lists.event_time, zigzag(after as i64));
                            scratch.clear();
                            parts::encode_event_without_time(event, &mut scratch);
                            target.bytes(lists.event_body, &scratch);
                        }
                    }
                    Place::Links => {
                        target.count(column, batch.span(row).links().len() as u32);
                        for link in batch.span(row).links() {
                            scratch.clear();
                            parts::encode_link(link, &mut scratch);
                            target.bytes(lists.link_body, &scratch);
                        }
                    }
                }
            }
            writer.after_row()?;
        }
        at += *length as usize;
    }
    writer.finish()
}

struct Lists {
    event_time: usize,
    event_body: usize,
    link_body: usize,
}

/// The code of a batch's string in a column, as it was last looked up: most strings are used by one column.
struct CodeMemo(Vec<(u32, u32)>);

impl CodeMemo {
    fn new(strings: usize) -> Self {
        Self(vec![(u32::MAX, 0); strings])
    }
}

/// Where the values of a batch's rows go.
struct Target<'a> {
    values: &'a mut [Values],
    dictionaries: &'a mut [Dictionary],
    codes: &'a mut CodeMemo,
    batch: &'a SpanBatch,
}

impl Target<'_> {
    fn number(&mut self, column: usize, number: u64) {
        match &mut self.values[column] {
            Values::Numbers(numbers) => numbers.push(number),
            Values::Codes(_) | Values::Texts(_) => unreachable!("a column of numbers holds numbers"),
        }
    }

    fn count(&mut self, column: usize, count: u32) {
        self.number(column, zigzag(i64::from(count)));
    }

    #[inline]
    fn string(&mut self, column: usize, id: StrId) {
        match &mut self.values[column] {
            Values::Codes(codes) => {
                let memo = &mut self.codes.0[id.index()];
                if memo.0 != column as u32 {
                    *memo = (column as u32, self.dictionaries[column].code(self.batch.string(id).as_bytes()));
                }
                codes.push(memo.1);
            }
            Values::Texts(texts) => texts.push(self.batch.string(id).as_bytes()),
            Values::Numbers(_) => unreachable!("a column of texts holds texts"),
        }
    }

    fn bytes(&mut self, column: usize, bytes: &[u8]) {
        match &mut self.values[column] {
            Values::Codes(codes) => codes.push(self.dictionaries[column].code(bytes)),
            Values::Texts(texts) => texts.push(bytes),
            Values::Numbers(_) => unreachable!("a column of bytes holds bytes"),
        }
    }

    #[inline]
    fn value(&mut self, column: usize, value: Value) {
        match value {
            Value::Str(id) => self.string(column, id),
            Value::Bool(value) => self.number(column, u64::from(value)),
            Value::Int(value) => self.number(column, zigzag(value)),
            Value::Double(value) => self.number(column, value.to_bits()),
            Value::Bytes(id) | Value::Nested(id) => self.bytes(column, self.batch.blob(id)),
            Value::Empty => unreachable!("an empty value does not vary"),
        }
    }
}

/// All rows as they will lie: traces together, by the start of their first span; within one, by start.
struct Sorted {
    rows: Vec<(u32, u32)>,
    trace_rows: Vec<u32>,
}

impl Sorted {
    fn of(batches: &[&SpanBatch]) -> Self {
        // Traces by number, in the order in which they first occur.
        let mut numbers: HashMap<TraceId, u32, RandomState> = HashMap::default();
        let mut traces: Vec<(u64, TraceId, u32)> = Vec::new();
        let mut row_traces: Vec<u32> = Vec::with_capacity(batches.iter().map(|batch| batch.len()).sum());
        for batch in batches {
            let spans = batch.spans();
            let mut before = (TraceId::ZERO, u32::MAX);
            for (id, start) in spans.trace_id.iter().zip(&spans.start_unix_nano) {
                if *id != before.0 || before.1 == u32::MAX {
                    let number = *numbers.entry(*id).or_insert_with(|| {
                        traces.push((u64::MAX, *id, 0));
                        traces.len() as u32 - 1
                    });
                    before = (*id, number);
                }
                let trace = &mut traces[before.1 as usize];
                trace.0 = trace.0.min(*start);
                trace.2 += 1;
                row_traces.push(before.1);
            }
        }
        let mut order: Vec<u32> = (0..traces.len() as u32).collect();
        order.sort_unstable_by_key(|number| {
            let (start, id, _) = traces[*number as usize];
            (start, id)
        });
        // Where each trace's rows begin, then where its next row goes.
        let mut next = vec![0u32; traces.len()];
        let mut trace_rows = Vec::with_capacity(traces.len());
        let mut at = 0;
        for number in &order {
            next[*number as usize] = at;
            at += traces[*number as usize].2;
            trace_rows.push(traces[*number as usize].2);
        }
        let mut rows = vec![(0u64, 0u32, 0u32); row_traces.len()];
        let mut row_traces = row_traces.into_iter();
        for (place, batch) in batches.iter().enumerate() {
            for (row, (start, trace)) in batch.spans().start_unix_nano.iter().zip(&mut row_traces).enumerate() {
                let slot = &mut next[trace as usize];
                rows[*slot as usize] = (*start, place as u32, row as u32);
                *slot += 1;
            }
        }
        let mut at = 0;
        for length in &trace_rows {
            rows[at..at + *length as usize].sort_unstable();
            at += *length as usize;
        }
        Self { rows: rows.into_iter().map(|(_, batch, row)| (batch, row)).collect(), trace_rows }
    }
}

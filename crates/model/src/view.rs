//! Cheap views of one row of a batch.

use crate::batch::AttributeColumns;
use crate::{Resource, Scope, SpanBatch, SpanId, SpanKind, StatusCode, StrId, TraceId, Value, ValueRef};

/// One span of a batch.
#[derive(Clone, Copy, Debug)]
pub struct SpanRef<'a> {
    pub(crate) batch: &'a SpanBatch,
    pub(crate) row: usize,
}

impl<'a> SpanRef<'a> {
    /// The batch it lies in.
    pub fn batch(self) -> &'a SpanBatch {
        self.batch
    }

    /// The row in that batch.
    pub fn row(self) -> usize {
        self.row
    }

    /// The request it is part of.
    pub fn trace_id(self) -> TraceId {
        self.batch.spans().trace_id[self.row]
    }

    /// Its own id.
    pub fn span_id(self) -> SpanId {
        self.batch.spans().span_id[self.row]
    }

    /// The id of the span it is nested in; zero for none.
    pub fn parent_span_id(self) -> SpanId {
        self.batch.spans().parent_span_id[self.row]
    }

    /// Start, in nanoseconds since 1970.
    pub fn start_unix_nano(self) -> u64 {
        self.batch.spans().start_unix_nano[self.row]
    }

    /// End, in nanoseconds since 1970. May lie before the start when a sender's clock stepped back.
    pub fn end_unix_nano(self) -> u64 {
        self.batch.spans().end_unix_nano[self.row]
    }

    /// Time from start to end; 0 when the end lies before the start.
    pub fn duration_nanos(self) -> u64 {
        self.end_unix_nano().saturating_sub(self.start_unix_nano())
    }

    /// The operation.
    pub fn name(self) -> &'a str {
        self.batch.string(self.batch.spans().name[self.row])
    }

    /// The service: the resource's `service.name`, or [`crate::UNKNOWN_SERVICE`].
    pub fn service(self) -> &'a str {
        self.batch.string(self.resource().service)
    }

    /// The part it plays in a call.
    pub fn kind(self) -> SpanKind {
        self.batch.spans().kind[self.row]
    }

    /// How it ended.
    pub fn status_code(self) -> StatusCode {
        self.batch.spans().status_code[self.row]
    }

    /// What went wrong, for people.
    pub fn status_message(self) -> &'a str {
        self.batch.string(self.batch.spans().status_message[self.row])
    }

    /// Whether its status is an error.
    pub fn is_error(self) -> bool {
        self.status_code() == StatusCode::Error
    }

    /// W3C trace state, as received.
    pub fn trace_state(self) -> &'a str {
        self.batch.string(self.batch.spans().trace_state[self.row])
    }

    /// W3C trace flags and OTLP's bits above them.
    pub fn flags(self) -> u32 {
        self.batch.spans().flags[self.row]
    }

    /// How many attributes the sender left out.
    pub fn dropped_attributes_count(self) -> u32 {
        self.batch.spans().dropped_attributes_count[self.row]
    }

    /// How many events the sender left out.
    pub fn dropped_events_count(self) -> u32 {
        self.batch.spans().dropped_events_count[self.row]
    }

    /// How many links the sender left out.
    pub fn dropped_links_count(self) -> u32 {
        self.batch.spans().dropped_links_count[self.row]
    }

    /// What produced it.
    pub fn resource(self) -> &'a Resource {
        &self.batch.resources()[self.batch.spans().resource[self.row].index()]
    }

    /// The resource's attributes.
    pub fn resource_attributes(self) -> impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)> {
        shared_attributes(self.batch, &self.resource().attributes)
    }

    /// What recorded it.
    pub fn scope(self) -> &'a Scope {
        &self.batch.scopes()[self.batch.spans().scope[self.row].index()]
    }

    /// The scope's attributes.
    pub fn scope_attributes(self) -> impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)> {
        shared_attributes(self.batch, &self.scope().attributes)
    }

    /// Its attributes in the sender's order.
    pub fn attributes(self) -> Attributes<'a> {
        let range = self.batch.attribute_range(self.row);
        Attributes::new(self.batch, self.batch.span_attributes(), range)
    }

    /// Its events in the sender's order.
    pub fn events(self) -> impl ExactSizeIterator<Item = EventRef<'a>> {
        self.batch.event_range(self.row).map(move |event| EventRef { batch: self.batch, event })
    }

    /// Its links in the sender's order.
    pub fn links(self) -> impl ExactSizeIterator<Item = LinkRef<'a>> {
        self.batch.link_range(self.row).map(move |link| LinkRef { batch: self.batch, link })
    }
}

fn shared_attributes<'a>(
    batch: &'a SpanBatch,
    attributes: &'a [(StrId, Value)],
) -> impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)> {
    attributes.iter().map(move |(key, value)| (batch.string(*key), batch.value(*value)))
}

/// Attributes of a span, an event or a link.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    batch: &'a SpanBatch,
    keys: &'a [StrId],
    values: &'a [Value],
}

impl<'a> Attributes<'a> {
    fn new(batch: &'a SpanBatch, columns: &'a AttributeColumns, range: std::ops::Range<usize>) -> Self {
        Self { batch, keys: &columns.key[range.clone()], values: &columns.value[range] }
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.keys.is_empty()
    }

    /// Keys and values in the sender's order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = (&'a str, ValueRef<'a>)> {
        self.keys.iter().zip(self.values).map(move |(key, value)| (self.batch.string(*key), self.batch.value(*value)))
    }

    /// The first value with this key.
    pub fn get(self, key: &str) -> Option<ValueRef<'a>> {
        let id = self.batch.strings().find(key)?;
        let place = self.keys.iter().position(|key| *key == id)?;
        Some(self.batch.value(self.values[place]))
    }

    /// The keys as the batch's own numbers, in parallel to [`raw_values`](Self::raw_values).
    pub fn raw_keys(self) -> &'a [StrId] {
        self.keys
    }

    /// The values as the batch holds them.
    pub fn raw_values(self) -> &'a [Value] {
        self.values
    }
}

/// Something that happened during a span.
#[derive(Clone, Copy, Debug)]
pub struct EventRef<'a> {
    batch: &'a SpanBatch,
    event: usize,
}

impl<'a> EventRef<'a> {
    /// When, in nanoseconds since 1970.
    pub fn time_unix_nano(self) -> u64 {
        self.batch.events().time_unix_nano[self.event]
    }

    /// What happened.
    pub fn name(self) -> &'a str {
        self.batch.string(self.batch.events().name[self.event])
    }

    /// How many attributes the sender left out.
    pub fn dropped_attributes_count(self) -> u32 {
        self.batch.events().dropped_attributes_count[self.event]
    }

    /// Its attributes.
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::new(self.batch, self.batch.event_attributes(), self.batch.event_attribute_range(self.event))
    }
}

/// A reference from a span to another, often of another trace.
#[derive(Clone, Copy, Debug)]
pub struct LinkRef<'a> {
    batch: &'a SpanBatch,
    link: usize,
}

impl<'a> LinkRef<'a> {
    /// The linked span's trace.
    pub fn trace_id(self) -> TraceId {
        self.batch.links().trace_id[self.link]
    }

    /// The linked span.
    pub fn span_id(self) -> SpanId {
        self.batch.links().span_id[self.link]
    }

    /// The linked span's trace state.
    pub fn trace_state(self) -> &'a str {
        self.batch.string(self.batch.links().trace_state[self.link])
    }

    /// The linked span's flags.
    pub fn flags(self) -> u32 {
        self.batch.links().flags[self.link]
    }

    /// How many attributes the sender left out.
    pub fn dropped_attributes_count(self) -> u32 {
        self.batch.links().dropped_attributes_count[self.link]
    }

    /// Its attributes.
    pub fn attributes(self) -> Attributes<'a> {
        Attributes::new(self.batch, self.batch.link_attributes(), self.batch.link_attribute_range(self.link))
    }
}

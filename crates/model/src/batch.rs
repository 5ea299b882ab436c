//! The columnar batch of spans.
//!
//! Everything that spans share (strings, resources, scopes) lies in tables; what differs lies in columns with an entry a
//! span. Lists (attributes, events, links) are columns of their own, and a span says where its part of them ends: it
//! begins where the part of the span before ends.

mod add;
mod memory;

use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{BlobId, SpanId, SpanKind, SpanRef, StatusCode, StrId, StringTable, TraceId, Value, ValueRef};

/// Names a resource in the batch that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(pub(crate) u32);

/// Names an instrumentation scope in the batch that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub(crate) u32);

impl ResourceId {
    /// The place in [`SpanBatch::resources`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ScopeId {
    /// The place in [`SpanBatch::scopes`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What produced spans: a service instance, its host, its pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The attributes in the sender's order.
    pub attributes: Vec<(StrId, Value)>,
    /// How many attributes the sender left out.
    pub dropped_attributes_count: u32,
    /// The schema that the attributes follow; empty if not said.
    pub schema_url: StrId,
    /// `service.name`, or [`UNKNOWN_SERVICE`].
    pub service: StrId,
}

/// The library that recorded spans.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Its name.
    pub name: StrId,
    /// Its version.
    pub version: StrId,
    /// Its attributes in the sender's order.
    pub attributes: Vec<(StrId, Value)>,
    /// How many attributes the sender left out.
    pub dropped_attributes_count: u32,
    /// The schema that the spans' attributes follow; empty if not said.
    pub schema_url: StrId,
}

/// The columns with one entry a span. All have the same length.
#[derive(Clone, Debug, Default)]
pub struct SpanColumns {
    /// The request that the span is part of.
    pub trace_id: Vec<TraceId>,
    /// The span's own id.
    pub span_id: Vec<SpanId>,
    /// The span it is nested in, [`SpanId::ZERO`] for none.
    pub parent_span_id: Vec<SpanId>,
    /// Start, in nanoseconds since 1970.
    pub start_unix_nano: Vec<u64>,
    /// End, in nanoseconds since 1970.
    pub end_unix_nano: Vec<u64>,
    /// The operation.
    pub name: Vec<StrId>,
    /// The part it plays in a call.
    pub kind: Vec<SpanKind>,
    /// How it ended.
    pub status_code: Vec<StatusCode>,
    /// What went wrong, for people.
    pub status_message: Vec<StrId>,
    /// W3C trace state, as received.
    pub trace_state: Vec<StrId>,
    /// W3C trace flags and OTLP's bits above them.
    pub flags: Vec<u32>,
    /// How many attributes the sender left out.
    pub dropped_attributes_count: Vec<u32>,
    /// How many events the sender left out.
    pub dropped_events_count: Vec<u32>,
    /// How many links the sender left out.
    pub dropped_links_count: Vec<u32>,
    /// What produced it.
    pub resource: Vec<ResourceId>,
    /// What recorded it.
    pub scope: Vec<ScopeId>,
    /// Where its attributes end in [`SpanBatch::span_attributes`].
    pub attributes_end: Vec<u32>,
    /// Where its events end in [`SpanBatch::events`].
    pub events_end: Vec<u32>,
    /// Where its links end in [`SpanBatch::links`].
    pub links_end: Vec<u32>,
}

/// Keys and values, in parallel.
#[derive(Clone, Debug, Default)]
pub struct AttributeColumns {
    /// The keys.
    pub key: Vec<StrId>,
    /// The values.
    pub value: Vec<Value>,
}

/// The columns with one entry an event.
#[derive(Clone, Debug, Default)]
pub struct EventColumns {
    /// When, in nanoseconds since 1970.
    pub time_unix_nano: Vec<u64>,
    /// What happened.
    pub name: Vec<StrId>,
    /// How many attributes the sender left out.
    pub dropped_attributes_count: Vec<u32>,
    /// Where its attributes end in [`SpanBatch::event_attributes`].
    pub attributes_end: Vec<u32>,
}

/// The columns with one entry a link.
#[derive(Clone, Debug, Default)]
pub struct LinkColumns {
    /// The linked span's trace.
    pub trace_id: Vec<TraceId>,
    /// The linked span.
    pub span_id: Vec<SpanId>,
    /// The linked span's trace state.
    pub trace_state: Vec<StrId>,
    /// The linked span's flags.
    pub flags: Vec<u32>,
    /// How many attributes the sender left out.
    pub dropped_attributes_count: Vec<u32>,
    /// Where its attributes end in [`SpanBatch::link_attributes`].
    pub attributes_end: Vec<u32>,
}

/// The fixed part of a span that is being added; see [`SpanBatch::push_span`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name in SpanColumns")]
pub struct NewSpan {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent_span_id: SpanId,
    pub start_unix_nano: u64,
    pub end_unix_nano: u64,
    pub name: StrId,
    pub kind: SpanKind,
    pub status_code: StatusCode,
    pub status_message: StrId,
    pub trace_state: StrId,
    pub flags: u32,
    pub dropped_attributes_count: u32,
    pub dropped_events_count: u32,
    pub dropped_links_count: u32,
    pub resource: ResourceId,
    pub scope: ScopeId,
}

impl NewSpan {
    /// A span of which nothing is known but who recorded it.
    pub const fn new(resource: ResourceId, scope: ScopeId) -> Self {
        Self {
            trace_id: TraceId::ZERO,
            span_id: SpanId::ZERO,
            parent_span_id: SpanId::ZERO,
            start_unix_nano: 0,
            end_unix_nano: 0,
            name: StrId::EMPTY,
            kind: SpanKind::Unspecified,
            status_code: StatusCode::Unset,
            status_message: StrId::EMPTY,
            trace_state: StrId::EMPTY,
            flags: 0,
            dropped_attributes_count: 0,
            dropped_events_count: 0,
            dropped_links_count: 0,
            resource,
            scope,
        }
    }
}

/// Spans in columns.
///
/// A span is added in this order: its attributes, and its events and links each after their own attributes, in any
/// interleaving of the three lists; then [`push_span`](Self::push_span), which closes them all. What was added since the
/// last `push_span` can be taken back with [`abandon_span`](Self::abandon_span).
#[derive(Clone, Debug, Default)]
pub struct SpanBatch {
    strings: StringTable,
    blobs: Vec<u8>,
    blob_ends: Vec<u32>,
    resources: Vec<Resource>,
    resource_places: HashTable<u32>,
    scopes: Vec<Scope>,
    scope_places: HashTable<u32>,
    hasher: RandomState,
    /// Attributes of all resources and scopes, for budgets.
    shared_attributes: usize,
    spans: SpanColumns,
    span_attributes: AttributeColumns,
    events: EventColumns,
    event_attributes: AttributeColumns,
    links: LinkColumns,
    link_attributes: AttributeColumns,
}

/// What the columns hold of a span.
const SPAN_BYTES: usize = 16 + 8 + 8 + 8 + 8 + 4 + 1 + 1 + 4 + 4 + 4 + 12 + 8 + 12;

impl SpanBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.spans.trace_id.len()
    }

    /// Whether there are no spans.
    pub fn is_empty(&self) -> bool {
        self.spans.trace_id.is_empty()
    }

    /// Bytes of what is said in the batch, in no time: for bounds that are checked after each span.
    pub fn content_bytes(&self) -> usize {
        let attributes =
            self.span_attributes.key.len() + self.event_attributes.key.len() + self.link_attributes.key.len();
        self.strings.text_bytes()
            + self.blobs.len()
            + self.len() * SPAN_BYTES
            + attributes * 20
            + self.events.name.len() * 20
            + self.links.flags.len() * 40
    }

    /// A view of one span.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn span(&self, row: usize) -> SpanRef<'_> {
        assert!(row < self.len(), "row {row} of a batch with {} spans", self.len());
        SpanRef { batch: self, row }
    }

    /// All spans in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = SpanRef<'_>> {
        (0..self.len()).map(|row| SpanRef { batch: self, row })
    }

    /// The columns with one entry a span.
    pub fn spans(&self) -> &SpanColumns {
        &self.spans
    }

    /// The attributes of all spans, one after the other.
    pub fn span_attributes(&self) -> &AttributeColumns {
        &self.span_attributes
    }

    /// The events of all spans, one after the other.
    pub fn events(&self) -> &EventColumns {
        &self.events
    }

    /// The attributes of all events.
    pub fn event_attributes(&self) -> &AttributeColumns {
        &self.event_attributes
    }

    /// The links of all spans, one after the other.
    pub fn links(&self) -> &LinkColumns {
        &self.links
    }

    /// The attributes of all links.
    pub fn link_attributes(&self) -> &AttributeColumns {
        &self.link_attributes
    }

    /// The distinct resources.
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The distinct scopes.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The interned strings.
    pub fn strings(&self) -> &StringTable {
        &self.strings
    }

    /// The string with this number.
    pub fn string(&self, id: StrId) -> &str {
        self.strings.get(id)
    }

    /// The bytes with this number.
    pub fn blob(&self, id: BlobId) -> &[u8] {
        &self.blobs[range_before(&self.blob_ends, id.0 as usize)]
    }

    /// What a value says.
    pub fn value(&self, value: Value) -> ValueRef<'_> {
        match value {
            Value::Empty => ValueRef::Empty,
            Value::Str(id) => ValueRef::Str(self.string(id)),
            Value::Bool(value) => ValueRef::Bool(value),
            Value::Int(value) => ValueRef::Int(value),
            Value::Double(value) => ValueRef::Double(value),
            Value::Bytes(id) => ValueRef::Bytes(self.blob(id)),
            Value::Nested(id) => ValueRef::Nested(self.blob(id)),
        }
    }

    pub(crate) fn attribute_range(&self, row: usize) -> Range<usize> {
        range_before(&self.spans.attributes_end, row)
    }

    pub(crate) fn event_range(&self, row: usize) -> Range<usize> {
        range_before(&self.spans.events_end, row)
    }

    pub(crate) fn link_range(&self, row: usize) -> Range<usize> {
        range_before(&self.spans.links_end, row)
    }

    pub(crate) fn event_attribute_range(&self, event: usize) -> Range<usize> {
        range_before(&self.events.attributes_end, event)
    }

    pub(crate) fn link_attribute_range(&self, link: usize) -> Range<usize> {
        range_before(&self.links.attributes_end, link)
    }
}

fn range_before(ends: &[u32], place: usize) -> Range<usize> {
    let start = if place == 0 { 0 } else { ends[place - 1] as usize };
    start..ends[place] as usize
}

//! A batch as OTLP protobuf.

use std::borrow::Borrow;
use std::collections::HashMap;

use tracewell_model::{
    EventRef, LinkRef, Resource, ResourceId, Scope, ScopeId, SpanBatch, SpanRef, StrId, Value, ValueRef,
};

use crate::protobuf::{put_bytes, put_fixed32, put_fixed64, put_message, put_number, put_text, put_varint};

/// One `ExportTraceServiceRequest` (or, which is the same bytes, `TracesData`) with every span of the batch, grouped by
/// resource and scope in the order in which these first occur.
pub fn encode_protobuf(batch: &SpanBatch) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.len() * 256);
    for (resource, scopes) in grouped(batch) {
        put_message(&mut out, 1, |out| {
            let resource = &batch.resources()[resource.index()];
            put_resource_and_schema(out, batch, resource);
            for (scope, rows) in scopes {
                put_message(out, 2, |out| {
                    let scope = &batch.scopes()[scope.index()];
                    put_scope_and_schema(out, batch, scope);
                    for row in rows {
                        put_message(out, 2, |out| put_span(out, batch.span(row)));
                    }
                });
            }
        });
    }
    out
}

/// Writes rows of a batch as fields of `TracesData`, as much at a time as is asked for: a resource with more spans than that
/// is written more than once, which says the same.
pub struct ProtobufEncoder<B> {
    batch: B,
    groups: Groups,
    /// The resource, the scope in it and the row in that which come next.
    resource: usize,
    scope: usize,
    row: usize,
}

impl<B: Borrow<SpanBatch>> ProtobufEncoder<B> {
    /// Rows of a batch.
    pub fn new(batch: B, rows: Vec<usize>) -> Self {
        let groups = grouped_rows(batch.borrow(), rows);
        Self { batch, groups, resource: 0, scope: 0, row: 0 }
    }

    /// Appends what comes next until `out` has about `enough_bytes`; true when all is written.
    pub fn write(&mut self, out: &mut Vec<u8>, enough_bytes: usize) -> bool {
        let batch = self.batch.borrow();
        while let Some((resource, scopes)) = self.groups.get(self.resource) {
            if out.len() >= enough_bytes {
                return false;
            }
            put_message(out, 1, |out| {
                put_resource_and_schema(out, batch, &batch.resources()[resource.index()]);
                // A large resource is not written again for each few of its spans.
                let enough_bytes = enough_bytes.max(out.len().saturating_mul(2));
                while let Some((scope, rows)) = scopes.get(self.scope).filter(|_| out.len() < enough_bytes) {
                    put_message(out, 2, |out| {
                        put_scope_and_schema(out, batch, &batch.scopes()[scope.index()]);
                        let enough_bytes = enough_bytes.max(out.len().saturating_mul(2));
                        while let Some(row) = rows.get(self.row) {
                            put_message(out, 2, |out| put_span(out, batch.span(*row)));
                            self.row += 1;
                            if out.len() >= enough_bytes {
                                break;
                            }
                        }
                    });
                    if self.row < rows.len() {
                        break;
                    }
                    (self.scope, self.row) = (self.scope + 1, 0);
                }
            });
            if self.scope == scopes.len() {
                (self.resource, self.scope) = (self.resource + 1, 0);
            }
        }
        true
    }
}

/// The fields of a `ResourceSpans` but its spans.
pub(crate) fn put_resource_and_schema(out: &mut Vec<u8>, batch: &SpanBatch, resource: &Resource) {
    put_message(out, 1, |out| {
        put_shared(out, 1, batch, &resource.attributes);
        put_number(out, 2, u64::from(resource.dropped_attributes_count));
    });
    put_text(out, 3, batch.string(resource.schema_url));
}

/// The fields of a `ScopeSpans` but its spans.
pub(crate) fn put_scope_and_schema(out: &mut Vec<u8>, batch: &SpanBatch, scope: &Scope) {
    put_message(out, 1, |out| {
        put_text(out, 1, batch.string(scope.name));
        put_text(out, 2, batch.string(scope.version));
        put_shared(out, 3, batch, &scope.attributes);
        put_number(out, 4, u64::from(scope.dropped_attributes_count));
    });
    put_text(out, 3, batch.string(scope.schema_url));
}

/// The rows of each scope of each resource.
pub(crate) type Groups = Vec<(ResourceId, Vec<(ScopeId, Vec<usize>)>)>;

/// Rows by resource and scope, in the order of first occurrence.
pub(crate) fn grouped(batch: &SpanBatch) -> Groups {
    grouped_rows(batch, (0..batch.len()).collect())
}

/// Some rows by resource and scope, in the order of first occurrence.
pub(super) fn grouped_rows(batch: &SpanBatch, rows: Vec<usize>) -> Groups {
    let mut groups: Groups = Vec::new();
    let mut places: HashMap<(ResourceId, ScopeId), (usize, usize)> = HashMap::new();
    let mut resources: HashMap<ResourceId, usize> = HashMap::new();
    for row in rows {
        let (resource, scope) = (batch.spans().resource[row], batch.spans().scope[row]);
        let (outer, inner) = *places.entry((resource, scope)).or_insert_with(|| {
            let outer = *resources.entry(resource).or_insert_with(|| {
                groups.push((resource, Vec::new()));
                groups.len() - 1
            });
            groups[outer].1.push((scope, Vec::new()));
            (outer, groups[outer].1.len() - 1)
        });
        groups[outer].1[inner].1.push(row);
    }
    groups
}

fn put_shared(out: &mut Vec<u8>, field: u32, batch: &SpanBatch, attributes: &[(StrId, Value)]) {
    for (key, value) in attributes {
        put_key_value(out, field, batch.string(*key), batch.value(*value));
    }
}

fn put_span(out: &mut Vec<u8>, span: SpanRef<'_>) {
    put_bytes(out, 1, span.trace_id().as_bytes());
    put_bytes(out, 2, span.span_id().as_bytes());
    put_text(out, 3, span.trace_state());
    if !span.parent_span_id().is_zero() {
        put_bytes(out, 4, span.parent_span_id().as_bytes());
    }
    put_text(out, 5, span.name());
    put_number(out, 6, span.kind() as u64);
    put_fixed64(out, 7, span.start_unix_nano());
    put_fixed64(out, 8, span.end_unix_nano());
    for (key, value) in span.attributes().iter() {
        put_key_value(out, 9, key, value);
    }
    put_number(out, 10, u64::from(span.dropped_attributes_count()));
    put_events(out, span);
    put_number(out, 12, u64::from(span.dropped_events_count()));
    put_links(out, span);
    put_number(out, 14, u64::from(span.dropped_links_count()));
    if !span.status_message().is_empty() || span.status_code() as u64 != 0 {
        put_message(out, 15, |out| {
            put_text(out, 2, span.status_message());
            put_number(out, 3, span.status_code() as u64);
        });
    }
    put_fixed32(out, 16, span.flags());
}

/// The events of a `Span`.
pub(crate) fn put_events(out: &mut Vec<u8>, span: SpanRef<'_>) {
    for event in span.events() {
        put_message(out, 11, |out| {
            put_fixed64(out, 1, event.time_unix_nano());
            put_event_after_time(out, event);
        });
    }
}

/// The fields of a `Span.Event` but its time.
pub(crate) fn put_event_after_time(out: &mut Vec<u8>, event: EventRef<'_>) {
    put_text(out, 2, event.name());
    for (key, value) in event.attributes().iter() {
        put_key_value(out, 3, key, value);
    }
    put_number(out, 4, u64::from(event.dropped_attributes_count()));
}

/// The links of a `Span`.
pub(crate) fn put_links(out: &mut Vec<u8>, span: SpanRef<'_>) {
    for link in span.links() {
        put_message(out, 13, |out| put_link(out, link));
    }
}

/// The fields of a `Span.Link`.
pub(crate) fn put_link(out: &mut Vec<u8>, link: LinkRef<'_>) {
    put_bytes(out, 1, link.trace_id().as_bytes());
    put_bytes(out, 2, link.span_id().as_bytes());
    put_text(out, 3, link.trace_state());
    for (key, value) in link.attributes().iter() {
        put_key_value(out, 4, key, value);
    }
    put_number(out, 5, u64::from(link.dropped_attributes_count()));
    put_fixed32(out, 6, link.flags());
}

/// One attribute, in a field of the message that holds it.
pub(crate) fn put_key_value(out: &mut Vec<u8>, field: u32, key: &str, value: ValueRef<'_>) {
    put_message(out, field, |out| {
        put_text(out, 1, key);
        put_message(out, 2, |out| put_any_value(out, value));
    });
}

/// The fields of an `AnyValue`. Being a `oneof`, its fields are written even if they hold their zero value.
fn put_any_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Empty => {}
        ValueRef::Str(text) => put_bytes(out, 1, text.as_bytes()),
        ValueRef::Bool(value) => {
            put_varint(out, 2 << 3);
            put_varint(out, u64::from(value));
        }
        ValueRef::Int(value) => {
            put_varint(out, 3 << 3);
            put_varint(out, value as u64);
        }
        ValueRef::Double(value) => {
            put_varint(out, 4 << 3 | 1);
            out.extend_from_slice(&value.to_le_bytes());
        }
        ValueRef::Bytes(bytes) => put_bytes(out, 7, bytes),
        ValueRef::Nested(encoded) => out.extend_from_slice(encoded),
    }
}

//! `ExportTraceServiceRequest` as protobuf
//! (<https://github.com/open-telemetry/opentelemetry-proto>, stable since 1.0). Spans are written once, when they end;
//! a request is what they were written into, with the resource before it.

use crate::proto::{bytes, fixed32, fixed64, message, number, varint, varint_bytes};
use crate::recording::Open;
use crate::tags::{EventTagList, TagValue as _, ValueWriter};
use crate::{Key, Resource, SpanContext, SpanData, SpanKind, Status, Value};

/// Set in `flags` when it is known whether the parent is remote, and when it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// `ScopeSpans.spans`, of wire type 2.
const SPAN: u8 = 2 << 3 | 2;

/// What comes before the spans of every request, but for the lengths.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Envelope {
    pub(crate) fn new(resource: &Resource) -> Self {
        let mut encoded = Self { resource: Vec::new(), scope: Vec::new() };
        message(&mut encoded.resource, 1, |out| {
            for (key, value) in resource.tags() {
                message(out, 1, |out| {
                    bytes(out, 1, key.as_bytes());
                    message(out, 2, |out| value.write(&mut ValueWriter::new(out)));
                });
            }
        });
        message(&mut encoded.scope, 1, |out| {
            bytes(out, 1, b"tracewell");
            bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
        });
        encoded
    }

    /// At most so many bytes are written by [`Self::begin`].
    pub(crate) fn len(&self) -> usize {
        self.resource.len() + self.scope.len() + 32
    }

    /// Field 1 of what belongs to the resource: spans or metrics.
    pub(crate) fn resource(&self) -> &[u8] {
        &self.resource
    }

    /// Field 1 of what belongs to the scope.
    pub(crate) fn scope(&self) -> &[u8] {
        &self.scope
    }

    /// Writes what comes before spans that are so many bytes.
    pub(crate) fn begin(&self, out: &mut Vec<u8>, spans_bytes: usize) {
        let scope_spans = self.scope.len() + spans_bytes;
        let resource_spans = self.resource.len() + 1 + varint_bytes(scope_spans as u64) + scope_spans;
        out.push(0x0a);
        varint(out, resource_spans as u64);
        out.extend_from_slice(&self.resource);
        out.push(0x12);
        varint(out, scope_spans as u64);
        out.extend_from_slice(&self.scope);
    }
}

/// Appends a span as a field of its `ScopeSpans`. Its length is computed first, so that nothing has to be moved.
pub(crate) fn span(out: &mut Vec<u8>, open: &Open, end_unix_nanos: u64) {
    let state = open.span.trace_state.as_str();
    let field = |length: usize| if length == 0 { 0 } else { 1 + varint_bytes(length as u64) + length };
    let count = |number: u32| if number == 0 { 0 } else { 1 + varint_bytes(number.into()) };
    let status = match &open.status {
        Status::Unset => 0,
        Status::Ok => 2,
        Status::Error(text) => field(text.len()) + 2,
    };
    let length = 18 + 10 + field(state.len())
        + if open.parent_span_id.is_valid() { 10 } else { 0 }
        + field(open.name.len())
        + 2 + 9 + 9
        + open.tags.bytes.len() + count(open.tags.dropped)
        + open.events.bytes.len() + count(open.events.dropped)
        + open.links.bytes.len() + count(open.links.dropped)
        + if status == 0 { 0 } else { 1 + varint_bytes(status as u64) + status }
        // The number of field 16 takes two bytes.
        + 6;
    out.reserve(length + 6);
    out.push(SPAN);
    varint(out, length as u64);
    let begin = out.len();

    let mut ids = [0; 38];
    ids[..2].copy_from_slice(&[0x0a, 16]);
    ids[2..18].copy_from_slice(&open.span.trace_id.to_bytes());
    ids[18..20].copy_from_slice(&[0x12, 8]);
    ids[20..28].copy_from_slice(&open.span.span_id.to_bytes());
    ids[28..30].copy_from_slice(&[0x22, 8]);
    ids[30..].copy_from_slice(&open.parent_span_id.to_bytes());
    if state.is_empty() && open.parent_span_id.is_valid() {
        out.extend_from_slice(&ids);
    } else {
        out.extend_from_slice(&ids[..28]);
        bytes(out, 3, state.as_bytes());
        if open.parent_span_id.is_valid() {
            out.extend_from_slice(&ids[28..]);
        }
    }
    bytes(out, 5, open.name.as_bytes());
    let mut times = [0; 20];
    times[..3].copy_from_slice(&[0x30, kind(open.kind), 0x39]);
    times[3..11].copy_from_slice(&open.start_unix_nanos.to_le_bytes());
    times[11] = 0x41;
    times[12..].copy_from_slice(&end_unix_nanos.to_le_bytes());
    out.extend_from_slice(&times);
    out.extend_from_slice(&open.tags.bytes);
    number(out, 10, open.tags.dropped.into());
    for (list, dropped_field) in [(&open.events, 12), (&open.links, 14)] {
        if list.count > 0 {
            out.extend_from_slice(&list.bytes);
        }
        number(out, dropped_field, list.dropped.into());
    }
    match &open.status {
        Status::Unset => {}
        Status::Ok => out.extend_from_slice(&[0x7a, 2, 0x18, 1]),
        Status::Error(text) => message(out, 15, |out| {
            bytes(out, 2, text.as_bytes());
            number(out, 3, 2);
        }),
    }
    fixed32(out, 16, flags(&open.span, open.parent_is_remote));
    debug_assert_eq!(out.len() - begin, length, "the length that was computed is that of what was written");
}

/// Appends a span that was decoded, in the same form.
pub(crate) fn span_data(out: &mut Vec<u8>, data: &SpanData) {
    let tag = |out: &mut Vec<u8>, field: u32, (key, value): &(Key, Value)| {
        message(out, field, |out| {
            bytes(out, 1, key.as_bytes());
            message(out, 2, |out| value.write(&mut ValueWriter::new(out)));
        });
    };
    message(out, 2, |out| {
        bytes(out, 1, &data.context.trace_id.to_bytes());
        bytes(out, 2, &data.context.span_id.to_bytes());
        bytes(out, 3, data.context.trace_state.as_str().as_bytes());
        if let Some(parent) = data.parent_span_id.filter(|parent| parent.is_valid()) {
            bytes(out, 4, &parent.to_bytes());
        }
        bytes(out, 5, data.name.as_bytes());
        number(out, 6, kind(data.kind).into());
        fixed64(out, 7, data.start_unix_nanos);
        fixed64(out, 8, data.end_unix_nanos);
        data.tags.iter().filter(|(key, _)| !key.is_empty()).for_each(|each| tag(out, 9, each));
        number(out, 10, data.dropped_tags.into());
        for event in &data.events {
            message(out, 11, |out| {
                fixed64(out, 1, event.unix_nanos);
                bytes(out, 2, event.name.as_bytes());
                event.tags.iter().filter(|(key, _)| !key.is_empty()).for_each(|each| tag(out, 3, each));
                number(out, 4, event.dropped_tags.into());
            });
        }
        number(out, 12, data.dropped_events.into());
        data.links.iter().for_each(|other| link(out, other));
        number(out, 14, data.dropped_links.into());
        match &data.status {
            Status::Unset => {}
            Status::Ok => message(out, 15, |out| number(out, 3, 1)),
            Status::Error(text) => message(out, 15, |out| {
                bytes(out, 2, text.as_bytes());
                number(out, 3, 2);
            }),
        }
        fixed32(out, 16, flags(&data.context, data.parent_is_remote));
    });
}

fn kind(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// Appends an event as a field of its span.
pub(crate) fn event(out: &mut Vec<u8>, name: &str, unix_nanos: u64, tags: &EventTagList) {
    message(out, 11, |out| {
        fixed64(out, 1, unix_nanos);
        bytes(out, 2, name.as_bytes());
        out.extend_from_slice(&tags.bytes);
        number(out, 4, tags.dropped.into());
    });
}

/// Appends a link as a field of its span.
pub(crate) fn link(out: &mut Vec<u8>, link: &SpanContext) {
    message(out, 13, |out| {
        bytes(out, 1, &link.trace_id.to_bytes());
        bytes(out, 2, &link.span_id.to_bytes());
        bytes(out, 3, link.trace_state.as_str().as_bytes());
        fixed32(out, 6, flags(link, link.is_remote));
    });
}

fn flags(context: &SpanContext, is_remote: bool) -> u32 {
    u32::from(context.flags.to_byte()) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 }
}

//! `ExportTraceServiceRequest` as protobuf, written in one pass
//! (<https://github.com/open-telemetry/opentelemetry-proto>, stable since 1.0).

use crate::span::Event;
use crate::{Key, Resource, SpanContext, SpanData, SpanKind, Status, Value};

/// Set in `flags` when it is known whether the parent is remote, and when it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// Appends the request for these spans.
pub(super) fn request(out: &mut Vec<u8>, resource: &Resource, spans: &[SpanData]) {
    message(out, 1, |out| {
        message(out, 1, |out| tags(out, 1, resource.tags()));
        message(out, 2, |out| {
            message(out, 1, |out| {
                bytes(out, 1, b"tracewell");
                bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for data in spans {
                message(out, 2, |out| span(out, data));
            }
        });
    });
}

fn span(out: &mut Vec<u8>, data: &SpanData) {
    bytes(out, 1, &data.context.trace_id.to_bytes());
    bytes(out, 2, &data.context.span_id.to_bytes());
    bytes(out, 3, data.context.trace_state.as_str().as_bytes());
    if let Some(parent) = data.parent_span_id {
        bytes(out, 4, &parent.to_bytes());
    }
    bytes(out, 5, data.name.as_bytes());
    let kind = match data.kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    };
    number(out, 6, kind);
    fixed64(out, 7, data.start_unix_nanos);
    fixed64(out, 8, data.end_unix_nanos);
    tags(out, 9, &data.tags);
    number(out, 10, data.dropped_tags.into());
    for each in &data.events {
        message(out, 11, |out| event(out, each));
    }
    number(out, 12, data.dropped_events.into());
    for each in &data.links {
        message(out, 13, |out| link(out, each));
    }
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
}

fn event(out: &mut Vec<u8>, event: &Event) {
    fixed64(out, 1, event.unix_nanos);
    bytes(out, 2, event.name.as_bytes());
    tags(out, 3, &event.tags);
}

fn link(out: &mut Vec<u8>, link: &SpanContext) {
    bytes(out, 1, &link.trace_id.to_bytes());
    bytes(out, 2, &link.span_id.to_bytes());
    bytes(out, 3, link.trace_state.as_str().as_bytes());
    fixed32(out, 6, flags(link, link.is_remote));
}

fn flags(context: &SpanContext, is_remote: bool) -> u32 {
    u32::from(context.flags.to_byte()) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 }
}

fn tags(out: &mut Vec<u8>, field: u32, tags: &[(Key, Value)]) {
    for (key, value) in tags {
        message(out, field, |out| {
            bytes(out, 1, key.as_bytes());
            message(out, 2, |out| any_value(out, value));
        });
    }
}

/// Members of a `oneof` are written also when they are zero or empty: that is what tells them from no value.
fn any_value(out: &mut Vec<u8>, value: &Value) {
    fn text(out: &mut Vec<u8>, text: &str) {
        key(out, 1, 2);
        varint(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
    fn boolean(out: &mut Vec<u8>, value: bool) {
        key(out, 2, 0);
        out.push(u8::from(value));
    }
    fn integer(out: &mut Vec<u8>, value: i64) {
        key(out, 3, 0);
        // Negative numbers are their two's complement, as protobuf has it.
        varint(out, value as u64);
    }
    fn double(out: &mut Vec<u8>, value: f64) {
        key(out, 4, 1);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
    fn array<T>(out: &mut Vec<u8>, values: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
        message(out, 5, |out| values.iter().for_each(|value| message(out, 1, |out| write(out, value))));
    }
    match value {
        Value::String(value) => text(out, value),
        Value::I64(value) => integer(out, *value),
        Value::F64(value) => double(out, *value),
        Value::Bool(value) => boolean(out, *value),
        Value::Strings(values) => array(out, values, |out, value| text(out, value)),
        Value::I64s(values) => array(out, values, |out, value| integer(out, *value)),
        Value::F64s(values) => array(out, values, |out, value| double(out, *value)),
        Value::Bools(values) => array(out, values, |out, value| boolean(out, *value)),
    }
}

/// Writes a message in place: one byte is kept for its length, and the content moved when more are needed. Most
/// messages are tags of less than 128 bytes, for which nothing moves.
fn message(out: &mut Vec<u8>, field: u32, content: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, 2);
    let at = out.len();
    out.push(0);
    content(out);
    let length = out.len() - at - 1;
    if let Ok(byte @ 0..=0x7f) = u8::try_from(length) {
        out[at] = byte;
        return;
    }
    let mut prefix = Vec::with_capacity(5);
    varint(&mut prefix, length as u64);
    out.splice(at..=at, prefix);
}

fn key(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from(field << 3 | wire_type));
}

fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        key(out, field, 2);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(out, field, 0);
        varint(out, value);
    }
}

fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    key(out, field, 5);
    out.extend_from_slice(&value.to_le_bytes());
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

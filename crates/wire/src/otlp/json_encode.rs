//! A batch as OTLP JSON: ids in hexadecimal, 64-bit integers as strings, enums as numbers, bytes in base64.

use std::borrow::Borrow;

use tracewell_model::{AnyValue, SpanBatch, SpanRef, ValueRef};

use super::encode::{Groups, grouped_rows};
use crate::json_text::{end_list, put_number, put_span_id, put_text, put_trace_id};

/// What stands before the members of `resourceSpans` in a `TracesData` object, and behind them.
pub const JSON_START: &[u8] = b"{\"resourceSpans\":[";
/// See [`JSON_START`].
pub const JSON_END: &[u8] = b"]}";

/// One `TracesData` object on one line.
pub fn encode_json(batch: &SpanBatch) -> Vec<u8> {
    let mut out = JSON_START.to_vec();
    // So much is never enough, so that one call writes all.
    JsonEncoder::new(batch, (0..batch.len()).collect(), false).write(&mut out, usize::MAX);
    out.extend_from_slice(JSON_END);
    out
}

/// Writes rows of a batch as members of `resourceSpans`, as much at a time as is asked for, and without ever holding more
/// than is asked for: a tree of the same is twenty times as large.
pub struct JsonEncoder<B> {
    batch: B,
    groups: Groups,
    /// The resource, the scope in it and the row in that which come next.
    resource: usize,
    scope: usize,
    row: usize,
    follows: bool,
}

impl<B: Borrow<SpanBatch>> JsonEncoder<B> {
    /// Rows of a batch; `follows` if other members stand before them in the same list.
    pub fn new(batch: B, rows: Vec<usize>, follows: bool) -> Self {
        let groups = grouped_rows(batch.borrow(), rows);
        Self { batch, groups, resource: 0, scope: 0, row: 0, follows }
    }

    /// Appends what comes next until `out` has about `enough_bytes`; true when all is written.
    pub fn write(&mut self, out: &mut Vec<u8>, enough_bytes: usize) -> bool {
        let batch = self.batch.borrow();
        while let Some((resource_id, scopes)) = self.groups.get(self.resource) {
            let resource = &batch.resources()[resource_id.index()];
            if self.scope == 0 && self.row == 0 {
                if out.len() >= enough_bytes {
                    return false;
                }
                if self.follows {
                    out.push(b',');
                }
                self.follows = true;
                out.extend_from_slice(b"{\"resource\":{");
                let shared = resource.attributes.iter().map(|(key, value)| (batch.string(*key), batch.value(*value)));
                put_attributes(out, shared);
                put_count(out, "droppedAttributesCount", resource.dropped_attributes_count);
                end_object(out);
                out.extend_from_slice(b",\"scopeSpans\":[");
            }
            while let Some((scope_id, rows)) = scopes.get(self.scope) {
                let scope = &batch.scopes()[scope_id.index()];
                if self.row == 0 {
                    out.extend_from_slice(b"{\"scope\":{");
                    put_string(out, "name", batch.string(scope.name));
                    put_string(out, "version", batch.string(scope.version));
                    let shared = scope.attributes.iter().map(|(key, value)| (batch.string(*key), batch.value(*value)));
                    put_attributes(out, shared);
                    put_count(out, "droppedAttributesCount", scope.dropped_attributes_count);
                    end_object(out);
                    out.extend_from_slice(b",\"spans\":[");
                }
                while let Some(row) = rows.get(self.row) {
                    if self.row > 0 && out.len() >= enough_bytes {
                        return false;
                    }
                    put_span(out, batch.span(*row));
                    out.push(b',');
                    self.row += 1;
                }
                end_list(out);
                out.push(b',');
                put_string(out, "schemaUrl", batch.string(scope.schema_url));
                end_object(out);
                out.push(b',');
                (self.scope, self.row) = (self.scope + 1, 0);
            }
            end_list(out);
            out.push(b',');
            put_string(out, "schemaUrl", batch.string(resource.schema_url));
            end_object(out);
            (self.resource, self.scope) = (self.resource + 1, 0);
        }
        true
    }
}

fn put_span(out: &mut Vec<u8>, span: SpanRef<'_>) {
    out.extend_from_slice(b"{\"traceId\":\"");
    put_trace_id(out, span.trace_id());
    out.extend_from_slice(b"\",\"spanId\":\"");
    put_span_id(out, span.span_id());
    out.extend_from_slice(b"\",");
    put_string(out, "traceState", span.trace_state());
    if !span.parent_span_id().is_zero() {
        out.extend_from_slice(b"\"parentSpanId\":\"");
        put_span_id(out, span.parent_span_id());
        out.extend_from_slice(b"\",");
    }
    put_count(out, "flags", span.flags());
    put_string(out, "name", span.name());
    out.extend_from_slice(b"\"kind\":");
    put_number(out, span.kind() as u64);
    put_time(out, b",\"startTimeUnixNano\":\"", span.start_unix_nano());
    put_time(out, b"\"endTimeUnixNano\":\"", span.end_unix_nano());
    put_attributes(out, span.attributes().iter());
    put_count(out, "droppedAttributesCount", span.dropped_attributes_count());
    if span.events().len() > 0 {
        out.extend_from_slice(b"\"events\":[");
        for event in span.events() {
            put_time(out, b"{\"timeUnixNano\":\"", event.time_unix_nano());
            put_string(out, "name", event.name());
            put_attributes(out, event.attributes().iter());
            put_count(out, "droppedAttributesCount", event.dropped_attributes_count());
            end_object(out);
            out.push(b',');
        }
        end_list(out);
        out.push(b',');
    }
    put_count(out, "droppedEventsCount", span.dropped_events_count());
    if span.links().len() > 0 {
        out.extend_from_slice(b"\"links\":[");
        for link in span.links() {
            out.extend_from_slice(b"{\"traceId\":\"");
            put_trace_id(out, link.trace_id());
            out.extend_from_slice(b"\",\"spanId\":\"");
            put_span_id(out, link.span_id());
            out.extend_from_slice(b"\",");
            put_string(out, "traceState", link.trace_state());
            put_attributes(out, link.attributes().iter());
            put_count(out, "droppedAttributesCount", link.dropped_attributes_count());
            put_count(out, "flags", link.flags());
            end_object(out);
            out.push(b',');
        }
        end_list(out);
        out.push(b',');
    }
    put_count(out, "droppedLinksCount", span.dropped_links_count());
    out.extend_from_slice(b"\"status\":{");
    put_string(out, "message", span.status_message());
    put_count(out, "code", span.status_code() as u32);
    end_object(out);
    out.push(b'}');
}

/// Ends an object each of whose members has a comma behind it.
fn end_object(out: &mut Vec<u8>) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = b'}',
        _ => out.push(b'}'),
    }
}

/// A member that is a text, unless that is empty.
fn put_string(out: &mut Vec<u8>, field: &str, value: &str) {
    if !value.is_empty() {
        put_name(out, field);
        put_quoted(out, value);
        out.push(b',');
    }
}

/// A member that is a number, unless that is 0.
fn put_count(out: &mut Vec<u8>, field: &str, value: u32) {
    if value != 0 {
        put_name(out, field);
        put_number(out, u64::from(value));
        out.push(b',');
    }
}

fn put_name(out: &mut Vec<u8>, field: &str) {
    out.push(b'"');
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b"\":");
}

fn put_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    put_text(out, text);
    out.push(b'"');
}

/// A member that is a 64-bit number, given with its name up to the opening quote.
fn put_time(out: &mut Vec<u8>, before: &[u8], nanos: u64) {
    out.extend_from_slice(before);
    put_number(out, nanos);
    out.extend_from_slice(b"\",");
}

fn put_attributes<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, ValueRef<'a>)>) {
    let mut pairs = pairs.peekable();
    if pairs.peek().is_none() {
        return;
    }
    out.extend_from_slice(b"\"attributes\":[");
    for (key, value) in pairs {
        out.extend_from_slice(b"{\"key\":");
        put_quoted(out, key);
        out.extend_from_slice(b",\"value\":");
        put_value(out, value);
        out.extend_from_slice(b"},");
    }
    end_list(out);
    out.push(b',');
}

/// A value in OTLP's JSON mapping of `AnyValue`: `{"intValue":"42"}`; an empty value is `{}`.
fn put_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Empty => out.extend_from_slice(b"{}"),
        ValueRef::Str(text) => {
            out.extend_from_slice(b"{\"stringValue\":");
            put_quoted(out, text);
            out.push(b'}');
        }
        ValueRef::Bool(true) => out.extend_from_slice(b"{\"boolValue\":true}"),
        ValueRef::Bool(false) => out.extend_from_slice(b"{\"boolValue\":false}"),
        ValueRef::Int(number) => {
            out.extend_from_slice(b"{\"intValue\":\"");
            if number < 0 {
                out.push(b'-');
            }
            put_number(out, number.unsigned_abs());
            out.extend_from_slice(b"\"}");
        }
        ValueRef::Double(number) => {
            out.extend_from_slice(b"{\"doubleValue\":");
            match number {
                // A vector takes everything that is written to it.
                number if number.is_finite() => drop(serde_json::to_writer(&mut *out, &number)),
                number if number.is_nan() => out.extend_from_slice(b"\"NaN\""),
                number if number > 0.0 => out.extend_from_slice(b"\"Infinity\""),
                _ => out.extend_from_slice(b"\"-Infinity\""),
            }
            out.push(b'}');
        }
        ValueRef::Bytes(bytes) => {
            out.extend_from_slice(b"{\"bytesValue\":\"");
            out.extend_from_slice(crate::base64::encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
        ValueRef::Nested(_) => put_any_value(out, &value.to_any_value()),
    }
}

fn put_any_value(out: &mut Vec<u8>, value: &AnyValue) {
    match value {
        AnyValue::Empty => put_value(out, ValueRef::Empty),
        AnyValue::Str(text) => put_value(out, ValueRef::Str(text)),
        AnyValue::Bool(value) => put_value(out, ValueRef::Bool(*value)),
        AnyValue::Int(number) => put_value(out, ValueRef::Int(*number)),
        AnyValue::Double(number) => put_value(out, ValueRef::Double(*number)),
        AnyValue::Bytes(bytes) => put_value(out, ValueRef::Bytes(bytes)),
        AnyValue::Array(values) => {
            out.extend_from_slice(b"{\"arrayValue\":{\"values\":[");
            for value in values {
                put_any_value(out, value);
                out.push(b',');
            }
            end_list_of(out, values.is_empty());
            out.extend_from_slice(b"}}");
        }
        AnyValue::KeyValues(pairs) => {
            out.extend_from_slice(b"{\"kvlistValue\":{\"values\":[");
            for pair in pairs {
                out.extend_from_slice(b"{\"key\":");
                put_quoted(out, &pair.key);
                out.extend_from_slice(b",\"value\":");
                put_any_value(out, &pair.value);
                out.extend_from_slice(b"},");
            }
            end_list_of(out, pairs.is_empty());
            out.extend_from_slice(b"}}");
        }
    }
}

fn end_list_of(out: &mut Vec<u8>, is_empty: bool) {
    if is_empty { out.push(b']') } else { end_list(out) }
}

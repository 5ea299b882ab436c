//! A batch as OTLP JSON: ids in hexadecimal, 64-bit integers as strings, enums as numbers, bytes in base64.

use serde_json::{Map, Value as Json, json};
use tracewell_model::{AnyValue, SpanBatch, SpanRef, ValueRef};

use super::encode::grouped;

/// One `TracesData` object on one line.
pub fn encode_json(batch: &SpanBatch) -> Vec<u8> {
    let resource_spans: Vec<Json> = grouped(batch)
        .into_iter()
        .map(|(resource, scopes)| {
            let resource = &batch.resources()[resource.index()];
            let scope_spans: Vec<Json> = scopes
                .into_iter()
                .map(|(scope, rows)| {
                    let scope = &batch.scopes()[scope.index()];
                    let mut scope_json = Map::new();
                    text(&mut scope_json, "name", batch.string(scope.name));
                    text(&mut scope_json, "version", batch.string(scope.version));
                    let shared = scope.attributes.iter().map(|(k, v)| (batch.string(*k), batch.value(*v)));
                    attributes(&mut scope_json, shared);
                    number(&mut scope_json, "droppedAttributesCount", scope.dropped_attributes_count);
                    let mut out = Map::new();
                    out.insert("scope".into(), Json::Object(scope_json));
                    out.insert("spans".into(), rows.into_iter().map(|row| span(batch.span(row))).collect());
                    text(&mut out, "schemaUrl", batch.string(scope.schema_url));
                    Json::Object(out)
                })
                .collect();
            let mut resource_json = Map::new();
            let shared = resource.attributes.iter().map(|(k, v)| (batch.string(*k), batch.value(*v)));
            attributes(&mut resource_json, shared);
            number(&mut resource_json, "droppedAttributesCount", resource.dropped_attributes_count);
            let mut out = Map::new();
            out.insert("resource".into(), Json::Object(resource_json));
            out.insert("scopeSpans".into(), Json::Array(scope_spans));
            text(&mut out, "schemaUrl", batch.string(resource.schema_url));
            Json::Object(out)
        })
        .collect();
    json!({ "resourceSpans": resource_spans }).to_string().into_bytes()
}

fn span(span: SpanRef<'_>) -> Json {
    let mut out = Map::new();
    out.insert("traceId".into(), span.trace_id().to_string().into());
    out.insert("spanId".into(), span.span_id().to_string().into());
    text(&mut out, "traceState", span.trace_state());
    if !span.parent_span_id().is_zero() {
        out.insert("parentSpanId".into(), span.parent_span_id().to_string().into());
    }
    number(&mut out, "flags", span.flags());
    text(&mut out, "name", span.name());
    out.insert("kind".into(), (span.kind() as u8).into());
    out.insert("startTimeUnixNano".into(), span.start_unix_nano().to_string().into());
    out.insert("endTimeUnixNano".into(), span.end_unix_nano().to_string().into());
    attributes(&mut out, span.attributes().iter());
    number(&mut out, "droppedAttributesCount", span.dropped_attributes_count());
    let events: Vec<Json> = span
        .events()
        .map(|event| {
            let mut out = Map::new();
            out.insert("timeUnixNano".into(), event.time_unix_nano().to_string().into());
            text(&mut out, "name", event.name());
            attributes(&mut out, event.attributes().iter());
            number(&mut out, "droppedAttributesCount", event.dropped_attributes_count());
            Json::Object(out)
        })
        .collect();
    list(&mut out, "events", events);
    number(&mut out, "droppedEventsCount", span.dropped_events_count());
    let links: Vec<Json> = span
        .links()
        .map(|link| {
            let mut out = Map::new();
            out.insert("traceId".into(), link.trace_id().to_string().into());
            out.insert("spanId".into(), link.span_id().to_string().into());
            text(&mut out, "traceState", link.trace_state());
            attributes(&mut out, link.attributes().iter());
            number(&mut out, "droppedAttributesCount", link.dropped_attributes_count());
            number(&mut out, "flags", link.flags());
            Json::Object(out)
        })
        .collect();
    list(&mut out, "links", links);
    number(&mut out, "droppedLinksCount", span.dropped_links_count());
    let mut status = Map::new();
    text(&mut status, "message", span.status_message());
    number(&mut status, "code", span.status_code() as u32);
    out.insert("status".into(), Json::Object(status));
    Json::Object(out)
}

fn text(out: &mut Map<String, Json>, field: &str, value: &str) {
    if !value.is_empty() {
        out.insert(field.into(), value.into());
    }
}

fn number(out: &mut Map<String, Json>, field: &str, value: u32) {
    if value != 0 {
        out.insert(field.into(), value.into());
    }
}

fn list(out: &mut Map<String, Json>, field: &str, items: Vec<Json>) {
    if !items.is_empty() {
        out.insert(field.into(), Json::Array(items));
    }
}

fn attributes<'a>(out: &mut Map<String, Json>, pairs: impl Iterator<Item = (&'a str, ValueRef<'a>)>) {
    let pairs: Vec<Json> =
        pairs.map(|(key, value)| json!({ "key": key, "value": any_value_json(&value.to_any_value()) })).collect();
    list(out, "attributes", pairs);
}

/// A value in OTLP's JSON mapping of `AnyValue`: `{"intValue": "42"}`; an empty value is `{}`.
pub fn any_value_json(value: &AnyValue) -> Json {
    match value {
        AnyValue::Empty => json!({}),
        AnyValue::Str(text) => json!({ "stringValue": text }),
        AnyValue::Bool(value) => json!({ "boolValue": value }),
        AnyValue::Int(value) => json!({ "intValue": value.to_string() }),
        AnyValue::Double(value) if value.is_finite() => json!({ "doubleValue": value }),
        AnyValue::Double(value) if value.is_nan() => json!({ "doubleValue": "NaN" }),
        AnyValue::Double(value) => json!({ "doubleValue": if *value > 0.0 { "Infinity" } else { "-Infinity" } }),
        AnyValue::Bytes(bytes) => json!({ "bytesValue": crate::base64::encode(bytes) }),
        AnyValue::Array(values) => {
            json!({ "arrayValue": { "values": values.iter().map(any_value_json).collect::<Vec<_>>() } })
        }
        AnyValue::KeyValues(pairs) => {
            let pairs: Vec<Json> =
                pairs.iter().map(|pair| json!({ "key": pair.key, "value": any_value_json(&pair.value) })).collect();
            json!({ "kvlistValue": { "values": pairs } })
        }
    }
}

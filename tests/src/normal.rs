//! Spans in one comparable shape, whoever tells of them.
//!
//! Each client prints what its own SDK recorded as one JSON object a span:
//!
//! ```json
//! {"traceId", "spanId", "parentSpanId", "traceState", "name", "kind", "start", "end",
//!  "attributes": {key: AnyValue}, "events": [{"time", "name", "attributes"}],
//!  "links": [{"traceId", "spanId", "attributes"}], "status": {"code", "message"},
//!  "resource": {key: AnyValue}, "scope": {"name", "version"}}
//! ```
//!
//! [`from_otlp_json`] brings OTLP JSON, which Tracewell gives back, into the same shape.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Spans by span id.
pub type Spans = BTreeMap<String, Value>;

/// What a client printed, one span a line; lines that are no JSON objects are passed over.
pub fn from_lines(text: &str) -> Spans {
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|span| Some((span.get("spanId")?.as_str()?.to_owned(), span)))
        .map(|(id, mut span)| {
            floats(&mut span);
            (id, span)
        })
        .collect()
}

/// Spans of an OTLP JSON document (`resourceSpans`).
pub fn from_otlp_json(document: &Value) -> Spans {
    let mut spans = Spans::new();
    for resource_spans in list(document, "resourceSpans") {
        for scope_spans in list(resource_spans, "scopeSpans") {
            for span in list(scope_spans, "spans") {
                let normal = json!({
                    "traceId": text(span, "traceId"),
                    "spanId": text(span, "spanId"),
                    "parentSpanId": text(span, "parentSpanId"),
                    "traceState": text(span, "traceState"),
                    "name": text(span, "name"),
                    "kind": span.get("kind").cloned().unwrap_or(json!(0)),
                    "start": text(span, "startTimeUnixNano"),
                    "end": text(span, "endTimeUnixNano"),
                    "attributes": attributes(span),
                    "events": list(span, "events").iter().map(|event| json!({
                        "time": text(event, "timeUnixNano"),
                        "name": text(event, "name"),
                        "attributes": attributes(event),
                    })).collect::<Vec<_>>(),
                    "links": list(span, "links").iter().map(|link| json!({
                        "traceId": text(link, "traceId"),
                        "spanId": text(link, "spanId"),
                        "attributes": attributes(link),
                    })).collect::<Vec<_>>(),
                    "status": {
                        "code": span["status"].get("code").cloned().unwrap_or(json!(0)),
                        "message": text(&span["status"], "message"),
                    },
                    "resource": attributes(&resource_spans["resource"]),
                    "scope": {
                        "name": text(&scope_spans["scope"], "name"),
                        "version": text(&scope_spans["scope"], "version"),
                    },
                });
                let mut normal = normal;
                floats(&mut normal);
                spans.insert(text(span, "spanId").to_owned(), normal);
            }
        }
    }
    spans
}

/// The items of a list field; none if it is absent.
pub fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text field; empty if it is absent.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or("")
}

fn attributes(object: &Value) -> Value {
    let pairs = list(object, "attributes").iter().map(|pair| (text(pair, "key").to_owned(), pair["value"].clone()));
    Value::Object(pairs.collect())
}

/// JSON has one kind of number, so 3.0 may be written as 3; and an empty array may leave out its values.
fn floats(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(double) = fields.get("doubleValue").and_then(Value::as_f64) {
                fields.insert("doubleValue".to_owned(), json!(double));
            }
            if let Some(Value::Number(number)) = fields.get("intValue") {
                let digits = number.to_string();
                fields.insert("intValue".to_owned(), json!(digits));
            }
            fields.values_mut().for_each(floats);
        }
        Value::Array(items) => items.iter_mut().for_each(floats),
        _ => {}
    }
}

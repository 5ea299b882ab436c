//! What a JSON document from a file is, told by its own fields, never by a name around it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{DecodeError, Format};

/// A JSON document, recognized.
#[derive(Clone, Debug, PartialEq)]
pub enum Document<'a> {
    /// Spans in this format, as a body that [`decode`](crate::decode) reads.
    Spans(Format, Cow<'a, [u8]>),
    /// Nothing, in a form in which spans might have come: `{}`, `null`, a list without members.
    Empty,
    /// Something else, in words.
    Other(String),
}

type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Recognizes one document: an object that holds spans or is one. Lists and wrappers are for the caller to open.
///
/// # Errors
/// When it is not JSON.
pub fn recognize(document: &[u8]) -> Result<Document<'_>, DecodeError> {
    let malformed = |error: serde_json::Error| DecodeError::Malformed(format!("not JSON: {error}"));
    let raw: &RawValue = serde_json::from_slice(document).map_err(malformed)?;
    let Some(fields) = object(raw) else {
        return Ok(match raw.get() {
            "null" | "[]" => Document::Empty,
            text if text.starts_with('[') => Document::Other("a list".to_owned()),
            text if text.starts_with('"') => Document::Other("a text".to_owned()),
            _ => Document::Other("a number or a word".to_owned()),
        });
    };
    let has = |name: &str| fields.get(name).is_some_and(|value| value.get() != "null");
    let any = |names: &[&str]| names.iter().any(|name| has(name));
    let whole = |format| Document::Spans(format, Cow::Borrowed(document));
    let within = |before: &str, after: &str| {
        let body = [before.as_bytes(), document, after.as_bytes()].concat();
        Document::Spans(Format::OtlpJson, Cow::Owned(body))
    };
    let is_otlp_span = |has: &dyn Fn(&str) -> bool| {
        (has("traceId") || has("trace_id"))
            && (has("spanId") || has("span_id"))
            && (has("startTimeUnixNano") || has("start_time_unix_nano"))
    };
    Ok(if any(&["resourceSpans", "resource_spans", "batches"]) {
        whole(Format::OtlpJson)
    } else if any(&["scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans"]) {
        within("{\"resourceSpans\":[", "]}")
    } else if let Some(spans) = fields.get("spans").filter(|spans| spans.get() != "null") {
        let Some(first) = first_object(spans) else { return Ok(Document::Empty) };
        let has = |name: &str| first.contains_key(name);
        if has("spanID") || has("traceID") {
            whole(Format::JaegerJson)
        } else if is_otlp_span(&has) {
            within("{\"resourceSpans\":[{\"scopeSpans\":[", "]}]}")
        } else if is_zipkin(&has) {
            Document::Spans(Format::ZipkinJson, Cow::Owned(spans.get().into()))
        } else if has("operationName") {
            Document::Other(
                "Jaeger's storage model (api_v2), which is not read; download traces from Jaeger's UI or its /api/traces"
                    .to_owned(),
            )
        } else {
            Document::Other(format!("a list of spans with the fields {}", names(&first)))
        }
    } else if any(&["spanID"]) {
        whole(Format::JaegerJson)
    } else if is_zipkin(&has) {
        whole(Format::ZipkinJson)
    } else if is_otlp_span(&has) {
        within("{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[", "]}]}]}")
    } else if any(&["resourceMetrics", "resource_metrics"]) {
        Document::Other("OTLP metrics".to_owned())
    } else if any(&["resourceLogs", "resource_logs"]) {
        Document::Other("OTLP logs".to_owned())
    } else if has("context") && any(&["start_time", "parent_id"]) {
        Document::Other("what a console exporter prints; export OTLP instead".to_owned())
    } else if fields.keys().all(|name| {
        // The beginnings of an OTLP or Jaeger document without the part that would hold spans.
        matches!(&**name, "resource" | "scope" | "schemaUrl" | "schema_url" | "spans" | "processes" | "resourceSpans")
            || matches!(&**name, "data" | "total" | "limit" | "offset" | "errors" | "batches" | "trace" | "result")
    }) {
        Document::Empty
    } else {
        Document::Other(format!("an object with the fields {}", names(&fields)))
    })
}

fn is_zipkin(has: &dyn Fn(&str) -> bool) -> bool {
    has("traceId") && has("id") && !has("spanId")
}

fn object(raw: &RawValue) -> Option<Fields<'_>> {
    if raw.get().starts_with('{') { serde_json::from_str(raw.get()).ok() } else { None }
}

fn first_object(list: &RawValue) -> Option<Fields<'_>> {
    let items: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    items.into_iter().find_map(object)
}

/// The first few names, without what a terminal would take for commands.
fn names(fields: &Fields<'_>) -> String {
    const SHOWN: usize = 6;
    let mut shown: Vec<String> = fields
        .keys()
        .take(SHOWN)
        .map(|name| name.chars().filter(|c| !c.is_control()).take(40).collect::<String>())
        .collect();
    if fields.len() > SHOWN {
        shown.push(format!("and {} more", fields.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_told_by_their_fields() {
        let otlp_span = r#"{"traceId": "a", "spanId": "b", "startTimeUnixNano": "1"}"#;
        for (document, format) in [
            (r#"{"resourceSpans": []}"#.to_owned(), Format::OtlpJson),
            (r#"{"resource_spans": [{}]}"#.to_owned(), Format::OtlpJson),
            (r#"{"batches": []}"#.to_owned(), Format::OtlpJson),
            (r#"{"resource": {}, "scopeSpans": []}"#.to_owned(), Format::OtlpJson),
            (r#"{"instrumentationLibrarySpans": []}"#.to_owned(), Format::OtlpJson),
            (format!(r#"{{"scope": {{}}, "spans": [{otlp_span}]}}"#), Format::OtlpJson),
            (otlp_span.to_owned(), Format::OtlpJson),
            (r#"{"traceID": "a", "spans": [{"traceID": "a", "spanID": "b"}]}"#.to_owned(), Format::JaegerJson),
            (r#"{"spanID": "b", "operationName": "x"}"#.to_owned(), Format::JaegerJson),
            (r#"{"traceId": "a", "id": "b", "annotations": []}"#.to_owned(), Format::ZipkinJson),
        ] {
            match recognize(document.as_bytes()) {
                Ok(Document::Spans(found, body)) => {
                    assert_eq!(found, format, "{document}");
                    crate::decode(found, &body, &crate::Limits::default()).unwrap();
                }
                other => panic!("{document}: {other:?}"),
            }
        }
        for document in
            ["{}", "null", "[]", r#"{"spans": []}"#, r#"{"data": null, "total": 0}"#, r#"{"resourceSpans": null}"#]
        {
            assert_eq!(recognize(document.as_bytes()), Ok(Document::Empty), "{document}");
        }
        for (document, what) in [
            (r#"{"hello": 1}"#, "hello"),
            (r#"{"resourceLogs": []}"#, "OTLP logs"),
            (r#"{"resourceMetrics": []}"#, "OTLP metrics"),
            (r#"{"name": "work", "context": {}, "parent_id": null, "start_time": ""}"#, "console exporter"),
            (r#"{"spans": [{"traceId": "1", "spanId": "2", "operationName": "op"}]}"#, "storage model"),
            ("7", "a number"),
        ] {
            match recognize(document.as_bytes()) {
                Ok(Document::Other(text)) => assert!(text.contains(what), "{document}: {text}"),
                other => panic!("{document}: {other:?}"),
            }
        }
        assert!(recognize(b"{").is_err());
    }
}

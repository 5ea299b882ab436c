//! Jaeger JSON into the columnar batch.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value as Json;
use tracewell_model::{NewSpan, ResourceId, SpanBatch, SpanId, SpanKind, StatusCode, StrId, TraceId, Value};

use super::tag;
use crate::report::Report;
use crate::{DecodeError, Decoded, Limits, base64};

/// Reads `{"data": [trace, ...]}`, a list of traces, one trace, or a list of spans that carry their processes, as Jaeger's
/// storages keep them.
pub(crate) fn decode(body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    if body.trim_ascii().is_empty() {
        return Ok(Decoded::default());
    }
    let malformed = |error: serde_json::Error| DecodeError::Malformed(format!("the body is not Jaeger JSON: {error}"));
    let document: Json = serde_json::from_slice(body).map_err(malformed)?;
    let items = match document {
        Json::Object(mut fields) if fields.contains_key("data") => match fields.remove("data") {
            Some(Json::Array(items)) => items,
            Some(Json::Null) | None => Vec::new(),
            Some(one) => vec![one],
        },
        Json::Array(items) => items,
        one => vec![one],
    };
    let mut traces: Vec<TraceJson> = Vec::new();
    let mut loose = TraceJson::default();
    for item in items {
        if item.get("spans").is_some() {
            traces.push(serde_json::from_value(item).map_err(malformed)?);
        } else if item.get("spanID").is_some() {
            loose.spans.get_or_insert_default().push(item);
        } else {
            return Err(DecodeError::Malformed(
                "the body is not Jaeger JSON: it holds what is neither a trace (spans) nor a span (spanID)".to_owned(),
            ));
        }
    }
    traces.push(loose);
    let spans: usize = traces.iter().flat_map(|trace| &trace.spans).map(Vec::len).sum();
    if spans > limits.spans_per_request as usize {
        return Err(DecodeError::LimitExceeded(format!(
            "the request has more than {} spans (limit spans_per_request)",
            limits.spans_per_request
        )));
    }
    let mut decoder = Decoder { batch: SpanBatch::new(), report: Report::default(), limits };
    for trace in traces {
        decoder.trace(trace);
    }
    let Decoder { batch, report, .. } = decoder;
    Ok(Decoded { batch, rejected: report.rejected, message: report.message() })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TraceJson {
    /// Read one by one, so that one that is broken is refused alone.
    spans: Option<Vec<Json>>,
    processes: Option<HashMap<String, ProcessJson>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct SpanJson {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    #[serde(rename = "parentSpanID")]
    parent_span_id: String,
    flags: Option<u32>,
    operation_name: String,
    references: Option<Vec<ReferenceJson>>,
    start_time: u64,
    duration: u64,
    tags: Option<Vec<TagJson>>,
    logs: Option<Vec<LogJson>>,
    #[serde(rename = "processID")]
    process_id: String,
    process: Option<ProcessJson>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ReferenceJson {
    ref_type: String,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LogJson {
    timestamp: u64,
    fields: Option<Vec<TagJson>>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default, rename_all = "camelCase")]
struct ProcessJson {
    service_name: String,
    tags: Option<Vec<TagJson>>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct TagJson {
    key: String,
    r#type: String,
    value: Json,
}

struct Decoder<'l> {
    batch: SpanBatch,
    report: Report,
    limits: &'l Limits,
}

impl Decoder<'_> {
    fn trace(&mut self, trace: TraceJson) {
        let mut resources: HashMap<String, ResourceId> = HashMap::new();
        let unknown = ProcessJson::default();
        let processes = trace.processes.unwrap_or_default();
        for span in trace.spans.into_iter().flatten() {
            let span: SpanJson = match serde_json::from_value(span) {
                Ok(span) => span,
                Err(why) => {
                    self.report.reject(format!("span: {why}"));
                    continue;
                }
            };
            let resource = match &span.process {
                Some(process) => self.resource(process),
                None => match resources.get(&span.process_id) {
                    Some(resource) => *resource,
                    None => {
                        let resource = self.resource(processes.get(&span.process_id).unwrap_or(&unknown));
                        resources.insert(span.process_id.clone(), resource);
                        resource
                    }
                },
            };
            if let Err(reason) = self.span(&span, resource) {
                self.batch.abandon_span();
                self.report.reject(reason);
            }
        }
    }

    fn resource(&mut self, process: &ProcessJson) -> ResourceId {
        let mut attributes = Vec::new();
        if !process.service_name.is_empty() {
            let key = self.batch.intern("service.name");
            let service = self.batch.intern(&process.service_name);
            attributes.push((key, Value::Str(service)));
        }
        for tag in process.tags.iter().flatten().take(self.limits.attributes_per_span as usize) {
            if let Ok(attribute) = self.attribute(tag) {
                attributes.push(attribute);
            }
        }
        self.batch.add_resource(&attributes, 0, "")
    }

    fn span(&mut self, json: &SpanJson, resource: ResourceId) -> Result<(), String> {
        let tags = json.tags.as_deref().unwrap_or_default();
        let logs = json.logs.as_deref().unwrap_or_default();
        let references = json.references.as_deref().unwrap_or_default();
        self.limits.attributes().check_count(tags.len(), "span.tags")?;
        self.limits.events().check_count(logs.len(), "span.logs")?;
        self.limits.links().check_count(references.len(), "span.references")?;
        let text = |key: &str| tags.iter().find(|tag| tag.key == key).and_then(|tag| tag.value.as_str()).unwrap_or("");
        let either =
            |one: &str, other: &str| if text(one).is_empty() { text(other).to_owned() } else { text(one).to_owned() };
        let scope_name = either(tag::SCOPE_NAME, tag::LIBRARY_NAME);
        let scope_version = either(tag::SCOPE_VERSION, tag::LIBRARY_VERSION);
        let scope = self.batch.add_scope(&scope_name, &scope_version, &[], 0, "");

        let mut span = NewSpan::new(resource, scope);
        span.trace_id = json.trace_id.parse::<TraceId>().map_err(|why| format!("span.traceID: {why}"))?;
        span.span_id = json.span_id.parse::<SpanId>().map_err(|why| format!("span.spanID: {why}"))?;
        span.start_unix_nano = json.start_time.saturating_mul(1_000);
        span.end_unix_nano = span.start_unix_nano.saturating_add(json.duration.saturating_mul(1_000));
        self.limits.name().check_bytes(json.operation_name.len(), "span.operationName")?;
        span.name = self.batch.intern(&json.operation_name);
        span.flags = json.flags.unwrap_or(0);
        span.kind = text(tag::KIND).parse::<SpanKind>().unwrap_or_default();
        for key in [tag::STATUS_DESCRIPTION, tag::TRACE_STATE, tag::SCOPE_NAME, tag::SCOPE_VERSION] {
            self.limits.name().check_bytes(text(key).len(), key)?;
        }
        span.status_message = self.batch.intern(text(tag::STATUS_DESCRIPTION));
        span.trace_state = self.batch.intern(text(tag::TRACE_STATE));
        let error = tags
            .iter()
            .any(|tag| tag.key == tag::ERROR && (tag.value == Json::Bool(true) || tag.value.as_str() == Some("true")));
        span.status_code = match text(tag::STATUS_CODE) {
            "OK" => StatusCode::Ok,
            "ERROR" => StatusCode::Error,
            _ if error => StatusCode::Error,
            _ => StatusCode::Unset,
        };

        if !json.parent_span_id.is_empty() && json.parent_span_id.bytes().any(|digit| digit != b'0') {
            span.parent_span_id = json.parent_span_id.parse().map_err(|why| format!("span.parentSpanID: {why}"))?;
        }
        self.references(&mut span, references)?;
        // Tags that became fields are not kept twice: writing the span as Jaeger JSON makes them again.
        let is_field = |key: &str| {
            let scope = [tag::SCOPE_NAME, tag::SCOPE_VERSION, tag::LIBRARY_NAME, tag::LIBRARY_VERSION];
            let field = [tag::STATUS_CODE, tag::STATUS_DESCRIPTION, tag::TRACE_STATE];
            scope.contains(&key) || field.contains(&key)
        };
        for tag in tags {
            let known_kind = tag.key == tag::KIND && span.kind != SpanKind::Unspecified;
            let known_error = tag.key == tag::ERROR && tag.value.is_boolean() && error;
            if !(is_field(&tag.key) || known_kind || known_error) {
                let (key, value) = self.attribute(tag).map_err(|why| format!("span.tags: {why}"))?;
                self.batch.push_attribute(key, value);
            }
        }
        for log in logs {
            let mut name = StrId::EMPTY;
            for field in log.fields.iter().flatten() {
                if field.key == tag::EVENT && name == StrId::EMPTY {
                    name = self.batch.intern(field.value.as_str().unwrap_or_default());
                } else {
                    let (key, value) = self.attribute(field).map_err(|why| format!("span.logs: {why}"))?;
                    self.batch.push_event_attribute(key, value);
                }
            }
            self.batch.push_event(log.timestamp.saturating_mul(1_000), name, 0);
        }
        self.batch.push_span(span);
        Ok(())
    }

    /// The parent is what the span is the child of, or else what it follows from, in its own trace: as Jaeger has it. All
    /// other references are links.
    fn references(&mut self, span: &mut NewSpan, references: &[ReferenceJson]) -> Result<(), String> {
        let is_child = |reference: &ReferenceJson| reference.ref_type == "CHILD_OF";
        if span.parent_span_id.is_zero() {
            let in_trace = |reference: &&ReferenceJson| reference.trace_id.parse::<TraceId>() == Ok(span.trace_id);
            let mut own = references.iter().filter(in_trace);
            let parent = own.clone().find(|reference| is_child(reference)).or_else(|| own.next());
            if let Some(parent) = parent {
                span.parent_span_id = parent.span_id.parse().map_err(|why| format!("span.references: {why}"))?;
            }
        }
        for reference in references {
            let trace_id = reference.trace_id.parse::<TraceId>().map_err(|why| format!("span.references: {why}"))?;
            let span_id = reference.span_id.parse::<SpanId>().map_err(|why| format!("span.references: {why}"))?;
            let is_parent = trace_id == span.trace_id && span_id == span.parent_span_id;
            if is_child(reference) {
                if is_parent {
                    continue;
                }
                let (key, value) = (self.batch.intern(tag::REF_TYPE), self.batch.intern(tag::CHILD_OF));
                self.batch.push_link_attribute(key, Value::Str(value));
            }
            self.batch.push_link(trace_id, span_id, StrId::EMPTY, 0, 0);
        }
        Ok(())
    }

    fn attribute(&mut self, tag: &TagJson) -> Result<(StrId, Value), String> {
        let bound = self.limits.attribute();
        bound.check_bytes(tag.key.len(), "a key")?;
        let key = self.batch.intern(&tag.key);
        let value = match (&tag.value, tag.r#type.as_str()) {
            (Json::Null, _) => Value::Empty,
            (Json::Bool(value), _) => Value::Bool(*value),
            (Json::Number(number), "float64") => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            (Json::Number(number), _) => match number.as_i64() {
                Some(value) => Value::Int(value),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            (Json::String(text), "binary") if base64::decode(text).is_some() => {
                let bytes = base64::decode(text).unwrap_or_default();
                bound.check_bytes(bytes.len(), "a value")?;
                Value::Bytes(self.batch.add_blob(&bytes))
            }
            // Jaeger's own clients write large integers as strings, to keep browsers from rounding them.
            (Json::String(text), "int64") if text.parse::<i64>().is_ok() => {
                Value::Int(text.parse().unwrap_or_default())
            }
            (Json::String(text), "bool") if text == "true" || text == "false" => Value::Bool(text == "true"),
            (Json::String(text), _) => {
                bound.check_bytes(text.len(), "a value")?;
                Value::Str(self.batch.intern(text))
            }
            (nested, _) => {
                let text = nested.to_string();
                bound.check_bytes(text.len(), "a value")?;
                Value::Str(self.batch.intern(&text))
            }
        };
        Ok((key, value))
    }
}

//! Jaeger JSON into the columnar batch. In which forms a field may come stands in [`crate::forms`].

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use tracewell_model::{AnyValue, NewSpan, ResourceId, SpanBatch, SpanKind, StatusCode, StrId, Value};

use super::tag;
use crate::json::Json;
use crate::report::Report;
use crate::{DecodeError, Decoded, Limits, forms};

const TRACE_ID: [&str; 1] = ["traceID"];
const SPAN_ID: [&str; 1] = ["spanID"];

/// Reads `{"data": [trace, ...]}`, a list of traces, one trace, or a list of spans that carry their processes, as Jaeger's
/// storages keep them.
pub(crate) fn decode(body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    if body.trim_ascii().is_empty() {
        return Ok(Decoded::default());
    }
    let document: &RawValue = serde_json::from_slice(body).map_err(malformed)?;
    let mut decoder = Decoder { batch: SpanBatch::new(), report: Report::default(), limits };
    let mut traces: Vec<TraceJson<'_>> = Vec::new();
    let mut loose = TraceJson::default();
    let mut others = 0;
    for item in items(document)? {
        let Some(mut fields) = object(item)? else {
            others += u64::from(item.get() != "null");
            continue;
        };
        if let Some(spans) = fields.remove("spans") {
            let spans = array(spans)?.unwrap_or_else(|| {
                decoder.report.note("spans: not a list, left out".to_owned(), 1);
                Vec::new()
            });
            traces.push(TraceJson { spans, processes: fields.remove("processes").map(tree).transpose()? });
        } else if fields.contains_key("spanID") {
            loose.spans.push(item);
        } else {
            others += 1;
        }
    }
    traces.push(loose);
    let spans: usize = traces.iter().map(|trace| trace.spans.len()).sum();
    const NEITHER: &str = "neither a trace (spans) nor a span (spanID)";
    if spans == 0 && others > 0 {
        return Err(DecodeError::Malformed(format!("the body is not Jaeger JSON: it holds what is {NEITHER}")));
    }
    if others > 0 {
        decoder.report.note(format!("data: {NEITHER}, left out"), others);
    }
    if spans > limits.spans_per_request as usize {
        return Err(DecodeError::LimitExceeded(format!(
            "the request has more than {} spans (limit --spans-per-request)",
            limits.spans_per_request
        )));
    }
    for trace in traces {
        decoder.trace(&trace)?;
    }
    let Decoder { batch, report, .. } = decoder;
    Ok(Decoded { batch, rejected: report.rejected, message: report.message() })
}

fn malformed(error: serde_json::Error) -> DecodeError {
    DecodeError::Malformed(format!("the body is not Jaeger JSON: {error}"))
}

/// The traces or spans of a document, whatever is around them.
fn items(document: &RawValue) -> Result<Vec<&RawValue>, DecodeError> {
    if let Some(items) = array(document)? {
        return Ok(items);
    }
    Ok(match object(document)?.and_then(|mut fields| fields.remove("data")) {
        None => vec![document],
        Some(data) => array(data)?.unwrap_or_else(|| vec![data]),
    })
}

fn object(part: &RawValue) -> Result<Option<HashMap<Cow<'_, str>, &RawValue>>, DecodeError> {
    if !part.get().starts_with('{') {
        return Ok(None);
    }
    serde_json::from_str(part.get()).map(Some).map_err(malformed)
}

/// `null` is an empty list.
fn array(part: &RawValue) -> Result<Option<Vec<&RawValue>>, DecodeError> {
    match part.get().as_bytes().first() {
        Some(b'[') => serde_json::from_str(part.get()).map(Some).map_err(malformed),
        Some(b'n') => Ok(Some(Vec::new())),
        _ => Ok(None),
    }
}

fn tree(part: &RawValue) -> Result<Json<'_>, DecodeError> {
    serde_json::from_str(part.get()).map_err(malformed)
}

#[derive(Default)]
struct TraceJson<'a> {
    /// Read one by one, so that one that is broken is refused alone and one at a time is in memory.
    spans: Vec<&'a RawValue>,
    processes: Option<Json<'a>>,
}

struct Decoder<'l> {
    batch: SpanBatch,
    report: Report,
    limits: &'l Limits,
}

impl Decoder<'_> {
    fn trace(&mut self, trace: &TraceJson<'_>) -> Result<(), DecodeError> {
        let mut resources: HashMap<String, ResourceId> = HashMap::new();
        if trace.processes.as_ref().is_some_and(|processes| !processes.is_object() && !processes.is_null()) {
            self.report.note("processes: not an object, left out".to_owned(), 1);
        }
        for span in &trace.spans {
            let span = tree(span)?;
            if span.is_null() {
                continue;
            }
            if !span.is_object() {
                self.report.reject("span: not an object".to_owned());
                continue;
            }
            let resource = match forms::get(&span, &["process"]) {
                Some(process) => self.resource(process),
                None => {
                    let id = forms::text(forms::get(&span, &["processID"])).or_note(&mut self.report, "span.processID");
                    match resources.get(&*id) {
                        Some(resource) => *resource,
                        None => {
                            let process = trace.processes.as_ref().and_then(|processes| processes.get(&id));
                            let resource = self.resource(process.unwrap_or(&Json::Null));
                            resources.insert(id.into_owned(), resource);
                            resource
                        }
                    }
                }
            };
            if let Err(reason) = self.span(&span, resource) {
                self.batch.abandon_span();
                self.report.reject(reason);
            }
        }
        Ok(())
    }

    fn resource(&mut self, process: &Json<'_>) -> ResourceId {
        if !matches!(process, Json::Object(_) | Json::Null) {
            self.report.note("processes: not an object, left out".to_owned(), 1);
        }
        let mut attributes = Vec::new();
        let service =
            forms::text(forms::get(process, &["serviceName"])).or_note(&mut self.report, "process.serviceName");
        if !service.is_empty() {
            attributes.push((self.batch.intern("service.name"), Value::Str(self.batch.intern(&service))));
        }
        let tags = forms::objects(forms::get(process, &["tags"]), &mut self.report, "process.tags");
        for (number, tag) in tags.into_iter().enumerate() {
            if number >= self.limits.attributes_per_span as usize {
                self.report.note("process.tags: too many, left out (limit --attributes-per-span)".to_owned(), 1);
            } else {
                match self.attribute(tag, "process.tags") {
                    Ok(attribute) => attributes.push(attribute),
                    Err(why) => self.report.note(format!("{why}, left out"), 1),
                }
            }
        }
        self.batch.add_resource(&attributes, 0, "")
    }

    fn span(&mut self, json: &Json<'_>, resource: ResourceId) -> Result<(), String> {
        let tags = forms::objects(forms::get(json, &["tags"]), &mut self.report, "span.tags");
        let logs = forms::objects(forms::get(json, &["logs"]), &mut self.report, "span.logs");
        let references = forms::objects(forms::get(json, &["references"]), &mut self.report, "span.references");
        self.limits.attributes().check_count(tags.len(), "span.tags")?;
        self.limits.events().check_count(logs.len(), "span.logs")?;
        self.limits.links().check_count(references.len(), "span.references")?;
        let value = |key: &str| {
            let is = |tag: &&&Json<'_>| forms::text(forms::get(tag, &["key"])).value == key;
            tags.iter().find(is).and_then(|tag| forms::get(tag, &["value"]))
        };
        let text = |key: &str| forms::text(value(key)).value;
        let either = |one: &str, other: &str| if text(one).is_empty() { text(other) } else { text(one) };
        let scope_name = either(tag::SCOPE_NAME, tag::LIBRARY_NAME);
        let scope_version = either(tag::SCOPE_VERSION, tag::LIBRARY_VERSION);
        let scope = self.batch.add_scope(&scope_name, &scope_version, &[], 0, "");

        let mut span = NewSpan::new(resource, scope);
        span.trace_id = forms::short_trace_id(forms::get(json, &TRACE_ID)).or_refuse("span.traceID")?;
        span.span_id = forms::short_span_id(forms::get(json, &SPAN_ID)).or_refuse("span.spanID")?;
        if span.trace_id.is_zero() {
            return Err("span.traceID: missing or all zeros".to_owned());
        }
        if span.span_id.is_zero() {
            return Err("span.spanID: missing or all zeros".to_owned());
        }
        let micros = |name: &str| forms::nanos_of_micros(forms::get(json, &[name]));
        span.start_unix_nano = micros("startTime").number_or_refuse(&mut self.report, "span.startTime")?;
        let duration = micros("duration").number_or(0, &mut self.report, "span.duration");
        span.end_unix_nano = span.start_unix_nano.saturating_add(duration);
        let name = forms::text(forms::get(json, &["operationName"])).or_note(&mut self.report, "span.operationName");
        self.limits.name().check_bytes(name.len(), "span.operationName")?;
        span.name = self.batch.intern(&name);
        span.flags = forms::count(forms::get(json, &["flags"])).or_note(&mut self.report, "span.flags");
        span.kind = text(tag::KIND).parse::<SpanKind>().unwrap_or_default();
        for key in [tag::STATUS_DESCRIPTION, tag::TRACE_STATE, tag::SCOPE_NAME, tag::SCOPE_VERSION] {
            self.limits.name().check_bytes(text(key).len(), key)?;
        }
        span.status_message = self.batch.intern(&text(tag::STATUS_DESCRIPTION));
        span.trace_state = self.batch.intern(&text(tag::TRACE_STATE));
        let error = tags.iter().any(|tag| {
            forms::text(forms::get(tag, &["key"])).value == tag::ERROR
                && forms::boolean(forms::get(tag, &["value"])).value
        });
        let status = forms::enumerated(value(tag::STATUS_CODE), "STATUS_CODE_", StatusCode::from_number);
        span.status_code = match status.value {
            StatusCode::Unset if error => StatusCode::Error,
            status => status,
        };

        let parent = forms::short_span_id(forms::get(json, &["parentSpanID"]));
        span.parent_span_id = parent.or_note(&mut self.report, "span.parentSpanID");
        self.references(&mut span, &references);
        // Tags that became fields are not kept twice: writing the span as Jaeger JSON makes them again.
        let is_field = |key: &str| {
            let scope = [tag::SCOPE_NAME, tag::SCOPE_VERSION, tag::LIBRARY_NAME, tag::LIBRARY_VERSION];
            scope.contains(&key)
                || [tag::STATUS_DESCRIPTION, tag::TRACE_STATE].contains(&key)
                || (key == tag::STATUS_CODE && status.flaw.is_none())
        };
        for tag in tags {
            let key = forms::text(forms::get(tag, &["key"])).value;
            let known_kind = key == tag::KIND && span.kind != SpanKind::Unspecified;
            let known_error = key == tag::ERROR && error && matches!(tag.get("value"), Some(Json::Bool(_)));
            if !(is_field(&key) || known_kind || known_error) {
                let (key, value) = self.attribute(tag, "span.tags")?;
                self.batch.push_attribute(key, value);
            }
        }
        for log in logs {
            let mut name = StrId::EMPTY;
            for field in forms::objects(forms::get(log, &["fields"]), &mut self.report, "span.logs.fields") {
                let is_name = forms::text(forms::get(field, &["key"])).value == tag::EVENT;
                if is_name && name == StrId::EMPTY {
                    let text = forms::text(forms::get(field, &["value"])).or_note(&mut self.report, "span.logs.fields");
                    name = self.batch.intern(&text);
                } else {
                    let (key, value) = self.attribute(field, "span.logs.fields")?;
                    self.batch.push_event_attribute(key, value);
                }
            }
            let time = forms::nanos_of_micros(forms::get(log, &["timestamp"]))
                .or_note(&mut self.report, "span.logs.timestamp");
            self.batch.push_event(time, name, 0);
        }
        self.batch.push_span(span);
        Ok(())
    }

    /// The parent is what the span is the child of, or else what it follows from, in its own trace: as Jaeger has it. All
    /// other references are links. One that names no trace means the span's own; one of zeros is none, as older clients
    /// wrote it into spans without a parent.
    fn references(&mut self, span: &mut NewSpan, references: &[&Json<'_>]) {
        let mut known = Vec::with_capacity(references.len());
        for reference in references {
            let trace_id = forms::short_trace_id(forms::get(reference, &TRACE_ID));
            let span_id = forms::short_span_id(forms::get(reference, &SPAN_ID));
            if let Some(flaw) = trace_id.flaw.or(span_id.flaw) {
                self.report.note(format!("span.references: {flaw}; the reference is left out"), 1);
            } else if !span_id.value.is_zero() {
                let trace_id = if trace_id.value.is_zero() { span.trace_id } else { trace_id.value };
                let ref_type = forms::text(forms::get(reference, &["refType"])).value;
                // Without a type it is what nearly all are.
                let is_child = !ref_type.eq_ignore_ascii_case("FOLLOWS_FROM");
                known.push((trace_id, span_id.value, is_child));
            }
        }
        if span.parent_span_id.is_zero() {
            let mut own = known.iter().filter(|(trace_id, ..)| *trace_id == span.trace_id);
            let parent = own.clone().find(|(.., is_child)| *is_child).or_else(|| own.next());
            if let Some((_, parent, _)) = parent {
                span.parent_span_id = *parent;
            }
        }
        for (trace_id, span_id, is_child) in known {
            if is_child {
                if trace_id == span.trace_id && span_id == span.parent_span_id {
                    continue;
                }
                let (key, value) = (self.batch.intern(tag::REF_TYPE), self.batch.intern(tag::CHILD_OF));
                self.batch.push_link_attribute(key, Value::Str(value));
            }
            self.batch.push_link(trace_id, span_id, StrId::EMPTY, 0, 0);
        }
    }

    fn attribute(&mut self, tag: &Json<'_>, field: &str) -> Result<(StrId, Value), String> {
        let bound = self.limits.attribute();
        let key = forms::text(forms::get(tag, &["key"])).or_note(&mut self.report, field);
        bound.check_bytes(key.len(), field)?;
        let key = self.batch.intern(&key);
        let declared = forms::text(forms::get(tag, &["type"])).value.to_ascii_lowercase();
        let Some(value) = forms::get(tag, &["value"]) else { return Ok((key, Value::Empty)) };
        let value = match (declared.as_str(), value) {
            // Jaeger's own clients write large integers as strings, to keep browsers from rounding them.
            ("int64", value) => forms::int_value(value).or_note(&mut self.report, field),
            ("float64", value) => forms::double_value(value).or_note(&mut self.report, field),
            ("bool", value) => forms::bool_value(value).or_note(&mut self.report, field),
            ("binary", value) => forms::bytes_value(value).or_note(&mut self.report, field),
            (_, nested @ (Json::Object(_) | Json::Array(_))) => AnyValue::Str(nested.to_string()),
            ("string", value) => forms::text_value(value).value,
            (_, value) => forms::bare_value(value),
        };
        let bytes = match &value {
            AnyValue::Str(text) => text.len(),
            AnyValue::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        bound.check_bytes(bytes, field)?;
        Ok((key, self.batch.add_value(&value)))
    }
}

//! OTLP JSON into the columnar batch.
//!
//! The mapping is protobuf's with OTLP's exceptions: ids in hexadecimal, unknown fields passed over, both
//! `lowerCamelCase` and the original `snake_case`. In which forms a field may come stands in [`crate::forms`].
//!
//! Files written by others also come in three older dialects, which cost nothing to understand: Tempo calls the resource
//! spans `batches` and writes ids in base64, as plain protobuf JSON does; before OTLP 0.15 scopes were called
//! `instrumentationLibrary`.

mod reader;
mod screen;
mod skeleton;

use std::borrow::Cow;

use serde_json::value::RawValue;
use tracewell_model::{AnyValue, KeyValue, NewSpan, ResourceId, SpanBatch, SpanKind, StatusCode, StrId, Value};

use crate::json::Json;
use crate::meter::{Meter, Watch};
use crate::report::Report;
use crate::{DecodeError, Decoded, Limits, forms};
use screen::{Part, RESOURCE, SCOPE, SPAN, screen};
use skeleton::{Counter, ResourceSpans, ScopeSpans};

/// A longer part of the body is looked through before it becomes a tree: that of a shorter one is a megabyte at most.
const SCREENED_BYTES: usize = 16 * 1024;

/// Reads one JSON object; an empty body is an empty request.
///
/// Fields of an object come in any order, a span before the resource that it is of, so some of the body has to be held
/// while it is read: where the parts of a request lie in it, and one of them at a time as a tree of values.
pub(crate) fn decode(body: &[u8], limits: &Limits, meter: &mut dyn Meter) -> Result<Decoded, DecodeError> {
    if body.trim_ascii().is_empty() {
        return Ok(Decoded::default());
    }
    let mut counter = Counter::new(limits, meter);
    let document = match skeleton::read(body, &mut counter) {
        Ok(document) => document,
        Err(error) => return Err(counter.over.unwrap_or_else(|| not_otlp(error))),
    };
    let skeleton_bytes = counter.bytes;
    let watch = Watch::new(meter, skeleton_bytes);
    let mut decoder = Decoder { batch: SpanBatch::new(), report: Report::default(), limits, watch };
    for resource_spans in document.resource_spans() {
        decoder.resource_spans(resource_spans)?;
    }
    let Decoder { batch, report, .. } = decoder;
    Ok(Decoded { batch, rejected: report.rejected, message: report.message() })
}

fn not_otlp(error: serde_json::Error) -> DecodeError {
    DecodeError::Malformed(format!("the body is not OTLP JSON: {error}"))
}

struct Decoder<'l> {
    batch: SpanBatch,
    report: Report,
    limits: &'l Limits,
    watch: Watch<'l>,
}

type Refused = String;

const TRACE_ID: [&str; 2] = ["traceId", "trace_id"];
const SPAN_ID: [&str; 2] = ["spanId", "span_id"];
const TRACE_STATE: [&str; 2] = ["traceState", "trace_state"];

impl Decoder<'_> {
    /// A part of the body as a tree of values; of what is not there, `null`. The reason is why there is none: it has more in
    /// it than is kept.
    fn tree<'a>(&mut self, part: Option<&'a RawValue>, of: Part) -> Result<Result<Json<'a>, Refused>, DecodeError> {
        let Some(part) = part else { return Ok(Ok(Json::Null)) };
        let text = part.get();
        // What is read of it goes into the batch, too.
        self.watch.read(text.len(), &self.batch)?;
        if text.len() > SCREENED_BYTES
            && let Err(reason) = screen(text, of, self.limits, &mut self.watch, &self.batch)?
        {
            return Ok(Err(reason));
        }
        serde_json::from_str(text).map(Ok).map_err(not_otlp)
    }

    fn resource_spans(&mut self, message: &ResourceSpans<'_>) -> Result<(), DecodeError> {
        let resource = self.tree(message.resource(), RESOURCE)?;
        let schema_url = self.tree(message.schema_url(), RESOURCE)?.unwrap_or_default();
        let resource =
            resource.and_then(|resource| self.shared(&resource, "resource")).and_then(|(attributes, dropped)| {
                let schema_url = self.checked_text(Some(&schema_url), "resource schema_url")?;
                Ok(self.batch.add_resource(&attributes, dropped, &schema_url))
            });
        for scope_spans in message.scope_spans() {
            self.scope_spans(scope_spans, &resource)?;
        }
        Ok(())
    }

    fn scope_spans(
        &mut self,
        message: &ScopeSpans<'_>,
        resource: &Result<ResourceId, Refused>,
    ) -> Result<(), DecodeError> {
        let scope = self.tree(message.scope(), SCOPE)?;
        let schema_url = self.tree(message.schema_url(), SCOPE)?.unwrap_or_default();
        let scope = scope.and_then(|scope| {
            let (attributes, dropped) = self.shared(&scope, "scope")?;
            let name = self.checked_text(forms::get(&scope, &["name"]), "scope.name")?;
            let version = self.checked_text(forms::get(&scope, &["version"]), "scope.version")?;
            let schema_url = self.checked_text(Some(&schema_url), "scope schema_url")?;
            Ok(self.batch.add_scope(&name, &version, &attributes, dropped, &schema_url))
        });
        for span in message.spans() {
            let kept = match (resource, &scope) {
                (Ok(resource), Ok(scope)) => {
                    let span = self.tree(Some(span), SPAN)?;
                    span.and_then(|span| self.span(&span, NewSpan::new(*resource, *scope)))
                }
                (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
            };
            if let Err(reason) = kept {
                self.batch.abandon_span();
                self.report.reject(reason);
            }
        }
        Ok(())
    }

    /// The attributes and the dropped count of a resource or a scope.
    fn shared(&mut self, message: &Json<'_>, of: &str) -> Result<(Vec<(StrId, Value)>, u32), Refused> {
        if !matches!(message, Json::Object(_) | Json::Null) {
            self.report.note(format!("{of}: not an object, left out"), 1);
        }
        Ok((self.attributes(message, &format!("{of}.attributes"))?, self.dropped(message, "attributes", of)))
    }

    fn span(&mut self, message: &Json<'_>, mut span: NewSpan) -> Result<(), Refused> {
        if !message.is_object() {
            return Err("span: not an object".to_owned());
        }
        let number = |names: &[&str]| forms::unsigned(forms::get(message, names));
        span.trace_id = forms::trace_id(forms::get(message, &TRACE_ID)).or_refuse("span.trace_id")?;
        span.span_id = forms::span_id(forms::get(message, &SPAN_ID)).or_refuse("span.span_id")?;
        if span.trace_id.is_zero() {
            return Err("span.trace_id: missing or all zeros".to_owned());
        }
        if span.span_id.is_zero() {
            return Err("span.span_id: missing or all zeros".to_owned());
        }
        let parent = forms::get(message, &["parentSpanId", "parent_span_id"]);
        span.parent_span_id = forms::span_id(parent).or_note(&mut self.report, "span.parent_span_id");
        span.trace_state = self.string(message, &TRACE_STATE, "span.trace_state")?;
        span.name = self.string(message, &["name"], "span.name")?;
        span.flags = forms::count(forms::get(message, &["flags"])).or_note(&mut self.report, "span.flags");
        span.kind = forms::enumerated(forms::get(message, &["kind"]), "SPAN_KIND_", SpanKind::from_number)
            .or_note(&mut self.report, "span.kind");
        span.start_unix_nano = number(&["startTimeUnixNano", "start_time_unix_nano"])
            .number_or_refuse(&mut self.report, "span.start_time_unix_nano")?;
        span.end_unix_nano = number(&["endTimeUnixNano", "end_time_unix_nano"]).number_or(
            span.start_unix_nano,
            &mut self.report,
            "span.end_time_unix_nano",
        );
        span.dropped_attributes_count = self.dropped(message, "attributes", "span");
        span.dropped_events_count = self.dropped(message, "events", "span");
        span.dropped_links_count = self.dropped(message, "links", "span");
        if let Some(status) = forms::get(message, &["status"]) {
            self.status(status, &mut span)?;
        }
        for (key, value) in self.attributes(message, "span.attributes")? {
            self.batch.push_attribute(key, value);
        }
        let events = forms::objects(forms::get(message, &["events"]), &mut self.report, "span.events");
        self.limits.events().check_count(events.len(), "span.events")?;
        for event in events {
            for (key, value) in self.attributes(event, "span.events.attributes")? {
                self.batch.push_event_attribute(key, value);
            }
            let name = self.string(event, &["name"], "span.events.name")?;
            let time = forms::unsigned(forms::get(event, &["timeUnixNano", "time_unix_nano"]))
                .or_note(&mut self.report, "span.events.time_unix_nano");
            let dropped = self.dropped(event, "attributes", "span.events");
            self.batch.push_event(time, name, dropped);
        }
        let links = forms::objects(forms::get(message, &["links"]), &mut self.report, "span.links");
        self.limits.links().check_count(links.len(), "span.links")?;
        for link in links {
            self.link(link)?;
        }
        self.batch.push_span(span);
        Ok(())
    }

    fn status(&mut self, status: &Json<'_>, span: &mut NewSpan) -> Result<(), Refused> {
        // Some write only the code.
        let code = if status.is_object() { forms::get(status, &["code"]) } else { Some(status) };
        span.status_code = forms::enumerated(code, "STATUS_CODE_", StatusCode::from_number)
            .or_note(&mut self.report, "span.status.code");
        span.status_message = self.string(status, &["message"], "span.status.message")?;
        Ok(())
    }

    /// A link whose ids are none points nowhere and is left out.
    fn link(&mut self, link: &Json<'_>) -> Result<(), Refused> {
        let trace_id = forms::trace_id(forms::get(link, &TRACE_ID));
        let span_id = forms::span_id(forms::get(link, &SPAN_ID));
        if let Some(flaw) = trace_id.flaw.or(span_id.flaw) {
            self.report.note(format!("span.links: {flaw}; the link is left out"), 1);
            return Ok(());
        }
        for (key, value) in self.attributes(link, "span.links.attributes")? {
            self.batch.push_link_attribute(key, value);
        }
        let trace_state = self.string(link, &TRACE_STATE, "span.links.trace_state")?;
        let dropped = self.dropped(link, "attributes", "span.links");
        let flags = forms::count(forms::get(link, &["flags"])).or_note(&mut self.report, "span.links.flags");
        self.batch.push_link(trace_id.value, span_id.value, trace_state, flags, dropped);
        Ok(())
    }

    /// How many of these the sender left out.
    fn dropped(&mut self, message: &Json<'_>, what: &str, of: &str) -> u32 {
        let names = match what {
            "attributes" => ["droppedAttributesCount", "dropped_attributes_count"],
            "events" => ["droppedEventsCount", "dropped_events_count"],
            _ => ["droppedLinksCount", "dropped_links_count"],
        };
        let read = forms::count(forms::get(message, &names));
        if read.flaw.is_none() { read.value } else { read.or_note(&mut self.report, &format!("{of}.{}", names[1])) }
    }

    fn attributes(&mut self, message: &Json<'_>, field: &str) -> Result<Vec<(StrId, Value)>, Refused> {
        let pairs = forms::objects(forms::get(message, &["attributes"]), &mut self.report, field);
        self.limits.attributes().check_count(pairs.len(), field)?;
        pairs
            .into_iter()
            .map(|pair| {
                let key = forms::text(forms::get(pair, &["key"])).or_note(&mut self.report, field);
                self.limits.attribute().check_bytes(key.len(), field)?;
                let key = self.batch.intern(&key);
                let value = any_value(forms::get(pair, &["value"]), &mut self.report, field);
                let bytes = match &value {
                    AnyValue::Str(text) => text.len(),
                    AnyValue::Bytes(bytes) => bytes.len(),
                    AnyValue::Array(_) | AnyValue::KeyValues(_) => {
                        let encoded = value.encode();
                        // What is kept must be readable again, which depth decides.
                        AnyValue::decode(&encoded).map_err(|why| format!("{field}: {why}"))?;
                        encoded.len()
                    }
                    _ => 0,
                };
                self.limits.attribute().check_bytes(bytes, field)?;
                Ok((key, self.batch.add_value(&value)))
            })
            .collect()
    }

    /// A text within the limit of names.
    fn checked_text<'a>(&mut self, value: Option<&'a Json<'a>>, field: &str) -> Result<Cow<'a, str>, Refused> {
        let text = forms::text(value).or_note(&mut self.report, field);
        self.limits.name().check_bytes(text.len(), field)?;
        Ok(text)
    }

    fn string(&mut self, message: &Json<'_>, names: &[&str], field: &str) -> Result<StrId, Refused> {
        let text = self.checked_text(forms::get(message, names), field)?;
        Ok(self.batch.intern(&text))
    }
}

/// An attribute's value. Recursion is bounded by the parser, which refuses more than 128 levels of JSON.
fn any_value(value: Option<&Json<'_>>, report: &mut Report, field: &str) -> AnyValue {
    let fields = match value {
        None | Some(Json::Null) => return AnyValue::Empty,
        Some(Json::Object(fields)) => fields,
        // Said without its type, which JSON has one of its own for.
        Some(Json::Array(items)) => {
            return AnyValue::Array(items.iter().map(|item| any_value(Some(item), report, field)).collect());
        }
        Some(bare) => return forms::bare_value(bare),
    };
    for (name, value) in fields.last_first() {
        if value.is_null() {
            continue;
        }
        let read = match name {
            "stringValue" | "string_value" => forms::text_value(value),
            "boolValue" | "bool_value" => forms::bool_value(value),
            "intValue" | "int_value" => forms::int_value(value),
            "doubleValue" | "double_value" => forms::double_value(value),
            "bytesValue" | "bytes_value" => forms::bytes_value(value),
            "arrayValue" | "array_value" => {
                let values = forms::list(values(value)).or_note(report, field);
                return AnyValue::Array(values.iter().map(|value| any_value(Some(value), report, field)).collect());
            }
            "kvlistValue" | "kvlist_value" => {
                let pairs = forms::objects(values(value), report, field).into_iter().map(|pair| KeyValue {
                    key: forms::text(forms::get(pair, &["key"])).or_note(report, field).into_owned(),
                    value: any_value(forms::get(pair, &["value"]), report, field),
                });
                return AnyValue::KeyValues(pairs.collect());
            }
            _ => continue,
        };
        return if read.flaw.is_some() { read.or_note(report, &format!("{field}: {name}")) } else { read.value };
    }
    AnyValue::Empty
}

/// The list in an array or a list of pairs, which some write without the object around it.
fn values<'a>(value: &'a Json<'a>) -> Option<&'a Json<'a>> {
    if value.is_object() { forms::get(value, &["values"]) } else { Some(value) }
}

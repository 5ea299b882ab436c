//! Zipkin's JSON, versions 1 and 2: a list of spans, as `POST /api/v2/spans` takes it, a list of such lists, as
//! `GET /api/v2/traces` gives it, or one span.
//!
//! | Zipkin | here |
//! |---|---|
//! | `localEndpoint` | `service.name` of the resource; `network.local.address` and `.port` of the span |
//! | `remoteEndpoint` | `peer.service`, `network.peer.address` and `.port` |
//! | `kind`, `name`, `parentId` | the same |
//! | `timestamp`, `duration` | microseconds; without a duration the span lasts nothing and says `zipkin.unfinished` |
//! | `annotations` | events; `name\|{attributes}\|dropped`, as OpenTelemetry writes them, is taken apart |
//! | `tags` | attributes, all texts; `error`, whatever it says, is a failed span; `otel.*` are the fields they stand for |
//! | `shared`, `debug` | `zipkin.shared`, `zipkin.debug` |
//! | version 1: `cs`, `cr`, `sr`, `ss`, `ms`, `mr` | kind and times; a span of two sides becomes two |
//! | version 1: `sa`, `ca`, `ma`; `lc` | `remoteEndpoint`; where a local span ran |
//!
//! In which forms a field may come stands in [`crate::forms`].

mod v1;

use std::borrow::Cow;

use serde_json::value::RawValue;
use tracewell_model::{AnyValue, NewSpan, SpanBatch, SpanId, SpanKind, StatusCode, StrId, TraceId, Value};

use crate::jaeger::tag;
use crate::json::{Json, Object};
use crate::report::Report;
use crate::{DecodeError, Decoded, Limits, forms};

const SERVICE: &str = "service.name";
const SHARED: &str = "zipkin.shared";
const DEBUG: &str = "zipkin.debug";
const UNFINISHED: &str = "zipkin.unfinished";

const NO_TIMESTAMP: &str = "zipkin.no_timestamp";

/// Reads a document. Spans that name no time at all, as Zipkin allows, are put at `arrival_unix_nano`, and say
/// `zipkin.no_timestamp`: decoding reads no clock, so that the same bytes always give the same spans.
///
/// # Errors
/// When the body is not JSON, or has more spans than the limit.
pub fn decode(body: &[u8], limits: &Limits, arrival_unix_nano: u64) -> Result<Decoded, DecodeError> {
    if body.trim_ascii().is_empty() {
        return Ok(Decoded::default());
    }
    let document: &RawValue = serde_json::from_slice(body).map_err(malformed)?;
    let mut decoder = Decoder { batch: SpanBatch::new(), report: Report::default(), limits, arrival_unix_nano };
    if !document.get().starts_with(['[', '{']) {
        return Err(DecodeError::Malformed("the body is not Zipkin JSON: neither a list nor an object".to_owned()));
    }
    decoder.list(document, 2)?;
    let Decoder { batch, report, .. } = decoder;
    Ok(Decoded { batch, rejected: report.rejected, message: report.message() })
}

fn malformed(error: serde_json::Error) -> DecodeError {
    DecodeError::Malformed(format!("the body is not Zipkin JSON: {error}"))
}

struct Decoder<'l> {
    batch: SpanBatch,
    report: Report,
    limits: &'l Limits,
    arrival_unix_nano: u64,
}

/// What both versions say of a span; of version 1, of one of its sides.
#[derive(Default)]
struct Side<'a> {
    kind: SpanKind,
    is_shared: bool,
    start_unix_nano: u64,
    /// `None` if it is not said.
    duration_nanos: Option<u64>,
    local: Option<&'a Json<'a>>,
    remote: Option<&'a Json<'a>>,
    annotations: Vec<&'a Json<'a>>,
    tags: Vec<(Cow<'a, str>, AnyValue)>,
}

impl Decoder<'_> {
    fn list(&mut self, part: &RawValue, lists_left: u32) -> Result<(), DecodeError> {
        if lists_left > 0 && part.get().starts_with('[') {
            // One at a time as a tree of values.
            let items: Vec<&RawValue> = serde_json::from_str(part.get()).map_err(malformed)?;
            return items.into_iter().try_for_each(|item| self.list(item, lists_left - 1));
        }
        let span: Json<'_> = serde_json::from_str(part.get()).map_err(malformed)?;
        if span.is_null() {
            return Ok(());
        }
        if self.batch.len() as u64 + self.report.rejected >= u64::from(self.limits.spans_per_request) {
            return Err(DecodeError::LimitExceeded(format!(
                "the request has more than {} spans (limit --spans-per-request)",
                self.limits.spans_per_request
            )));
        }
        let kept = if span.is_object() { self.span(&span) } else { Err("span: not an object".to_owned()) };
        if let Err(reason) = kept {
            self.batch.abandon_span();
            self.report.reject(reason);
        }
        Ok(())
    }

    fn span(&mut self, json: &Json<'_>) -> Result<(), String> {
        let trace_id = forms::short_trace_id(forms::get(json, &["traceId"])).or_refuse("span.traceId")?;
        let span_id = forms::short_span_id(forms::get(json, &["id"])).or_refuse("span.id")?;
        if trace_id.is_zero() {
            return Err("span.traceId: missing or all zeros".to_owned());
        }
        if span_id.is_zero() {
            return Err("span.id: missing or all zeros".to_owned());
        }
        let parent = forms::short_span_id(forms::get(json, &["parentId"])).or_note(&mut self.report, "span.parentId");
        for side in v1::sides(json, self)? {
            self.side(json, side, trace_id, span_id, parent)?;
        }
        Ok(())
    }

    /// What a span of version 2 says, and one of version 1 besides its annotations.
    fn common<'a>(&mut self, json: &'a Json<'a>) -> Result<Side<'a>, String> {
        let kind: SpanKind = forms::enumerated(forms::get(json, &["kind"]), "SPAN_KIND_", SpanKind::from_number)
            .or_note(&mut self.report, "span.kind");
        let start = forms::nanos_of_micros(forms::get(json, &["timestamp"]));
        let duration = forms::get(json, &["duration"]);
        let duration = duration
            .map(|duration| forms::nanos_of_micros(Some(duration)).number_or(0, &mut self.report, "span.duration"));
        let tags = match forms::get(json, &["tags"]) {
            Some(Json::Object(tags)) => {
                let tags = tags.entries().into_iter();
                tags.map(|(key, value)| (Cow::Borrowed(key), text_value(value))).collect()
            }
            None => Vec::new(),
            Some(_) => {
                self.report.note("span.tags: not an object, left out".to_owned(), 1);
                Vec::new()
            }
        };
        Ok(Side {
            kind,
            is_shared: forms::boolean(forms::get(json, &["shared"])).or_note(&mut self.report, "span.shared"),
            start_unix_nano: start.number_or_refuse(&mut self.report, "span.timestamp")?,
            duration_nanos: duration,
            local: forms::get(json, &["localEndpoint"]),
            remote: forms::get(json, &["remoteEndpoint"]),
            annotations: forms::objects(forms::get(json, &["annotations"]), &mut self.report, "span.annotations"),
            tags,
        })
    }

    fn side(
        &mut self,
        json: &Json<'_>,
        side: Side<'_>,
        trace_id: TraceId,
        span_id: SpanId,
        parent_span_id: SpanId,
    ) -> Result<(), String> {
        self.limits.attributes().check_count(side.tags.len(), "span.tags")?;
        self.limits.events().check_count(side.annotations.len(), "span.annotations")?;
        let service = side.local.map(|local| self.service(local)).unwrap_or_default();
        let mut resource = Vec::new();
        if !service.is_empty() {
            resource.push((self.batch.intern(SERVICE), Value::Str(self.batch.intern(&service))));
        }
        let resource = self.batch.add_resource(&resource, 0, "");
        let text = |key: &str| {
            let found = side.tags.iter().find(|(name, _)| name == key);
            found.and_then(|(_, value)| if let AnyValue::Str(text) = value { Some(text.as_str()) } else { None })
        };
        let name = |key: &str, older: &str| text(key).or_else(|| text(older)).unwrap_or("");
        let scope_name = name(tag::SCOPE_NAME, tag::LIBRARY_NAME);
        let scope_version = name(tag::SCOPE_VERSION, tag::LIBRARY_VERSION);
        let scope = self.batch.add_scope(scope_name, scope_version, &[], 0, "");

        let mut span = NewSpan::new(resource, scope);
        (span.trace_id, span.span_id, span.parent_span_id) = (trace_id, span_id, parent_span_id);
        let name = forms::text(forms::get(json, &["name"])).or_note(&mut self.report, "span.name");
        self.limits.name().check_bytes(name.len(), "span.name")?;
        span.name = self.batch.intern(&name);
        span.kind = side.kind;
        if span.kind == SpanKind::Unspecified {
            span.kind = text(tag::KIND).and_then(|kind| kind.parse().ok()).unwrap_or_default();
        }
        let times = |name: &&Json<'_>| forms::nanos_of_micros(forms::get(name, &["timestamp"])).value;
        span.start_unix_nano = match side.start_unix_nano {
            0 => side.annotations.iter().map(times).filter(|time| *time > 0).min().unwrap_or(0),
            start => start,
        };
        let no_timestamp = span.start_unix_nano == 0;
        if no_timestamp {
            self.report.note("span.timestamp: missing, read as the time of arrival".to_owned(), 1);
            span.start_unix_nano = self.arrival_unix_nano;
        }
        span.end_unix_nano = span.start_unix_nano.saturating_add(side.duration_nanos.unwrap_or(0));

        let error = side.tags.iter().find(|(key, _)| key == tag::ERROR).map(|(_, value)| value.to_string());
        let status = text(tag::STATUS_CODE).map(|code| code.parse::<StatusCode>());
        span.status_code = match (&status, &error) {
            (Some(Ok(status)), _) if *status != StatusCode::Unset => *status,
            (_, Some(_)) => StatusCode::Error,
            _ => StatusCode::Unset,
        };
        let error_text = error.as_deref().filter(|text| !matches!(*text, "true" | "false")).unwrap_or("");
        let message = text(tag::STATUS_DESCRIPTION).unwrap_or(error_text);
        let trace_state = text(tag::TRACE_STATE).unwrap_or("");
        for (what, text) in [("status", message), (tag::TRACE_STATE, trace_state), (tag::SCOPE_NAME, scope_name)] {
            self.limits.name().check_bytes(text.len(), what)?;
        }
        span.status_message = self.batch.intern(message);
        span.trace_state = self.batch.intern(trace_state);

        // What became a field is not kept twice.
        let is_field = |key: &str| match key {
            tag::STATUS_CODE => matches!(status, Some(Ok(_))),
            tag::KIND => side.kind == SpanKind::Unspecified && span.kind != SpanKind::Unspecified,
            tag::STATUS_DESCRIPTION | tag::TRACE_STATE => true,
            _ => [tag::SCOPE_NAME, tag::SCOPE_VERSION, tag::LIBRARY_NAME, tag::LIBRARY_VERSION].contains(&key),
        };
        for (key, value) in side.tags.iter().filter(|(key, _)| !is_field(key)) {
            self.attribute(key, value, "span.tags")?;
        }
        let has = |key: &str| side.tags.iter().any(|(name, _)| name == key);
        for (endpoint, side) in [(side.local, "local"), (side.remote, "peer")] {
            let Some(endpoint) = endpoint else { continue };
            let mut said = Vec::new();
            if side == "peer" {
                said.push(("peer.service", AnyValue::Str(self.service(endpoint).into_owned())));
            }
            let (address, port) = match side {
                "peer" => ("network.peer.address", "network.peer.port"),
                _ => ("network.local.address", "network.local.port"),
            };
            let ip = forms::text(forms::get(endpoint, &["ipv4", "ipv6"])).or_note(&mut self.report, "span endpoint.ip");
            said.push((address, AnyValue::Str(ip.into_owned())));
            match forms::unsigned(forms::get(endpoint, &["port"])) {
                forms::Read { value: 0, flaw: None } => {}
                forms::Read { value: number @ 1..=65_535, flaw: None } => {
                    said.push((port, AnyValue::Int(number as i64)))
                }
                _ => self.report.note("span endpoint.port: not a port, left out".to_owned(), 1),
            }
            for (key, value) in said {
                if value != AnyValue::Str(String::new()) && !has(key) {
                    self.attribute(key, &value, "span endpoint")?;
                }
            }
        }
        let is_debug = forms::boolean(forms::get(json, &["debug"])).or_note(&mut self.report, "span.debug");
        let marks = [
            (SHARED, side.is_shared),
            (DEBUG, is_debug),
            (UNFINISHED, side.duration_nanos.is_none()),
            (NO_TIMESTAMP, no_timestamp),
        ];
        for (key, holds) in marks {
            if holds && !has(key) {
                self.attribute(key, &AnyValue::Bool(true), key)?;
            }
        }
        for annotation in &side.annotations {
            self.annotation(annotation)?;
        }
        self.batch.push_span(span);
        Ok(())
    }

    fn service<'a>(&mut self, endpoint: &'a Json<'a>) -> Cow<'a, str> {
        if !endpoint.is_object() {
            self.report.note("span endpoint: not an object, left out".to_owned(), 1);
        }
        forms::text(forms::get(endpoint, &["serviceName"])).or_note(&mut self.report, "span endpoint.serviceName")
    }

    fn value(&mut self, key: &str, value: &AnyValue, field: &str) -> Result<(StrId, Value), String> {
        self.limits.attribute().check_bytes(key.len(), field)?;
        let bytes = match value {
            AnyValue::Str(text) => text.len(),
            AnyValue::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        self.limits.attribute().check_bytes(bytes, field)?;
        Ok((self.batch.intern(key), self.batch.add_value(value)))
    }

    fn attribute(&mut self, key: &str, value: &AnyValue, field: &str) -> Result<(), String> {
        let (key, value) = self.value(key, value, field)?;
        self.batch.push_attribute(key, value);
        Ok(())
    }

    fn annotation(&mut self, annotation: &Json<'_>) -> Result<(), String> {
        const FIELD: &str = "span.annotations";
        let text = forms::text(forms::get(annotation, &["value"])).or_note(&mut self.report, FIELD);
        let time = forms::nanos_of_micros(forms::get(annotation, &["timestamp"])).or_note(&mut self.report, FIELD);
        let (mut name, mut dropped) = (&*text, 0);
        if let Some((event, attributes, count)) = taken_apart(&text) {
            (name, dropped) = (event, count);
            let attributes = attributes.entries();
            self.limits.attributes().check_count(attributes.len(), FIELD)?;
            for (key, value) in attributes {
                let value = match value {
                    nested @ (Json::Object(_) | Json::Array(_)) => text_value(nested),
                    plain => forms::bare_value(plain),
                };
                let (key, value) = self.value(key, &value, FIELD)?;
                self.batch.push_event_attribute(key, value);
            }
        }
        self.limits.name().check_bytes(name.len(), FIELD)?;
        let name = self.batch.intern(name);
        self.batch.push_event(time, name, dropped);
        Ok(())
    }
}

/// A tag's value, which ought to be a text; a structure is its JSON.
fn text_value(value: &Json<'_>) -> AnyValue {
    match value {
        nested @ (Json::Object(_) | Json::Array(_)) => AnyValue::Str(nested.to_string()),
        plain => forms::text_value(plain).value,
    }
}

/// An event as OpenTelemetry's exporters write it: `name|{attributes}|dropped`. Anything else is only a text.
fn taken_apart(text: &str) -> Option<(&str, Object<'_>, u32)> {
    let (rest, dropped) = text.rsplit_once('|')?;
    let (name, attributes) = rest.split_once('|')?;
    let Ok(Json::Object(attributes)) = serde_json::from_str(attributes) else { return None };
    Some((name, attributes, dropped.parse().ok()?))
}

#[cfg(test)]
mod tests;

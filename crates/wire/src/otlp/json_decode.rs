//! OTLP JSON into the columnar batch.
//!
//! The mapping is protobuf's with OTLP's exceptions: ids in hexadecimal, enums as numbers (names are understood too),
//! 64-bit integers as strings or numbers, unknown fields passed over, `null` the same as absent, both `lowerCamelCase` and
//! the original `snake_case`.
//!
//! Files written by others also come in three older dialects, which cost nothing to understand: Tempo calls the resource
//! spans `batches` and writes ids in base64, as plain protobuf JSON does; before OTLP 0.15 scopes were called
//! `instrumentationLibrary`.

mod skeleton;

use serde_json::Value as Json;
use serde_json::value::RawValue;
use tracewell_model::{
    AnyValue, KeyValue, NewSpan, ResourceId, SpanBatch, SpanId, SpanKind, StatusCode, StrId, TraceId, Value,
};

use crate::report::Report;
use crate::{DecodeError, Decoded, Limits, base64};
use skeleton::{Document, ResourceSpans, ScopeSpans};

/// Reads one JSON object; an empty body is an empty request.
///
/// Fields of an object come in any order, a span before the resource that it is of, so some of the body has to be held
/// while it is read: where the parts of a request lie in it, and one of them at a time as a tree of values.
pub(crate) fn decode(body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    if body.trim_ascii().is_empty() {
        return Ok(Decoded::default());
    }
    let document: Document<'_> = serde_json::from_slice(body).map_err(not_otlp)?;
    let mut decoder = Decoder { batch: SpanBatch::new(), report: Report::default(), limits, spans: 0 };
    for resource_spans in document.resource_spans() {
        decoder.resource_spans(resource_spans)?;
    }
    let Decoder { batch, report, .. } = decoder;
    Ok(Decoded { batch, rejected: report.rejected, message: report.message() })
}

fn not_otlp(error: serde_json::Error) -> DecodeError {
    DecodeError::Malformed(format!("the body is not OTLP JSON: {error}"))
}

/// A part of the body as a tree of values; of what is not there, `null`.
fn tree(part: Option<&RawValue>) -> Result<Json, DecodeError> {
    part.map_or(Ok(Json::Null), |part| serde_json::from_str(part.get()).map_err(not_otlp))
}

struct Decoder<'l> {
    batch: SpanBatch,
    report: Report,
    limits: &'l Limits,
    spans: u64,
}

type Refused = String;

impl Decoder<'_> {
    fn resource_spans(&mut self, message: &ResourceSpans<'_>) -> Result<(), DecodeError> {
        let resource = tree(message.resource())?;
        let schema_url = tree(message.schema_url())?;
        let resource = self.shared(&resource, "resource").and_then(|(attributes, dropped)| {
            let schema_url = self.checked_text(Some(&schema_url), "resource schema_url")?;
            Ok(self.batch.add_resource(&attributes, dropped, schema_url))
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
        let scope = tree(message.scope())?;
        let schema_url = tree(message.schema_url())?;
        let scope = self.shared(&scope, "scope").and_then(|(attributes, dropped)| {
            let name = self.text(&scope, "name", "name", "scope.name")?;
            let version = self.text(&scope, "version", "version", "scope.version")?;
            let schema_url = self.checked_text(Some(&schema_url), "scope schema_url")?;
            Ok(self.batch.add_scope(name, version, &attributes, dropped, schema_url))
        });
        for span in message.spans() {
            self.spans += 1;
            if self.spans > u64::from(self.limits.spans_per_request) {
                return Err(DecodeError::LimitExceeded(format!(
                    "the request has more than {} spans (limit spans_per_request)",
                    self.limits.spans_per_request
                )));
            }
            let kept = match (resource, &scope) {
                (Ok(resource), Ok(scope)) => self.span(&tree(Some(span))?, NewSpan::new(*resource, *scope)),
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
    fn shared(&mut self, message: &Json, of: &str) -> Result<(Vec<(StrId, Value)>, u32), Refused> {
        let field = format!("{of}.attributes");
        Ok((
            self.attributes(message, &field)?,
            count(message, "droppedAttributesCount", "dropped_attributes_count", of)?,
        ))
    }

    fn span(&mut self, message: &Json, mut span: NewSpan) -> Result<(), Refused> {
        if !message.is_object() {
            return Err("span: not an object".to_owned());
        }
        span.trace_id = trace_id(message, "span.trace_id")?;
        span.span_id = span_id(message, "spanId", "span_id", "span.span_id")?;
        if span.trace_id.is_zero() {
            return Err("span.trace_id: missing or all zeros".to_owned());
        }
        if span.span_id.is_zero() {
            return Err("span.span_id: missing or all zeros".to_owned());
        }
        span.parent_span_id = span_id(message, "parentSpanId", "parent_span_id", "span.parent_span_id")?;
        span.trace_state = self.string(message, "traceState", "trace_state", "span.trace_state")?;
        span.name = self.string(message, "name", "name", "span.name")?;
        span.flags = count(message, "flags", "flags", "span")?;
        span.kind = get(message, "kind", "kind")
            .map(|kind| enumerated(kind, "SPAN_KIND_", "span.kind", SpanKind::from_number))
            .transpose()?
            .unwrap_or_default();
        span.start_unix_nano =
            nanos(message, "startTimeUnixNano", "start_time_unix_nano", "span.start_time_unix_nano")?;
        span.end_unix_nano = nanos(message, "endTimeUnixNano", "end_time_unix_nano", "span.end_time_unix_nano")?;
        span.dropped_attributes_count = count(message, "droppedAttributesCount", "dropped_attributes_count", "span")?;
        span.dropped_events_count = count(message, "droppedEventsCount", "dropped_events_count", "span")?;
        span.dropped_links_count = count(message, "droppedLinksCount", "dropped_links_count", "span")?;
        if let Some(status) = get(message, "status", "status") {
            span.status_message = self.string(status, "message", "message", "span.status.message")?;
            span.status_code = get(status, "code", "code")
                .map(|code| enumerated(code, "STATUS_CODE_", "span.status.code", StatusCode::from_number))
                .transpose()?
                .unwrap_or_default();
        }
        for (key, value) in self.attributes(message, "span.attributes")? {
            self.batch.push_attribute(key, value);
        }
        let events = list(message, "events", "events")?;
        self.limits.events().check_count(events.len(), "span.events")?;
        for event in events {
            for (key, value) in self.attributes(event, "span.events.attributes")? {
                self.batch.push_event_attribute(key, value);
            }
            let name = self.string(event, "name", "name", "span.events.name")?;
            let time = nanos(event, "timeUnixNano", "time_unix_nano", "span.events.time_unix_nano")?;
            let dropped = count(event, "droppedAttributesCount", "dropped_attributes_count", "span.events")?;
            self.batch.push_event(time, name, dropped);
        }
        let links = list(message, "links", "links")?;
        self.limits.links().check_count(links.len(), "span.links")?;
        for link in links {
            for (key, value) in self.attributes(link, "span.links.attributes")? {
                self.batch.push_link_attribute(key, value);
            }
            let trace_state = self.string(link, "traceState", "trace_state", "span.links.trace_state")?;
            let dropped = count(link, "droppedAttributesCount", "dropped_attributes_count", "span.links")?;
            let flags = count(link, "flags", "flags", "span.links")?;
            let trace_id = trace_id(link, "span.links.trace_id")?;
            let span_id = span_id(link, "spanId", "span_id", "span.links.span_id")?;
            self.batch.push_link(trace_id, span_id, trace_state, flags, dropped);
        }
        self.batch.push_span(span);
        Ok(())
    }

    fn attributes(&mut self, message: &Json, field: &str) -> Result<Vec<(StrId, Value)>, Refused> {
        let pairs = list(message, "attributes", "attributes")?;
        self.limits.attributes().check_count(pairs.len(), field)?;
        pairs
            .iter()
            .map(|pair| {
                let key = text_of(pair, "key", "key", field)?;
                self.limits.attribute().check_bytes(key.len(), field)?;
                let key = self.batch.intern(key);
                let value = any_value(get(pair, "value", "value").unwrap_or(&Json::Null), field)?;
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

    fn text<'a>(&self, message: &'a Json, camel: &str, snake: &str, field: &str) -> Result<&'a str, Refused> {
        self.checked_text(get(message, camel, snake), field)
    }

    fn checked_text<'a>(&self, value: Option<&'a Json>, field: &str) -> Result<&'a str, Refused> {
        let text = text_in(value, field)?;
        self.limits.name().check_bytes(text.len(), field)?;
        Ok(text)
    }

    fn string(&mut self, message: &Json, camel: &str, snake: &str, field: &str) -> Result<StrId, Refused> {
        let text = self.text(message, camel, snake, field)?;
        Ok(self.batch.intern(text))
    }
}

/// A field under either of its names; `null` is absent.
pub(super) fn get<'a>(message: &'a Json, camel: &str, snake: &str) -> Option<&'a Json> {
    message.get(camel).or_else(|| message.get(snake)).filter(|value| !value.is_null())
}

pub(super) fn list<'a>(message: &'a Json, camel: &str, snake: &str) -> Result<&'a [Json], Refused> {
    match get(message, camel, snake) {
        None => Ok(&[]),
        Some(Json::Array(items)) => Ok(items),
        Some(_) => Err(format!("{camel}: not a list")),
    }
}

pub(super) fn text_of<'a>(message: &'a Json, camel: &str, snake: &str, field: &str) -> Result<&'a str, Refused> {
    text_in(get(message, camel, snake), field)
}

fn text_in<'a>(value: Option<&'a Json>, field: &str) -> Result<&'a str, Refused> {
    match value {
        None | Some(Json::Null) => Ok(""),
        Some(Json::String(text)) => Ok(text),
        Some(_) => Err(format!("{field}: not a string")),
    }
}

fn count(message: &Json, camel: &str, snake: &str, of: &str) -> Result<u32, Refused> {
    let Some(value) = get(message, camel, snake) else { return Ok(0) };
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.and_then(|number| u32::try_from(number).ok()).ok_or_else(|| format!("{of}.{snake}: not a number of 32 bits"))
}

pub(super) fn nanos(message: &Json, camel: &str, snake: &str, field: &str) -> Result<u64, Refused> {
    let Some(value) = get(message, camel, snake) else { return Ok(0) };
    value
        .as_u64()
        .or_else(|| value.as_str()?.parse().ok())
        // Some senders write large integers as 1.7e18, which JSON allows.
        .or_else(|| value.as_f64().filter(|number| (0.0..1.8e19).contains(number)).map(|number| number as u64))
        .ok_or_else(|| format!("{field}: not an unsigned integer of 64 bits"))
}

fn enumerated<T: Copy + Default + std::str::FromStr>(
    value: &Json,
    prefix: &str,
    field: &str,
    from_number: impl Fn(i64) -> Option<T>,
) -> Result<T, Refused> {
    match value {
        Json::Number(number) => number
            .as_i64()
            .map(|n| from_number(n).unwrap_or_default())
            .ok_or_else(|| format!("{field}: not an integer")),
        Json::String(name) => {
            if let Ok(number) = name.parse() {
                return Ok(from_number(number).unwrap_or_default());
            }
            Ok(name.strip_prefix(prefix).and_then(|name| name.parse().ok()).unwrap_or_default())
        }
        _ => Err(format!("{field}: neither a number nor a name")),
    }
}

fn hex<const N: usize>(message: &Json, camel: &str, snake: &str, field: &str) -> Result<[u8; N], Refused> {
    let text = text_of(message, camel, snake, field)?;
    let mut bytes = [0; N];
    if text.is_empty() {
        return Ok(bytes);
    }
    if text.len() == N.div_ceil(3) * 4
        && let Some(decoded) = base64::decode(text)
        && let Ok(decoded) = decoded.try_into()
    {
        return Ok(decoded);
    }
    if text.len() != 2 * N {
        return Err(format!("{field}: {} hexadecimal digits, not {}", text.len(), 2 * N));
    }
    for (place, digit) in text.bytes().enumerate() {
        let nibble = (digit as char).to_digit(16).ok_or_else(|| format!("{field}: not hexadecimal"))?;
        bytes[place / 2] = bytes[place / 2] << 4 | nibble as u8;
    }
    Ok(bytes)
}

fn trace_id(message: &Json, field: &str) -> Result<TraceId, Refused> {
    hex(message, "traceId", "trace_id", field).map(TraceId::from_bytes)
}

fn span_id(message: &Json, camel: &str, snake: &str, field: &str) -> Result<SpanId, Refused> {
    hex(message, camel, snake, field).map(SpanId::from_bytes)
}

/// A whole number of 64 bits. Protobuf's JSON allows it as a string, and both with a fraction of zero or an exponent.
pub(super) fn int(value: &Json) -> Option<i64> {
    let whole = |number: f64| {
        let fits = number.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&number);
        fits.then_some(number as i64)
    };
    match value {
        Json::String(text) => text.parse().ok().or_else(|| whole(text.parse().ok()?)),
        _ => value.as_i64().or_else(|| whole(value.as_f64()?)),
    }
}

/// Recursion is bounded by the parser, which refuses more than 128 levels of JSON.
fn any_value(message: &Json, field: &str) -> Result<AnyValue, Refused> {
    let Json::Object(fields) = message else {
        return if message.is_null() { Ok(AnyValue::Empty) } else { Err(format!("{field}: a value is not an object")) };
    };
    let wrong = |what: &str| format!("{field}: {what}");
    for (name, value) in fields {
        if value.is_null() {
            continue;
        }
        return Ok(match name.as_str() {
            "stringValue" | "string_value" => {
                AnyValue::Str(value.as_str().ok_or_else(|| wrong("stringValue is not a string"))?.to_owned())
            }
            "boolValue" | "bool_value" => {
                AnyValue::Bool(value.as_bool().ok_or_else(|| wrong("boolValue is not a boolean"))?)
            }
            "intValue" | "int_value" => {
                AnyValue::Int(int(value).ok_or_else(|| wrong("intValue is not an integer of 64 bits"))?)
            }
            "doubleValue" | "double_value" => AnyValue::Double(
                value
                    .as_f64()
                    .or_else(|| value.as_str()?.parse().ok())
                    .ok_or_else(|| wrong("doubleValue is not a number"))?,
            ),
            "bytesValue" | "bytes_value" => AnyValue::Bytes(
                value.as_str().and_then(base64::decode).ok_or_else(|| wrong("bytesValue is not base64"))?,
            ),
            "arrayValue" | "array_value" => {
                let values = list(value, "values", "values")?.iter().map(|value| any_value(value, field));
                AnyValue::Array(values.collect::<Result<_, _>>()?)
            }
            "kvlistValue" | "kvlist_value" => {
                let pairs = list(value, "values", "values")?.iter().map(|pair| {
                    Ok(KeyValue {
                        key: text_of(pair, "key", "key", field)?.to_owned(),
                        value: any_value(get(pair, "value", "value").unwrap_or(&Json::Null), field)?,
                    })
                });
                AnyValue::KeyValues(pairs.collect::<Result<_, Refused>>()?)
            }
            _ => continue,
        });
    }
    Ok(AnyValue::Empty)
}

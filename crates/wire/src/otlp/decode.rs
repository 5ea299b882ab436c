//! OTLP protobuf straight into the columnar batch.
//!
//! The bytes are walked once for structure (so that a broken body is refused whole, before anything is kept) and each
//! span once for content; no message objects are made. Field numbers are those of opentelemetry/proto/trace/v1,
//! resource/v1 and common/v1.

use tracewell_model::{
    AnyValue, NewSpan, ResourceId, ScopeId, SpanBatch, SpanId, SpanKind, StatusCode, StrId, TraceId, Value,
};

use crate::limits::Bound;
use crate::meter::{Meter, Watch};
use crate::protobuf::{Broken, Fields, Payload};
use crate::report::Report;
use crate::{DecodeError, Decoded, Limits};

/// Attributes of one list between two looks at what they take, and what one takes.
const LISTED_ATTRIBUTES: usize = 1024;
const ATTRIBUTE_BYTES: usize = 24;

/// Why a span is not kept.
pub(crate) enum Refused {
    /// The whole body is broken.
    Body(Broken),
    /// Only this span, or what it shares with its siblings.
    Span(String),
    /// The whole body, because of what it would take; the decoder knows the reason.
    Memory,
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self::Span(reason)
    }
}

impl From<Broken> for Refused {
    fn from(broken: Broken) -> Self {
        Self::Body(broken)
    }
}

/// Reads an `ExportTraceServiceRequest` or `TracesData`, which have the same shape.
pub(crate) fn decode(body: &[u8], limits: &Limits, meter: &mut dyn Meter) -> Result<Decoded, DecodeError> {
    let watch = Some(Watch::new(meter, 0));
    let mut decoder =
        Decoder { batch: SpanBatch::new(), report: Report::default(), limits, spans: 0, watch, over: None };
    let read = decoder.request(body);
    if let Some(over) = decoder.over {
        return Err(over);
    }
    read.map_err(|stop| match stop {
        // There is always a reason, which was returned above.
        Stop::Memory => DecodeError::Busy("there is no memory for the request".to_owned()),
        Stop::Broken(Broken(what)) => DecodeError::Malformed(format!("the body is not OTLP protobuf: {what}")),
        Stop::TooManySpans => DecodeError::LimitExceeded(format!(
            "the request has more than {} spans (limit --spans-per-request)",
            limits.spans_per_request
        )),
    })?;
    let Decoder { batch, report, .. } = decoder;
    Ok(Decoded { batch, rejected: report.rejected, message: report.message() })
}

enum Stop {
    Broken(Broken),
    TooManySpans,
    Memory,
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

pub(super) struct Decoder<'l> {
    pub(super) batch: SpanBatch,
    pub(super) report: Report,
    pub(super) limits: &'l Limits,
    pub(super) spans: u64,
    pub(super) watch: Option<Watch<'l>>,
    /// Why the memory for the batch was refused.
    pub(super) over: Option<DecodeError>,
}

impl Decoder<'_> {
    /// So many bytes of the body are about to be read.
    #[inline]
    fn watch(&mut self, bytes: usize) -> Result<(), Refused> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        watch.read(bytes, &self.batch).map_err(|over| {
            self.over = Some(over);
            Refused::Memory
        })
    }

    /// Every so many attributes of one list it is looked at what they take.
    #[inline]
    fn watch_attributes(&mut self, attributes: usize) -> Result<(), Refused> {
        if attributes.is_multiple_of(LISTED_ATTRIBUTES) {
            self.watch(LISTED_ATTRIBUTES * ATTRIBUTE_BYTES)
        } else {
            Ok(())
        }
    }

    fn request(&mut self, body: &[u8]) -> Result<(), Stop> {
        let mut fields = Fields::new(body);
        while let Some(field) = fields.next()? {
            match field {
                (1, Payload::Bytes(message)) => self.resource_spans(message)?,
                (1, _) => return Err(Broken("resource_spans is not a message").into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn resource_spans(&mut self, message: &[u8]) -> Result<(), Stop> {
        // The resource may stand behind its spans, so it is looked for first.
        let mut resource_message: &[u8] = &[];
        let mut schema_url: &[u8] = &[];
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Payload::Bytes(bytes)) => resource_message = bytes,
                (3, Payload::Bytes(bytes)) => schema_url = bytes,
                (1..=3, Payload::Bytes(_)) => {}
                (1..=3, _) => return Err(Broken("a field of ResourceSpans has the wrong wire type").into()),
                _ => {}
            }
        }
        let resource = match self.resource(resource_message, schema_url) {
            Ok(resource) => Ok(resource),
            Err(Refused::Body(broken)) => return Err(broken.into()),
            Err(Refused::Memory) => return Err(Stop::Memory),
            Err(Refused::Span(reason)) => Err(reason),
        };
        let mut fields = Fields::new(message);
        while let Some((number, payload)) = fields.next()? {
            if let (2, Payload::Bytes(bytes)) = (number, payload) {
                self.scope_spans(bytes, &resource)?;
            }
        }
        Ok(())
    }

    fn scope_spans(&mut self, message: &[u8], resource: &Result<ResourceId, String>) -> Result<(), Stop> {
        let mut scope_message: &[u8] = &[];
        let mut schema_url: &[u8] = &[];
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Payload::Bytes(bytes)) => scope_message = bytes,
                (3, Payload::Bytes(bytes)) => schema_url = bytes,
                (1..=3, Payload::Bytes(_)) => {}
                (1..=3, _) => return Err(Broken("a field of ScopeSpans has the wrong wire type").into()),
                _ => {}
            }
        }
        let scope = match self.scope(scope_message, schema_url) {
            Ok(scope) => Ok(scope),
            Err(Refused::Body(broken)) => return Err(broken.into()),
            Err(Refused::Memory) => return Err(Stop::Memory),
            Err(Refused::Span(reason)) => Err(reason),
        };
        let mut fields = Fields::new(message);
        while let Some((number, payload)) = fields.next()? {
            let (2, Payload::Bytes(bytes)) = (number, payload) else { continue };
            self.spans += 1;
            if self.spans > u64::from(self.limits.spans_per_request) {
                return Err(Stop::TooManySpans);
            }
            let shared = match (resource, &scope) {
                (Ok(resource), Ok(scope)) => Ok((*resource, *scope)),
                (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
            };
            match shared {
                Ok((resource, scope)) => match self.span(bytes, resource, scope) {
                    Ok(()) => {}
                    Err(Refused::Body(broken)) => return Err(broken.into()),
                    Err(Refused::Memory) => return Err(Stop::Memory),
                    Err(Refused::Span(reason)) => {
                        self.batch.abandon_span();
                        self.report.reject(reason);
                    }
                },
                Err(reason) => self.report.reject(reason),
            }
        }
        Ok(())
    }

    pub(super) fn resource(&mut self, message: &[u8], schema_url: &[u8]) -> Result<ResourceId, Refused> {
        self.watch(message.len())?;
        let schema_url = text(schema_url, "resource schema_url", self.limits.name())?;
        let mut attributes = Vec::new();
        let mut dropped = 0;
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Payload::Bytes(bytes)) => {
                    self.limits.attributes().check_count(attributes.len() + 1, "resource.attributes")?;
                    self.watch_attributes(attributes.len() + 1)?;
                    attributes.push(self.key_value(bytes, "resource.attributes")?);
                }
                (2, Payload::Varint(number)) => dropped = number as u32,
                (1 | 2, _) => return Err(Broken("a field of Resource has the wrong wire type").into()),
                _ => {}
            }
        }
        Ok(self.batch.add_resource(&attributes, dropped, schema_url))
    }

    pub(super) fn scope(&mut self, message: &[u8], schema_url: &[u8]) -> Result<ScopeId, Refused> {
        self.watch(message.len())?;
        let schema_url = text(schema_url, "scope schema_url", self.limits.name())?;
        let (mut name, mut version) = ("", "");
        let mut attributes = Vec::new();
        let mut dropped = 0;
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Payload::Bytes(bytes)) => name = text(bytes, "scope.name", self.limits.name())?,
                (2, Payload::Bytes(bytes)) => version = text(bytes, "scope.version", self.limits.name())?,
                (3, Payload::Bytes(bytes)) => {
                    self.limits.attributes().check_count(attributes.len() + 1, "scope.attributes")?;
                    self.watch_attributes(attributes.len() + 1)?;
                    attributes.push(self.key_value(bytes, "scope.attributes")?);
                }
                (4, Payload::Varint(number)) => dropped = number as u32,
                (1..=4, _) => return Err(Broken("a field of InstrumentationScope has the wrong wire type").into()),
                _ => {}
            }
        }
        Ok(self.batch.add_scope(name, version, &attributes, dropped, schema_url))
    }

    fn span(&mut self, message: &[u8], resource: ResourceId, scope: ScopeId) -> Result<(), Refused> {
        // A refused span must not hide that the body is broken further on, so the first reason is kept to the end.
        self.watch(message.len())?;
        let mut refused: Option<String> = None;
        let mut span = NewSpan::new(resource, scope);
        let mut counts = Counts::default();
        let mut fields = Fields::new(message);
        while let Some((number, payload)) = fields.next()? {
            match self.span_field(&mut span, &mut counts, number, payload) {
                Ok(()) => {}
                Err(stop @ (Refused::Body(_) | Refused::Memory)) => return Err(stop),
                Err(Refused::Span(reason)) => {
                    refused.get_or_insert(reason);
                }
            }
        }
        if refused.is_none() && span.trace_id.is_zero() {
            refused = Some("span.trace_id: missing or all zeros".to_owned());
        }
        if refused.is_none() && span.span_id.is_zero() {
            refused = Some("span.span_id: missing or all zeros".to_owned());
        }
        match refused {
            Some(reason) => Err(Refused::Span(reason)),
            None => {
                self.batch.push_span(span);
                Ok(())
            }
        }
    }

    fn span_field(
        &mut self,
        span: &mut NewSpan,
        counts: &mut Counts,
        number: u32,
        payload: Payload<'_>,
    ) -> Result<(), Refused> {
        match (number, payload) {
            (1, Payload::Bytes(bytes)) => span.trace_id = trace_id(bytes, "span.trace_id")?,
            (2, Payload::Bytes(bytes)) => span.span_id = span_id(bytes, "span.span_id")?,
            (3, Payload::Bytes(bytes)) => span.trace_state = self.name(bytes, "span.trace_state")?,
            (4, Payload::Bytes([])) => span.parent_span_id = SpanId::ZERO,
            (4, Payload::Bytes(bytes)) => span.parent_span_id = span_id(bytes, "span.parent_span_id")?,
            (5, Payload::Bytes(bytes)) => span.name = self.name(bytes, "span.name")?,
            (6, Payload::Varint(kind)) => span.kind = SpanKind::from_number(kind as i64).unwrap_or_default(),
            (7, Payload::Fixed64(nanos)) => span.start_unix_nano = nanos,
            (8, Payload::Fixed64(nanos)) => span.end_unix_nano = nanos,
            (9, Payload::Bytes(bytes)) => {
                counts.attributes += 1;
                self.limits.attributes().check_count(counts.attributes, "span.attributes")?;
                self.watch_attributes(counts.attributes)?;
                let (key, value) = self.key_value(bytes, "span.attributes")?;
                self.batch.push_attribute(key, value);
            }
            (10, Payload::Varint(number)) => span.dropped_attributes_count = number as u32,
            (11, Payload::Bytes(bytes)) => {
                counts.events += 1;
                self.limits.events().check_count(counts.events, "span.events")?;
                self.event(bytes)?;
            }
            (12, Payload::Varint(number)) => span.dropped_events_count = number as u32,
            (13, Payload::Bytes(bytes)) => {
                counts.links += 1;
                self.limits.links().check_count(counts.links, "span.links")?;
                self.link(bytes)?;
            }
            (14, Payload::Varint(number)) => span.dropped_links_count = number as u32,
            (15, Payload::Bytes(bytes)) => {
                let mut fields = Fields::new(bytes);
                while let Some(field) = fields.next()? {
                    match field {
                        (2, Payload::Bytes(bytes)) => {
                            span.status_message = self.name(bytes, "span.status.message")?;
                        }
                        (3, Payload::Varint(code)) => {
                            span.status_code = StatusCode::from_number(code as i64).unwrap_or_default();
                        }
                        (2 | 3, _) => return Err(Broken("a field of Status has the wrong wire type").into()),
                        _ => {}
                    }
                }
            }
            (16, Payload::Fixed32(flags)) => span.flags = flags,
            (1..=16, _) => return Err(Broken("a field of Span has the wrong wire type").into()),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn event(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.event_at(message, 0)
    }

    /// Adds an event whose time is this unless the message has its own.
    pub(super) fn event_at(&mut self, message: &[u8], mut time: u64) -> Result<(), Refused> {
        self.watch(message.len())?;
        let (mut name, mut dropped, mut attributes) = (StrId::EMPTY, 0, 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Payload::Fixed64(nanos)) => time = nanos,
                (2, Payload::Bytes(bytes)) => {
                    name = self.name(bytes, "span.events.name")?;
                }
                (3, Payload::Bytes(bytes)) => {
                    attributes += 1;
                    self.limits.attributes().check_count(attributes, "span.events.attributes")?;
                    self.watch_attributes(attributes)?;
                    let (key, value) = self.key_value(bytes, "span.events.attributes")?;
                    self.batch.push_event_attribute(key, value);
                }
                (4, Payload::Varint(number)) => dropped = number as u32,
                (1..=4, _) => return Err(Broken("a field of Span.Event has the wrong wire type").into()),
                _ => {}
            }
        }
        self.batch.push_event(time, name, dropped);
        Ok(())
    }

    pub(super) fn link(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.watch(message.len())?;
        let (mut trace, mut span) = (TraceId::ZERO, SpanId::ZERO);
        let (mut trace_state, mut flags, mut dropped, mut attributes) = (StrId::EMPTY, 0, 0, 0);
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Payload::Bytes(bytes)) => trace = trace_id(bytes, "span.links.trace_id")?,
                (2, Payload::Bytes(bytes)) => span = span_id(bytes, "span.links.span_id")?,
                (3, Payload::Bytes(bytes)) => {
                    trace_state = self.name(bytes, "span.links.trace_state")?;
                }
                (4, Payload::Bytes(bytes)) => {
                    attributes += 1;
                    self.limits.attributes().check_count(attributes, "span.links.attributes")?;
                    self.watch_attributes(attributes)?;
                    let (key, value) = self.key_value(bytes, "span.links.attributes")?;
                    self.batch.push_link_attribute(key, value);
                }
                (5, Payload::Varint(number)) => dropped = number as u32,
                (6, Payload::Fixed32(bits)) => flags = bits,
                (1..=6, _) => return Err(Broken("a field of Span.Link has the wrong wire type").into()),
                _ => {}
            }
        }
        self.batch.push_link(trace, span, trace_state, flags, dropped);
        Ok(())
    }

    /// A name, within the limit.
    fn name(&mut self, bytes: &[u8], field: &str) -> Result<StrId, Refused> {
        self.limits.name().check_bytes(bytes.len(), field)?;
        self.batch.intern_bytes(bytes).map_err(|_| Refused::Span(format!("{field}: not UTF-8")))
    }

    pub(super) fn key_value(&mut self, message: &[u8], field: &str) -> Result<(StrId, Value), Refused> {
        if let Some(pair) = self.plain_key_value(message) {
            return Ok(pair);
        }
        let (mut key, mut value) = (StrId::EMPTY, Value::Empty);
        let mut fields = Fields::new(message);
        while let Some(part) = fields.next()? {
            match part {
                (1, Payload::Bytes(bytes)) => {
                    self.limits.attribute().check_bytes(bytes.len(), field)?;
                    key = self.batch.intern_bytes(bytes).map_err(|_| format!("{field}: a key is not UTF-8"))?;
                }
                (2, Payload::Bytes(bytes)) => value = self.value(bytes, field)?,
                (1 | 2, _) => return Err(Broken("a field of KeyValue has the wrong wire type").into()),
                _ => {}
            }
        }
        Ok((key, value))
    }

    /// A pair in the form that nearly all have: a key and then a value, both shorter than 128 bytes, the value a string,
    /// a small integer or a boolean. `None` for any other, also if it is wrong: that is for others to say.
    #[inline]
    fn plain_key_value(&mut self, message: &[u8]) -> Option<(StrId, Value)> {
        const KEY: u8 = 1 << 3 | 2;
        const VALUE: u8 = 2 << 3 | 2;
        const STRING: u8 = 1 << 3 | 2;
        const BOOL: u8 = 2 << 3;
        const INT: u8 = 3 << 3;
        if self.limits.attribute_bytes < 128 {
            return None;
        }
        let [KEY, key_length @ 0..128, rest @ ..] = message else { return None };
        let (key, rest) = rest.split_at_checked(usize::from(*key_length))?;
        let [VALUE, value_length @ 0..128, value @ ..] = rest else { return None };
        if value.len() != usize::from(*value_length) {
            return None;
        }
        let value = match value {
            [STRING, length @ 0..128, text @ ..] if text.len() == usize::from(*length) => {
                Value::Str(self.batch.intern_bytes(text).ok()?)
            }
            [INT, number @ 0..128] => Value::Int(i64::from(*number)),
            [INT, low @ 128..=255, high @ 0..128] => Value::Int(i64::from(low & 0x7f) | i64::from(*high) << 7),
            [BOOL, truth @ 0..128] => Value::Bool(*truth != 0),
            _ => return None,
        };
        Some((self.batch.intern_bytes(key).ok()?, value))
    }

    fn value(&mut self, message: &[u8], field: &str) -> Result<Value, Refused> {
        self.limits.attribute().check_bytes(message.len(), field)?;
        let mut value = Value::Empty;
        let mut fields = Fields::new(message);
        while let Some(part) = fields.next()? {
            value = match part {
                (1, Payload::Bytes(bytes)) => match self.batch.intern_bytes(bytes) {
                    Ok(text) => Value::Str(text),
                    Err(_) => return Err(Refused::Span(format!("{field}: a string is not UTF-8"))),
                },
                (2, Payload::Varint(number)) => Value::Bool(number != 0),
                (3, Payload::Varint(number)) => Value::Int(number as i64),
                (4, Payload::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
                (5 | 6, Payload::Bytes(_)) => {
                    // Rare, and looked through: what is kept is known to be readable.
                    let wrong = |why| Refused::Span(format!("{field}: {why}"));
                    if AnyValue::check_encoded(message).map_err(wrong)? {
                        return Ok(Value::Nested(self.batch.add_blob(message)));
                    }
                    // The alternative that comes last is what counts, and it is a plain one.
                    Value::Empty
                }
                (7, Payload::Bytes(bytes)) => Value::Bytes(self.batch.add_blob(bytes)),
                (1..=7, _) => return Err(Broken("a field of AnyValue has the wrong wire type").into()),
                _ => value,
            };
        }
        Ok(value)
    }
}

#[derive(Default)]
struct Counts {
    attributes: usize,
    events: usize,
    links: usize,
}

fn text<'a>(bytes: &'a [u8], field: &str, bound: Bound) -> Result<&'a str, Refused> {
    bound.check_bytes(bytes.len(), field)?;
    std::str::from_utf8(bytes).map_err(|_| Refused::Span(format!("{field}: not UTF-8")))
}

fn trace_id(bytes: &[u8], field: &str) -> Result<TraceId, Refused> {
    TraceId::from_slice(bytes).ok_or_else(|| Refused::Span(format!("{field}: {} bytes, not 16", bytes.len())))
}

fn span_id(bytes: &[u8], field: &str) -> Result<SpanId, Refused> {
    SpanId::from_slice(bytes).ok_or_else(|| Refused::Span(format!("{field}: {} bytes, not 8", bytes.len())))
}

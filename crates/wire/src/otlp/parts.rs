//! Parts of spans as OTLP protobuf, for stores that keep a span's plain fields in columns and the rest as bytes.

use tracewell_model::{
    EventRef, LinkRef, Resource, ResourceId, Scope, ScopeId, SpanBatch, SpanRef, StrId, Value, ValueRef,
};

use super::decode::{Decoder, Refused};
use super::encode;
use crate::protobuf::{Broken, Fields, Payload};
use crate::report::Report;
use crate::{DecodeError, Limits};

/// A `ResourceSpans` with the resource and its schema URL, and no spans.
pub fn encode_resource(batch: &SpanBatch, resource: &Resource) -> Vec<u8> {
    let mut out = Vec::new();
    encode::put_resource_and_schema(&mut out, batch, resource);
    out
}

/// A `ScopeSpans` with the scope and its schema URL, and no spans.
pub fn encode_scope(batch: &SpanBatch, scope: &Scope) -> Vec<u8> {
    let mut out = Vec::new();
    encode::put_scope_and_schema(&mut out, batch, scope);
    out
}

/// A `Span` with its events only.
pub fn encode_events(span: SpanRef<'_>, out: &mut Vec<u8>) {
    encode::put_events(out, span);
}

/// A `Span` with its links only.
pub fn encode_links(span: SpanRef<'_>, out: &mut Vec<u8>) {
    encode::put_links(out, span);
}

/// A `Span.Event` without its time.
pub fn encode_event_without_time(event: EventRef<'_>, out: &mut Vec<u8>) {
    encode::put_event_after_time(out, event);
}

/// A `Span.Link`.
pub fn encode_link(link: LinkRef<'_>, out: &mut Vec<u8>) {
    encode::put_link(out, link);
}

/// Appends one attribute to a `Span` with attributes only.
pub fn encode_attribute(key: &str, value: ValueRef<'_>, out: &mut Vec<u8>) {
    encode::put_key_value(out, 9, key, value);
}

/// Reads parts back into a batch. What a store wrote was within limits once, so none apply here.
pub struct PartsDecoder {
    decoder: Decoder<'static>,
}

static NO_LIMITS: Limits = Limits {
    spans_per_request: u32::MAX,
    attributes_per_span: u32::MAX,
    attribute_bytes: u32::MAX,
    events_per_span: u32::MAX,
    links_per_span: u32::MAX,
    name_bytes: u32::MAX,
};

impl Default for PartsDecoder {
    fn default() -> Self {
        Self::new(SpanBatch::new())
    }
}

impl PartsDecoder {
    /// Goes on filling a batch.
    pub fn new(batch: SpanBatch) -> Self {
        Self {
            decoder: Decoder {
                batch,
                report: Report::default(),
                limits: &NO_LIMITS,
                spans: 0,
                watch: None,
                over: None,
            },
        }
    }

    /// The batch that is being filled.
    pub fn batch(&mut self) -> &mut SpanBatch {
        &mut self.decoder.batch
    }

    /// The batch.
    pub fn into_batch(self) -> SpanBatch {
        self.decoder.batch
    }

    /// Adds what [`encode_resource`] wrote.
    pub fn resource(&mut self, bytes: &[u8]) -> Result<ResourceId, DecodeError> {
        let (resource, schema_url) = first_and_third(bytes)?;
        self.decoder.resource(resource, schema_url).map_err(damaged)
    }

    /// Adds what [`encode_scope`] wrote.
    pub fn scope(&mut self, bytes: &[u8]) -> Result<ScopeId, DecodeError> {
        let (scope, schema_url) = first_and_third(bytes)?;
        self.decoder.scope(scope, schema_url).map_err(damaged)
    }

    /// Adds the events or links of a `Span` to the span that is being built.
    pub fn span_parts(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next().map_err(broken)? {
            match field {
                (11, Payload::Bytes(event)) => self.decoder.event(event).map_err(damaged)?,
                (13, Payload::Bytes(link)) => self.decoder.link(link).map_err(damaged)?,
                _ => return Err(broken(Broken("neither an event nor a link"))),
            }
        }
        Ok(())
    }

    /// Adds what [`encode_event_without_time`] wrote, with this time, to the span that is being built.
    pub fn event(&mut self, bytes: &[u8], time_unix_nano: u64) -> Result<(), DecodeError> {
        self.decoder.event_at(bytes, time_unix_nano).map_err(damaged)
    }

    /// Adds what [`encode_link`] wrote to the span that is being built.
    pub fn link(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.decoder.link(bytes).map_err(damaged)
    }

    /// The attributes that [`encode_attribute`] wrote, one after the other.
    pub fn attributes(&mut self, bytes: &[u8], out: &mut Vec<(StrId, Value)>) -> Result<(), DecodeError> {
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next().map_err(broken)? {
            let (9, Payload::Bytes(pair)) = field else { return Err(broken(Broken("not an attribute"))) };
            out.push(self.decoder.key_value(pair, "attributes").map_err(damaged)?);
        }
        Ok(())
    }
}

fn first_and_third(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (mut first, mut third): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next().map_err(broken)? {
        match field {
            (1, Payload::Bytes(bytes)) => first = bytes,
            (3, Payload::Bytes(bytes)) => third = bytes,
            _ => {}
        }
    }
    Ok((first, third))
}

fn broken(Broken(what): Broken) -> DecodeError {
    DecodeError::Malformed(what.to_owned())
}

fn damaged(refused: Refused) -> DecodeError {
    match refused {
        Refused::Body(what) => broken(what),
        Refused::Span(reason) => DecodeError::Malformed(reason),
        Refused::Memory => DecodeError::Busy("there is no memory for it".to_owned()),
    }
}

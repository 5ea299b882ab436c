//! Context over process boundaries: W3C trace context and W3C baggage, in any carrier of names and values.

use crate::id::parse_hex_u64;
use crate::{Baggage, Context, SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use std::collections::HashMap;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";

/// Something that headers can be written to.
pub trait Injector {
    /// Sets a header, replacing what was there.
    fn set(&mut self, name: &'static str, value: String);
}

/// Something that headers can be read from. Names are given in lower case; carriers ignore the case of their own.
pub trait Extractor {
    /// All values of a header, in order.
    fn get(&self, name: &str) -> Vec<&str>;
}

/// Writes the context into a message that leaves the process. Without a valid span and baggage nothing is written.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// tracewell::inject(&tracewell::Context::current(), &mut headers);
/// ```
pub fn inject(context: &Context, carrier: &mut impl Injector) {
    let span = context.span_context();
    if span.is_valid() {
        carrier.set(TRACEPARENT, format!("00-{}-{}-{:02x}", span.trace_id, span.span_id, span.flags.to_byte()));
        if !span.trace_state.as_str().is_empty() {
            carrier.set(TRACESTATE, span.trace_state.as_str().to_owned());
        }
    }
    if !context.baggage().is_empty() {
        carrier.set(BAGGAGE, context.baggage().to_header());
    }
}

/// Reads the context of a message that came from another process. An invalid `traceparent` counts as none, so that
/// a new trace begins; the baggage is read either way.
#[must_use]
pub fn extract(carrier: &impl Extractor) -> Context {
    let context = match carrier.get(TRACEPARENT).as_slice() {
        // More than one is as invalid as none.
        [traceparent] => match parse_traceparent(traceparent) {
            Some(mut span) => {
                span.trace_state = TraceState::parse(&carrier.get(TRACESTATE).join(","));
                Context::new().with_span_context(span)
            }
            None => Context::new(),
        },
        _ => Context::new(),
    };
    match carrier.get(BAGGAGE).as_slice() {
        [] => context,
        headers => context.with_baggage(Baggage::parse(&headers.join(","))),
    }
}

/// `version-trace_id-parent_id-flags`, section 3.2 of <https://www.w3.org/TR/trace-context-2/>. Of versions that are
/// not known yet, what version 00 has is read and the rest after a further `-` ignored.
fn parse_traceparent(header: &str) -> Option<SpanContext> {
    let header = header.trim_matches([' ', '\t']);
    let (fields, rest) = (header.get(..55)?, header.get(55..)?);
    let mut parts = fields.split('-');
    let version = parse_hex_byte(parts.next()?)?;
    let trace_id = TraceId::from_hex(parts.next()?)?;
    let span_id = SpanId::from_hex(parts.next()?)?;
    let flags = TraceFlags::from_byte(parse_hex_byte(parts.next()?)?);
    let rest_is_valid = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    (rest_is_valid && parts.next().is_none()).then(|| SpanContext {
        trace_id,
        span_id,
        flags,
        is_remote: true,
        trace_state: TraceState::default(),
    })
}

fn parse_hex_byte(hex: &str) -> Option<u8> {
    if hex.len() != 2 {
        return None;
    }
    parse_hex_u64(hex.as_bytes()).and_then(|value| u8::try_from(value).ok())
}

impl Injector for http::HeaderMap {
    fn set(&mut self, name: &'static str, value: String) {
        // What is injected is printable ASCII; anything else is better left out than passed on.
        if let Ok(value) = http::HeaderValue::try_from(value) {
            self.insert(http::HeaderName::from_static(name), value);
        }
    }
}

impl Extractor for http::HeaderMap {
    fn get(&self, name: &str) -> Vec<&str> {
        self.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }
}

impl Injector for HashMap<String, String> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|other, _| !other.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value);
    }
}

impl Extractor for HashMap<String, String> {
    fn get(&self, name: &str) -> Vec<&str> {
        self.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }
}

impl Injector for Vec<(String, String)> {
    fn set(&mut self, name: &'static str, value: String) {
        self.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value));
    }
}

impl Extractor for Vec<(String, String)> {
    fn get(&self, name: &str) -> Vec<&str> {
        self.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }
}

#[cfg(test)]
mod tests;

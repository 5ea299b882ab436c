//! W3C trace context, level 2 (<https://www.w3.org/TR/trace-context-2/>), and W3C baggage.

use super::{Extractor, Injector, only};
use crate::id::{parse_hex, write_hex};
use crate::{Baggage, SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
pub(super) const BAGGAGE: &str = "baggage";

pub(super) fn inject(span: &SpanContext, carrier: &mut impl Injector) {
    let mut parent = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&span.trace_id.to_bytes(), &mut parent[3..35]);
    write_hex(&span.span_id.to_bytes(), &mut parent[36..52]);
    write_hex(&[span.flags.to_byte()], &mut parent[53..]);
    carrier.set(TRACEPARENT, std::str::from_utf8(&parent).unwrap_or_default());
    let state = span.trace_state.as_str();
    if !state.is_empty() {
        carrier.set(TRACESTATE, state);
    }
}

pub(super) fn extract(carrier: &impl Extractor) -> Option<SpanContext> {
    let mut span = parse_traceparent(only(carrier, TRACEPARENT)?)?;
    span.trace_state = joined(carrier, TRACESTATE, TraceState::parse).unwrap_or_default();
    Some(span)
}

pub(super) fn extract_baggage(carrier: &impl Extractor) -> Baggage {
    joined(carrier, BAGGAGE, Baggage::parse).unwrap_or_default()
}

/// Reads all values of a header as one list, and copies them only when there are several.
fn joined<R>(carrier: &impl Extractor, name: &str, read: impl FnOnce(&str) -> R) -> Option<R> {
    let (mut first, mut all) = (None, String::new());
    carrier.values(name, &mut |value| {
        if let Some(earlier) = first.replace(value) {
            if all.is_empty() {
                all.push_str(earlier);
            }
            all.push(',');
            all.push_str(value);
        }
    });
    first.map(|only| if all.is_empty() { read(only) } else { read(&all) })
}

/// `version-trace_id-parent_id-flags`, section 3.2. Of versions that are not known yet, what version 00 has is read and
/// the rest after a further `-` ignored.
fn parse_traceparent(header: &str) -> Option<SpanContext> {
    let header = header.trim_matches([' ', '\t']).as_bytes();
    let (fields, rest) = header.split_first_chunk::<55>()?;
    if [fields[2], fields[35], fields[52]] != [b'-'; 3] {
        return None;
    }
    let rest_is_valid = match &fields[..2] {
        b"00" => rest.is_empty(),
        b"ff" => false,
        version => parse_hex::<1>(version).is_some() && matches!(rest, [] | [b'-', ..]),
    };
    let span = SpanContext {
        trace_id: TraceId::from_bytes(parse_hex(&fields[3..35])?),
        span_id: SpanId::from_bytes(parse_hex(&fields[36..52])?),
        flags: TraceFlags::from_byte(parse_hex::<1>(&fields[53..])?[0]),
        is_remote: true,
        trace_state: TraceState::default(),
    };
    Some(span).filter(|span| rest_is_valid && span.is_valid())
}

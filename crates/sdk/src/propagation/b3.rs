//! B3 (<https://github.com/openzipkin/b3-propagation>), in one header and in several.

use super::{Extractor, Injector, only};
use crate::{SpanContext, SpanId, TraceFlags, TraceId};

const SINGLE: &str = "b3";
const TRACE_ID: &str = "x-b3-traceid";
const SPAN_ID: &str = "x-b3-spanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";

pub(super) fn inject(span: &SpanContext, carrier: &mut impl Injector) {
    let sampled = u8::from(span.is_sampled());
    carrier.set(SINGLE, &format!("{}-{}-{sampled}", span.trace_id, span.span_id));
}

pub(super) fn inject_multi(span: &SpanContext, carrier: &mut impl Injector) {
    carrier.set(TRACE_ID, &span.trace_id.to_string());
    carrier.set(SPAN_ID, &span.span_id.to_string());
    carrier.set(SAMPLED, if span.is_sampled() { "1" } else { "0" });
}

/// The single header counts before the others, as specified. A header that says only whether to sample (`b3: 0`) has
/// no parent, and so nothing that a decision could be kept with.
pub(super) fn extract(carrier: &impl Extractor) -> Option<SpanContext> {
    if let Some(single) = only(carrier, SINGLE) {
        let mut parts = single.trim().split('-');
        let (trace_id, span_id) = (parts.next()?, parts.next()?);
        if let Some(span) = parent(trace_id, span_id, parts.next()) {
            return Some(span);
        }
    }
    let sampled = match only(carrier, FLAGS).map(str::trim) {
        Some("1") => Some("d"),
        _ => only(carrier, SAMPLED),
    };
    parent(only(carrier, TRACE_ID)?, only(carrier, SPAN_ID)?, sampled)
}

fn parent(trace_id: &str, span_id: &str, sampled: Option<&str>) -> Option<SpanContext> {
    let trace_id = trace_id.trim();
    // 64-bit ids are the low half of ours.
    let trace_id = Some(TraceId::from_short_hex(trace_id)?).filter(|_| matches!(trace_id.len(), 16 | 32))?;
    let span_id = span_id.trim();
    let span_id = Some(SpanId::from_short_hex(span_id)?).filter(|_| span_id.len() == 16)?;
    let flags = TraceFlags::default();
    let flags = match sampled.map(str::trim) {
        Some("1" | "d" | "true" | "True" | "TRUE") => flags.with_sampled(true),
        Some("0" | "false" | "False" | "FALSE") => flags,
        // The caller leaves the decision to us.
        _ => flags.undecided(),
    };
    Some(SpanContext { trace_id, span_id, flags, is_remote: true, ..SpanContext::default() })
}

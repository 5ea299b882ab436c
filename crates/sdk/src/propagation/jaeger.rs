//! Jaeger's own format (<https://www.jaegertracing.io/sdk-migration/#propagation-format>): what services with its
//! former clients send.

use super::{Extractor, Injector, only};
use crate::baggage::{percent_decode, percent_encode};
use crate::{Baggage, SpanContext, SpanId, TraceFlags, TraceId};
use std::borrow::Cow;

const HEADER: &str = "uber-trace-id";
const BAGGAGE_PREFIX: &str = "uberctx-";

/// The parent's id is deprecated and 0.
pub(super) fn inject(span: &SpanContext, carrier: &mut impl Injector) {
    carrier.set(HEADER, &format!("{}:{}:0:{}", span.trace_id, span.span_id, u8::from(span.is_sampled())));
}

/// Keys have to be fit for a header's name; the others stay behind.
pub(super) fn inject_baggage(baggage: &Baggage, carrier: &mut impl Injector) {
    for (key, value) in baggage.iter() {
        let mut encoded = String::with_capacity(value.len());
        percent_encode(value, &mut encoded);
        carrier.set(&format!("{BAGGAGE_PREFIX}{}", key.to_ascii_lowercase()), &encoded);
    }
}

/// `trace:span:parent:flags`, in some clients with the colons encoded; leading zeros may be missing. Bit 1 of the flags is
/// sampled, bit 2 is debug, which implies it.
pub(super) fn extract(carrier: &impl Extractor) -> Option<SpanContext> {
    let header = only(carrier, HEADER)?.trim();
    let header: Cow<'_, str> = if header.contains('%') { percent_decode(header).into() } else { header.into() };
    let mut parts = header.split(':');
    let trace_id = TraceId::from_short_hex(parts.next()?)?;
    let span_id = SpanId::from_short_hex(parts.next()?)?;
    parts.next()?;
    let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
    if parts.next().is_some() {
        return None;
    }
    let flags = TraceFlags::default().with_sampled(flags & 3 != 0);
    Some(SpanContext { trace_id, span_id, flags, is_remote: true, ..SpanContext::default() })
}

pub(super) fn extract_baggage(carrier: &impl Extractor, baggage: &mut Baggage) {
    carrier.all(&mut |name, value| {
        let prefix = name.get(..BAGGAGE_PREFIX.len()).filter(|prefix| prefix.eq_ignore_ascii_case(BAGGAGE_PREFIX));
        if let Some(key) = prefix.and_then(|prefix| name.get(prefix.len()..)) {
            // What does not fit is left out, as it is of W3C baggage.
            let _ = baggage.insert(&key.to_ascii_lowercase(), &percent_decode(value.trim()));
        }
    });
}

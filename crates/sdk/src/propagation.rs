//! Context over process boundaries, in any carrier of names and values.

mod b3;
mod carrier;
mod jaeger;
mod w3c;

#[cfg(not(feature = "off"))]
use crate::{Baggage, SpanContext};
use crate::{Context, propagators_of, tracer};
use std::fmt;
use std::ops::BitOr;

/// Something that headers can be written to.
pub trait Injector {
    /// Sets a header, replacing what was there. Names are in lower case.
    fn set(&mut self, name: &str, value: &str);

    /// Whether there is such a header. Where there is an `x-request-id`, it stays. Carriers that cannot tell say no.
    fn has(&self, name: &str) -> bool {
        let _ = name;
        false
    }
}

/// Something that headers can be read from. Carriers ignore the case of their names.
pub trait Extractor {
    /// Calls `each` with every value of a header, in order. The name is given in lower case.
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(&'a str));

    /// Calls `each` with every header. Only Jaeger's baggage needs it, whose names are the users'.
    fn all<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a str)) {
        let _ = each;
    }
}

/// The formats in which contexts are sent and understood; joined by `|`.
///
/// ```
/// use tracewell::Propagators;
///
/// // Understand what a mesh sends in B3, and send both.
/// let both = Propagators::default() | Propagators::B3;
/// assert_eq!(both, Propagators::from_names("tracecontext,baggage,b3").unwrap());
/// ```
///
/// Every format is sent. Of several that were received, the first with a valid parent counts, in the order below.
/// What is received is read with tolerance, and what is sent keeps strictly to the specification.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Propagators(u8);

impl Propagators {
    /// None: contexts end at the process.
    pub const NONE: Self = Self(0);
    /// W3C trace context, level 2: `traceparent` and `tracestate`. Part of the default.
    pub const TRACE_CONTEXT: Self = Self(1);
    /// W3C baggage. Part of the default.
    pub const BAGGAGE: Self = Self(2);
    /// B3 in one header, `b3`.
    pub const B3: Self = Self(4);
    /// B3 in several headers, `x-b3-traceid` and so on. Either form of B3 is understood when one of them is set.
    pub const B3_MULTI: Self = Self(8);
    /// Jaeger's `uber-trace-id`, and baggage in `uberctx-` headers.
    pub const JAEGER: Self = Self(16);

    pub(crate) const DEFAULT: Self = Self(Self::TRACE_CONTEXT.0 | Self::BAGGAGE.0);

    /// As `OTEL_PROPAGATORS` names them: `tracecontext`, `baggage`, `b3`, `b3multi`, `jaeger`, `none`, with commas
    /// between them.
    ///
    /// # Errors
    /// The name that is not known.
    pub fn from_names(names: &str) -> Result<Self, String> {
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).try_fold(Self::NONE, |all, name| {
            Ok(all
                | match name {
                    "tracecontext" => Self::TRACE_CONTEXT,
                    "baggage" => Self::BAGGAGE,
                    "b3" => Self::B3,
                    "b3multi" => Self::B3_MULTI,
                    "jaeger" => Self::JAEGER,
                    "none" => Self::NONE,
                    _ => return Err(name.to_owned()),
                })
        })
    }

    /// Whether all of these are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

#[cfg(not(feature = "off"))]
impl Propagators {
    /// As [`inject`], in these formats.
    pub fn inject(self, context: &Context, carrier: &mut impl Injector) {
        let span = context.span_context();
        if span.is_valid() {
            if self.contains(Self::TRACE_CONTEXT) {
                w3c::inject(span, carrier);
            }
            if self.contains(Self::B3) {
                b3::inject(span, carrier);
            }
            if self.contains(Self::B3_MULTI) {
                b3::inject_multi(span, carrier);
            }
            if self.contains(Self::JAEGER) {
                jaeger::inject(span, carrier);
            }
        }
        if let Some(baggage) = context.shared_baggage().filter(|baggage| !baggage.is_empty()) {
            if self.contains(Self::BAGGAGE) {
                carrier.set(w3c::BAGGAGE, &baggage.to_header());
            }
            if self.contains(Self::JAEGER) {
                jaeger::inject_baggage(baggage, carrier);
            }
        }
        // The services of one request log the same id, whatever the formats are.
        if let Some(id) = context.request_id().filter(|id| is_request_id(id) && !carrier.has(REQUEST_ID)) {
            carrier.set(REQUEST_ID, id);
        }
    }

    /// As [`extract`], in these formats.
    #[must_use]
    pub fn extract(self, carrier: &impl Extractor) -> Context {
        let any_b3 = self.0 & (Self::B3.0 | Self::B3_MULTI.0) != 0;
        let mut span: Option<SpanContext> = None;
        if self.contains(Self::TRACE_CONTEXT) {
            span = w3c::extract(carrier);
        }
        if span.is_none() && any_b3 {
            span = b3::extract(carrier);
        }
        if span.is_none() && self.contains(Self::JAEGER) {
            span = jaeger::extract(carrier);
        }
        let mut baggage = Baggage::default();
        if self.contains(Self::BAGGAGE) {
            baggage = w3c::extract_baggage(carrier);
        }
        if self.contains(Self::JAEGER) {
            jaeger::extract_baggage(carrier, &mut baggage);
        }
        let baggage = if baggage.is_empty() { None } else { Some(std::sync::Arc::new(baggage)) };
        let mut request_id: Option<&str> = None;
        carrier.values(REQUEST_ID, &mut |id| _ = request_id.get_or_insert(id));
        let request_id = request_id.filter(|id| is_request_id(id)).map(Into::into);
        Context::unrecorded(span.unwrap_or_default(), baggage, request_id)
    }
}

impl Default for Propagators {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl BitOr for Propagators {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Propagators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["tracecontext", "baggage", "b3", "b3multi", "jaeger"];
        f.debug_list()
            .entries(names.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 == 1).map(|(_, n)| n))
            .finish()
    }
}

/// Writes the context into a message that leaves the process, in the formats of its tracer
/// ([`crate::Config::propagators`]) or else of the global one, and its request id as `x-request-id` where the message has none.
/// Without a valid span, baggage and request id nothing is written.
///
/// ```
/// let mut headers = http::HeaderMap::new();
/// tracewell::inject(&tracewell::Context::current(), &mut headers);
/// ```
pub fn inject(context: &Context, carrier: &mut impl Injector) {
    propagators_of(context).inject(context, carrier);
}

/// Reads the context of a message that came from another process, in the formats of the current context's
/// tracer or else of the global one. An invalid
/// parent counts as none, so that a new trace begins; the baggage and `x-request-id` are read either way.
#[must_use]
pub fn extract(carrier: &impl Extractor) -> Context {
    tracer().propagators().extract(carrier)
}

pub(crate) const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID_BYTES: usize = 128;

/// For a request that came with none.
pub(crate) fn new_request_id() -> String {
    format!("{:016x}{:016x}", crate::id::random_u64(), crate::id::random_u64())
}

/// Whether it is fit to be stored and sent on.
pub(crate) fn is_request_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The value of a header that may stand there once: more than one is as invalid as none.
fn only<'a>(carrier: &'a impl Extractor, name: &str) -> Option<&'a str> {
    let (mut first, mut count) = (None, 0);
    carrier.values(name, &mut |value| {
        first = Some(value);
        count += 1;
    });
    first.filter(|_| count == 1)
}

#[cfg(test)]
mod tests;

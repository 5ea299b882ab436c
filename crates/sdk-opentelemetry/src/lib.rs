//! Tracewell under the OpenTelemetry API, version 0.33: libraries that record with that API are seen in the same traces.
//!
//! ```
//! // Once, after `tracewell::init`:
//! opentelemetry::global::set_tracer_provider(tracewell_opentelemetry::TracerProvider::new());
//! ```
//!
//! A span of OpenTelemetry without a parent of its own is a child of Tracewell's current context; under an OpenTelemetry
//! span that is active, [`current_context`] is Tracewell's context for what Tracewell's own calls record.

mod span;
mod tracer;

pub use span::BridgeSpan;
pub use tracer::{BridgeTracer, TracerProvider};

use opentelemetry::trace::TraceContextExt as _;
use tracewell::{Context, SpanContext, TraceFlags};

/// Tracewell's context of the OpenTelemetry span that is active, or else Tracewell's current one.
///
/// ```
/// let context = tracewell_opentelemetry::current_context();
/// let span = tracewell::span("below").parent(&context).start();
/// # drop(span);
/// ```
#[must_use]
pub fn current_context() -> Context {
    opentelemetry::Context::map_current(|context| {
        if !context.has_active_span() {
            return Context::current();
        }
        Context::current().with_span_context(to_tracewell(context.span().span_context()))
    })
}

pub(crate) fn to_tracewell(span: &opentelemetry::trace::SpanContext) -> SpanContext {
    SpanContext::new(
        tracewell::TraceId::from_bytes(span.trace_id().to_bytes()),
        tracewell::SpanId::from_bytes(span.span_id().to_bytes()),
        TraceFlags::from_byte(span.trace_flags().to_u8()),
        span.is_remote(),
        tracewell::TraceState::parse(&span.trace_state().header()),
    )
}

pub(crate) fn to_opentelemetry(span: &SpanContext) -> opentelemetry::trace::SpanContext {
    opentelemetry::trace::SpanContext::new(
        opentelemetry::trace::TraceId::from_bytes(span.trace_id.to_bytes()),
        opentelemetry::trace::SpanId::from_bytes(span.span_id.to_bytes()),
        opentelemetry::trace::TraceFlags::new(span.flags.to_byte()),
        span.is_remote,
        span.trace_state.as_str().parse().unwrap_or_default(),
    )
}

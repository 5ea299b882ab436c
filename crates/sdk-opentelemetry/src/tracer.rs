//! The provider and the tracer of OpenTelemetry's API.

use crate::{BridgeSpan, to_tracewell};
use opentelemetry::trace::{SpanBuilder, SpanKind, TraceContextExt as _};
use opentelemetry::{Context, InstrumentationScope};
use tracewell::Tracer;

/// Gives tracers that record with Tracewell.
#[derive(Clone, Debug, Default)]
pub struct TracerProvider {
    tracer: Option<Tracer>,
}

impl TracerProvider {
    /// With the global tracer, as it is when a span starts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this tracer.
    #[must_use]
    pub fn with_tracer(tracer: Tracer) -> Self {
        Self { tracer: Some(tracer) }
    }
}

impl opentelemetry::trace::TracerProvider for TracerProvider {
    type Tracer = BridgeTracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> BridgeTracer {
        BridgeTracer { tracer: self.tracer.clone(), scope }
    }
}

/// Records spans with Tracewell; the library's name is the tag `otel.scope.name`.
#[derive(Clone, Debug)]
pub struct BridgeTracer {
    tracer: Option<Tracer>,
    scope: InstrumentationScope,
}

impl opentelemetry::trace::Tracer for BridgeTracer {
    type Span = BridgeSpan;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> BridgeSpan {
        let parent = if parent.has_active_span() {
            tracewell::Context::current().with_span_context(to_tracewell(parent.span().span_context()))
        } else {
            tracewell::Context::current()
        };
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let mut ours = tracer.span(builder.name).parent(&parent).kind(match builder.span_kind {
            Some(SpanKind::Server) => tracewell::SpanKind::Server,
            Some(SpanKind::Client) => tracewell::SpanKind::Client,
            Some(SpanKind::Producer) => tracewell::SpanKind::Producer,
            Some(SpanKind::Consumer) => tracewell::SpanKind::Consumer,
            Some(SpanKind::Internal) | None => tracewell::SpanKind::Internal,
        });
        if let Some(start) = builder.start_time {
            ours = ours.start_time(start);
        }
        for link in builder.links.unwrap_or_default() {
            ours = ours.link(&to_tracewell(&link.span_context));
        }
        let span = BridgeSpan::new(ours.tag("otel.scope.name", self.scope.name()).start());
        for attribute in builder.attributes.unwrap_or_default() {
            span.attribute(attribute);
        }
        span
    }
}

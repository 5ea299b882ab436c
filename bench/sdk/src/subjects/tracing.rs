use super::opentelemetry::{Carrier, provider};
use super::{Cost, Subject, endless, polled};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::sync::OnceLock;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

struct Tracing {
    headers: http::HeaderMap,
    propagator: TraceContextPropagator,
    parent: tracing::Span,
    _entered: tracing::span::EnteredSpan,
}

pub fn subject(unsampled: bool) -> Box<dyn Subject> {
    PROVIDER.get_or_init(|| {
        let provider = provider(unsampled);
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).expect("the first");
        provider
    });
    let parent = tracing::info_span!("parent");
    let entered = parent.clone().entered();
    Box::new(Tracing {
        headers: super::headers(),
        propagator: TraceContextPropagator::new(),
        parent,
        _entered: entered,
    })
}

impl Subject for Tracing {
    fn span(&mut self) {
        let span = tracing::info_span!("request", method = "GET", status = tracing::field::Empty);
        span.record("status", 200);
    }

    fn flush(&mut self) {
        PROVIDER.get().expect("the provider").force_flush().expect("a flush");
    }

    fn polls(&mut self) -> Cost {
        polled(Box::pin(endless().instrument(tracing::info_span!("future"))))
    }

    fn inject(&mut self) {
        self.propagator.inject_context(&self.parent.context(), &mut Carrier(&mut self.headers));
    }

    fn extract(&mut self) {
        let carrier = Carrier(&mut self.headers);
        std::hint::black_box(self.propagator.extract(&carrier));
    }
}

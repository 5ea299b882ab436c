use super::{Cost, Subject, endless, polled};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{FutureExt as _, Span as _, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};
use prost::Message as _;

#[derive(Debug)]
struct Sink {
    resource: ResourceAttributesWithSchema,
}

impl SpanExporter for Sink {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        super::count(count, &ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        Ok(())
    }
}

/// As its users set it up, with a queue that holds what comes between two flushes.
pub(super) fn provider(unsampled: bool) -> SdkTracerProvider {
    let config = BatchConfigBuilder::default().with_max_queue_size(4 * crate::PORTION as usize).build();
    let sink = Sink { resource: ResourceAttributesWithSchema::default() };
    let sampler = if unsampled { Sampler::AlwaysOff } else { Sampler::AlwaysOn };
    SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(sink).with_batch_config(config).build())
        .with_sampler(Sampler::ParentBased(Box::new(sampler)))
        .build()
}

struct OpenTelemetry {
    headers: http::HeaderMap,
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
    context: Context,
    _entered: ContextGuard,
}

pub fn subject(unsampled: bool) -> Box<dyn Subject> {
    let provider = provider(unsampled);
    let tracer = provider.tracer("bench");
    let context = Context::current_with_span(tracer.start("parent"));
    let entered = context.clone().attach();
    let propagator = TraceContextPropagator::new();
    Box::new(OpenTelemetry { headers: super::headers(), provider, tracer, propagator, context, _entered: entered })
}

impl Subject for OpenTelemetry {
    fn span(&mut self) {
        let mut span = self
            .tracer
            .span_builder("request")
            .with_attributes([KeyValue::new("http.request.method", "GET")])
            .start(&self.tracer);
        span.set_attribute(KeyValue::new("http.response.status_code", 200));
    }

    fn flush(&mut self) {
        self.provider.force_flush().expect("a flush");
    }

    fn polls(&mut self) -> Cost {
        let span = self.tracer.start("future");
        polled(Box::pin(endless().with_context(Context::current_with_span(span))))
    }

    fn inject(&mut self) {
        self.propagator.inject_context(&self.context, &mut Carrier(&mut self.headers));
    }

    fn extract(&mut self) {
        let carrier = Carrier(&mut self.headers);
        std::hint::black_box(self.propagator.extract_with_context(&Context::new(), &carrier));
    }
}

pub(super) struct Carrier<'a>(pub(super) &'a mut http::HeaderMap);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (http::HeaderName::from_bytes(key.as_bytes()), value.try_into()) {
            self.0.insert(name, value);
        }
    }
}

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

use super::{Cost, Subject, endless, polled};
use fastrace::collector::{Config, Reporter, SpanRecord};
use fastrace::prelude::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan};
use prost::Message as _;

struct Sink;

impl Reporter for Sink {
    fn report(&mut self, records: Vec<SpanRecord>) {
        let spans: Vec<OtlpSpan> = records
            .into_iter()
            .map(|record| OtlpSpan {
                trace_id: record.trace_id.0.to_be_bytes().to_vec(),
                span_id: record.span_id.0.to_be_bytes().to_vec(),
                parent_span_id: record.parent_id.0.to_be_bytes().to_vec(),
                name: record.name.into_owned(),
                kind: 1,
                start_time_unix_nano: record.begin_time_unix_ns,
                end_time_unix_nano: record.begin_time_unix_ns + record.duration_ns,
                attributes: record
                    .properties
                    .into_iter()
                    .map(|(key, value)| KeyValue {
                        key: key.into_owned(),
                        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.into_owned())) }),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        let count = spans.len();
        let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
        let request =
            ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] };
        super::count(count, &request.encode_to_vec());
    }
}

struct Fastrace {
    headers: http::HeaderMap,
    parent: Span,
    context: SpanContext,
    unsampled: bool,
}

/// A span that is not sampled is in this library one that does nothing.
fn root(context: SpanContext, unsampled: bool) -> Span {
    if unsampled { Span::noop() } else { Span::root("parent", context) }
}

pub fn subject(unsampled: bool) -> Box<dyn Subject> {
    fastrace::set_reporter(Sink, Config::default());
    let context = SpanContext::random();
    Box::new(Fastrace { headers: super::headers(), parent: root(context, unsampled), context, unsampled })
}

impl Subject for Fastrace {
    fn span(&mut self) {
        let span = Span::enter_with_parent("request", &self.parent).with_property(|| ("http.request.method", "GET"));
        span.add_property(|| ("http.response.status_code", 200.to_string()));
    }

    /// Spans are kept until their root ends, so each portion has a root of its own.
    fn flush(&mut self) {
        self.parent = root(self.context, self.unsampled);
        fastrace::flush();
    }

    /// Without the roots, of which each flush has had one.
    fn exported(&self) -> u64 {
        let all = super::EXPORTED.load(std::sync::atomic::Ordering::Relaxed);
        all - all / (crate::PORTION + 1)
    }

    fn polls(&mut self) -> Cost {
        polled(Box::pin(endless().in_span(Span::enter_with_parent("future", &self.parent))))
    }

    fn inject(&mut self) {
        let context = SpanContext::from_span(&self.parent).expect("a context");
        if let Ok(value) = http::HeaderValue::try_from(context.encode_w3c_traceparent()) {
            self.headers.insert("traceparent", value);
        }
    }

    fn extract(&mut self) {
        let parent = self.headers.get("traceparent").and_then(|value| value.to_str().ok());
        std::hint::black_box(parent.and_then(SpanContext::decode_w3c_traceparent));
    }
}

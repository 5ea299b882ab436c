use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ResourceMessage;
use proptest::prelude::*;
use prost::Message;

use super::*;

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn number(value: Value, attributes: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        start_time_unix_nano: 5,
        time_unix_nano: 9,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, data: metric::Data) -> Metric {
    Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }
}

fn sum(name: &str, temporality: i32, data_points: Vec<NumberDataPoint>) -> Metric {
    let sum = Sum { data_points, aggregation_temporality: temporality, is_monotonic: true };
    metric(name, metric::Data::Sum(sum))
}

fn request() -> ExportMetricsServiceRequest {
    let duration = |component: &str| HistogramDataPoint {
        attributes: vec![attribute("otel.component.type", component)],
        start_time_unix_nano: 5,
        time_unix_nano: 9,
        count: 2,
        sum: Some(0.25),
        ..HistogramDataPoint::default()
    };
    let histogram = Histogram {
        data_points: vec![duration("otlp_http_span_exporter"), duration("otlp_http_metric_exporter")],
        aggregation_temporality: 2,
    };
    let metrics = vec![
        metric("process.memory", metric::Data::Gauge(Gauge { data_points: vec![number(Value::AsInt(1), &[])] })),
        sum(
            "otel.sdk.exporter.span.exported",
            2,
            vec![number(Value::AsInt(70), &[]), number(Value::AsInt(3), &[("error.type", "rejected")])],
        ),
        sum(
            "otel.sdk.processor.span.processed",
            1,
            vec![number(Value::AsInt(73), &[]), number(Value::AsDouble(4.0), &[("error.type", "queue_full")])],
        ),
        metric("otel.sdk.exporter.operation.duration", metric::Data::Histogram(histogram)),
    ];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource =
        ResourceMessage { attributes: vec![attribute("service.name", "cart")], ..ResourceMessage::default() };
    let resource_metrics = ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
}

/// The same, as JSON, with some of what JSON allows.
const JSON: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},
  "scopeMetrics":[{"metrics":[
    {"name":"process.memory","gauge":{"dataPoints":[{"asInt":"1"}]}},
    {"name":"otel.sdk.exporter.span.exported","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
      {"asInt":"70","startTimeUnixNano":"5","timeUnixNano":9},
      {"asInt":3,"startTimeUnixNano":"5","timeUnixNano":"9","attributes":[{"key":"error.type","value":{"stringValue":"rejected"}}]}]}},
    {"name":"otel.sdk.processor.span.processed","sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA","dataPoints":[
      {"asInt":73},
      {"asDouble":4.0,"startTimeUnixNano":"5","timeUnixNano":"9","attributes":[{"key":"error.type","value":{"stringValue":"queue_full"}}]}]}},
    {"name":"otel.sdk.exporter.operation.duration","histogram":{"aggregationTemporality":2,"dataPoints":[
      {"sum":0.25,"count":"2","startTimeUnixNano":"5","timeUnixNano":"9",
       "attributes":[{"key":"otel.component.type","value":{"stringValue":"otlp_http_span_exporter"}}]}]}}
  ]}]}]}"#;

#[test]
fn of_both_encodings_what_sdks_tell_of_their_spans_is_read_and_the_rest_is_not() {
    let limits = Limits::default();
    let protobuf = decode(Encoding::Protobuf, &request().encode_to_vec(), &limits).unwrap().points;
    let json = decode(Encoding::Json, JSON.as_bytes(), &limits).unwrap().points;
    for points in [&protobuf, &json] {
        let short: Vec<_> =
            points.iter().map(|point| (point.metric, point.reason.as_str(), point.value, point.is_delta)).collect();
        assert_eq!(
            short,
            [
                (SdkMetric::Exported, "", 70, false),
                (SdkMetric::Exported, "rejected", 3, false),
                (SdkMetric::Processed, "queue_full", 4, true),
                (SdkMetric::ExportNanos, "", 250_000_000, false),
            ]
        );
        let times = points.iter().map(|point| (point.service.as_str(), point.start_unix_nano, point.time_unix_nano));
        assert!(times.into_iter().all(|point| point == ("cart", 5, 9)));
        let series: std::collections::HashSet<_> = points.iter().map(|point| point.series).collect();
        assert_eq!(series.len(), points.len());
    }
}

#[test]
fn long_texts_are_cut_and_too_many_points_refused() {
    let mut request = request();
    let resource = &mut request.resource_metrics[0];
    resource.resource = Some(ResourceMessage {
        attributes: vec![attribute("service.name", &"é".repeat(1000))],
        ..ResourceMessage::default()
    });
    let body = request.encode_to_vec();
    let points = decode(Encoding::Protobuf, &body, &Limits::default()).unwrap().points;
    assert_eq!(points[0].service, "é".repeat(MOST_TEXT_BYTES / 2));
    let limits = Limits { spans_per_request: 2, ..Limits::default() };
    let error = decode(Encoding::Protobuf, &body, &limits).unwrap_err();
    assert!(matches!(&error, DecodeError::LimitExceeded(what) if what.contains("--spans-per-request")), "{error}");
}

#[test]
fn what_is_not_otlp_is_refused() {
    let limits = Limits::default();
    let whole = request().encode_to_vec();
    for body in [&b"\xff\xff\xff"[..], &whole[..whole.len() - 5], &[0x0a, 1, 0xff]] {
        assert!(matches!(decode(Encoding::Protobuf, body, &limits), Err(DecodeError::Malformed(_))), "{body:?}");
    }
    for body in ["[]", "{", r#"{"resourceMetrics":3}"#] {
        assert!(matches!(decode(Encoding::Json, body.as_bytes(), &limits), Err(DecodeError::Malformed(_))), "{body}");
    }
    for body in ["", "{}"] {
        assert_eq!(decode(Encoding::Json, body.as_bytes(), &limits).unwrap().points, []);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(body: Vec<u8>, at: prop::sample::Index, byte: u8) {
        let limits = Limits::default();
        let _ = decode(Encoding::Protobuf, &body, &limits);
        let _ = decode(Encoding::Json, &body, &limits);
        let mut changed = request().encode_to_vec();
        let at = at.index(changed.len());
        changed[at] = byte;
        let _ = decode(Encoding::Protobuf, &changed, &limits);
    }
}

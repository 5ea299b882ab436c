//! Metrics: what SDKs tell of themselves is kept, every other valid request is taken, under the limits that spans have.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, Gauge, Histogram, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    metric::Data,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::*;
use crate::api::SdkDrops;

const PATH: &str = "/v1/metrics";

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn request_of(data: Vec<(&str, Data)>) -> ExportMetricsServiceRequest {
    let metrics =
        data.into_iter().map(|(name, data)| Metric { name: name.to_owned(), data: Some(data), ..Metric::default() });
    let scope_metrics = vec![ScopeMetrics { metrics: metrics.collect(), ..ScopeMetrics::default() }];
    let resource = Resource { attributes: vec![attribute("service.name", "cart")], ..Resource::default() };
    let resource_metrics = ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
}

/// Seven spans exported, and two dropped.
fn told() -> ExportMetricsServiceRequest {
    let point = |value, reason: &str| NumberDataPoint {
        attributes: if reason.is_empty() { Vec::new() } else { vec![attribute("error.type", reason)] },
        value: Some(Value::AsInt(value)),
        time_unix_nano: 9,
        ..NumberDataPoint::default()
    };
    let sum =
        Sum { data_points: vec![point(7, ""), point(2, "queue_full")], aggregation_temporality: 2, is_monotonic: true };
    request_of(vec![("otel.sdk.exporter.span.exported", Data::Sum(sum))])
}

const TOLD_JSON: &str = r#"{"resourceMetrics":[{
    "resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}}]},
    "scopeMetrics":[{"metrics":[{"name":"otel.sdk.exporter.span.exported","sum":{"aggregationTemporality":2,"dataPoints":[
        {"asInt":"7","timeUnixNano":"9"},
        {"asInt":"2","timeUnixNano":"9","attributes":[{"key":"error.type","value":{"stringValue":"queue_full"}}]}]}}]}]}]}"#;

impl Setup {
    fn has_been_told(&self) -> bool {
        let sdks = self.receiver.stats().sdks;
        let dropped = vec![SdkDrops { reason: "queue_full".to_owned(), spans: 2 }];
        let told = sdks
            .iter()
            .any(|sdk| (sdk.service.as_str(), sdk.recorded, sdk.exported, &sdk.dropped) == ("cart", 9, 7, &dropped));
        assert_eq!(told, !sdks.is_empty(), "{sdks:?}");
        told
    }
}

#[tokio::test]
async fn what_sdks_tell_is_kept_in_every_encoding_over_http_and_grpc() {
    for (content_type, body) in [(PROTOBUF, told().encode_to_vec()), (JSON, TOLD_JSON.into())] {
        for encoding in ["", "gzip", "deflate", "zstd"] {
            let setup = Setup::new();
            let headers = [("content-type", content_type), ("content-encoding", encoding)];
            // A sender that did not hear the answer sends again.
            for _ in 0..2 {
                let answer = setup.post_to(PATH, &headers, compress(encoding, &body)).await;
                assert_eq!(answer.status, StatusCode::OK, "{content_type} {encoding}: {:?}", answer.body);
                assert_eq!(answer.headers[header::CONTENT_TYPE], content_type);
                assert_eq!(answer.body, if content_type == JSON { &b"{}"[..] } else { b"" });
            }
            assert!(setup.has_been_told(), "{content_type} {encoding}");
        }
    }
    for compression in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let setup = Setup::new();
        assert_eq!(setup.call_to(grpc::METRICS, told().encode_to_vec(), compression).await.unwrap(), Bytes::new());
        assert!(setup.has_been_told(), "{compression:?}");
    }
}

#[tokio::test]
async fn metrics_of_every_other_kind_are_taken_and_let_go_of() {
    let setup = Setup::new();
    let request = request_of(vec![
        ("process.memory", Data::Gauge(Gauge::default())),
        ("http.server.requests", Data::Sum(Sum::default())),
        ("http.server.request.duration", Data::Histogram(Histogram::default())),
        ("other", Data::ExponentialHistogram(ExponentialHistogram::default())),
        ("old", Data::Summary(Summary::default())),
        // The right name, and another kind than the conventions say.
        ("otel.sdk.exporter.span.exported", Data::Gauge(Gauge::default())),
    ]);
    for body in [request.encode_to_vec(), Vec::new()] {
        let answer = setup.post_to(PATH, &[("content-type", PROTOBUF)], body.clone()).await;
        assert_eq!((answer.status, answer.body), (StatusCode::OK, Bytes::new()));
        assert_eq!(setup.call_to(grpc::METRICS, body, None).await.unwrap(), Bytes::new());
    }
    let stats = setup.receiver.stats();
    assert!(stats.sdks.is_empty() && stats.refused.is_empty(), "{stats:?}");
    assert_eq!(setup.spans().await, 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_for_good_and_counted() {
    let setup = Setup::new();
    let cut = told().encode_to_vec()[..30].to_vec();
    for (content_type, encoding, body) in [
        (PROTOBUF, "", cut.clone()),
        (PROTOBUF, "gzip", cut.clone()),
        (PROTOBUF, "br", cut.clone()),
        (JSON, "", b"{\"resourceMetrics\":3}".to_vec()),
        (JSON, "", b"nothing".to_vec()),
    ] {
        let headers = [("content-type", content_type), ("content-encoding", encoding)];
        let answer = setup.post_to(PATH, &headers, body).await;
        assert_eq!((answer.status, answer.error().0), (StatusCode::BAD_REQUEST, Code::InvalidArgument as i64));
    }
    assert_eq!(setup.call_to(grpc::METRICS, cut, None).await.unwrap_err().code(), Code::InvalidArgument);
    let refused = setup.receiver.stats().refused;
    assert!(refused.iter().any(|loss| loss.reason == "malformed" && loss.requests == 6), "{refused:?}");
    assert!(!setup.has_been_told());
}

#[tokio::test]
async fn the_limits_of_spans_hold_for_metrics() {
    let body = told().encode_to_vec();
    let small = ReceiveLimits { body_bytes: 50, ..ReceiveLimits::default() };
    let mut few = ReceiveLimits::default();
    few.request.spans_per_request = 1;
    for (limits, named) in [(small, "--body-size"), (few, "--spans-per-request")] {
        let setup = Setup::with(limits, MemoryOptions::default());
        let answer = setup.post_to(PATH, &[("content-type", PROTOBUF)], body.clone()).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(answer.error().1.contains(named), "{:?}", answer.body);
        assert!(!setup.has_been_told());
    }
    let setup = Setup::new();
    let bomb = compress("zstd", &vec![0; 200 << 20]);
    let headers = [("content-type", PROTOBUF), ("content-encoding", "zstd")];
    assert_eq!(setup.post_to(PATH, &headers, bomb).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let mut all = setup.receiver.admission.begin();
    all.reach(192 << 20).unwrap();
    let answer = setup.post_to(PATH, &[("content-type", PROTOBUF)], body.clone()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    assert_eq!(setup.call_to(grpc::METRICS, body, None).await.unwrap_err().code(), Code::Unavailable);
}

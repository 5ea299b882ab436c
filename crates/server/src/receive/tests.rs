//! The receivers by the OTLP specification: what is taken, what is refused, and what the sender is told.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::{Buf, BufMut, Bytes};
use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::Value as Json;
use tonic::Code;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tower::ServiceExt;
use tracewell_store::{MemoryOptions, MemoryStore, SpanStore, Tenant};

use crate::budget::MemoryBudget;

use super::{AllowedOrigins, ReceiveLimits, Receiver, grpc};

mod metrics;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

struct Setup {
    store: Arc<MemoryStore>,
    receiver: Receiver,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Setup {
    fn new() -> Self {
        Self::with(ReceiveLimits::default(), MemoryOptions::default())
    }

    fn with(limits: ReceiveLimits, memory: MemoryOptions) -> Self {
        let store = Arc::new(MemoryStore::new(memory));
        let origins = AllowedOrigins::parse(&["https://shop.example".to_owned()]).unwrap();
        let receiver = Receiver::new(store.clone(), limits, &MemoryBudget::new(512 << 20), origins);
        Self { receiver, store }
    }

    async fn spans(&self) -> u64 {
        self.store.stats(&Tenant::default()).await.unwrap().spans
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.receiver.http_router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn post(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        self.post_to("/v1/traces", headers, body).await
    }

    async fn post_to(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let request = headers
            .iter()
            .fold(Request::post(path), |request, (name, value)| request.header(*name, *value))
            .body(body.into())
            .unwrap();
        self.send(request).await
    }

    async fn call(
        &self,
        body: Vec<u8>,
        compression: Option<CompressionEncoding>,
    ) -> Result<ExportTraceServiceResponse, tonic::Status> {
        let answer = self.call_to(grpc::TRACES, body, compression).await?;
        Ok(ExportTraceServiceResponse::decode(answer).unwrap())
    }

    async fn call_to(
        &self,
        path: &str,
        body: Vec<u8>,
        compression: Option<CompressionEncoding>,
    ) -> Result<Bytes, tonic::Status> {
        let mut client = tonic::client::Grpc::new(self.receiver.grpc_router());
        if let Some(compression) = compression {
            client = client.send_compressed(compression);
        }
        client.ready().await.unwrap();
        let answer = client.unary(tonic::Request::new(body), path.parse().unwrap(), RawCodec).await?;
        Ok(answer.into_inner())
    }
}

/// Hands messages through as they are.
#[derive(Clone, Copy, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        let length = message.remaining();
        Ok(Some(message.copy_to_bytes(length)))
    }
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The `google.rpc.Status` that every error of OTLP/HTTP has as its body: code and message.
    fn error(&self) -> (i64, String) {
        let status = if self.headers[header::CONTENT_TYPE] == JSON {
            let status = self.json();
            (status["code"].as_i64().unwrap(), status["message"].as_str().unwrap().to_owned())
        } else {
            assert_eq!(self.headers[header::CONTENT_TYPE], PROTOBUF);
            let status = RpcStatus::decode(&self.body[..]).unwrap();
            (i64::from(status.code), status.message)
        };
        assert!(!status.1.is_empty(), "an error says what is wrong");
        status
    }
}

/// `google.rpc.Status`, by its definition.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`, with the seconds of its `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Seconds>,
}

#[derive(Clone, PartialEq, Message)]
struct Seconds {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

/// A request with spans of these ids in one trace.
fn request_of(span_ids: &[&[u8]]) -> ExportTraceServiceRequest {
    let spans = span_ids.iter().map(|span_id| Span {
        trace_id: vec![7; 16],
        span_id: span_id.to_vec(),
        name: "GET /".to_owned(),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_100_000_000,
        ..Span::default()
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

fn one_span() -> ExportTraceServiceRequest {
    request_of(&[&[1; 8]])
}

/// The same span as OTLP JSON, with the numbers as numbers and a field that no version knows.
const ONE_SPAN_JSON: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{
    "traceId":"07070707070707070707070707070707","spanId":"0101010101010101","name":"GET /","fieldOfTomorrow":{"a":[1]},
    "startTimeUnixNano":1700000000000000000,"endTimeUnixNano":"1700000000100000000"}]}]}]}"#;

fn compress(encoding: &str, body: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        // Not what HTTP says, and what some senders do.
        "raw deflate" => {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(body, 0).unwrap(),
        _ => body.to_vec(),
    }
}

#[tokio::test]
async fn every_content_type_is_taken_in_every_encoding_and_answered_in_kind() {
    for (content_type, answered, body) in [
        (PROTOBUF, PROTOBUF, one_span().encode_to_vec()),
        ("application/protobuf", PROTOBUF, one_span().encode_to_vec()),
        (JSON, JSON, ONE_SPAN_JSON.into()),
        ("Application/JSON; charset=utf-8", JSON, ONE_SPAN_JSON.into()),
    ] {
        for encoding in ["", "identity", "gzip", "deflate", "zstd", "GZIP"] {
            let setup = Setup::new();
            let body = compress(&encoding.to_lowercase(), &body);
            let answer = setup.post(&[("content-type", content_type), ("content-encoding", encoding)], body).await;
            assert_eq!(answer.status, StatusCode::OK, "{content_type} {encoding}: {:?}", answer.body);
            assert_eq!(answer.headers[header::CONTENT_TYPE], answered);
            assert_eq!(answer.body, if answered == JSON { &b"{}"[..] } else { b"" }, "full success says nothing");
            assert_eq!(setup.spans().await, 1, "{content_type} {encoding}");
        }
    }
}

#[tokio::test]
async fn deflate_is_taken_without_its_header_too() {
    let setup = Setup::new();
    let body = compress("raw deflate", &one_span().encode_to_vec());
    let answer = setup.post(&[("content-type", PROTOBUF), ("content-encoding", "deflate")], body).await;
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    assert_eq!(setup.spans().await, 1);
}

#[tokio::test]
async fn an_empty_request_is_a_success() {
    let setup = Setup::new();
    for (content_type, body) in [(PROTOBUF, ""), (JSON, "{}"), (JSON, r#"{"resourceSpans":[]}"#)] {
        let answer = setup.post(&[("content-type", content_type)], body).await;
        assert_eq!(answer.status, StatusCode::OK, "{content_type} {body:?}: {:?}", answer.body);
    }
    assert_eq!(setup.spans().await, 0);
}

#[tokio::test]
async fn a_bad_span_is_named_and_its_neighbours_are_kept() {
    let setup = Setup::new();
    let request = request_of(&[&[1; 8], &[2; 7], &[0; 8], &[3; 8]]);
    let answer = setup.post(&[("content-type", PROTOBUF)], request.encode_to_vec()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let partial = ExportTraceServiceResponse::decode(answer.body).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 2);
    assert!(partial.error_message.contains("span_id"), "{}", partial.error_message);
    assert_eq!(setup.spans().await, 2);

    let json = ONE_SPAN_JSON.replace("0101010101010101", "xyz");
    let answer = setup.post(&[("content-type", JSON)], json).await;
    assert_eq!(answer.status, StatusCode::OK);
    let partial = &answer.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"], "1", "{partial}");
    assert!(partial["errorMessage"].as_str().unwrap().contains("span_id"), "{partial}");

    let partial = setup.call(request.encode_to_vec(), None).await.unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 2);
    let stats = setup.receiver.stats();
    assert_eq!(stats.received.spans, 4);
    assert!(stats.refused.iter().any(|loss| loss.reason == "rejected_spans" && loss.spans == 5), "{:?}", stats.refused);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_for_good() {
    let setup = Setup::new();
    let cut = &one_span().encode_to_vec()[..30];
    for (content_type, encoding, body) in [
        (PROTOBUF, "", cut.to_vec()),
        (PROTOBUF, "", b"\xff\xff\xff\xff\xff".to_vec()),
        (JSON, "", b"{\"resourceSpans\":[".to_vec()),
        (JSON, "", b"[1,2]".to_vec()),
        (PROTOBUF, "gzip", one_span().encode_to_vec()),
        (PROTOBUF, "gzip", compress("gzip", &one_span().encode_to_vec())[..20].to_vec()),
        (PROTOBUF, "zstd", b"nothing".to_vec()),
        (PROTOBUF, "deflate", b"nothing".to_vec()),
        (PROTOBUF, "br", one_span().encode_to_vec()),
    ] {
        let answer = setup.post(&[("content-type", content_type), ("content-encoding", encoding)], body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{content_type} {encoding} {body:?}");
        assert_eq!(answer.error().0, Code::InvalidArgument as i64);
        assert!(!answer.headers.contains_key(header::RETRY_AFTER));
    }
    assert_eq!(setup.call(cut.to_vec(), None).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(setup.spans().await, 0);
}

#[tokio::test]
async fn other_methods_paths_and_types_are_told_what_is_right() {
    let setup = Setup::new();
    let answer = setup.post(&[("content-type", "text/plain")], "hello").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(answer.error().1.contains("text/plain"), "{:?}", answer.body);

    let answer = setup.post(&[], one_span().encode_to_vec()).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);

    let answer = setup.send(Request::get("/v1/traces").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers[header::ALLOW], "POST, OPTIONS");

    let answer = setup.send(Request::post("/v1/logs").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let said = answer.error().1;
    assert!(said.contains("/v1/traces") && said.contains("logs are not kept here"), "{said}");
}

#[tokio::test]
async fn a_bomb_is_refused_before_it_goes_off() {
    let setup = Setup::new();
    let bytes = 200 << 20;
    for encoding in ["gzip", "deflate", "zstd"] {
        let bomb = compress(encoding, &vec![0; bytes]);
        assert!(bomb.len() < 300_000, "{encoding}: {}", bomb.len());
        let answer = setup.post(&[("content-type", PROTOBUF), ("content-encoding", encoding)], bomb).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{encoding}");
        assert!(answer.error().1.contains("--decompressed-size"), "{:?}", answer.body);
    }
    for compression in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let refused = setup.call(vec![0; bytes], Some(compression)).await.unwrap_err();
        assert!(!matches!(refused.code(), Code::Unavailable | Code::Ok), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_not_compressed_is_no_larger_than_what_is_decompressed_may_be() {
    let limits = ReceiveLimits { decompressed_bytes: 50, ..ReceiveLimits::default() };
    let setup = Setup::with(limits, MemoryOptions::default());
    let body = one_span().encode_to_vec();
    assert!(body.len() > 50);
    let answer = setup.post(&[("content-type", PROTOBUF)], body.clone()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.error().1.contains("--decompressed-size"), "{:?}", answer.body);
    let refused = setup.call(body, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("--decompressed-size"), "{refused:?}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_its_length_is_announced_or_not() {
    let setup = Setup::with(ReceiveLimits { body_bytes: 50, ..ReceiveLimits::default() }, MemoryOptions::default());
    let body = one_span().encode_to_vec();
    assert!(body.len() > 50);
    let length = body.len().to_string();
    for headers in [&[("content-type", PROTOBUF)][..], &[("content-type", PROTOBUF), ("content-length", &length)]] {
        let answer = setup.post(headers, body.clone()).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(answer.error().1.contains("--body-size"));
    }
    assert_eq!(setup.spans().await, 0);
}

#[tokio::test]
async fn a_request_with_too_much_in_it_names_the_limit() {
    let mut limits = ReceiveLimits::default();
    limits.request.spans_per_request = 1;
    let setup = Setup::with(limits, MemoryOptions::default());
    let body = request_of(&[&[1; 8], &[2; 8]]).encode_to_vec();
    let answer = setup.post(&[("content-type", PROTOBUF)], body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.error().1.contains("spans"), "{:?}", answer.body);
}

#[tokio::test]
async fn over_a_budget_the_sender_is_told_when_to_come_again() {
    // Once the store is full, and once the receivers are.
    let full_store =
        Setup::with(ReceiveLimits::default(), MemoryOptions { most_bytes: 20_000, ..MemoryOptions::default() });
    let mut taken = 0;
    while full_store.post(&[("content-type", PROTOBUF)], one_span().encode_to_vec()).await.status == StatusCode::OK {
        taken += 1;
        assert!(taken < 1_000, "a bound of 20,000 bytes holds no thousand requests");
    }
    assert!(taken > 0, "one fits");
    let full_receiver = Setup::new();
    let mut all = full_receiver.receiver.admission.begin();
    all.reach(192 << 20).unwrap();
    for setup in [&full_store, &full_receiver] {
        for (content_type, body) in [(PROTOBUF, one_span().encode_to_vec()), (JSON, ONE_SPAN_JSON.into())] {
            let answer = setup.post(&[("content-type", content_type)], body).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers[header::RETRY_AFTER], "1");
            assert_eq!(answer.error().0, Code::Unavailable as i64);
        }
        let refused = setup.call(one_span().encode_to_vec(), None).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        let details = RpcStatus::decode(refused.details()).unwrap();
        assert_eq!(details.code, Code::Unavailable as i32);
        assert_eq!(details.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
        let retry = RetryInfo::decode(&details.details[0].value[..]).unwrap();
        assert_eq!(retry.retry_delay.unwrap().seconds, 1);
        assert!(setup.receiver.stats().refused.iter().any(|loss| loss.reason == "busy"));
    }
}

#[tokio::test]
async fn what_can_never_fit_is_refused_for_good_and_names_the_setting() {
    let many = |spans: u64| {
        let ids: Vec<[u8; 8]> = (1..=spans).map(u64::to_be_bytes).collect();
        request_of(&ids.iter().map(|id| &id[..]).collect::<Vec<_>>()).encode_to_vec()
    };
    let small = ReceiveLimits { decoded_bytes: 20_000, ..ReceiveLimits::default() };
    let decoded = Setup::with(small, MemoryOptions::default());
    let stored =
        Setup::with(ReceiveLimits::default(), MemoryOptions { most_bytes: 20_000, ..MemoryOptions::default() });
    for (setup, setting) in [(&decoded, "--decoded-size"), (&stored, "--memory")] {
        let answer = setup.post(&[("content-type", PROTOBUF)], many(500)).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(!answer.headers.contains_key(header::RETRY_AFTER), "nobody is to come again with it");
        let (code, message) = answer.error();
        assert_eq!(code, Code::InvalidArgument as i64);
        assert!(message.contains(setting), "{message}");
        let refused = setup.call(many(500), None).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.details().is_empty(), "with a delay in its details, senders would send it again");
        assert!(refused.message().contains(setting), "{refused:?}");
        assert_eq!(setup.post(&[("content-type", PROTOBUF)], many(10)).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_a_request_took_is_given_back() {
    let budget = MemoryBudget::new(512 << 20);
    let receiver = Receiver::new(
        Arc::new(MemoryStore::new(MemoryOptions::default())),
        ReceiveLimits::default(),
        &budget,
        AllowedOrigins::default(),
    );
    let setup = Setup { receiver, store: Arc::new(MemoryStore::new(MemoryOptions::default())) };
    let body = one_span().encode_to_vec();
    for (encoding, body) in [("", body.clone()), ("gzip", compress("gzip", &body)), ("zstd", b"nothing".to_vec())] {
        setup.post(&[("content-type", PROTOBUF), ("content-encoding", encoding)], body).await;
        assert_eq!(budget.ingest().used_bytes(), 0, "{encoding}");
    }
    setup.call(body, Some(CompressionEncoding::Zstd)).await.unwrap();
    assert_eq!(budget.ingest().used_bytes(), 0);
    assert!(budget.ingest().peak_bytes() > 0);
}

#[tokio::test]
async fn grpc_takes_plain_gzip_and_zstd() {
    for compression in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let setup = Setup::new();
        let answer = setup.call(one_span().encode_to_vec(), compression).await.unwrap();
        assert_eq!(answer.partial_success, None);
        assert_eq!(setup.spans().await, 1, "{compression:?}");
        assert_eq!(setup.call(Vec::new(), compression).await.unwrap().partial_success, None);
    }
    let logs = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let refused = Setup::new().call_to(logs, Vec::new(), None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("TraceService"), "{refused:?}");
}

#[tokio::test]
async fn pages_of_this_machine_and_of_allowed_origins_may_send_and_others_may_not() {
    let setup = Setup::new();
    for (origin, allowed) in [
        ("http://localhost:3000", true),
        ("http://127.0.0.1", true),
        ("http://[::1]:8080", true),
        ("https://shop.example", true),
        ("https://evil.example", false),
        ("http://localhost.evil.example", false),
        ("null", false),
    ] {
        let preflight = Request::builder()
            .method(Method::OPTIONS)
            .uri("/v1/traces")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type,x-mine")
            .body(Body::empty())
            .unwrap();
        let answer = setup.send(preflight).await;
        let told = answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap());
        assert_eq!(told, allowed.then_some(origin), "preflight of {origin}");
        if allowed {
            assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "content-type,x-mine");
        }
        let answer = setup.post(&[("content-type", JSON), ("origin", origin)], ONE_SPAN_JSON).await;
        let told = answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap());
        assert_eq!(told, allowed.then_some(origin), "answer to {origin}");
    }
}

//! Three traces, and a way to ask for them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value as Json;
use tower::ServiceExt;
use tracewell_model::{AnyValue, KeyValue, NewSpan, SpanBatch, SpanId, SpanKind, StatusCode as Status, TraceId, Value};
use tracewell_store::{Append, MemoryOptions, MemoryStore, SpanStore, Tenant};
use tracewell_wire::Format;

use crate::api::{ApiLimits, ApiState, OtlpAddresses, ReceiverStats, SdkDrops, SdkStats, router};
use crate::budget::MemoryBudget;

/// The clock of the tests: 2023-11-14T22:13:20Z.
pub(super) const NOW: u64 = 1_700_000_000_000_000_000;
pub(super) const MILLI: u64 = 1_000_000;

/// When the three traces start.
pub(super) const CHECKOUT_START: u64 = NOW - 60_000 * MILLI;
pub(super) const FAILED_START: u64 = NOW - 120_000 * MILLI;
pub(super) const OLD_START: u64 = NOW - 7_200_000 * MILLI;

pub(super) const CHECKOUT: &str = "0000000000000000000000000000abcd";
pub(super) const FAILED: &str = "f0000000000000000000000000000001";
pub(super) const OLD: &str = "00000000000000000000000000000003";

struct Spans(SpanBatch);

impl Spans {
    fn span(&mut self, service: &str, name: &str, trace: &str, ids: (u64, u64), times: (u64, u64)) -> NewSpan {
        let batch = &mut self.0;
        let (key, service) = (batch.intern("service.name"), batch.intern(service));
        let resource = batch.add_resource(&[(key, Value::Str(service))], 0, "https://opentelemetry.io/schemas/1.27.0");
        let scope = batch.add_scope("tests", "1.0", &[], 0, "");
        NewSpan {
            trace_id: trace.parse().unwrap(),
            span_id: SpanId::from_u64(ids.0),
            parent_span_id: SpanId::from_u64(ids.1),
            start_unix_nano: times.0,
            end_unix_nano: times.1,
            name: batch.intern(name),
            ..NewSpan::new(resource, scope)
        }
    }

    fn attribute(&mut self, key: &str, value: &AnyValue) {
        let key = self.0.intern(key);
        let value = self.0.add_value(value);
        self.0.push_attribute(key, value);
    }
}

/// `checkout` is web -> cart -> db and says everything that a span can say; `failed` is a lonely error; `old` is two
/// hours ago.
fn batch() -> SpanBatch {
    let mut spans = Spans(SpanBatch::new());
    let at = |millis: u64| CHECKOUT_START + millis * MILLI;

    let span = spans.span("web", "GET /checkout", CHECKOUT, (1, 0), (at(0), at(100)));
    for (key, value) in [
        ("http.response.status_code", AnyValue::Int(200)),
        ("user", AnyValue::Str("ann".into())),
        ("ratio", AnyValue::Double(0.5)),
        ("beta", AnyValue::Bool(true)),
        ("raw", AnyValue::Bytes(vec![1, 2])),
        ("none", AnyValue::Empty),
        (
            "nested",
            AnyValue::KeyValues(vec![KeyValue { key: "list".into(), value: AnyValue::Array(vec![AnyValue::Int(1)]) }]),
        ),
    ] {
        spans.attribute(key, &value);
    }
    let (key, value) = (spans.0.intern("exception.type"), spans.0.intern("Timeout"));
    spans.0.push_event_attribute(key, Value::Str(value));
    let event = spans.0.intern("exception");
    spans.0.push_event(at(0) - 5, event, 2);
    spans.0.push_link_attribute(key, Value::Str(value));
    let state = spans.0.intern("a=b");
    spans.0.push_link(TraceId::from_u128(9), SpanId::from_u64(8), state, 1, 3);
    spans.0.push_span(NewSpan { kind: SpanKind::Server, trace_state: state, flags: 1, ..span });

    let span = spans.span("web", "call cart", CHECKOUT, (2, 1), (at(10), at(90)));
    spans.0.push_span(NewSpan { kind: SpanKind::Client, ..span });
    let span = spans.span("cart", "GET /cart", CHECKOUT, (3, 2), (at(20), at(80)));
    spans.0.push_span(NewSpan { kind: SpanKind::Server, ..span });
    let span = spans.span("db", "SELECT", CHECKOUT, (4, 3), (at(30), at(70)));
    spans.0.push_span(NewSpan { kind: SpanKind::Client, ..span });

    let message = spans.0.intern("no such user");
    spans.attribute("http.response.status_code", &AnyValue::Str("500".into()));
    let span = spans.span("web", "GET /login", FAILED, (1, 0), (FAILED_START, FAILED_START + 5 * MILLI));
    spans.0.push_span(NewSpan { kind: SpanKind::Server, status_code: Status::Error, status_message: message, ..span });

    let span = spans.span("batch", "nightly", OLD, (1, 0), (OLD_START, OLD_START + 1000 * MILLI));
    spans.0.push_span(span);
    spans.0
}

/// The routes over a store that holds the three traces.
pub(super) async fn app() -> Router {
    app_with(batch()).await
}

pub(super) async fn app_with(batch: SpanBatch) -> Router {
    app_limited(batch, ApiLimits::default()).await
}

pub(super) async fn app_limited(batch: SpanBatch, limits: ApiLimits) -> Router {
    app_within(batch, limits, MemoryBudget::default()).await
}

pub(super) async fn app_budgeted(budget: MemoryBudget) -> Router {
    app_within(batch(), ApiLimits::default(), budget).await
}

async fn app_within(batch: SpanBatch, limits: ApiLimits, budget: MemoryBudget) -> Router {
    let store = MemoryStore::new(MemoryOptions::default());
    // As the receivers do, nothing is not appended.
    if !batch.is_empty() {
        let append = Append { batch, body: Bytes::new(), format: Format::OtlpProtobuf, arrival_unix_nano: u64::MAX };
        store.append(&Tenant::default(), append).await.unwrap();
    }
    let addresses =
        OtlpAddresses { otlp_http: "[::]:4318".parse().unwrap(), otlp_grpc: "127.0.0.1:4317".parse().unwrap() };
    let state = ApiState::new(Arc::new(store)).with_limits(limits).with_budget(budget).with_clock(|| NOW);
    router(state.with_receivers(receivers).with_addresses(addresses))
}

/// What the receivers tell: nothing was received, and one SDK dropped a span elsewhere.
fn receivers() -> ReceiverStats {
    let dropped = vec![SdkDrops { reason: "queue_full".to_owned(), spans: 1 }];
    let sdk = SdkStats { service: "cart".to_owned(), recorded: 3, exported: 2, dropped, ..SdkStats::default() };
    ReceiverStats { sdks: vec![sdk], ..ReceiverStats::default() }
}

/// An answer: status, content type, body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Json {
        assert_eq!(self.content_type, "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(super) async fn get(app: &Router, uri: &str) -> Answer {
    get_with(app, uri, &[]).await
}

pub(super) async fn get_with(app: &Router, uri: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(Request::get(uri), |request, (name, value)| request.header(*name, *value));
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap());
    let content_type = content_type.to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Answer { status, content_type, body }
}

/// The JSON of an answer that has to be good.
pub(super) async fn json(app: &Router, uri: &str) -> Json {
    let answer = get(app, uri).await;
    assert_eq!(answer.status, StatusCode::OK, "{uri}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

/// The strings at one field of every item of a list.
pub(super) fn texts<'a>(list: &'a Json, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}

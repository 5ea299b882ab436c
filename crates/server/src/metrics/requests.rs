//! How long requests take, at each port.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;

use super::Metrics;
use super::text::{Kind, Text};

/// Upper bounds of the buckets in seconds: those that OpenTelemetry recommends for `http.server.request.duration`.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Routes, methods and statuses are few and the program's own; this bounds them all the same.
const MAX_SERIES: usize = 1_000;

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port {
    /// UI and APIs.
    Http,
    OtlpHttp,
    OtlpGrpc,
}

impl Port {
    /// The flag that sets its address.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::OtlpHttp => "otlp_http",
            Self::OtlpGrpc => "otlp_grpc",
        }
    }
}

/// The times of all requests since the start.
#[derive(Default)]
pub(super) struct Requests {
    series: Mutex<BTreeMap<Series, Times>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    /// Whether it is a call of gRPC, which both ports of OTLP take.
    is_grpc: bool,
    port: Port,
    method: &'static str,
    /// Empty for what no route matched.
    route: String,
    /// Of HTTP, or of gRPC.
    status: u16,
}

#[derive(Clone, Default)]
struct Times {
    counts: [u64; BOUNDS.len() + 1],
    total: Duration,
}

/// Times the requests of a router. What is measured ends when the answer begins: a stream's length is its reader's.
pub(super) fn layer(metrics: Metrics, port: Port, router: Router) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let metrics = metrics.clone();
        async move {
            let begin = Instant::now();
            let method = known(request.method());
            let route = request.extensions().get::<MatchedPath>().cloned();
            let response: Response = next.run(request).await;
            let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
            let is_grpc = kind.starts_with(b"application/grpc");
            let status =
                if is_grpc { grpc_status(response.headers(), response.status()) } else { response.status().as_u16() };
            let route = route.as_ref().map_or("", MatchedPath::as_str);
            let series = Series { is_grpc, port, method, route: route.to_owned(), status };
            metrics.0.requests.add(series, begin.elapsed());
            response
        }
    }))
}

/// An answer without a message has its status in its head; one with a message is a success.
fn grpc_status(headers: &HeaderMap, status: StatusCode) -> u16 {
    const UNKNOWN: u16 = 2;
    match headers.get("grpc-status") {
        Some(code) => code.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN),
        None if status.is_success() => 0,
        None => UNKNOWN,
    }
}

/// Methods that are not HTTP's are one, as OpenTelemetry has it: else whoever asks would choose labels.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

impl Requests {
    fn add(&self, key: Series, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            return;
        }
        let times = series.entry(key).or_default();
        times.counts[bucket] += 1;
        times.total += took;
    }

    pub(super) fn write(&self, text: &mut Text) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut family = text.family(
            Kind::Histogram,
            "http_server_request_duration_seconds",
            "Time from a request's head to its answer's head, on the ports that speak HTTP.",
        );
        for (key, times) in series.iter().filter(|(key, _)| !key.is_grpc) {
            let status = key.status.to_string();
            let labels = [
                ("port", key.port.name()),
                ("http_request_method", key.method),
                ("http_route", &key.route),
                ("http_response_status_code", &status),
            ];
            family.histogram(&labels, &BOUNDS, &times.counts, times.total.as_secs_f64());
        }
        let mut family = text.family(
            Kind::Histogram,
            "rpc_server_call_duration_seconds",
            "Time from a call's head to its answer's head, of OTLP/gRPC.",
        );
        for (key, times) in series.iter().filter(|(key, _)| key.is_grpc) {
            let labels = [
                ("rpc_system_name", "grpc"),
                ("rpc_method", key.route.trim_start_matches('/')),
                ("rpc_response_status_code", code_name(key.status)),
            ];
            family.histogram(&labels, &BOUNDS, &times.counts, times.total.as_secs_f64());
        }
    }
}

/// The name of a `google.rpc.Code`.
fn code_name(code: u16) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::from(code)).copied().unwrap_or("UNKNOWN")
}

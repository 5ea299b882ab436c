//! OTLP/HTTP, by the specification: the answer is encoded as the request was, an error is a `google.rpc.Status`, and only
//! what may succeed later is answered with a status that senders retry.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use tracewell_wire::otlp::{Encoding, encode_response, encode_status};

use super::body::{self, BodyLimit};
use super::decompress::ContentEncoding;
use super::stats::Turned;
use super::{Accepted, RETRY_AFTER_SECONDS, Receiver, Refusal, Signal};

/// Tells importers after which age spans are deleted, so that they can say which of theirs that concerns.
pub(crate) const RETENTION_SECONDS: &str = "tracewell-retention-seconds";

/// Logs are among what is not here: a sender that is told so by name can be told not to send them.
const NOT_FOUND: &str = "spans are received at /v1/traces and the metrics of SDKs at /v1/metrics; logs are not kept here \
                         (OTEL_LOGS_EXPORTER=none)";

pub(super) fn router(receiver: Receiver) -> Router {
    Router::new()
        .route("/v1/traces", of(Signal::Traces))
        .route("/v1/metrics", of(Signal::Metrics))
        .fallback(not_found)
        .with_state(receiver)
}

fn of(signal: Signal) -> MethodRouter<Receiver> {
    let export = move |State(receiver): State<Receiver>, request: Request| export(signal, receiver, request);
    post(export).options(preflight).fallback(method_not_allowed)
}

async fn preflight(State(receiver): State<Receiver>, headers: HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response
        .headers_mut()
        .extend(receiver.origins.headers(&headers).into_iter().map(|(name, value)| (Some(name), value)));
    response
}

async fn export(signal: Signal, receiver: Receiver, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let cors = receiver.origins.headers(&parts.headers);
    let mut response = match content_type(&parts.headers) {
        Ok(encoding) => match receive(&receiver, signal, encoding, &parts.headers, body).await {
            Ok(accepted) => {
                let body = encode_response(encoding, accepted.rejected, &accepted.message);
                let mut response = answer(encoding, StatusCode::OK, body);
                if let Some(age) = receiver.retention_age {
                    response.headers_mut().insert(RETENTION_SECONDS, HeaderValue::from(age.as_secs()));
                }
                response
            }
            Err(refusal) => {
                receiver.counters().refused(&refusal);
                refuse(encoding, refusal)
            }
        },
        Err(other) => {
            receiver.counters().turned(Turned::Unsupported);
            let message =
                format!("content-type {other:?} is not supported: send application/x-protobuf or application/json");
            error(Encoding::Json, StatusCode::UNSUPPORTED_MEDIA_TYPE, 3, &message)
        }
    };
    response.headers_mut().extend(cors.into_iter().map(|(name, value)| (Some(name), value)));
    response
}

async fn receive(
    receiver: &Receiver,
    signal: Signal,
    encoding: Encoding,
    headers: &HeaderMap,
    body: Body,
) -> Result<Accepted, Refusal> {
    let compression = ContentEncoding::from_headers(headers, header::CONTENT_ENCODING.as_str()).map_err(|other| {
        Refusal::Malformed(format!("content-encoding {other:?} is not supported: send gzip, zstd, deflate or identity"))
    })?;
    let limit = BodyLimit { max_bytes: receiver.limits.body_bytes, name: "limit --body-size" };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > limit.max_bytes) {
        return Err(body::too_large(limit));
    }
    let mut admitted = receiver.admission.begin();
    let body = body::read(body, limit, &mut admitted).await?;
    receiver.accept(signal, encoding, compression, body, admitted).await
}

/// The encoding that a content type names, whatever its parameters; the error is the type that is not known.
fn content_type(headers: &HeaderMap) -> Result<Encoding, String> {
    let value = headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    match value.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "application/x-protobuf" | "application/protobuf" => Ok(Encoding::Protobuf),
        "application/json" => Ok(Encoding::Json),
        other => Err(other.to_owned()),
    }
}

fn refuse(encoding: Encoding, refusal: Refusal) -> Response {
    // Codes of google.rpc.Code.
    const INVALID_ARGUMENT: i32 = 3;
    const DEADLINE_EXCEEDED: i32 = 4;
    const INTERNAL: i32 = 13;
    const UNAVAILABLE: i32 = 14;
    match refusal {
        Refusal::Malformed(message) => error(encoding, StatusCode::BAD_REQUEST, INVALID_ARGUMENT, &message),
        Refusal::TooLarge(message) => error(encoding, StatusCode::PAYLOAD_TOO_LARGE, INVALID_ARGUMENT, &message),
        Refusal::TooSlow(message) => error(encoding, StatusCode::REQUEST_TIMEOUT, DEADLINE_EXCEEDED, &message),
        Refusal::Busy(message) => {
            let mut response = error(encoding, StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, &message);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            response
        }
        Refusal::Failed(message) => error(encoding, StatusCode::INTERNAL_SERVER_ERROR, INTERNAL, &message),
    }
}

fn error(encoding: Encoding, status: StatusCode, code: i32, message: &str) -> Response {
    answer(encoding, status, encode_status(encoding, code, message))
}

fn answer(encoding: Encoding, status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, encoding.content_type())], body).into_response()
}

async fn method_not_allowed(State(receiver): State<Receiver>) -> Response {
    receiver.counters().turned(Turned::Unsupported);
    let mut response = error(Encoding::Json, StatusCode::METHOD_NOT_ALLOWED, 3, "send OTLP with POST");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    response
}

async fn not_found(State(receiver): State<Receiver>) -> Response {
    receiver.counters().turned(Turned::NotFound);
    error(Encoding::Json, StatusCode::NOT_FOUND, 5, NOT_FOUND)
}

/// The answer to gRPC that cannot be gRPC: over HTTP/1, or in a form of it that is not taken.
pub(super) fn no_grpc(receiver: &Receiver, message: &str) -> Response {
    receiver.counters().turned(Turned::Unsupported);
    error(Encoding::Json, StatusCode::UNSUPPORTED_MEDIA_TYPE, 3, message)
}

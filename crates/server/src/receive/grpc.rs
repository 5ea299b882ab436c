//! OTLP/gRPC without generated code: the message's bytes are taken out of their frame here, so that reading, decompressing
//! and decoding are the same as for HTTP, and within the same memory.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tonic::{Code, Status};
use tracewell_wire::otlp::{Encoding, encode_response, encode_retry_status};

use super::body::{self, BodyLimit};
use super::decompress::ContentEncoding;
use super::stats::Turned;
use super::{Accepted, RETRY_AFTER_SECONDS, Receiver, Refusal, Signal};

pub(super) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(super) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Before a message: whether it is compressed, and its length in four bytes.
const PREFIX_BYTES: usize = 5;
const ENCODINGS: &str = "identity,gzip,deflate,zstd";

pub(super) fn router(receiver: Receiver) -> Router {
    let export = |signal| {
        any(move |State(receiver): State<Receiver>, request: Request| async move {
            export(signal, &receiver, request).await
        })
    };
    Router::new()
        .route(TRACES, export(Signal::Traces))
        .route(METRICS, export(Signal::Metrics))
        .fallback(async |State(receiver): State<Receiver>| {
            receiver.counters().turned(Turned::NotFound);
            let message = format!("spans are received at {TRACES} and the metrics of SDKs at {METRICS}");
            Status::unimplemented(message).into_http::<Body>()
        })
        .with_state(receiver)
}

async fn export(signal: Signal, receiver: &Receiver, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(compression) = ContentEncoding::from_headers(&parts.headers, "grpc-encoding") else {
        let message = format!("the grpc-encoding is not supported: send {ENCODINGS}");
        receiver.counters().turned(Turned::Unsupported);
        let mut answer = Status::unimplemented(message).into_http();
        answer.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static(ENCODINGS));
        return answer;
    };
    match receive(receiver, signal, compression, body).await {
        Ok(accepted) => answer(&encode_response(Encoding::Protobuf, accepted.rejected, &accepted.message)),
        Err(refusal) => {
            receiver.counters().refused(&refusal);
            status(refusal).into_http()
        }
    }
}

async fn receive(
    receiver: &Receiver,
    signal: Signal,
    compression: ContentEncoding,
    body: Body,
) -> Result<Accepted, Refusal> {
    let limits = receiver.limits;
    let mut admitted = receiver.admission.begin();
    let limit = BodyLimit {
        max_bytes: limits.body_bytes.max(limits.decompressed_bytes).saturating_add(PREFIX_BYTES),
        name: "limit --decompressed-size",
    };
    let mut message = body::read(body, limit, &mut admitted).await?;
    let malformed = |what: &str| Refusal::Malformed(format!("the body is not a gRPC message: {what}"));
    let Some((&[flag, ref length @ ..], rest)) = message.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(malformed("it is cut off"));
    };
    if rest.len() != u32::from_be_bytes(*length) as usize {
        return Err(malformed("its length is not what it says"));
    }
    let is_compressed = match flag {
        0 => false,
        1 if compression == ContentEncoding::Identity => return Err(malformed("it is compressed in no way")),
        1 => true,
        _ => return Err(malformed("its first byte is neither 0 nor 1")),
    };
    message = message.slice(PREFIX_BYTES..);
    let compression = if is_compressed { compression } else { ContentEncoding::Identity };
    receiver.accept(signal, Encoding::Protobuf, compression, message, admitted).await
}

/// A message, and that all is well behind it.
fn answer(message: &[u8]) -> Response<Body> {
    let mut frame = Vec::with_capacity(PREFIX_BYTES + message.len());
    frame.push(0);
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok(trailers)) });
    let mut answer = Response::new(Body::new(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer
}

/// `UNAVAILABLE` is what the OTLP specification has senders retry; the delay comes in the details.
fn status(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Malformed(message) => Status::new(Code::InvalidArgument, message),
        // Without a delay in the details it says that the same request is not to be sent again.
        Refusal::TooLarge(message) => Status::new(Code::ResourceExhausted, message),
        Refusal::TooSlow(message) => Status::new(Code::DeadlineExceeded, message),
        Refusal::Busy(message) => {
            let code = Code::Unavailable;
            let details = encode_retry_status(code as i32, &message, RETRY_AFTER_SECONDS);
            Status::with_details(code, message, details.into())
        }
        Refusal::Failed(message) => Status::new(Code::Internal, message),
    }
}

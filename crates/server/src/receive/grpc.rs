//! OTLP/gRPC without generated code: a codec that hands the message's bytes through, so that the decoder is the same as
//! for HTTP.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use bytes::{Buf, BufMut, Bytes};
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tower::Service;
use tracewell_wire::otlp::{Encoding, encode_response, encode_retry_status};

use super::admission::Admitted;
use super::stats::Turned;
use super::{RETRY_AFTER_SECONDS, Receiver, Refusal, Signal};

pub(super) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(super) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

pub(super) fn router(receiver: Receiver) -> Router {
    Router::new()
        .route_service(TRACES, ExportService(receiver.clone(), Signal::Traces))
        .route_service(METRICS, ExportService(receiver.clone(), Signal::Metrics))
        .fallback(async |State(receiver): State<Receiver>| {
            receiver.counters().turned(Turned::NotFound);
            let message = format!("spans are received at {TRACES} and the metrics of SDKs at {METRICS}");
            Status::unimplemented(message).into_http::<tonic::body::Body>()
        })
        .with_state(receiver)
}

/// Serves the one method that each service of OTLP has.
#[derive(Clone)]
struct ExportService(Receiver, Signal);

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<Request> for ExportService {
    type Response = axum::http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answer<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self(receiver, signal) = self.clone();
        let (mut parts, body) = request.into_parts();
        let admitted = Arc::new(Mutex::new(receiver.admission.begin()));
        parts.extensions.insert(admitted.clone());
        let request = Request::from_parts(parts, Body::new(Metered { body, bytes: 0, admitted }));
        Box::pin(async move {
            let mut grpc = Grpc::new(RawCodec)
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(receiver.limits.decompressed_bytes);
            let counted = Arc::new(AtomicBool::new(false));
            let answer = grpc.unary(Export(receiver.clone(), signal, counted.clone()), request).await;
            // What tonic refuses itself did not get as far as `Export`.
            if !counted.load(Relaxed) {
                count(&receiver, answer.headers());
            }
            Ok(answer)
        })
    }
}

/// Counts a refusal by what its answer says. One that has no status in its head carries a message, and is a success.
fn count(receiver: &Receiver, headers: &HeaderMap) {
    let Some(code) = headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<i32>().ok()) else {
        return;
    };
    let why = || "refused before it was read".to_owned();
    match Code::from_i32(code) {
        Code::Ok => {}
        Code::Unavailable => receiver.counters().refused(&Refusal::Busy(why())),
        Code::ResourceExhausted | Code::OutOfRange => receiver.counters().refused(&Refusal::TooLarge(why())),
        Code::Unimplemented => receiver.counters().turned(Turned::Unsupported),
        _ => receiver.counters().refused(&Refusal::Malformed(why())),
    }
}

type SharedAdmitted = Arc<Mutex<Admitted>>;

fn reach(admitted: &Mutex<Admitted>, bytes: usize) -> Result<(), Refusal> {
    admitted.lock().unwrap_or_else(PoisonError::into_inner).reach(bytes)
}

/// A body that takes budget as it comes.
struct Metered {
    body: Body,
    bytes: usize,
    admitted: SharedAdmitted,
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            self.bytes += frame.data_ref().map_or(0, Bytes::len);
            reach(&self.admitted, self.bytes).map_err(status)?;
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// What the service does with a message, and whether a refusal was counted.
struct Export(Receiver, Signal, Arc<AtomicBool>);

impl UnaryService<Bytes> for Export {
    type Response = Vec<u8>;
    type Future = Answer<Result<tonic::Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (receiver, signal, counted) = (self.0.clone(), self.1, self.2.clone());
        Box::pin(async move {
            let (_, extensions, body) = request.into_parts();
            // Held until what it carries is kept.
            let admitted: Option<SharedAdmitted> = extensions.get().cloned();
            let accepted = async {
                if let Some(admitted) = &admitted {
                    // Decompressed, it may be larger than what arrived.
                    reach(admitted, body.len())?;
                }
                receiver.accept(signal, Encoding::Protobuf, body).await
            };
            match accepted.await {
                Ok(accepted) => {
                    Ok(tonic::Response::new(encode_response(Encoding::Protobuf, accepted.rejected, &accepted.message)))
                }
                Err(refusal) => {
                    receiver.counters().refused(&refusal);
                    counted.store(true, Relaxed);
                    Err(status(refusal))
                }
            }
        })
    }
}

/// `UNAVAILABLE` is what the OTLP specification has senders retry; the delay comes in the details.
fn status(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Malformed(message) | Refusal::TooLarge(message) => Status::new(Code::InvalidArgument, message),
        Refusal::Busy(message) => {
            let code = Code::Unavailable;
            let details = encode_retry_status(code as i32, &message, RETRY_AFTER_SECONDS);
            Status::with_details(code, message, details.into())
        }
        Refusal::Failed(message) => Status::new(Code::Internal, message),
    }
}

/// Hands messages through as they are.
#[derive(Clone, Copy, Default)]
pub(super) struct RawCodec;

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
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = message.remaining();
        Ok(Some(message.copy_to_bytes(length)))
    }
}

//! OTLP/gRPC without generated code: a codec that hands the message's bytes through, so that the decoder is the same as
//! for HTTP.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::{Buf, BufMut, Bytes};
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tower::Service;
use tracewell_wire::otlp::{Encoding, encode_response, encode_retry_status};

use super::admission::Admitted;
use super::stats::{Early, IngestStats};
use super::{RETRY_AFTER_SECONDS, Receiver, Refusal, Signal};

pub(super) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(super) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

pub(super) fn router(receiver: Receiver) -> Router {
    Router::new()
        .route_service(TRACES, ExportService(receiver.clone(), Signal::Traces))
        .route_service(METRICS, ExportService(receiver.clone(), Signal::Metrics))
        .fallback(move || async move {
            receiver.stats.turned_away(Early::Path);
            let message = format!("spans are received at {TRACES} and the metrics of SDKs at {METRICS}");
            Status::unimplemented(message).into_http::<tonic::body::Body>()
        })
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
        // What the library refuses by itself is counted here, all else where it is refused.
        let counted = Arc::new(AtomicBool::new(false));
        let refused = Refused { stats: receiver.stats.clone(), counted: counted.clone() };
        let metered = Metered { body, bytes: 0, admitted, refused: refused.clone() };
        let request = Request::from_parts(parts, Body::new(metered));
        Box::pin(async move {
            let mut grpc = Grpc::new(RawCodec)
                .accept_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Zstd)
                .max_decoding_message_size(receiver.limits.decompressed_bytes);
            let max_bytes = receiver.limits.decompressed_bytes;
            let response = grpc.unary(Export(receiver, signal, refused.clone()), request).await;
            Ok(match Status::from_header_map(response.headers()) {
                Some(status) if status.code() != Code::Ok && !counted.load(Ordering::Relaxed) => {
                    refused.by_library(status, max_bytes)
                }
                _ => response,
            })
        })
    }
}

type SharedAdmitted = Arc<Mutex<Admitted>>;

fn reach(admitted: &Mutex<Admitted>, bytes: usize) -> Result<(), Refusal> {
    admitted.lock().unwrap_or_else(PoisonError::into_inner).reach(bytes)
}

/// Counts refusals, each request's once.
#[derive(Clone)]
struct Refused {
    stats: Arc<IngestStats>,
    counted: Arc<AtomicBool>,
}

impl Refused {
    fn status(&self, refusal: Refusal) -> Status {
        if !self.counted.swap(true, Ordering::Relaxed) {
            self.stats.refused(&refusal);
        }
        status(refusal)
    }

    /// The library says of a message over the limit that it is out of range, which senders take as leave to send it again.
    fn by_library(&self, status: Status, max_bytes: usize) -> axum::http::Response<tonic::body::Body> {
        let refusal = match status.code() {
            Code::OutOfRange | Code::ResourceExhausted => Refusal::TooLarge(format!(
                "the message is larger than {max_bytes} bytes when decompressed (limit --decompressed-size)"
            )),
            // Its own words say what is wrong: the compression, the frame, the message that is missing.
            _ => {
                self.status(Refusal::Malformed(status.message().to_owned()));
                return status.into_http();
            }
        };
        self.status(refusal).into_http()
    }
}

/// A body that takes budget as it comes.
struct Metered {
    body: Body,
    bytes: usize,
    admitted: SharedAdmitted,
    refused: Refused,
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
            let frame = frame.map_err(|error| self.refused.status(Refusal::cut_off(&error)))?;
            self.bytes += frame.data_ref().map_or(0, Bytes::len);
            reach(&self.admitted, self.bytes).map_err(|refusal| self.refused.status(refusal))?;
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

struct Export(Receiver, Signal, Refused);

impl UnaryService<Bytes> for Export {
    type Response = Vec<u8>;
    type Future = Answer<Result<tonic::Response<Vec<u8>>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (receiver, signal, refused) = (self.0.clone(), self.1, self.2.clone());
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
                Err(refusal) => Err(refused.status(refusal)),
            }
        })
    }
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

//! Receivers: OTLP over HTTP and gRPC, from the socket to the store. Of metrics, what SDKs tell of themselves is kept.
//!
//! ```text
//! request ─▶ read ─▶ decompress ─▶ decode ─▶ store ─▶ answer
//!            └──────── memory, taken from the budget as it is used ────────┘
//! ```

mod admission;
mod body;
mod cors;
mod decompress;
mod either;
mod grpc;
mod http;
mod sdks;
mod stats;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use bytes::Bytes;
use tracewell_store::{Append, OddCounts, SpanStore, StoreError, Tenant, TimeRules};
use tracewell_wire::otlp::{Encoding, metrics};
use tracewell_wire::{DecodeError, Format, Limits, Meter};

use crate::api::ReceiverStats;
use crate::budget::MemoryBudget;
use crate::metrics::{Metrics, Port};
use crate::net;
use admission::{Admission, Admitted, Decoding};
pub use cors::AllowedOrigins;
use decompress::ContentEncoding;
pub(crate) use http::RETENTION_SECONDS;
use sdks::Sdks;
use stats::{IngestStats, PortCounters};

/// Bodies over this size are decoded off the threads that serve connections.
const DECODE_INLINE_BYTES: usize = 64 * 1024;
/// How long the store counts as failing when no more spans come: they may be kept away because it is not ready.
const FAILURE_COUNTS: Duration = Duration::from_secs(30);
/// What senders are told to wait when the server is over a budget.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Bounds on what is received, each of which an operator can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveLimits {
    /// Bytes of a body as sent.
    pub body_bytes: usize,
    /// Bytes of a body after decompression.
    pub decompressed_bytes: usize,
    /// Bytes of memory that what one request says may take.
    pub decoded_bytes: usize,
    /// What one request may hold.
    pub request: Limits,
    /// What is done with spans of odd times.
    pub times: TimeRules,
}

impl Default for ReceiveLimits {
    /// 16 MiB as sent, 64 MiB decompressed, 64 MiB decoded.
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            decompressed_bytes: 64 << 20,
            decoded_bytes: 64 << 20,
            request: Limits::default(),
            times: TimeRules::default(),
        }
    }
}

/// What both receivers share. Cheap to clone.
#[derive(Clone)]
pub struct Receiver {
    store: Arc<dyn SpanStore>,
    limits: ReceiveLimits,
    admission: Admission,
    stats: Arc<IngestStats>,
    /// The receiver that this clone serves, whose counters it counts in.
    port: Port,
    sdks: Arc<Sdks>,
    origins: Arc<AllowedOrigins>,
    appending: Arc<Appending>,
    /// Spans older than this are deleted, which importers are told.
    retention_age: Option<Duration>,
}

/// Whether the store takes spans, by what it did with the last ones.
#[derive(Debug, Default)]
struct Appending {
    is_failing: AtomicBool,
    failure: Mutex<Option<(Instant, String)>>,
}

impl Appending {
    fn note(&self, error: Option<&StoreError>) {
        match error {
            Some(error) => {
                let failure = Some((Instant::now(), error.to_string()));
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
                self.is_failing.store(true, Ordering::Relaxed);
            }
            // Nearly always it is not, and nothing is written that other threads read.
            None if self.is_failing.load(Ordering::Relaxed) => self.is_failing.store(false, Ordering::Relaxed),
            None => {}
        }
    }

    fn problem(&self) -> Option<String> {
        if !self.is_failing.load(Ordering::Relaxed) {
            return None;
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().filter(|(at, _)| at.elapsed() < FAILURE_COUNTS).map(|(_, error)| error.clone())
    }
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
}

/// Why a request was not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Not OTLP, or not what its headers say. Not to be sent again.
    Malformed(String),
    /// Over a limit. Not to be sent again as it is.
    TooLarge(String),
    /// Over a budget at the moment. To be sent again later.
    Busy(String),
    /// The store failed.
    Failed(String),
    /// It did not come in time.
    TooSlow(String),
}

impl Refusal {
    /// Of a body that ended before its time.
    fn cut_off(error: &(dyn std::error::Error + 'static)) -> Self {
        match net::too_slow(error) {
            Some(slow) => Self::TooSlow(slow.to_string()),
            None => Self::Malformed(format!("the body was cut off: {error}")),
        }
    }

    /// For an allocation that failed: the budget allows it, and what the system lets the process have does not.
    fn no_memory() -> Self {
        Self::Busy("the system has no memory for it at the moment (setting --memory)".to_owned())
    }
}

/// What a receiver tells the sender.
pub(crate) struct Accepted {
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

impl Receiver {
    /// Receivers that append to a store.
    pub fn new(
        store: Arc<dyn SpanStore>,
        limits: ReceiveLimits,
        budget: &MemoryBudget,
        origins: AllowedOrigins,
    ) -> Self {
        let admission = Admission::new(budget.ingest().clone());
        Self {
            store,
            limits,
            admission,
            stats: Arc::default(),
            port: Port::OtlpHttp,
            sdks: Arc::default(),
            origins: Arc::new(origins),
            appending: Arc::default(),
            retention_age: None,
        }
    }

    /// The same, which tells senders after which age spans are deleted.
    #[must_use]
    pub fn with_retention(self, retention_age: Option<Duration>) -> Self {
        Self { retention_age, ..self }
    }

    /// Why the store does not take spans, if the last were refused.
    pub fn problem(&self) -> Option<String> {
        self.appending.problem()
    }

    /// The counters, and what SDKs have told.
    pub fn stats(&self) -> ReceiverStats {
        let (sdks, sdk_points_left_out) = self.sdks.snapshot();
        ReceiverStats { sdks, sdk_points_left_out, ..self.stats.snapshot() }
    }

    fn counters(&self) -> &PortCounters {
        self.stats.of(self.port)
    }

    /// OTLP over HTTP and gRPC on a port, told apart by what is sent: senders mix up the two ports.
    pub(crate) fn router(&self, port: Port, metrics: &Metrics) -> Router {
        either::router(&Self { port, ..self.clone() }, metrics)
    }

    /// OTLP/HTTP: `POST /v1/traces` and `/v1/metrics`.
    pub fn http_router(&self) -> Router {
        http::router(Self { port: Port::OtlpHttp, ..self.clone() })
    }

    /// OTLP/gRPC: `Export` of `opentelemetry.proto.collector.trace.v1.TraceService` and `...metrics.v1.MetricsService`.
    pub fn grpc_router(&self) -> Router {
        grpc::router(Self { port: Port::OtlpGrpc, ..self.clone() })
    }

    /// Decodes a body, for which memory is held, and keeps what it says.
    async fn accept(
        &self,
        signal: Signal,
        encoding: Encoding,
        compression: ContentEncoding,
        body: Bytes,
        admitted: Admitted,
    ) -> Result<Accepted, Refusal> {
        let (body, admitted) = match compression {
            ContentEncoding::Identity if body.len() > self.limits.decompressed_bytes => {
                let max_bytes = self.limits.decompressed_bytes;
                return Err(Refusal::TooLarge(format!(
                    "the body is larger than {max_bytes} bytes (limit --decompressed-size)"
                )));
            }
            ContentEncoding::Identity => (body, admitted),
            compression => self.decompress(compression, body, admitted).await?,
        };
        match signal {
            Signal::Traces => self.accept_spans(encoding, body, admitted).await,
            Signal::Metrics => self.accept_metrics(encoding, body, admitted).await,
        }
    }

    async fn decompress(
        &self,
        compression: ContentEncoding,
        body: Bytes,
        mut admitted: Admitted,
    ) -> Result<(Bytes, Admitted), Refusal> {
        let max_bytes = self.limits.decompressed_bytes;
        let decompress = move || {
            let out = decompress::decompress(compression, &body, max_bytes, &mut admitted)?;
            drop(body);
            admitted.settle(out.capacity())?;
            Ok((Bytes::from(out), admitted))
        };
        tokio::task::spawn_blocking(decompress)
            .await
            .map_err(|error| Refusal::Failed(format!("decompressing did not finish: {error}")))?
    }

    /// Of metrics, what SDKs tell of themselves is kept. The rest is taken and let go of without a word: a sender that has
    /// one endpoint for everything is not to log an error a minute.
    async fn accept_metrics(&self, encoding: Encoding, body: Bytes, admitted: Admitted) -> Result<Accepted, Refusal> {
        let limits = self.limits;
        let (metrics, _admitted) = decode(body, admitted, move |body, admitted| {
            let mut meter = Decoding::new(admitted, limits.decoded_bytes);
            metrics::decode_metered(encoding, body, &limits.request, &mut meter)
        })
        .await?;
        if metrics.points.is_empty() {
            self.counters().foreign_metrics();
        }
        self.sdks.tell(metrics.points);
        Ok(Accepted { rejected: 0, message: metrics.message })
    }

    /// On return the spans are as durable as the store makes them.
    async fn accept_spans(&self, encoding: Encoding, body: Bytes, admitted: Admitted) -> Result<Accepted, Refusal> {
        let limits = self.limits;
        let format = match encoding {
            Encoding::Protobuf => Format::OtlpProtobuf,
            Encoding::Json => Format::OtlpJson,
        };
        let (decoded, mut admitted) = decode(body.clone(), admitted, move |body, admitted| {
            let mut meter = Decoding::new(admitted, limits.decoded_bytes);
            let decoded = tracewell_wire::decode_metered(format, body, &limits.request, &mut meter)?;
            // A short body is not looked at before its end.
            meter.reach(decoded.batch.size_bytes())?;
            Ok(decoded)
        })
        .await?;
        let arrival_unix_nano = now_unix_nano();
        let mut rejected = decoded.rejected;
        let mut message = decoded.message;
        let received = decoded.batch.len();
        let times = self.limits.times;
        let (batch, odd) = times.apply(decoded.batch, Some(arrival_unix_nano));
        let refused = (received - batch.len()) as u64;
        if refused > 0 {
            rejected += refused;
            message = join(message, &refused_times(times, odd));
        }
        let (spans, bytes) = (batch.len() as u64, body.len() as u64);
        if spans > 0 {
            // The log's record is made of the body, and may be as long if it cannot be compressed.
            admitted.settle(2 * body.len() + batch.size_bytes())?;
            let append = Append { batch, body, format, arrival_unix_nano };
            let appended = self.store.append(&Tenant::default(), append).await;
            self.appending.note(appended.as_ref().err());
            appended.map_err(|error| match error {
                StoreError::Busy(message) | StoreError::Unavailable(message) => Refusal::Busy(message),
                StoreError::TooLarge(message) => Refusal::TooLarge(message),
                StoreError::Closed => Refusal::Busy("the server is stopping".to_owned()),
                other => {
                    tracing::error!(error = %other, "cannot keep spans");
                    Refusal::Failed(other.to_string())
                }
            })?;
        }
        self.counters().received(spans, bytes);
        self.counters().rejected(rejected);
        self.counters().odd_times(odd);
        Ok(Accepted { rejected, message })
    }
}

fn now_unix_nano() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Why spans of odd times were refused.
fn refused_times(rules: TimeRules, odd: OddCounts) -> String {
    let seconds = rules.future_nanos / 1_000_000_000;
    let mut reasons = Vec::new();
    if odd.future > 0 {
        reasons.push(format!("{} spans start more than {seconds} s after they arrive (--future)", odd.future));
    }
    if odd.past > 0 {
        reasons.push(format!("{} spans start before 2000", odd.past));
    }
    format!("span.start_time_unix_nano: {}; they are refused (--odd-times)", reasons.join(", "))
}

fn join(first: String, second: &str) -> String {
    if first.is_empty() { second.to_owned() } else { format!("{first}; {second}") }
}

/// Decodes off the threads that serve connections when it may take long.
async fn decode<T: Send + 'static>(
    body: Bytes,
    mut admitted: Admitted,
    decode: impl FnOnce(&[u8], &mut Admitted) -> Result<T, DecodeError> + Send + 'static,
) -> Result<(T, Admitted), Refusal> {
    let is_long = body.len() > DECODE_INLINE_BYTES;
    let decode = move || decode(&body, &mut admitted).map(|decoded| (decoded, admitted));
    let decoded = if is_long {
        tokio::task::spawn_blocking(decode)
            .await
            .map_err(|error| Refusal::Failed(format!("decoding did not finish: {error}")))?
    } else {
        decode()
    };
    decoded.map_err(|error| match error {
        DecodeError::Malformed(message) => Refusal::Malformed(message),
        DecodeError::LimitExceeded(message) => Refusal::TooLarge(message),
        DecodeError::Busy(message) => Refusal::Busy(message),
    })
}

//! Export as OTLP over gRPC.

mod codec;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use codec::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use tokio::runtime::{Builder, Runtime};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tracewell::__otlp::{Receiver, rejected_spans, retry_after};
use tracewell::{Batch, Config, Error, ExportError, Exporter, Report};

const SPANS: PathAndQuery = PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
const METRICS: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
/// Spans wait while numbers about the library are sent, so those do not take longer than this.
const METRICS_TIMEOUT: Duration = Duration::from_secs(1);

/// Sends spans as OTLP over gRPC, for receivers that take nothing else:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = tracewell::Config::from_env("gallery");
/// let exporter = tracewell_tonic::OtlpExporter::new(&config)?;
/// let tracewell = tracewell::init(config.exporter(exporter))?;
/// # drop(tracewell);
/// # Ok(())
/// # }
/// ```
///
/// It has a runtime of its own, so that a program needs none, and one thread for the connection.
pub struct OtlpExporter {
    endpoint: Endpoint,
    headers: MetadataMap,
    timeout: Option<Duration>,
    /// Made on the exporter's thread, where it may be dropped.
    connected: Option<Connected>,
    takes_metrics: bool,
}

struct Connected {
    runtime: Runtime,
    channel: Channel,
}

impl OtlpExporter {
    /// To where the configuration says, with its headers, timeout and certificates: those of OpenTelemetry's variables, if it
    /// was made of them. The receiver is `http://localhost:4317` unless told.
    ///
    /// # Errors
    /// When the endpoint, a header or a file cannot be used.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let receiver = config.__receiver();
        Self::of(&receiver).map_err(Error::Config)
    }

    fn of(receiver: &Receiver) -> Result<Self, String> {
        let url = receiver.url.as_deref().unwrap_or("http://localhost:4317");
        let uri: Uri = url.parse().map_err(|_| "the endpoint is not a URL".to_owned())?;
        // A path is of OTLP over HTTP, and credentials are told in headers.
        let host = uri.authority().map_or("", |authority| authority.as_str());
        if host.contains('@') {
            return Err("the endpoint has a user: gRPC's credentials are headers, such as authorization".to_owned());
        }
        let scheme = uri.scheme_str().unwrap_or_default();
        if !matches!(scheme, "http" | "https") || host.is_empty() {
            return Err("the endpoint must begin with http:// or https:// and have a host".to_owned());
        }
        let base = format!("{scheme}://{host}");
        let mut endpoint = Endpoint::from_shared(base).map_err(|error| format!("the endpoint: {error}"))?;
        if scheme == "https" {
            endpoint = encrypted(endpoint, receiver)?;
        }
        let mut headers = MetadataMap::new();
        for (name, value) in &receiver.headers {
            let key = AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
            let value = AsciiMetadataValue::try_from(value.as_str());
            let (Ok(key), Ok(mut value)) = (key, value) else {
                return Err(format!("the header {name:?} cannot be metadata of gRPC"));
            };
            // What is below writes frames to the log of a program that wants to know everything.
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        Ok(Self { endpoint, headers, timeout: receiver.timeout, connected: None, takes_metrics: true })
    }

    /// One attempt; what the receiver answers.
    fn call(&mut self, path: PathAndQuery, message: &[u8], timeout: Option<Duration>) -> Result<Vec<u8>, Failure> {
        let Connected { runtime, channel } = match &mut self.connected {
            Some(connected) => connected,
            none => {
                let runtime = Builder::new_multi_thread()
                    .worker_threads(1)
                    .thread_name("tracewell-grpc")
                    .enable_all()
                    .build()
                    .map_err(|error| Failure::Other(format!("cannot start a runtime: {error}")))?;
                let channel = {
                    let _entered = runtime.enter();
                    self.endpoint.connect_lazy()
                };
                none.insert(Connected { runtime, channel })
            }
        };
        let mut request = Request::new(message.to_vec());
        *request.metadata_mut() = self.headers.clone();
        let mut client = tonic::client::Grpc::new(channel.clone());
        let answer = async {
            client.ready().await.map_err(|error| Failure::of_chain(&error, error.to_string()))?;
            let answer = client.unary(request, path, Bytes).await;
            answer.map(tonic::Response::into_inner).map_err(Failure::Status)
        };
        runtime.block_on(async {
            match timeout {
                None => answer.await,
                Some(timeout) => tokio::time::timeout(timeout, answer)
                    .await
                    .unwrap_or_else(|_| Err(Failure::Other("the receiver did not answer in time".to_owned()))),
            }
        })
    }
}

/// Why there is no answer, or not the one that was hoped for.
enum Failure {
    Status(Status),
    Unreachable(String),
    Other(String),
}

impl Failure {
    /// Whether nobody listens there is known to the innermost reason alone.
    fn of_chain(error: &(dyn std::error::Error + 'static), reason: String) -> Self {
        use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound};
        let refused = [AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound];
        let mut next = Some(error);
        let mut innermost = reason;
        let mut is_unreachable = false;
        while let Some(error) = next {
            innermost = error.to_string();
            let io = error.downcast_ref::<std::io::Error>();
            is_unreachable |= io.is_some_and(|io| refused.contains(&io.kind())) || innermost.starts_with("dns error");
            next = error.source();
        }
        if is_unreachable { Self::Unreachable(innermost) } else { Self::Other(innermost) }
    }

    /// As OTLP's specification has it.
    fn judged(self) -> ExportError {
        let status = match self {
            Self::Status(status) => status,
            Self::Unreachable(reason) => return ExportError::Unreachable(reason),
            Self::Other(reason) => return ExportError::Retry { after: None, reason },
        };
        let code = status.code();
        let reason = format!("the receiver answers {code:?}: {}", status.message());
        if let (Code::Unavailable | Code::Unknown, Some(source)) = (code, std::error::Error::source(&status)) {
            // It is tonic that says so: there is no connection.
            return Self::of_chain(source, reason).judged();
        }
        let after = retry_after(status.details());
        match code {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => ExportError::Retry { after, reason },
            Code::ResourceExhausted if after.is_some() => ExportError::Retry { after, reason },
            _ => ExportError::Rejected(reason),
        }
    }
}

impl Exporter for OtlpExporter {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        let answer = self.call(SPANS, batch.otlp(), self.timeout).map_err(Failure::judged)?;
        match rejected_spans(&answer) {
            (0, _) => Ok(()),
            (rejected, reason) => Err(ExportError::PartlyRejected { rejected, reason }),
        }
    }

    fn report(&mut self, report: &Report<'_>) {
        let timeout = self.timeout.map_or(METRICS_TIMEOUT, |timeout| timeout.min(METRICS_TIMEOUT));
        if self.takes_metrics
            && let Err(Failure::Status(status)) = self.call(METRICS, report.otlp(), Some(timeout))
        {
            self.takes_metrics = status.code() != Code::Unimplemented;
        }
    }
}

impl fmt::Debug for OtlpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers are left out: they carry credentials.
        f.debug_struct("OtlpExporter").field("endpoint", &self.endpoint.uri()).finish_non_exhaustive()
    }
}

#[cfg(feature = "exporter-tls")]
fn encrypted(endpoint: Endpoint, receiver: &Receiver) -> Result<Endpoint, String> {
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut tls = match &receiver.ca_certificate {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&receiver.client_certificate, &receiver.client_key) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    endpoint.tls_config(tls).map_err(|error| format!("certificates of the endpoint: {error}"))
}

#[cfg(not(feature = "exporter-tls"))]
fn encrypted(_: Endpoint, _: &Receiver) -> Result<Endpoint, String> {
    let _ = Path::new("");
    Err("https:// needs tracewell-tonic's feature `exporter-tls`".to_owned())
}

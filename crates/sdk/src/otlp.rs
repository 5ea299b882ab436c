//! OTLP over HTTP: the exporter to Tracewell, or to anything else that speaks it.

mod builder;
mod client;
mod decode;
#[cfg(not(feature = "off"))]
mod encode;
#[cfg(not(feature = "off"))]
mod metrics;
mod receiver;
mod response;

pub(crate) use decode::spans as decode_spans;
#[cfg(not(feature = "off"))]
pub(crate) use encode::{Envelope, event, link, span, span_data};
#[cfg(not(feature = "off"))]
pub(crate) use metrics::metrics;

pub use builder::OtlpBuilder;
pub(crate) use receiver::{Receiver, check_files, check_header, check_url, shown, traces_url};

use crate::exporter::{Batch, ExportError, Exporter, Report};
use client::Client;
use http::uri::PathAndQuery;
use std::fmt;
use std::time::Duration;

/// For exporters over gRPC in a crate of their own.
#[doc(hidden)]
pub mod shared {
    use crate::proto::{Field, fields};
    use std::path::PathBuf;
    use std::time::Duration;

    pub use super::response::rejected_spans;

    /// What a configuration says of the receiver.
    #[derive(Default)]
    #[allow(missing_docs, missing_debug_implementations, reason = "not for users, and with credentials")]
    pub struct Receiver {
        pub url: Option<String>,
        pub headers: Vec<(String, String)>,
        pub timeout: Option<Duration>,
        pub ca_certificate: Option<PathBuf>,
        pub client_certificate: Option<PathBuf>,
        pub client_key: Option<PathBuf>,
    }

    fn texts(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
        fields(message).filter_map(move |field| match field {
            (field, Field::Bytes(bytes)) if field == number => Some(bytes),
            _ => None,
        })
    }

    /// How long a receiver asks to wait, in a `google.rpc.Status` with `RetryInfo`.
    #[must_use]
    pub fn retry_after(status: &[u8]) -> Option<Duration> {
        let is_retry_info =
            |any: &&[u8]| texts(any, 1).next().is_some_and(|url| url.ends_with(b"/google.rpc.RetryInfo"));
        let info = texts(status, 3).find(is_retry_info)?;
        let delay = texts(info, 2).next().and_then(|info| texts(info, 1).next()).unwrap_or_default();
        let number = |number| {
            fields(delay).find_map(|field| match field {
                (field, Field::Varint(value)) if field == number => Some(value),
                _ => None,
            })
        };
        // Negative ones, which have the highest bit, are none.
        let seconds = number(1).filter(|seconds| *seconds <= i64::MAX as u64).unwrap_or(0);
        let nanos = number(2).and_then(|nanos| u32::try_from(nanos).ok()).filter(|nanos| *nanos < 1_000_000_000);
        Some(Duration::new(seconds, nanos.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests;

/// Spans wait while numbers about the library are sent, so those do not take longer than this.
const METRICS_TIMEOUT: Duration = Duration::from_secs(1);

/// Posts batches as protobuf over HTTP, one attempt a call, over a kept connection. It is what a tracer exports with unless told
/// otherwise; with [`OtlpExporter::builder`] it is part of an exporter of one's own, or one of several:
///
/// ```
/// use tracewell::{Config, Exporters, OtlpExporter};
///
/// let here = OtlpExporter::builder("http://localhost:4318").build()?;
/// let there = OtlpExporter::builder("http://otlp.example:4318").header("authorization", "Bearer KEY").build()?;
/// let config = Config::new("gallery").exporter(Exporters::new(here).and(there));
/// # drop(config);
/// # Ok::<(), tracewell::Error>(())
/// ```
pub struct OtlpExporter {
    client: Client,
    target: PathAndQuery,
    /// Where numbers about the library itself go, until the receiver says that it does not take them.
    metrics_target: Option<PathAndQuery>,
    /// Whole lines of the request's head, credentials among them.
    headers: Vec<u8>,
    gzip: bool,
    timeout: Option<Duration>,
}

impl OtlpExporter {
    pub(crate) fn of(receiver: Receiver) -> Result<Self, String> {
        if receiver.gzip && !cfg!(feature = "gzip") {
            return Err("compressed export needs tracewell's feature `gzip`".to_owned());
        }
        let (gzip, timeout) = (receiver.gzip, receiver.timeout);
        let receiver::Parts { client, target, metrics_target, headers } = receiver.parts()?;
        Ok(Self { client, target, metrics_target, headers, gzip, timeout })
    }

    /// One attempt.
    fn post(&mut self, to: &PathAndQuery, body: &[u8], timeout: Option<Duration>) -> Result<(), ExportError> {
        let compressed = self.gzip.then(|| compress(body));
        let body = compressed.as_deref().unwrap_or(body);
        let answer = self.client.post(to, &self.headers, body, timeout).map_err(|failure| match failure {
            client::Failure { is_unreachable: true, reason } => ExportError::Unreachable(reason),
            client::Failure { reason, .. } => ExportError::Retry { after: None, reason },
        })?;
        response::judge(answer.status, &answer.headers, &answer.body)
    }
}

impl Exporter for OtlpExporter {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        let target = self.target.clone();
        self.post(&target, batch.otlp(), self.timeout)
    }

    fn report(&mut self, report: &Report<'_>) {
        let timeout = self.timeout.map_or(METRICS_TIMEOUT, |timeout| timeout.min(METRICS_TIMEOUT));
        if let Some(target) = self.metrics_target.clone()
            && let Err(ExportError::Rejected(_)) = self.post(&target, report.otlp(), Some(timeout))
        {
            self.metrics_target = None;
        }
    }
}

impl fmt::Debug for OtlpExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither headers nor the query: they carry credentials.
        f.debug_struct("OtlpExporter").field("path", &self.target.path()).finish_non_exhaustive()
    }
}

#[cfg(feature = "gzip")]
fn compress(body: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// Not reached: without the feature the exporter refuses to be made.
#[cfg(not(feature = "gzip"))]
fn compress(body: &[u8]) -> Vec<u8> {
    body.to_vec()
}

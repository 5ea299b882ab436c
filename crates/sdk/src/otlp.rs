//! OTLP over HTTP: the exporter to Tracewell, or to anything else that speaks it.

mod decode;
#[cfg(not(feature = "off"))]
mod encode;
#[cfg(not(feature = "off"))]
mod metrics;
mod response;

pub(crate) use decode::spans as decode_spans;
#[cfg(not(feature = "off"))]
pub(crate) use encode::{Envelope, event, link, span};
#[cfg(not(feature = "off"))]
pub(crate) use metrics::metrics;

use crate::exporter::{Batch, ExportError, Exporter, Report};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// An answer is a few bytes; more of it than this is not read.
const MAX_RESPONSE_BYTES: u64 = 64 << 10;
/// Spans wait while numbers about the library are sent, so those do not take longer than this.
const METRICS_TIMEOUT: Duration = Duration::from_secs(1);

/// Posts batches as protobuf, one attempt a call, over a kept connection.
///
/// The client is `ureq`: blocking, without an async runtime, a handful of small dependencies, and TLS when wanted;
/// less to go wrong than a client of our own.
#[derive(Debug)]
pub(crate) struct OtlpExporter {
    agent: ureq::Agent,
    url: String,
    /// Where numbers about the library itself go, until the receiver says that it does not take them.
    metrics_url: Option<String>,
    headers: Vec<(http::HeaderName, http::HeaderValue)>,
    gzip: bool,
    timeout: Duration,
}

impl OtlpExporter {
    pub(crate) fn new(url: &str, headers: &[(String, String)], gzip: bool, timeout: Duration) -> Result<Self, String> {
        let uri: http::Uri = url.parse().map_err(|_| format!("the endpoint {url:?} is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "tls") => {}
            Some("https") => return Err("an https:// endpoint needs tracewell's feature `tls`".to_owned()),
            _ => return Err(format!("the endpoint {url:?} must begin with http:// or https://")),
        }
        if gzip && !cfg!(feature = "gzip") {
            return Err("compressed export needs tracewell's feature `gzip`".to_owned());
        }
        let headers = headers.iter().map(|(name, value)| {
            let mut value =
                http::HeaderValue::try_from(value).map_err(|_| format!("the header {name:?} is invalid"))?;
            value.set_sensitive(true);
            let name = http::HeaderName::try_from(name).map_err(|_| format!("the header {name:?} is invalid"))?;
            Ok((name, value))
        });
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // Spans go where they are told to, not where the proxy of the program's own traffic is.
            .proxy(None)
            .user_agent(concat!("tracewell-rust/", env!("CARGO_PKG_VERSION")))
            .build();
        let headers = headers.collect::<Result<_, String>>()?;
        // An endpoint of another form is for spans alone.
        let metrics_url = url.strip_suffix("/v1/traces").map(|base| format!("{base}/v1/metrics"));
        Ok(Self { agent: config.into(), url: url.to_owned(), metrics_url, headers, gzip, timeout })
    }
}

impl Exporter for OtlpExporter {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        self.post(&self.url, batch.otlp(), self.timeout)
    }

    fn report(&mut self, report: &Report<'_>) {
        if let Some(url) = &self.metrics_url
            && let Err(ExportError::Rejected(_)) = self.post(url, report.otlp(), self.timeout.min(METRICS_TIMEOUT))
        {
            self.metrics_url = None;
        }
    }
}

impl OtlpExporter {
    /// One attempt.
    fn post(&self, url: &str, body: &[u8], timeout: Duration) -> Result<(), ExportError> {
        let request = self.agent.post(url).config().timeout_global(Some(timeout)).build();
        let mut request = request.header("content-type", "application/x-protobuf");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let sent = if self.gzip {
            request.header("content-encoding", "gzip").send(&compress(body)[..])
        } else {
            request.send(body)
        };
        let response = sent.map_err(|error| ExportError::Retry { after: None, reason: error.to_string() })?;
        let (parts, mut body) = response.into_parts();
        // Read to its end also when it says nothing: only then the connection serves again.
        let body = body.with_config().limit(MAX_RESPONSE_BYTES).read_to_vec().unwrap_or_default();
        response::judge(parts.status, &parts.headers, &body)
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

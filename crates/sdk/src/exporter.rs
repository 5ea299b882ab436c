//! Where finished spans go.

mod memory;
mod stdout;

pub use memory::InMemoryExporter;
pub use stdout::StdoutExporter;

use crate::{Resource, SpanData, Stats, otlp};
use std::fmt;
use std::time::Duration;

/// Takes batches of finished spans, on a thread of its own. Retries are the caller's: one call is one attempt.
pub trait Exporter: Send + 'static {
    /// Exports one batch.
    ///
    /// # Errors
    /// [`ExportError::Retry`] has the same batch offered again, the others do not.
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError>;

    /// Takes what has become of spans so far: about once a minute when there is news, and at the shutdown. Does nothing
    /// unless implemented.
    fn report(&mut self, report: &Report<'_>) {
        let _ = report;
    }
}

/// What has become of spans.
#[derive(Debug)]
pub struct Report<'a> {
    pub(crate) stats: &'a Stats,
    pub(crate) otlp: &'a [u8],
}

impl Report<'_> {
    /// In numbers.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        self.stats
    }

    /// As an OTLP `ExportMetricsServiceRequest`, ready to be sent.
    #[must_use]
    pub fn otlp(&self) -> &[u8] {
        self.otlp
    }
}

/// Spans on their way out.
#[derive(Debug)]
pub struct Batch<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) otlp: &'a [u8],
    /// Where in `otlp` the spans begin.
    pub(crate) spans_at: usize,
    pub(crate) len: usize,
}

impl Batch<'_> {
    /// Who recorded them.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        self.resource
    }

    /// Number of spans, at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "there is no empty one")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The batch as an OTLP `ExportTraceServiceRequest`, ready to be sent.
    #[must_use]
    pub fn otlp(&self) -> &[u8] {
        self.otlp
    }

    /// The spans, decoded.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanData> {
        otlp::decode_spans(&self.otlp[self.spans_at..])
    }
}

/// Why a batch was not exported, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportError {
    /// It may work later.
    Retry {
        /// How long the receiver asked to wait.
        after: Option<Duration>,
        /// What happened.
        reason: String,
    },
    /// The receiver took the batch but for some spans.
    PartlyRejected {
        /// How many.
        rejected: u64,
        /// What it says about them.
        reason: String,
    },
    /// It will never work.
    Rejected(String),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry { reason, .. } | Self::Rejected(reason) => f.write_str(reason),
            Self::PartlyRejected { rejected, reason } => write!(f, "{rejected} spans rejected: {reason}"),
        }
    }
}

impl std::error::Error for ExportError {}

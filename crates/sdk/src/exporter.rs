//! Where finished spans go.

mod memory;
mod several;
mod stdout;

pub use memory::InMemoryExporter;
pub use several::Exporters;
pub use stdout::StdoutExporter;

use crate::{OnEnd, Resource, SpanData, Stats, otlp};
use std::fmt;
use std::time::Duration;

/// Takes batches of finished spans, on a thread of its own. Retries are the caller's: one call is one attempt.
///
/// To test an exporter of one's own, give it spans: record them with an [`InMemoryExporter`] and hand out what it kept.
///
/// ```
/// use tracewell::{Batch, Config, ExportError, Exporter, InMemoryExporter, Tracer};
///
/// struct Counts(usize);
///
/// impl Exporter for Counts {
///     fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
///         self.0 += batch.len();
///         Ok(())
///     }
/// }
///
/// let recorded = InMemoryExporter::new();
/// let tracer = Tracer::new(Config::new("test").exporter(recorded.clone()))?;
/// tracer.span("work").start().end();
/// tracer.flush(std::time::Duration::from_secs(5))?;
///
/// let mut counts = Counts(0);
/// recorded.export_to(&mut counts)?;
/// assert_eq!(counts.0, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Exporter: Send + 'static {
    /// Exports one batch.
    ///
    /// # Errors
    /// [`ExportError::Retry`] and [`ExportError::Unreachable`] have the same batch offered again, the others do not.
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError>;

    /// Takes what has become of spans so far: about once a minute when there is news, and at the shutdown. Does nothing
    /// unless implemented.
    fn report(&mut self, report: &Report<'_>) {
        let _ = report;
    }
}

/// See [`crate::Config::on_end`].
pub(crate) type Hook = Box<dyn FnMut(&mut SpanData) -> OnEnd + Send>;

/// What has become of spans.
#[derive(Debug)]
pub struct Report<'a> {
    pub(crate) stats: &'a Stats,
    pub(crate) otlp: &'a [u8],
}

impl<'a> Report<'a> {
    /// What an exporter of one's own may be told in a test. `otlp` is a request in OTLP's form, or empty.
    #[must_use]
    pub fn new(stats: &'a Stats, otlp: &'a [u8]) -> Self {
        Self { stats, otlp }
    }

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
    pub(crate) attempt: u32,
}

impl<'a> Batch<'a> {
    /// A first attempt at these spans, written into `buffer`: for an exporter that hands other spans on than it was given, and
    /// for the test of one. `None` without spans (and with the feature `off`).
    ///
    /// ```
    /// use tracewell::{Batch, InMemoryExporter, Exporter as _, Resource, SpanData};
    ///
    /// let mut span = SpanData::default();
    /// span.name = "work".into();
    /// let (resource, mut buffer) = (Resource::default(), Vec::new());
    /// let batch = Batch::new(&resource, &[span.clone()], &mut buffer).unwrap();
    /// assert_eq!(batch.spans(), [span]);
    /// ```
    #[must_use]
    pub fn new(resource: &'a Resource, spans: &[SpanData], buffer: &'a mut Vec<u8>) -> Option<Self> {
        #[cfg(feature = "off")]
        return None;
        #[cfg(not(feature = "off"))]
        Self::encoded(resource, spans, buffer)
    }

    #[cfg(not(feature = "off"))]
    fn encoded(resource: &'a Resource, spans: &[SpanData], buffer: &'a mut Vec<u8>) -> Option<Self> {
        if spans.is_empty() {
            return None;
        }
        let mut encoded = Vec::new();
        spans.iter().for_each(|span| otlp::span_data(&mut encoded, span));
        buffer.clear();
        otlp::Envelope::new(resource).begin(buffer, encoded.len());
        let spans_at = buffer.len();
        buffer.extend_from_slice(&encoded);
        Some(Self { resource, otlp: buffer, spans_at, len: spans.len(), attempt: 1 })
    }

    /// The same, offered for this time.
    #[must_use]
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }
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

    /// How often it has been offered, this time included: 1 at first, more after [`ExportError::Retry`].
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
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
#[non_exhaustive]
pub enum ExportError {
    /// It may work later.
    Retry {
        /// How long the receiver asked to wait.
        after: Option<Duration>,
        /// What happened.
        reason: String,
    },
    /// Nobody listens there, or there is no such host. Tried again while the program runs, but not at its end: what was
    /// refused at once would be refused again.
    Unreachable(String),
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
            Self::Retry { reason, .. } | Self::Unreachable(reason) | Self::Rejected(reason) => f.write_str(reason),
            Self::PartlyRejected { rejected, reason } => write!(f, "{rejected} spans rejected: {reason}"),
        }
    }
}

impl std::error::Error for ExportError {}

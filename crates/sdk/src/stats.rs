//! What has become of spans.

use std::fmt;
use std::time::Duration;

/// What has happened to the spans that ended, since the tracer started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Accepted by the exporter.
    pub exported: u64,
    /// In the requests that were accepted, before compression.
    pub exported_bytes: u64,
    /// That the exporter's thread has spent on sending, waits between attempts included.
    pub export_time: Duration,
    /// Dropped because [`crate::Config::on_end`] said so, or panicked: they are not lost.
    pub dropped_on_end: u64,
    /// Dropped because the queue was full.
    pub dropped_queue_full: u64,
    /// Dropped because the receiver refused them.
    pub dropped_rejected: u64,
    /// Dropped because the receiver could not be reached, or was overloaded, for too long.
    pub dropped_unreachable: u64,
    /// Dropped because they ended after the shutdown, or it did not leave the time.
    pub dropped_shutdown: u64,
    /// Why the latest attempt failed; `None` when it did not.
    pub last_error: Option<String>,
}

impl Stats {
    /// Dropped for whatever reason but the program's wish.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_queue_full + self.dropped_rejected + self.dropped_unreachable + self.dropped_shutdown
    }
}

/// What became of the spans, at the end: see [`crate::Guard::shutdown`]. Printed, it is a line for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Since the tracer started.
    pub stats: Stats,
    /// Spans that were still waiting when the time was over.
    pub unfinished: u64,
}

impl ShutdownReport {
    /// Spans that were recorded and not exported.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.stats.dropped() + self.unfinished
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lost, all) = (self.lost(), self.lost() + self.stats.exported);
        if lost == 0 {
            return write!(f, "all {all} spans were exported");
        }
        write!(f, "{lost} of {all} spans were not exported")?;
        match &self.stats.last_error {
            Some(error) => write!(f, ": {error}"),
            None if self.unfinished > 0 || self.stats.dropped_shutdown > 0 => f.write_str(": not in time"),
            None => Ok(()),
        }
    }
}

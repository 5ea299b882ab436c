//! What has become of spans.

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

//! What the receivers did, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Refusal;
use crate::api::{Loss, Received, ReceiverStats};

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub(super) struct IngestStats {
    requests: AtomicU64,
    spans: AtomicU64,
    bytes: AtomicU64,
    rejected_spans: AtomicU64,
    malformed: AtomicU64,
    too_large: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
}

impl IngestStats {
    pub(super) fn received(&self, spans: u64, bytes: u64) {
        self.requests.fetch_add(1, Relaxed);
        self.spans.fetch_add(spans, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn rejected(&self, spans: u64) {
        self.rejected_spans.fetch_add(spans, Relaxed);
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        let counter = match refusal {
            Refusal::Malformed(_) => &self.malformed,
            Refusal::TooLarge(_) => &self.too_large,
            Refusal::Busy(_) => &self.busy,
            Refusal::Failed(_) => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// The counters now, as the API shows them.
    pub(super) fn snapshot(&self) -> ReceiverStats {
        let loss = |reason: &str, requests: &AtomicU64, spans: u64| Loss {
            reason: reason.to_owned(),
            requests: requests.load(Relaxed),
            spans,
        };
        let mut refused = vec![
            loss("malformed", &self.malformed, 0),
            loss("too_large", &self.too_large, 0),
            loss("busy", &self.busy, 0),
            loss("failed", &self.failed, 0),
        ];
        let rejected = self.rejected_spans.load(Relaxed);
        refused.push(Loss { reason: "rejected_spans".to_owned(), requests: 0, spans: rejected });
        refused.retain(|loss| loss.requests > 0 || loss.spans > 0);
        ReceiverStats {
            received: Received {
                requests: self.requests.load(Relaxed),
                spans: self.spans.load(Relaxed),
                bytes: self.bytes.load(Relaxed),
            },
            refused,
            ..ReceiverStats::default()
        }
    }
}

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
    too_slow: AtomicU64,
    media_type: AtomicU64,
    path: AtomicU64,
    method: AtomicU64,
    foreign_metrics: AtomicU64,
}

/// Why a request was turned away before it was looked into.
#[derive(Clone, Copy, Debug)]
pub(super) enum Early {
    /// Neither protobuf nor JSON.
    MediaType,
    /// Nothing is received there.
    Path,
    /// No POST.
    Method,
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
            Refusal::TooSlow(_) => &self.too_slow,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn turned_away(&self, early: Early) {
        let counter = match early {
            Early::MediaType => &self.media_type,
            Early::Path => &self.path,
            Early::Method => &self.method,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Metrics that are no SDK's of itself: taken, and not kept.
    pub(super) fn foreign_metrics(&self) {
        self.foreign_metrics.fetch_add(1, Relaxed);
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
            loss("too_slow", &self.too_slow, 0),
            loss("unsupported_media_type", &self.media_type, 0),
            loss("not_found", &self.path, 0),
            loss("method_not_allowed", &self.method, 0),
        ];
        let rejected = self.rejected_spans.load(Relaxed);
        refused.push(Loss { reason: "rejected_spans".to_owned(), requests: 0, spans: rejected });
        let mut dropped = vec![loss("foreign_metrics", &self.foreign_metrics, 0)];
        for losses in [&mut refused, &mut dropped] {
            losses.retain(|loss| loss.requests > 0 || loss.spans > 0);
        }
        ReceiverStats {
            received: Received {
                requests: self.requests.load(Relaxed),
                spans: self.spans.load(Relaxed),
                bytes: self.bytes.load(Relaxed),
            },
            refused,
            dropped,
            ..ReceiverStats::default()
        }
    }
}

//! What the receivers did, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tracewell_store::OddCounts;

use super::Refusal;
use crate::api::{Loss, PortStats, Received, ReceiverStats};
use crate::metrics::Port;

/// Counters since the start of the process, for each receiver.
#[derive(Debug, Default)]
pub(super) struct IngestStats {
    otlp_http: PortCounters,
    otlp_grpc: PortCounters,
}

/// Counters of one receiver.
#[derive(Debug, Default)]
pub(super) struct PortCounters {
    requests: AtomicU64,
    spans: AtomicU64,
    bytes: AtomicU64,
    rejected_spans: AtomicU64,
    refused: [AtomicU64; REASONS.len()],
    foreign_metrics: AtomicU64,
    future: AtomicU64,
    past: AtomicU64,
}

/// Why a request is refused as a whole, in the order of the counters.
const REASONS: [&str; 7] = ["malformed", "too_large", "busy", "failed", "unsupported", "not_found", "too_slow"];

/// Refusals of what is no `Refusal`, because it did not get so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    /// A content type, a method or an encoding that is not taken.
    Unsupported = 4,
    /// A path that nothing is received at.
    NotFound = 5,
}

impl IngestStats {
    pub(super) fn of(&self, port: Port) -> &PortCounters {
        match port {
            Port::OtlpGrpc => &self.otlp_grpc,
            Port::Http | Port::OtlpHttp => &self.otlp_http,
        }
    }

    /// The counters now, as the API shows them.
    pub(super) fn snapshot(&self) -> ReceiverStats {
        let ports: Vec<PortStats> = [Port::OtlpHttp, Port::OtlpGrpc]
            .into_iter()
            .map(|port| {
                let (received, refused) = self.of(port).snapshot();
                PortStats { port: port.name(), received, refused }
            })
            .collect();
        let mut all = ReceiverStats::default();
        for port in [&self.otlp_http, &self.otlp_grpc] {
            all.odd_times.future += port.future.load(Relaxed);
            all.odd_times.past += port.past.load(Relaxed);
        }
        for port in &ports {
            all.received.requests += port.received.requests;
            all.received.spans += port.received.spans;
            all.received.bytes += port.received.bytes;
            for loss in &port.refused {
                match all.refused.iter_mut().find(|known| known.reason == loss.reason) {
                    Some(known) => {
                        known.requests += loss.requests;
                        known.spans += loss.spans;
                    }
                    None => all.refused.push(loss.clone()),
                }
            }
        }
        let metrics = [&self.otlp_http, &self.otlp_grpc].map(|port| port.foreign_metrics.load(Relaxed)).iter().sum();
        if metrics > 0 {
            all.dropped.push(Loss { reason: "foreign_metrics".to_owned(), requests: metrics, spans: 0 });
        }
        ReceiverStats { ports, ..all }
    }
}

impl PortCounters {
    pub(super) fn received(&self, spans: u64, bytes: u64) {
        self.requests.fetch_add(1, Relaxed);
        self.spans.fetch_add(spans, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn rejected(&self, spans: u64) {
        self.rejected_spans.fetch_add(spans, Relaxed);
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        let reason = match refusal {
            Refusal::Malformed(_) => 0,
            Refusal::TooLarge(_) => 1,
            Refusal::Busy(_) => 2,
            Refusal::Failed(_) => 3,
            Refusal::TooSlow(_) => 6,
        };
        self.refused[reason].fetch_add(1, Relaxed);
    }

    pub(super) fn odd_times(&self, odd: OddCounts) {
        if odd.total() > 0 {
            self.future.fetch_add(odd.future, Relaxed);
            self.past.fetch_add(odd.past, Relaxed);
        }
    }

    pub(super) fn turned(&self, turned: Turned) {
        self.refused[turned as usize].fetch_add(1, Relaxed);
    }

    /// Metrics that are no SDK's of itself: taken, and not kept.
    pub(super) fn foreign_metrics(&self) {
        self.foreign_metrics.fetch_add(1, Relaxed);
    }

    /// What was accepted, and what was refused by those reasons that occurred.
    fn snapshot(&self) -> (Received, Vec<Loss>) {
        let received = Received {
            requests: self.requests.load(Relaxed),
            spans: self.spans.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        };
        let requests = REASONS.iter().zip(&self.refused);
        let mut refused: Vec<Loss> = requests
            .map(|(reason, requests)| Loss { reason: (*reason).to_owned(), requests: requests.load(Relaxed), spans: 0 })
            .collect();
        let spans = self.rejected_spans.load(Relaxed);
        refused.push(Loss { reason: "rejected_spans".to_owned(), requests: 0, spans });
        refused.retain(|loss| loss.requests > 0 || loss.spans > 0);
        (received, refused)
    }
}

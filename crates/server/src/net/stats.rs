//! What became of connections, counted by port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// Counters of all ports since the start of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConnectionStats {
    ports: Arc<[(&'static str, PortCounters)]>,
}

/// Counters of one port.
#[derive(Debug, Default)]
pub(super) struct PortCounters {
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) refused_full: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) tls: AtomicU64,
    pub(super) not_http: AtomicU64,
    pub(super) bad_head: AtomicU64,
    pub(super) head_too_large: AtomicU64,
    pub(super) timeout_header: AtomicU64,
    pub(super) timeout_idle: AtomicU64,
    pub(super) timeout_body: AtomicU64,
    pub(super) timeout_write: AtomicU64,
    pub(super) cut_by_stop: AtomicU64,
    pub(super) panics: AtomicU64,
}

/// What became of the connections of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortConnections {
    /// `http`, `otlp_http` or `otlp_grpc`.
    pub port: &'static str,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Of these, how many are open now.
    pub open: u64,
    /// Connections that were refused, or ended before their time, by reason. Timeouts are not among them.
    pub refused: Vec<Count>,
    /// Connections and requests that took too long, by what they were slow at.
    pub timed_out: Vec<Count>,
    /// Failures to accept a connection, such as when there are no file descriptors left.
    pub accept_errors: u64,
    /// Requests whose handling panicked.
    pub panics: u64,
}

/// How often something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Why, in a word.
    pub reason: &'static str,
    /// How often.
    pub count: u64,
}

impl ConnectionStats {
    /// Counters for ports of these names.
    pub fn new<const N: usize>(ports: [&'static str; N]) -> Self {
        Self { ports: ports.into_iter().map(|name| (name, PortCounters::default())).collect() }
    }

    /// The counters now, every reason among them, those that never happened with 0.
    pub fn snapshot(&self) -> Vec<PortConnections> {
        self.ports.iter().map(|(name, counters)| counters.snapshot(name)).collect()
    }

    /// Of all ports together: heads of requests that could not be read, and those over the limit.
    pub fn bad_heads(&self) -> (u64, u64) {
        let sum = |counter: fn(&PortCounters) -> &AtomicU64| {
            self.ports.iter().map(|(_, counters)| counter(counters).load(Relaxed)).sum()
        };
        (sum(|counters| &counters.bad_head), sum(|counters| &counters.head_too_large))
    }

    pub(super) fn port(&self, index: usize) -> &PortCounters {
        &self.ports[index].1
    }

    pub(super) fn name(&self, index: usize) -> &'static str {
        self.ports[index].0
    }
}

impl PortCounters {
    fn snapshot(&self, port: &'static str) -> PortConnections {
        let count = |reason, counter: &AtomicU64| Count { reason, count: counter.load(Relaxed) };
        PortConnections {
            port,
            accepted: self.accepted.load(Relaxed),
            open: self.open.load(Relaxed),
            refused: vec![
                count("too_many_connections", &self.refused_full),
                count("made_room", &self.evicted),
                count("tls", &self.tls),
                count("not_http", &self.not_http),
                count("bad_head", &self.bad_head),
                count("head_too_large", &self.head_too_large),
                count("stopping", &self.cut_by_stop),
            ],
            timed_out: vec![
                count("header", &self.timeout_header),
                count("idle", &self.timeout_idle),
                count("body", &self.timeout_body),
                count("write", &self.timeout_write),
            ],
            accept_errors: self.accept_errors.load(Relaxed),
            panics: self.panics.load(Relaxed),
        }
    }
}

pub(super) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

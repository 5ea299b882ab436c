//! How much traffic, when, and its traces one by one.

use std::sync::Arc;

use tracewell_model::{SpanBatch, TraceId};

use crate::request::Request;
use crate::{Requests, Topology};

/// A description of traffic. The same description gives the same spans, bit by bit.
#[derive(Clone, Debug)]
pub struct Workload {
    seed: u64,
    services: usize,
    spans: usize,
    start_unix_nano: u64,
    window_nanos: u64,
    max_trace_spans: usize,
}

impl Workload {
    /// 100,000 spans of 20 services within one hour from 2026-01-01T00:00:00Z.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            services: 20,
            spans: 100_000,
            start_unix_nano: 1_767_225_600_000_000_000,
            window_nanos: 3_600_000_000_000,
            max_trace_spans: 20_000,
        }
    }

    /// How many services, at least 2.
    pub fn services(self, services: usize) -> Self {
        Self { services, ..self }
    }

    /// How many spans in all. Exact: the last trace is cut to fit, and whole at that.
    pub fn spans(self, spans: usize) -> Self {
        Self { spans, ..self }
    }

    /// When the first request enters.
    pub fn start_unix_nano(self, start_unix_nano: u64) -> Self {
        Self { start_unix_nano, ..self }
    }

    /// Over which time requests enter; how many there are does not depend on it.
    pub fn window_nanos(self, window_nanos: u64) -> Self {
        Self { window_nanos, ..self }
    }

    /// How large a trace gets at most, in spans.
    pub fn max_trace_spans(self, max_trace_spans: usize) -> Self {
        Self { max_trace_spans, ..self }
    }

    /// The services.
    pub fn topology(&self) -> Topology {
        Topology::new(self.seed, self.services)
    }

    /// The traces, each whole, in the order in which the requests enter.
    pub fn traces(&self) -> Traces {
        Traces {
            topology: Arc::new(self.topology()),
            workload: self.clone(),
            rng: fastrand::Rng::with_seed(self.seed),
            left: self.spans,
        }
    }

    /// The spans as services would send them, in requests of this many spans each (the last of a service may be
    /// smaller): see [`Requests`].
    pub fn requests(&self, spans_per_request: usize) -> Requests {
        Requests::new(self.traces(), spans_per_request)
    }
}

/// The traces of a [`Workload`].
#[derive(Clone, Debug)]
pub struct Traces {
    topology: Arc<Topology>,
    workload: Workload,
    rng: fastrand::Rng,
    left: usize,
}

impl Iterator for Traces {
    type Item = SpanBatch;

    fn next(&mut self) -> Option<SpanBatch> {
        if self.left == 0 {
            return None;
        }
        let size = trace_size(&mut self.rng).min(self.workload.max_trace_spans).clamp(1, self.left);
        // Requests enter as spans are used up, so that load is even over the window.
        let done = (self.workload.spans - self.left) as f64 / self.workload.spans as f64;
        let start = self.workload.start_unix_nano + (done * self.workload.window_nanos as f64) as u64;
        self.left -= size;
        let trace_id = TraceId::from_u128((u128::from(self.rng.u64(1..)) << 64) | u128::from(self.rng.u64(..)));
        // A request has its own random numbers: what one does changes no other.
        let rng = fastrand::Rng::with_seed(self.rng.u64(..));
        Some(Request::new(&self.topology, rng, trace_id).run(size, start))
    }
}

/// Log-normal with median 10 and a mean of 86.
fn trace_size(rng: &mut fastrand::Rng) -> usize {
    (10.0 * (2.07 * normal(rng)).exp()).round() as usize
}

/// A standard normal number (Box and Muller).
pub(crate) fn normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

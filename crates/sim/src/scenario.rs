//! Two windows of time of one mesh, the second with a fault from some moment on.

use fastrand::Rng;
use tracewell_model::{SpanBatch, TimeRange};

use crate::mesh::Mesh;
use crate::mesh::fault::{Fault, FaultKind, Truth};
use crate::mesh::request::{Conditions, Request};
use crate::workload::normal;

/// A description of two windows. The same description gives the same spans, bit by bit.
#[derive(Clone, Debug)]
pub struct Scenario {
    seed: u64,
    services: usize,
    fault: Option<FaultKind>,
    severity: f64,
    requests: usize,
    sampling: f64,
    missing: f64,
    skew_nanos: f64,
    drift: f64,
}

/// What a [`Scenario`] leaves: traces in the order in which their requests entered.
#[derive(Clone, Debug)]
pub struct Windows {
    /// The traces of the window without a fault.
    pub baseline: Vec<SpanBatch>,
    /// The traces of the window with one.
    pub window: Vec<SpanBatch>,
    /// When the requests of the baseline enter.
    pub baseline_time: TimeRange,
    /// When those of the window do.
    pub window_time: TimeRange,
    /// What was planted.
    pub truth: Option<Truth>,
}

const WINDOW_NANOS: u64 = 1_800_000_000_000;
const START_UNIX_NANO: u64 = 1_767_225_600_000_000_000;

impl Scenario {
    /// 4,000 requests in each window of half an hour, of which one in ten is sampled; 5 to 40 services, 1 % of spans
    /// lost, clocks some milliseconds apart, services 5 % faster or slower from one window to the next; no fault.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            services: Rng::with_seed(seed ^ 0x5e41).usize(5..=40),
            fault: None,
            severity: 1.0,
            requests: 4_000,
            sampling: 0.1,
            missing: 0.01,
            skew_nanos: 4_000_000.0,
            drift: 0.05,
        }
    }

    /// How many services, at least 2.
    pub fn services(self, services: usize) -> Self {
        Self { services, ..self }
    }

    /// Plants a fault of this kind, if the mesh has a place for it.
    pub fn fault(self, fault: FaultKind) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// How many times as much as usual a fault adds.
    pub fn severity(self, severity: f64) -> Self {
        Self { severity, ..self }
    }

    /// How many requests enter in each window.
    pub fn requests(self, requests: usize) -> Self {
        Self { requests, ..self }
    }

    /// Which part of requests leaves a trace.
    pub fn sampling(self, sampling: f64) -> Self {
        Self { sampling, ..self }
    }

    /// Makes the traces.
    pub fn run(&self) -> Windows {
        let mut rng = Rng::with_seed(self.seed);
        let mesh = Mesh::new(self.seed, self.services, self.skew_nanos);
        let baseline_time = TimeRange::new(START_UNIX_NANO, START_UNIX_NANO + WINDOW_NANOS);
        let window_time = TimeRange::new(baseline_time.end_unix_nano, baseline_time.end_unix_nano + WINDOW_NANOS);

        let baseline = self.traces(&mesh, None, baseline_time, &mut rng);
        let mut durations: Vec<u64> = baseline.iter().filter_map(root_nanos).collect();
        durations.sort_unstable();
        let typical = durations.get(durations.len() / 2).map_or(10_000_000.0, |nanos| *nanos as f64);
        let onset = window_time.start_unix_nano + (WINDOW_NANOS as f64 * (0.1 + 0.5 * rng.f64())) as u64;
        let fault = self.fault.and_then(|kind| {
            // Each kind at a place of its own, so that the same seed does not try the same service over and over.
            let mut rng = Rng::with_seed(self.seed ^ (0xfa17 + kind as u64) << 20);
            Fault::plant(&mesh, kind, &mut rng, onset, typical)
                .map(|fault| Fault { added_nanos: (fault.added_nanos as f64 * self.severity) as u64, ..fault })
        });
        let window = self.traces(&mesh, fault.as_ref(), window_time, &mut rng);
        Windows { baseline, window, baseline_time, window_time, truth: fault.map(|fault| fault.truth(&mesh)) }
    }

    fn traces(&self, mesh: &Mesh, fault: Option<&Fault>, time: TimeRange, rng: &mut Rng) -> Vec<SpanBatch> {
        let pace: Vec<f64> = mesh.services.iter().map(|_| (self.drift * normal(rng)).exp()).collect();
        let conditions = Conditions { mesh, fault, pace: &pace, missing: self.missing };
        let mut starts: Vec<u64> = (0..self.requests)
            .map(|_| (rng.f64() < self.sampling, rng.u64(time.start_unix_nano..time.end_unix_nano)))
            .filter_map(|(is_sampled, start)| is_sampled.then_some(start))
            .collect();
        starts.sort_unstable();
        starts
            .into_iter()
            .map(|start| Request::run(&conditions, Rng::with_seed(rng.u64(..)), start))
            .filter(|spans| !spans.is_empty())
            .collect()
    }
}

fn root_nanos(spans: &SpanBatch) -> Option<u64> {
    spans.iter().find(|span| span.parent_span_id().is_zero()).map(|root| root.duration_nanos())
}

//! One request walking through the services, leaving spans.

use tracewell_model::{NewSpan, ResourceId, ScopeId, SpanBatch, SpanId, SpanKind, StatusCode, TraceId};

use crate::describe::{self, Call, Statement};
use crate::topology::Topology;
use crate::workload::normal;

pub(crate) struct Request<'a> {
    pub(crate) topology: &'a Topology,
    pub(crate) rng: fastrand::Rng,
    trace_id: TraceId,
    pub(crate) batch: SpanBatch,
    /// A service's pods do not change within a request.
    resources: Vec<Option<ResourceId>>,
    scopes: Vec<Option<ScopeId>>,
}

/// The parts of a span that its kind of work decides.
#[derive(Clone, Copy)]
struct Interval {
    id: SpanId,
    parent: SpanId,
    start: u64,
    end: u64,
    failed: bool,
}

/// When some work ended, and whether it failed.
#[derive(Clone, Copy)]
struct Outcome {
    end: u64,
    failed: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn new(topology: &'a Topology, rng: fastrand::Rng, trace_id: TraceId) -> Self {
        Self {
            topology,
            rng,
            trace_id,
            batch: SpanBatch::new(),
            resources: vec![None; topology.services.len()],
            scopes: vec![None; describe::SCOPES.len()],
        }
    }

    /// Exactly `spans` spans, from this moment on.
    pub(crate) fn run(mut self, spans: usize, start: u64) -> SpanBatch {
        // Small requests are one operation, large ones another: an operation has a size of its own.
        let operation = match spans {
            0..5 => 0,
            5..20 => 1,
            20..200 => 2,
            _ => 3,
        };
        self.serve(0, operation, SpanId::ZERO, start, spans, SpanKind::Server);
        self.batch
    }

    /// A service handles a request or a message, with this many spans in all.
    fn serve(
        &mut self,
        service: usize,
        operation: usize,
        parent: SpanId,
        start: u64,
        spans: usize,
        kind: SpanKind,
    ) -> Outcome {
        let id = self.span_id();
        let topology = self.topology;
        let mut now = start + self.around(400_000);
        let mut failed = self.rng.f64() < 0.002;
        let mut left = spans - 1;
        while left > 0 {
            let step_start = now;
            // Some steps go out together: the next begins where this one began.
            let together = if self.rng.u8(0..10) < 2 { self.rng.usize(2..5) } else { 1 };
            for _ in 0..together {
                if left == 0 {
                    break;
                }
                let (used, outcome) = self.step(service, id, step_start, left);
                left -= used;
                now = now.max(outcome.end);
                failed |= outcome.failed;
            }
            now += self.around(60_000);
        }
        let end = now + self.around(150_000);
        let interval = Interval { id, parent, start, end, failed };
        let name = topology.services[service].operations[operation].name.as_str();
        match kind {
            SpanKind::Consumer => {
                describe::message(self, service, "process", parent);
                self.push(service, describe::MESSAGING, "process jobs", kind, interval);
            }
            _ => {
                describe::served(self, service, operation, failed, end);
                let scope = if topology.services[service].is_grpc { describe::GRPC } else { describe::HTTP };
                self.push(service, scope, name, kind, interval);
            }
        }
        Outcome { end, failed }
    }

    /// One piece of work in a service, of at most `left` spans; says how many it took.
    fn step(&mut self, service: usize, parent: SpanId, start: u64, left: usize) -> (usize, Outcome) {
        let calls = &self.topology.services[service].calls;
        if left >= 2 && !calls.is_empty() && self.rng.u8(0..10) < if left > 8 { 7 } else { 4 } {
            let callee = calls[self.rng.usize(0..calls.len())];
            // A callee gets a part of what is left, the callee's callees a part of that.
            let spans = 2 + self.rng.usize(0..=(left - 2).div_ceil(2));
            return (spans, self.call(service, callee, parent, start, spans));
        }
        let workers: Vec<usize> = (service + 1..self.topology.services.len())
            .filter(|later| self.topology.services[*later].is_worker)
            .collect();
        match self.rng.u8(0..20) {
            0 if left >= 2 && !workers.is_empty() => {
                let worker = workers[self.rng.usize(0..workers.len())];
                let spans = 2 + self.rng.usize(0..=(left - 2).min(20));
                (spans, self.publish(service, worker, parent, start, spans))
            }
            1..5 if left >= 2 => {
                let inner = 1 + self.rng.usize(0..(left - 1).min(4));
                (inner + 1, self.compute(service, parent, start, inner))
            }
            5..9 => (1, self.cache(service, parent, start)),
            9..11 => (1, self.compute(service, parent, start, 0)),
            _ => (1, self.query(service, parent, start)),
        }
    }

    fn call(&mut self, service: usize, callee: usize, parent: SpanId, start: u64, spans: usize) -> Outcome {
        let id = self.span_id();
        let to = &self.topology.services[callee];
        // A service's operation follows from who calls and why; two of its four are asked for most.
        let operation = [0, 0, 1, 1, 2, 3][self.rng.usize(0..6)];
        let arrive = start + self.around(250_000);
        let served = self.serve(callee, operation, id, arrive, spans - 1, SpanKind::Server);
        let end = served.end + self.around(250_000);
        // What fails below fails above, unless the caller can do without.
        let failed = served.failed && self.rng.u8(0..10) < 8;
        describe::called(self, Call { service, callee, operation, failed: served.failed });
        let (name, scope) = if to.is_grpc {
            (to.operations[operation].name.as_str(), describe::GRPC)
        } else {
            (to.operations[operation].method, describe::HTTP)
        };
        self.push(service, scope, name, SpanKind::Client, Interval { id, parent, start, end, failed: served.failed });
        Outcome { end, failed }
    }

    fn publish(&mut self, service: usize, worker: usize, parent: SpanId, start: u64, spans: usize) -> Outcome {
        let id = self.span_id();
        let end = start + self.around(500_000);
        let delivered = end + self.around(3_000_000);
        self.serve(worker, 0, id, delivered, spans - 1, SpanKind::Consumer);
        describe::message(self, service, "send", SpanId::ZERO);
        let interval = Interval { id, parent, start, end, failed: false };
        self.push(service, describe::MESSAGING, "send jobs", SpanKind::Producer, interval);
        Outcome { end, failed: false }
    }

    fn compute(&mut self, service: usize, parent: SpanId, start: u64, inner: usize) -> Outcome {
        const NAMES: [&str; 6] =
            ["validate", "render", "serialize response", "apply discounts", "authorize", "merge results"];
        let id = self.span_id();
        let mut now = start + self.around(120_000);
        let mut failed = false;
        for _ in 0..inner {
            let outcome = self.query(service, id, now);
            now = outcome.end + self.around(30_000);
            failed |= outcome.failed;
        }
        let end = now + self.around(80_000);
        let name = NAMES[self.rng.usize(0..NAMES.len())];
        describe::computed(self);
        self.push(service, describe::INTERNAL, name, SpanKind::Internal, Interval { id, parent, start, end, failed });
        Outcome { end, failed }
    }

    fn query(&mut self, service: usize, parent: SpanId, start: u64) -> Outcome {
        let id = self.span_id();
        let end = start + self.around(900_000);
        let failed = self.rng.f64() < 0.0005;
        let statement = Statement::any(&mut self.rng);
        describe::queried(self, service, &statement, failed, end);
        let name = statement.name();
        self.push(service, describe::DATABASE, &name, SpanKind::Client, Interval { id, parent, start, end, failed });
        Outcome { end, failed }
    }

    fn cache(&mut self, service: usize, parent: SpanId, start: u64) -> Outcome {
        let id = self.span_id();
        let end = start + self.around(180_000);
        let name = ["GET", "MGET", "SET"][self.rng.usize(0..3)];
        describe::cached(self, name);
        self.push(service, describe::CACHE, name, SpanKind::Client, Interval { id, parent, start, end, failed: false });
        Outcome { end, failed: false }
    }

    /// A log-normal time with this median: the tail is what makes percentiles interesting.
    fn around(&mut self, median_nanos: u64) -> u64 {
        (median_nanos as f64 * (0.5 * normal(&mut self.rng)).exp()) as u64
    }

    fn span_id(&mut self) -> SpanId {
        SpanId::from_u64(self.rng.u64(1..))
    }

    fn push(&mut self, service: usize, scope: usize, name: &str, kind: SpanKind, interval: Interval) {
        let resource = match self.resources[service] {
            Some(resource) => resource,
            None => *self.resources[service].insert(describe::resource(
                &mut self.batch,
                &mut self.rng,
                &self.topology.services[service],
            )),
        };
        let scope = match self.scopes[scope] {
            Some(scope) => scope,
            None => *self.scopes[scope].insert(describe::scope(&mut self.batch, scope)),
        };
        let name = self.batch.intern(name);
        let status_message = self.batch.intern(if interval.failed { "upstream request failed" } else { "" });
        self.batch.push_span(NewSpan {
            trace_id: self.trace_id,
            span_id: interval.id,
            parent_span_id: interval.parent,
            start_unix_nano: interval.start,
            end_unix_nano: interval.end,
            name,
            kind,
            status_code: if interval.failed { StatusCode::Error } else { StatusCode::Unset },
            status_message,
            // Sampled, and the parent known to be in another process or not.
            flags: 0x101,
            ..NewSpan::new(resource, scope)
        });
    }

    /// The id of the trace, for links.
    pub(crate) fn trace_id(&self) -> TraceId {
        self.trace_id
    }
}

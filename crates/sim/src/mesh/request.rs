//! One request through a mesh, leaving spans.

use fastrand::Rng;
use tracewell_model::{NewSpan, ResourceId, ScopeId, SpanBatch, SpanId, SpanKind, StatusCode, TraceId, Value};

use super::fault::{Fault, FaultKind};
use super::{Mesh, Pod, STATEMENTS, Step, TENANTS};
use crate::workload::normal;

/// What one window of time is like.
pub(crate) struct Conditions<'a> {
    pub(crate) mesh: &'a Mesh,
    pub(crate) fault: Option<&'a Fault>,
    /// How fast each service is at this time, about 1: no two hours are alike.
    pub(crate) pace: &'a [f64],
    /// The part of spans that never arrives.
    pub(crate) missing: f64,
}

pub(crate) struct Request<'a> {
    conditions: &'a Conditions<'a>,
    fault: Option<&'a Fault>,
    rng: Rng,
    trace_id: TraceId,
    tenant: String,
    batch: SpanBatch,
    scope: ScopeId,
    resources: Vec<Vec<Option<ResourceId>>>,
}

/// Which part of what a service does meets a pause, while there are pauses.
const PAUSED: f64 = 0.3;

/// When some work ended, and whether it failed.
#[derive(Clone, Copy)]
struct Outcome {
    end: u64,
    failed: bool,
}

struct Span<'s> {
    id: SpanId,
    parent: SpanId,
    name: &'s str,
    kind: SpanKind,
    start: u64,
    end: u64,
    error: Option<&'s str>,
}

impl<'a> Request<'a> {
    /// Runs a request that enters at this moment.
    pub(crate) fn run(conditions: &'a Conditions<'a>, mut rng: Rng, start: u64) -> SpanBatch {
        let mut batch = SpanBatch::new();
        let scope = batch.add_scope("shop", "1.4.0", &[], 0, "");
        let trace_id = TraceId::from_u128((u128::from(rng.u64(1..)) << 64) | u128::from(rng.u64(..)));
        let tenant = format!("tenant-{}", rng.usize(0..TENANTS));
        let resources = conditions.mesh.services.iter().map(|service| vec![None; service.pods.len()]).collect();
        let fault = conditions.fault.filter(|fault| fault.at_unix_nano <= start);
        let mut request = Self { conditions, fault, rng, trace_id, tenant, batch, scope, resources };
        let entry = request.rng.usize(0..conditions.mesh.services[0].operations.len());
        request.serve(0, entry, SpanId::ZERO, start, SpanKind::Server);
        request.batch
    }

    /// The fault, if it is of this kind and at this service.
    fn fault_at(&self, kind: FaultKind, service: usize) -> Option<&'a Fault> {
        self.fault.filter(|fault| fault.kind == kind && fault.service == service)
    }

    fn serve(&mut self, service: usize, operation: usize, parent: SpanId, start: u64, kind: SpanKind) -> Outcome {
        let mesh = self.conditions.mesh;
        let pod = self.rng.usize(0..mesh.services[service].pods.len());
        let id = self.span_id();
        let what = &mesh.services[service].operations[operation];
        let stretch = self.stretch(service, operation, pod);
        let breaks =
            self.fault_at(FaultKind::DownstreamError, service).is_some_and(|fault| fault.operation == operation)
                && self.rng.f64() < 0.4;
        let mut failed = self.rng.f64() < 0.002;
        let mut now = start;
        if self.fault_at(FaultKind::Pauses, service).is_some() && self.rng.f64() < PAUSED {
            now += (self.fault.map_or(0, |fault| fault.added_nanos) as f64 / PAUSED * (0.5 + self.rng.f64())) as u64;
        }
        for (number, step) in what.steps.iter().enumerate() {
            let outcome = self.step(service, operation, pod, id, step, now, stretch);
            now = outcome.end;
            failed |= outcome.failed;
            if breaks {
                failed = true;
            }
            // What fails is given up at once.
            if failed && number > 0 {
                break;
            }
        }
        if let Some(fault) = self.fault_at(FaultKind::NewCall, service).filter(|fault| fault.operation == operation) {
            let outcome = self.call(service, pod, fault.callee, id, now, 0);
            now = outcome.end;
            failed |= outcome.failed;
        }
        let name = match kind {
            SpanKind::Consumer => "process jobs",
            _ => what.name.as_str(),
        };
        let tenant = self.tenant.clone();
        self.text("tenant.id", &tenant);
        let user = self.rng.u32(..);
        self.text("enduser.id", &format!("{user:08x}"));
        let flag = ["on", "off"][self.rng.usize(0..2)];
        self.text("feature.fast_path", flag);
        if mesh.services[service].is_grpc {
            self.text("rpc.system", "grpc");
        } else {
            self.text("http.request.method", "GET");
            self.text("http.response.status_code", if failed { "500" } else { "200" });
        }
        let error = failed.then_some("request failed");
        self.push(service, pod, Span { id, parent, name, kind, start, end: now, error });
        Outcome { end: now, failed }
    }

    /// By what a service's own work takes longer.
    fn stretch(&self, service: usize, operation: usize, pod: usize) -> f64 {
        let mesh = self.conditions.mesh;
        let Some(fault) = self.fault.filter(|fault| fault.service == service) else { return 1.0 };
        let is_hit = match fault.kind {
            FaultKind::OwnCpu => true,
            FaultKind::OnePod | FaultKind::OneVersion | FaultKind::OneRegion => fault.hits_pod(mesh, pod),
            FaultKind::OneTenant => self.tenant == fault.value,
            _ => false,
        };
        let own = mesh.services[service].operations[operation].own_nanos().max(1);
        if is_hit { 1.0 + fault.added_nanos as f64 / own as f64 } else { 1.0 }
    }

    #[allow(clippy::too_many_arguments, reason = "a step needs to know where it is")]
    fn step(
        &mut self,
        service: usize,
        operation: usize,
        pod: usize,
        parent: SpanId,
        step: &Step,
        start: u64,
        stretch: f64,
    ) -> Outcome {
        let fine = |end| Outcome { end, failed: false };
        match step {
            Step::Work { nanos } => fine(start + (self.around(service, *nanos) as f64 * stretch) as u64),
            Step::Internal { name, nanos } => {
                let end = start + (self.around(service, *nanos) as f64 * stretch) as u64;
                self.internal(service, pod, parent, name, start, end);
                fine(end)
            }
            Step::Locked { nanos } => {
                let fault = self.fault_at(FaultKind::Lock, service).filter(|fault| fault.operation == operation);
                let wait = self.around(service, 30_000) + fault.map_or(0, |fault| self.exponential(fault.added_nanos));
                self.internal(service, pod, parent, "wait for lock", start, start + wait);
                fine(start + wait + (self.around(service, *nanos) as f64 * stretch) as u64)
            }
            Step::Query { statement, nanos } => {
                let fault = self.fault_at(FaultKind::NPlusOne, service);
                let fault = fault.filter(|fault| fault.operation == operation && fault.statement == *statement);
                let times = fault.map_or(1, |fault| 1 + (fault.added_nanos / nanos.max(&1)).clamp(4, 30));
                let mut now = start;
                for _ in 0..times {
                    now = self.query(service, pod, parent, *statement, *nanos, now);
                }
                fine(now)
            }
            Step::Cached { statement, nanos } => {
                let fault = self.fault_at(FaultKind::CacheCold, service);
                let is_cold = fault.is_some_and(|fault| fault.operation == operation);
                let is_hit = self.rng.f64() < if is_cold { 0.05 } else { 0.95 };
                let mut now = start + self.around(service, 200_000);
                let id = self.span_id();
                self.text("db.system.name", "redis");
                self.text("cache.hit", if is_hit { "true" } else { "false" });
                self.push(
                    service,
                    pod,
                    Span { id, parent, name: "GET", kind: SpanKind::Client, start, end: now, error: None },
                );
                if !is_hit {
                    now = self.query(service, pod, parent, *statement, *nanos, now);
                }
                fine(now)
            }
            Step::Call { service: callee, operation: number } => {
                self.call(service, pod, (*callee, *number), parent, start, 0)
            }
            Step::Together { calls } => {
                let is_serial =
                    self.fault_at(FaultKind::MadeSerial, service).is_some_and(|fault| fault.operation == operation);
                let mut begin = start;
                let mut all = fine(start);
                for (number, call) in calls.iter().enumerate() {
                    let outcome = self.call(service, pod, *call, parent, begin, 0);
                    all = Outcome { end: all.end.max(outcome.end), failed: all.failed | outcome.failed };
                    begin = if is_serial { outcome.end } else { start + 20_000 * (number as u64 + 1) };
                }
                all
            }
            Step::Send { service: worker } => {
                let id = self.span_id();
                let end = start + self.around(service, 300_000);
                let later = end + self.around(service, 3_000_000);
                self.serve_message(*worker, id, later);
                self.text("messaging.system", "kafka");
                self.push(
                    service,
                    pod,
                    Span { id, parent, name: "send jobs", kind: SpanKind::Producer, start, end, error: None },
                );
                fine(end)
            }
        }
    }

    /// A worker takes a message: some work of its own and no more.
    fn serve_message(&mut self, service: usize, parent: SpanId, start: u64) {
        let pod = self.rng.usize(0..self.conditions.mesh.services[service].pods.len());
        let id = self.span_id();
        let end = start + self.around(service, 5_000_000);
        self.text("messaging.system", "kafka");
        self.push(
            service,
            pod,
            Span { id, parent, name: "process jobs", kind: SpanKind::Consumer, start, end, error: None },
        );
    }

    fn query(&mut self, service: usize, pod: usize, parent: SpanId, statement: usize, nanos: u64, start: u64) -> u64 {
        let fault = self.fault_at(FaultKind::PoolExhausted, service);
        let wait = self.around(service, 40_000) + fault.map_or(0, |fault| self.exponential(fault.added_nanos));
        self.text("db.client.connection.pool.name", "main");
        self.internal(service, pod, parent, "acquire connection", start, start + wait);
        let slow = self.fault.filter(|fault| {
            fault.service == service
                && (fault.kind == FaultKind::DatabaseSlow
                    || fault.kind == FaultKind::SlowQuery && fault.statement == statement)
        });
        let begin = start + wait;
        let added = slow.map_or(0, |fault| self.around(service, fault.added_nanos));
        let end = begin + self.around(service, nanos) + added;
        let (verb, table) = STATEMENTS[statement];
        let id = self.span_id();
        let database = self.conditions.mesh.services[service].database;
        self.text("db.system.name", database);
        self.text("db.collection.name", table);
        let name = format!("{verb} {table}");
        self.text("db.query.text", &name);
        self.push(
            service,
            pod,
            Span { id, parent, name: &name, kind: SpanKind::Client, start: begin, end, error: None },
        );
        end
    }

    #[allow(clippy::too_many_arguments, reason = "a call needs to know both its ends")]
    fn call(
        &mut self,
        service: usize,
        pod: usize,
        callee: (usize, usize),
        parent: SpanId,
        start: u64,
        attempt: usize,
    ) -> Outcome {
        let mesh = self.conditions.mesh;
        let at_this_call = |fault: &&Fault| fault.callee == callee && fault.service == service;
        let id = self.span_id();
        let fault = self.fault.filter(at_this_call);
        let network = self
            .fault_at(FaultKind::NetworkEdge, service)
            .filter(|fault| fault.callee.0 == callee.0)
            .map_or(0, |fault| self.around(service, fault.added_nanos));
        let arrive = start + self.around(service, 250_000) + network / 2;
        let retried = fault.filter(|fault| fault.kind == FaultKind::RetryStorm);
        let hangs = fault.filter(|fault| fault.kind == FaultKind::Timeout && self.rng.f64() < 0.7);
        let patience = hangs.map_or(0, |fault| fault.added_nanos.max(1_000_000));
        let mut outcome = if hangs.is_some() {
            self.hang(callee, id, arrive, arrive + 3 * patience)
        } else if retried.is_some() && attempt < 4 && self.rng.f64() < 0.6 {
            self.fail(callee, id, arrive)
        } else {
            self.serve(callee.0, callee.1, id, arrive, SpanKind::Server)
        };
        outcome.end += self.around(service, 250_000) + network - network / 2;
        let mut end = outcome.end;
        let mut error = outcome.failed.then_some("request failed");
        if hangs.is_some() {
            end = start + patience;
            error = Some("deadline exceeded");
            self.text("error.type", "timeout");
        }
        let callee_service = &mesh.services[callee.0];
        self.text("server.address", &format!("{}.shop.svc.cluster.local", callee_service.name));
        let name = if callee_service.is_grpc { callee_service.operations[callee.1].name.as_str() } else { "GET" };
        self.push(service, pod, Span { id, parent, name, kind: SpanKind::Client, start, end, error });
        if hangs.is_some() {
            let fallback = end + self.around(service, 200_000);
            self.internal(service, pod, parent, "fallback", end, fallback);
            return Outcome { end: fallback, failed: false };
        }
        if outcome.failed && retried.is_some() && attempt < 4 {
            let again = end + self.around(service, 500_000);
            return self.call(service, pod, callee, parent, again, attempt + 1);
        }
        Outcome { end, failed: outcome.failed }
    }

    /// A callee that takes its time and fails.
    fn fail(&mut self, (service, operation): (usize, usize), parent: SpanId, start: u64) -> Outcome {
        let mesh = self.conditions.mesh;
        let pod = self.rng.usize(0..mesh.services[service].pods.len());
        let id = self.span_id();
        // 0.6 + 0.36 + ... = 1.4 failures a call.
        let added = self.fault.map_or(0, |fault| fault.added_nanos) as f64 / 1.4;
        let end = start + self.around(service, added as u64);
        let name = mesh.services[service].operations[operation].name.as_str();
        self.text("error.type", "503");
        let error = Some("overloaded");
        self.push(service, pod, Span { id, parent, name, kind: SpanKind::Server, start, end, error });
        Outcome { end, failed: true }
    }

    /// A callee that hangs: it works on after its caller has given up.
    fn hang(&mut self, (service, operation): (usize, usize), parent: SpanId, start: u64, end: u64) -> Outcome {
        let mesh = self.conditions.mesh;
        let pod = self.rng.usize(0..mesh.services[service].pods.len());
        let id = self.span_id();
        let name = mesh.services[service].operations[operation].name.as_str();
        self.push(service, pod, Span { id, parent, name, kind: SpanKind::Server, start, end, error: None });
        Outcome { end, failed: false }
    }

    fn internal(&mut self, service: usize, pod: usize, parent: SpanId, name: &str, start: u64, end: u64) {
        let id = self.span_id();
        self.push(service, pod, Span { id, parent, name, kind: SpanKind::Internal, start, end, error: None });
    }

    /// A log-normal time with this median, and now and then one far out; at the pace of the service.
    fn around(&mut self, service: usize, median_nanos: u64) -> u64 {
        let outlier = if self.rng.f64() < 0.003 { 10.0 } else { 1.0 };
        (median_nanos as f64 * (0.45 * normal(&mut self.rng)).exp() * outlier * self.conditions.pace[service]) as u64
    }

    /// What waiting in a queue is like.
    fn exponential(&mut self, mean_nanos: u64) -> u64 {
        (-(1.0 - self.rng.f64()).ln() * mean_nanos as f64) as u64
    }

    fn span_id(&mut self) -> SpanId {
        SpanId::from_u64(self.rng.u64(1..))
    }

    fn text(&mut self, key: &str, value: &str) {
        let key = self.batch.intern(key);
        let value = Value::Str(self.batch.intern(value));
        self.batch.push_attribute(key, value);
    }

    fn resource(&mut self, service: usize, pod: usize) -> ResourceId {
        if let Some(resource) = self.resources[service][pod] {
            return resource;
        }
        let what = &self.conditions.mesh.services[service];
        let mut pairs = vec![("service.name", what.name.as_str())];
        pairs.extend(what.pods[pod].attributes());
        let pairs: Vec<_> = pairs
            .into_iter()
            .map(|(key, value)| (self.batch.intern(key), Value::Str(self.batch.intern(value))))
            .collect();
        let resource = self.batch.add_resource(&pairs, 0, "");
        self.resources[service][pod] = Some(resource);
        resource
    }

    /// Closes a span with the attributes given so far, as its pod's clock sees it; or loses it.
    fn push(&mut self, service: usize, pod: usize, span: Span<'_>) {
        if self.rng.f64() < self.conditions.missing {
            self.batch.abandon_span();
            return;
        }
        let resource = self.resource(service, pod);
        let skew = self.conditions.mesh.services[service].pods[pod].skew_nanos;
        let name = self.batch.intern(span.name);
        let status_message = self.batch.intern(span.error.unwrap_or(""));
        self.batch.push_span(NewSpan {
            trace_id: self.trace_id,
            span_id: span.id,
            parent_span_id: span.parent,
            start_unix_nano: span.start.saturating_add_signed(skew),
            end_unix_nano: span.end.saturating_add_signed(skew),
            name,
            kind: span.kind,
            status_code: if span.error.is_some() { StatusCode::Error } else { StatusCode::Unset },
            status_message,
            flags: 0x101,
            ..NewSpan::new(resource, self.scope)
        });
    }
}

impl Pod {
    /// What its spans' resource says besides the service's name.
    pub(crate) fn attributes(&self) -> [(&'static str, &str); 5] {
        [
            ("k8s.pod.name", &self.name),
            ("service.instance.id", &self.name),
            ("k8s.node.name", &self.node),
            ("cloud.region", self.region),
            ("service.version", &self.version),
        ]
    }
}

//! Attributes by OpenTelemetry's semantic conventions (1.30 and later names).

use fastrand::Rng;
use tracewell_model::{AnyValue, ResourceId, ScopeId, SpanBatch, SpanId, StrId, Value};

use crate::request::Request;
use crate::topology::Service;

pub(crate) const HTTP: usize = 0;
pub(crate) const GRPC: usize = 1;
pub(crate) const DATABASE: usize = 2;
pub(crate) const CACHE: usize = 3;
pub(crate) const MESSAGING: usize = 4;
pub(crate) const INTERNAL: usize = 5;

/// Instrumentation scopes, by the constants above.
pub(crate) const SCOPES: [(&str, &str); 6] = [
    ("opentelemetry.instrumentation.http", "0.50.0"),
    ("opentelemetry.instrumentation.grpc", "0.50.0"),
    ("opentelemetry.instrumentation.sql", "0.50.0"),
    ("opentelemetry.instrumentation.redis", "0.50.0"),
    ("opentelemetry.instrumentation.kafka", "0.50.0"),
    ("shop", "1.4.0"),
];

pub(crate) fn scope(batch: &mut SpanBatch, scope: usize) -> ScopeId {
    let (name, version) = SCOPES[scope];
    batch.add_scope(name, version, &[], 0, "")
}

/// One of the service's pods.
pub(crate) fn resource(batch: &mut SpanBatch, rng: &mut Rng, service: &Service) -> ResourceId {
    let instance = rng.usize(0..service.instances);
    let pod = format!("{}-7d9f8b6c5-{instance:05}", service.name);
    let node = format!("node-{}", (service.name.len() + instance) % 6);
    let attributes = [
        ("service.name", service.name.as_str()),
        ("service.namespace", "shop"),
        ("service.version", &service.version),
        ("service.instance.id", &pod),
        ("deployment.environment.name", "production"),
        ("k8s.pod.name", &pod),
        ("k8s.node.name", &node),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "opentelemetry"),
    ]
    .map(|(key, value)| (batch.intern(key), Value::Str(batch.intern(value))));
    batch.add_resource(&attributes, 0, "https://opentelemetry.io/schemas/1.30.0")
}

pub(crate) fn served(request: &mut Request<'_>, service: usize, operation: usize, failed: bool, end: u64) {
    let topology = request.topology;
    let service = &topology.services[service];
    let what = &service.operations[operation];
    let request_id = request.rng.u64(..);
    let item = request.rng.u32(1..1_000_000);
    if service.is_grpc {
        request.text("rpc.system", "grpc");
        rpc(request, &what.name);
        request.int("rpc.grpc.status_code", if failed { 14 } else { 0 });
    } else {
        request.text("http.request.method", what.method);
        request.text("http.route", &what.route);
        let path = what.route.replace("{id}", &item.to_string());
        request.text("url.path", &path);
        request.int("http.response.status_code", if failed { 500 } else { 200 });
        let size = request.rng.i64(200..60_000);
        request.int("http.response.body.size", size);
    }
    request.text("request.id", &format!("req-{request_id:016x}"));
    if request.rng.u8(0..20) == 0 {
        let flags = ["new-checkout", "dark-mode", "fast-path"];
        let flags = flags.map(|flag| AnyValue::Str(flag.into())).to_vec();
        request.value("shop.feature_flags", &AnyValue::Array(flags));
    }
    if request.rng.u8(0..10) == 0 {
        request.double("shop.discount", f64::from(item % 100) / 400.0);
        request.flag("shop.returning_customer", item.is_multiple_of(2));
    }
    if failed {
        request.text("error.type", "500");
        exception(request, "shop.UpstreamError", "upstream request failed", end);
    }
}

/// A call from one service to another.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) service: usize,
    pub(crate) callee: usize,
    pub(crate) operation: usize,
    pub(crate) failed: bool,
}

pub(crate) fn called(request: &mut Request<'_>, call: Call) {
    let callee = &request.topology.services[call.callee];
    let what = &callee.operations[call.operation];
    let address = format!("{}.shop.svc.cluster.local", callee.name);
    if callee.is_grpc {
        request.text("rpc.system", "grpc");
        rpc(request, &what.name);
        request.text("server.address", &address);
        request.int("server.port", 50_051);
        request.int("rpc.grpc.status_code", if call.failed { 14 } else { 0 });
    } else {
        request.text("http.request.method", what.method);
        let item = request.rng.u32(1..1_000_000).to_string();
        let url = format!("http://{address}:8080{}", what.route.replace("{id}", &item));
        request.text("url.full", &url);
        request.text("server.address", &address);
        request.int("server.port", 8_080);
        request.int("http.response.status_code", if call.failed { 500 } else { 200 });
    }
    if call.failed {
        request.text("error.type", "500");
        // Who gave up matters in a log, and shows a reader that attributes can be ints too.
        request.int("shop.caller", call.service as i64);
    }
}

fn rpc(request: &mut Request<'_>, name: &str) {
    let (service, method) = name.split_once('/').unwrap_or((name, ""));
    request.text("rpc.service", service);
    request.text("rpc.method", method);
}

/// A database statement.
pub(crate) struct Statement {
    verb: &'static str,
    table: &'static str,
}

impl Statement {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let verb = ["SELECT", "SELECT", "SELECT", "INSERT", "UPDATE"][rng.usize(0..5)];
        let table = ["orders", "items", "users", "prices", "stock_levels", "events"][rng.usize(0..6)];
        Self { verb, table }
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.verb, self.table)
    }

    fn text(&self) -> String {
        let table = self.table;
        match self.verb {
            "INSERT" => format!("INSERT INTO {table} (id, owner, state, created_at) VALUES ($1, $2, $3, now())"),
            "UPDATE" => format!("UPDATE {table} SET state = $2, updated_at = now() WHERE id = $1"),
            _ => format!("SELECT id, owner, state, created_at FROM {table} WHERE owner = $1 ORDER BY id LIMIT 50"),
        }
    }
}

pub(crate) fn queried(request: &mut Request<'_>, service: usize, statement: &Statement, failed: bool, end: u64) {
    let service = &request.topology.services[service];
    request.text("db.system.name", service.database);
    request.text("db.namespace", &service.name);
    request.text("db.collection.name", statement.table);
    request.text("db.operation.name", statement.verb);
    request.text("db.query.text", &statement.text());
    request.text("server.address", &format!("{}-db.shop.svc.cluster.local", service.name));
    if failed {
        request.text("error.type", "timeout");
        exception(request, "sql.TimeoutError", "canceling statement due to statement timeout", end);
    }
}

pub(crate) fn cached(request: &mut Request<'_>, operation: &str) {
    request.text("db.system.name", "redis");
    request.text("db.operation.name", operation);
    request.text("server.address", "redis.shop.svc.cluster.local");
    request.int("server.port", 6_379);
    let key = request.rng.u32(..);
    request.text("db.query.text", &format!("{operation} session:{key:08x}"));
    let hit = request.rng.u8(0..10) < 8;
    request.flag("cache.hit", hit);
}

/// A message sent, or received if `sender` is a span; then it is linked.
pub(crate) fn message(request: &mut Request<'_>, service: usize, operation: &str, sender: SpanId) {
    request.text("messaging.system", "kafka");
    request.text("messaging.destination.name", "jobs");
    request.text("messaging.operation.type", operation);
    let (partition, offset) = (request.rng.u8(0..12), request.rng.i64(0..1_000_000_000));
    request.text("messaging.destination.partition.id", &partition.to_string());
    if !sender.is_zero() {
        request.int("messaging.kafka.offset", offset);
        let group = format!("{}-workers", request.topology.services[service].name);
        request.text("messaging.consumer.group.name", &group);
        let trace_id = request.trace_id();
        request.batch.push_link(trace_id, sender, StrId::EMPTY, 1, 0);
    }
}

pub(crate) fn computed(request: &mut Request<'_>) {
    let line = request.rng.i64(10..900);
    request.text("code.file.path", "src/handlers/mod.rs");
    request.int("code.line.number", line);
    request.text("thread.name", "tokio-runtime-worker");
    let items = request.rng.i64(0..500);
    request.int("shop.items", items);
}

fn exception(request: &mut Request<'_>, kind: &str, message: &str, at: u64) {
    let stack = format!("{kind}: {message}\n  at shop::call (src/call.rs:118)\n  at shop::handle (src/main.rs:61)");
    for (key, value) in [("exception.type", kind), ("exception.message", message), ("exception.stacktrace", &stack)] {
        let key = request.batch.intern(key);
        let value = Value::Str(request.batch.intern(value));
        request.batch.push_event_attribute(key, value);
    }
    let name = request.batch.intern("exception");
    request.batch.push_event(at, name, 0);
}

impl Request<'_> {
    fn text(&mut self, key: &str, value: &str) {
        let key = self.batch.intern(key);
        let value = Value::Str(self.batch.intern(value));
        self.batch.push_attribute(key, value);
    }

    fn int(&mut self, key: &str, value: i64) {
        let key = self.batch.intern(key);
        self.batch.push_attribute(key, Value::Int(value));
    }

    fn double(&mut self, key: &str, value: f64) {
        let key = self.batch.intern(key);
        self.batch.push_attribute(key, Value::Double(value));
    }

    fn flag(&mut self, key: &str, value: bool) {
        let key = self.batch.intern(key);
        self.batch.push_attribute(key, Value::Bool(value));
    }

    fn value(&mut self, key: &str, value: &AnyValue) {
        let key = self.batch.intern(key);
        let value = self.batch.add_value(value);
        self.batch.push_attribute(key, value);
    }
}

//! One request through five programs in five languages is one trace, with every parent in place.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use tracewell_e2e::normal::{self, Spans};
use tracewell_e2e::{Child, Server, clients};

/// A service that handles one request and calls the next; its URL comes from the port that it prints first.
fn service(command: &mut Command, path: &str) -> (Child, String) {
    let mut child = Child::start(command).unwrap();
    let port = child.line().unwrap();
    (child, format!("http://127.0.0.1:{port}/{path}"))
}

#[test]
fn a_request_from_rust_through_python_node_go_and_java_is_one_trace() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let otlp = server.address("otlp_http");

    let (java, java_url) = service(
        clients::java().arg("-").envs([
            ("OTEL_SERVICE_NAME", "java-service"),
            ("OTEL_TRACES_EXPORTER", "otlp,experimental-otlp/stdout"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{otlp}")),
        ]),
        "java",
    );
    let (go, go_url) = service(clients::go().args(["serve", otlp, &java_url]), "go");
    let (node, node_url) = service(clients::node().args(["serve", otlp, &go_url]), "node");
    let (python, python_url) = service(clients::python().args(["serve", otlp, &node_url]), "python");

    let trace_id = call_from_rust(otlp, &python_url);

    let mut seen = Spans::new();
    for child in [python, node, go] {
        seen.append(&mut normal::from_lines(&child.finish().unwrap()));
    }
    for line in java.finish().unwrap().lines() {
        if let Ok(document) = serde_json::from_str::<Value>(line) {
            seen.append(&mut normal::from_otlp_json(&document));
        }
    }

    let arrived = normal::from_otlp_json(&server.trace(&trace_id).unwrap().expect("the trace arrived"));
    for (id, span) in &seen {
        for (field, value) in span.as_object().unwrap() {
            assert_eq!(&arrived[id][field], value, "{field} of span {id} ({})", span["name"]);
        }
    }

    // The way of the request, from the root inwards: each span is the only child of the one before.
    let by_parent: BTreeMap<&str, &Value> =
        arrived.values().map(|span| (normal::text(span, "parentSpanId"), span)).collect();
    assert_eq!(by_parent.len(), arrived.len(), "no span has two children: {arrived:#?}");
    let mut way = Vec::new();
    let mut parent = "";
    while let Some(span) = by_parent.get(parent) {
        way.push((normal::text(&span["resource"]["service.name"], "stringValue"), span["kind"].as_i64().unwrap()));
        parent = normal::text(span, "spanId");
    }
    const SERVER: i64 = 2;
    const CLIENT: i64 = 3;
    assert_eq!(
        way,
        [
            ("rust-client", CLIENT),
            ("python-service", SERVER),
            ("python-service", CLIENT),
            ("node-service", SERVER),
            ("node-service", CLIENT),
            ("go-service", SERVER),
            ("go-service", CLIENT),
            ("java-service", SERVER),
        ]
    );
    for service in ["python-service", "node-service", "go-service"] {
        let user = arrived
            .values()
            .find(|span| span["resource"]["service.name"]["stringValue"] == service && span["kind"] == SERVER)
            .map(|span| span["attributes"]["baggage.user"]["stringValue"].clone());
        assert_eq!(user, Some(Value::from("17")), "baggage reached {service}");
    }
    server.stop().unwrap();
}

/// Makes a request with the Rust SDK, in a client span and with baggage; the trace's id.
fn call_from_rust(otlp: &str, url: &str) -> String {
    let config = tracewell::Config::new("rust-client").endpoint(&format!("http://{otlp}"));
    let tracer = tracewell::Tracer::new(config).unwrap();
    let with_user = tracewell::Context::new().with_baggage_value("user", "17");
    let span = tracer.span("GET").kind(tracewell::SpanKind::Client).parent(&with_user).start();
    let mut headers: Vec<(String, String)> = Vec::new();
    tracewell::inject(&span.context(), &mut headers);
    let mut request = ureq::get(url);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.call().unwrap();
    let trace_id = span.span_context().trace_id.to_string();
    span.end();
    tracer.shutdown(std::time::Duration::from_secs(60)).unwrap();
    trace_id
}

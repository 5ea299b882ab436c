//! A request that goes from Rust through Python and Go back to Rust is one trace, in every format of propagation.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tracewell::{Config, Propagators, SpanKind, Tracer};
use tracewell_e2e::normal;
use tracewell_e2e::{Child, Server, clients};

/// A tracer of a service's own, which sends to the server.
fn tracer(name: &str, otlp: &str, propagators: Propagators) -> Tracer {
    let config = Config::new(name).endpoint(&format!("http://{otlp}")).propagators(propagators);
    Tracer::new(config).unwrap()
}

/// The last service: it handles one request, in a span that continues its caller's.
fn last(tracer: Tracer) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/last", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let mut reader = BufReader::new(listener.accept().unwrap().0);
        let mut headers: Vec<(String, String)> = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.trim().split_once(':') {
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        let parent = tracer.propagators().extract(&headers);
        tracer.span("GET /last").kind(SpanKind::Server).parent(&parent).start().end();
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        tracer.shutdown(Duration::from_secs(60)).unwrap();
    });
    (url, serving)
}

/// A service in another language that handles one request and calls the next.
fn service(mut command: Command, otlp: &str, format: &str, next: &str, path: &str) -> (Child, String) {
    let mut child = Child::start(command.args(["serve", otlp, next]).env("OTEL_PROPAGATORS", format)).unwrap();
    let port = child.line().unwrap();
    (child, format!("http://127.0.0.1:{port}/{path}"))
}

fn is_one_trace(format: &str) {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let otlp = server.address("otlp_http");
    let propagators = Propagators::from_names(format).unwrap();

    let (last_url, serving) = last(tracer("rust-last", otlp, propagators));
    let (go, go_url) = service(clients::go(), otlp, format, &last_url, "go");
    let (python, python_url) = service(clients::python(), otlp, format, &go_url, "python");

    let first = tracer("rust-first", otlp, propagators);
    let span = first.span("GET").kind(SpanKind::Client).start();
    let mut headers: Vec<(String, String)> = Vec::new();
    propagators.inject(&span.context(), &mut headers);
    let mut request = ureq::get(&python_url);
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    request.call().unwrap();
    let trace_id = span.span_context().trace_id.to_string();
    span.end();
    first.shutdown(Duration::from_secs(60)).unwrap();
    serving.join().unwrap();
    python.finish().unwrap();
    go.finish().unwrap();

    let arrived = normal::from_otlp_json(&server.trace(&trace_id).unwrap().expect("the trace arrived"));
    // Each span is the only child of the one before.
    let by_parent: BTreeMap<&str, &Value> =
        arrived.values().map(|span| (normal::text(span, "parentSpanId"), span)).collect();
    let mut way = Vec::new();
    let mut parent = "";
    while let Some(span) = by_parent.get(parent) {
        way.push(normal::text(&span["resource"]["service.name"], "stringValue"));
        parent = normal::text(span, "spanId");
    }
    let expected = ["rust-first", "python-service", "python-service", "go-service", "go-service", "rust-last"];
    assert_eq!(way, expected, "in {format}: {arrived:#?}");
    server.stop().unwrap();
}

#[test]
fn in_w3c_trace_context() {
    is_one_trace("tracecontext,baggage");
}

#[test]
fn in_b3_in_one_header() {
    is_one_trace("b3");
}

#[test]
fn in_b3_in_several_headers() {
    is_one_trace("b3multi");
}

#[test]
fn in_jaegers_own_format() {
    is_one_trace("jaeger");
}

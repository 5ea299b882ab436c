//! No question takes more memory or time than it was given, and none holds up another.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value as Json;
use tracewell_e2e::Server;
use tracewell_model::{NewSpan, SpanBatch, SpanId, SpanKind, TraceId, Value};
use tracewell_wire::otlp;

/// What the answer to any one question may add to the memory of the process. The trees that answers once were made of took
/// ten times as much for the traces below.
const QUESTION_MIB: u64 = 256;

/// Spans of one trace: in a build for developers fewer than in a release.
fn large_spans() -> u64 {
    std::env::var("TRACEWELL_LARGE_SPANS").ok().and_then(|text| text.parse().ok()).unwrap_or(150_000)
}

/// Spans as one request, given by trace, id, parent and name.
fn request(service: &str, spans: impl Iterator<Item = (u128, u64, u64, String)>) -> Vec<u8> {
    let mut batch = SpanBatch::new();
    let (key, value) = (batch.intern("service.name"), batch.intern(service));
    let resource = batch.add_resource(&[(key, Value::Str(value))], 0, "");
    let scope = batch.add_scope("", "", &[], 0, "");
    let url = batch.intern("http.url");
    for (trace, id, parent, name) in spans {
        let value = batch.intern(&format!("https://shop.example/cart/{id}"));
        batch.push_attribute(url, Value::Str(value));
        let name = batch.intern(&name);
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(trace),
            span_id: SpanId::from_u64(id),
            parent_span_id: SpanId::from_u64(parent),
            start_unix_nano: 1_700_000_000_000_000_000 + id,
            end_unix_nano: 1_700_000_000_100_000_000 + id,
            name,
            kind: SpanKind::Server,
            ..NewSpan::new(resource, scope)
        });
    }
    otlp::encode_protobuf(&batch)
}

/// One trace of very many spans.
fn send_large(server: &Server, trace: u128, spans: u64) {
    for first in (0..spans).step_by(10_000) {
        let ids = first..(first + 10_000).min(spans);
        let spans = ids.map(|id| (trace, id + 1, id.div_ceil(2), format!("op{}", id % 50)));
        server.send(&request("web", spans)).unwrap();
    }
}

fn mib(server: &Server, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// The most memory that the process took while something was done, beyond what it took before.
fn grows_by(server: &Server, ask: impl FnOnce()) -> u64 {
    // The peak is counted from here on.
    std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").unwrap();
    let before = mib(server, "VmRSS:");
    ask();
    mib(server, "VmHWM:").saturating_sub(before)
}

/// Sends a GET and nothing more. Answers to HTTP/1.0 have no chunks, whose edges would lie in the texts that are counted.
fn ask(server: &Server, path: &str, accept: &str) -> TcpStream {
    let mut connection = TcpStream::connect(server.address("http")).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    connection
}

/// Reads an answer to its end without keeping it: the status line, how often a text occurs, and the last bytes.
fn read_through(mut connection: TcpStream, text: &[u8]) -> (String, usize, Vec<u8>) {
    let mut bytes = vec![0; 1 << 16];
    let (mut status, mut found, mut tail) = (String::new(), 0, Vec::new());
    loop {
        let length = connection.read(&mut bytes).unwrap();
        if length == 0 {
            return (status, found, tail);
        }
        if status.is_empty() {
            status = String::from_utf8_lossy(&bytes[..12]).into_owned();
        }
        // A text that reaches over the edge of two reads counts with the later one.
        tail.extend_from_slice(&bytes[..length]);
        found += tail.windows(text.len()).filter(|window| *window == text).count();
        tail.drain(..tail.len().saturating_sub(text.len() - 1));
    }
}

#[test]
fn a_trace_of_any_size_leaves_in_every_form_within_a_bound_of_memory() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let spans = large_spans();
    send_large(&server, 7, spans);
    // A part of it was sent twice.
    send_large(&server, 7, 1_000);
    let id = format!("{:032x}", 7);
    for (path, accept, of_each_span) in [
        (format!("/api/v1/traces/{id}/otlp"), "*/*", &b"\"startTimeUnixNano\""[..]),
        (format!("/api/v1/traces/{id}/otlp"), "application/x-protobuf", b"https://shop.example/cart/"),
        (format!("/api/traces/{id}"), "*/*", b"\"operationName\""),
        ("/api/traces?limit=1000&start=0&end=2000000000000000".to_owned(), "*/*", b"\"operationName\""),
        ("/api/v1/export?start=0".to_owned(), "*/*", b"\"startTimeUnixNano\""),
    ] {
        let mut found = (String::new(), 0, Vec::new());
        let grown = grows_by(&server, || found = read_through(ask(&server, &path, accept), of_each_span));
        assert_eq!(found.0, "HTTP/1.0 200", "{path}");
        assert_eq!(found.1 as u64, spans, "{path} as {accept}: every span once");
        assert!(grown <= QUESTION_MIB, "{path} as {accept} took {grown} MiB");
    }
    for path in [
        format!("/api/v1/traces/{id}?max_spans=20000"),
        "/api/v1/traces?start=0".to_owned(),
        "/api/v1/why?start=0".to_owned(),
        format!("/api/v1/compare?a={id}&b={id}"),
    ] {
        let grown = grows_by(&server, || assert_eq!(server.get(&path).unwrap().0, 200, "{path}"));
        assert!(grown <= QUESTION_MIB, "{path} took {grown} MiB");
    }
    let (_, detail) = server.get(&format!("/api/v1/traces/{id}?max_spans=1000")).unwrap();
    let shown = detail["spans"].as_array().unwrap();
    assert_eq!((shown.len(), &detail["complete"], &detail["total_spans"]), (1_000, &Json::from(false), &spans.into()));
    assert!(shown.iter().all(|span| span["start_nanos"].as_u64().unwrap() < 1_000), "the first by start are shown");
    assert_eq!(shown.iter().filter(|span| span["parent"].is_null()).count(), 1, "joined to their parents");
    server.stop().unwrap();
}

#[test]
fn clients_that_read_nothing_hold_little_and_others_are_answered_or_told_to_wait() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--query-timeout", "2s", "--concurrent-queries", "4"]).unwrap();
    send_large(&server, 7, 40_000);
    let path = format!("/api/v1/traces/{:032x}", 7);
    let grown = grows_by(&server, || {
        let waiting: Vec<TcpStream> = (0..40).map(|_| ask(&server, &path, "*/*")).collect();
        // Whoever has no place is told so, and those who hold one lose it by reading nothing.
        let (status, answer) = server.get("/api/v1/services").unwrap();
        assert!(status == 200 || (status == 503 && answer["error"]["code"] == "busy"), "{status} {answer}");
        assert_eq!(read_through(ask(&server, "/healthz", "*/*"), b"ok").0, "HTTP/1.0 200");
        drop(waiting);
    });
    assert!(grown <= QUESTION_MIB, "40 clients that read nothing took {grown} MiB");
    assert_eq!(read_through(ask(&server, &path, "*/*"), b"\"span_id\"").1, 40_000, "places are given back");
    server.stop().unwrap();
}

#[test]
fn calls_between_services_are_counted_whatever_names_spans_have() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    // Each trace has names of its own, which an answer that copies all names for each trace does not end in time.
    for first in (0..100_000u64).step_by(10_000) {
        for (service, add) in [("web", 0), ("cart", 1)] {
            let spans = (first..first + 10_000)
                .map(|n| (u128::from(n) + 1, 2 * n + 1 + add, (2 * n + 1) * add, format!("GET /user/{n}/{add}")));
            server.send(&request(service, spans)).unwrap();
        }
    }
    let (status, answer) = server.get("/api/v1/dependencies?start=0").unwrap();
    assert_eq!(status, 200, "{answer}");
    let expected = serde_json::json!([{"parent": "web", "child": "cart", "call_count": 100_000, "error_count": 0}]);
    assert_eq!((&answer["dependencies"], &answer["complete"]), (&expected, &true.into()));
    server.stop().unwrap();
}

#[test]
fn a_service_with_very_many_names_hides_no_other() {
    let data = tempfile::tempdir().unwrap();
    // A small memory makes many segments, and merges.
    let start = || Server::start_with(data.path(), &["--memory", "16MiB"]).unwrap();
    let server = start();
    let one = |service: &str, name: &str, id: u64| {
        server.send(&request(service, std::iter::once((u128::from(id), id, 0, name.to_owned())))).unwrap();
    };
    one("zz-before", "GET /before", 1);
    for first in (0..150_000u64).step_by(10_000) {
        let spans = (first..first + 10_000).map(|n| (u128::from(n) + 10, n + 10, 0, format!("GET /user/{n:07}")));
        server.send(&request("aa-noisy", spans)).unwrap();
    }
    one("zz-after", "GET /after", 2);
    let look = |server: &Server| {
        let (_, services) = server.get("/api/v1/services").unwrap();
        assert_eq!(services["services"], serde_json::json!(["aa-noisy", "zz-after", "zz-before"]));
        assert_eq!((&services["complete"], &services["cut_services"][0]), (&true.into(), &"aa-noisy".into()));
        for (service, name) in [("zz-before", "GET /before"), ("zz-after", "GET /after")] {
            let (_, operations) = server.get(&format!("/api/v1/operations?service={service}")).unwrap();
            assert_eq!(operations["operations"][0]["name"], name);
            assert_eq!(operations["complete"], true);
            let (_, found) = server.get(&format!("/api/v1/traces?service={service}&start=0")).unwrap();
            assert_eq!(found["traces"].as_array().unwrap().len(), 1);
        }
        let (_, operations) = server.get("/api/v1/operations?service=aa-noisy").unwrap();
        let names = operations["operations"].as_array().unwrap();
        assert_eq!((names.len(), &operations["complete"]), (1_000, &false.into()), "a share, and it is told");
        assert_eq!(names[999]["name"], "GET /user/0000999");
        let (_, operations) = server.get("/api/v1/operations").unwrap();
        let names: Vec<&str> =
            operations["operations"].as_array().unwrap().iter().filter_map(|view| view["name"].as_str()).collect();
        assert!(names.contains(&"GET /before") && names.contains(&"GET /after"));
    };
    look(&server);
    server.stop().unwrap();
    let server = start();
    look(&server);
    server.stop().unwrap();
}

/// How many of each kind of name: in a build for developers fewer than in a release.
fn many_names() -> u64 {
    std::env::var("TRACEWELL_NAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(40_000)
}

#[test]
fn no_question_takes_the_square_of_the_number_of_names() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let names = many_names();
    for first in (0..names).step_by(5_000) {
        let mut batch = SpanBatch::new();
        for n in first..(first + 5_000).min(names) {
            // Two services that call one another, an operation, a key and a value of its own in each trace.
            for (side, parent) in [(1, 0), (2, 2 * n + 1)] {
                let (key, service) = (batch.intern("service.name"), batch.intern(&format!("service-{side}-{n}")));
                let resource = batch.add_resource(&[(key, Value::Str(service))], 0, "");
                let scope = batch.add_scope("", "", &[], 0, "");
                let (key, value) = (batch.intern(&format!("key-{n}")), batch.intern(&format!("value-{n}")));
                batch.push_attribute(key, Value::Str(value));
                let key = batch.intern("user.id");
                batch.push_attribute(key, Value::Str(value));
                let name = batch.intern(&format!("GET /{side}/{n}"));
                batch.push_span(NewSpan {
                    trace_id: TraceId::from_u128(u128::from(n) + 1),
                    span_id: SpanId::from_u64(2 * n + side),
                    parent_span_id: SpanId::from_u64(parent),
                    start_unix_nano: 1_700_000_000_000_000_000 + n,
                    end_unix_nano: 1_700_000_000_000_000_000 + n * (3 - side),
                    name,
                    kind: SpanKind::Server,
                    ..NewSpan::new(resource, scope)
                });
            }
        }
        server.send(&otlp::encode_protobuf(&batch)).unwrap();
    }
    // One that took too long would be answered 503.
    for path in [
        "/api/v1/services",
        "/api/v1/operations",
        "/api/v1/operations?service=service-1-7",
        "/api/v1/attributes",
        "/api/v1/attributes/user.id/values?start=0",
        "/api/v1/attributes/user.id/values?start=0&prefix=value-39",
        "/api/v1/dependencies?start=0",
        "/api/v1/traces?start=0&limit=1000",
        "/api/v1/traces?start=0&tag=user.id=value-7",
        "/api/v1/why?start=0",
        "/api/v1/compare?a=start=0&b=start=0",
        "/api/services",
        "/api/dependencies?endTs=2000000000000&lookback=2000000000000",
        "/api/v1/stats",
        "/metrics",
    ] {
        let asked = ask(&server, path, "*/*");
        assert_eq!(read_through(ask(&server, "/healthz", "*/*"), b"ok").0, "HTTP/1.0 200", "while {path} is answered");
        assert_eq!(read_through(asked, b"\"").0, "HTTP/1.0 200", "{path} of {names} of each kind");
    }
    let (_, operations) = server.get("/api/v1/operations?service=service-1-0").unwrap();
    assert_eq!(operations["operations"][0]["name"], "GET /1/0", "a service that is listed has its operation");
    server.stop().unwrap();
    let server = Server::start(data.path()).unwrap();
    assert_eq!(
        server.get("/api/v1/traces?start=0&tag=user.id=value-7").unwrap().1["traces"].as_array().unwrap().len(),
        1
    );
    server.stop().unwrap();
}

//! What is sent to the wrong port, path or in the wrong form: it is kept or refused in words, never acknowledged and lost.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::HashMap;
use std::io::Write;

use serde_json::Value;
use tracewell_e2e::raw::{connect, head, http2, until_closed};
use tracewell_e2e::{Server, tracewell, wait_until};
use tracewell_sim::Workload;
use tracewell_wire::otlp;

const PORTS: [&str; 3] = ["http", "otlp_http", "otlp_grpc"];
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Sends a request over HTTP/1.1: the status, the headers by lower-case name, and the body.
fn send(
    server: &Server,
    port: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, HashMap<String, String>, Vec<u8>) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        request.push_str("host: localhost\r\n");
    }
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    request.push_str("\r\n");
    let mut socket = connect(server.address(port), &[request.as_bytes(), body].concat());
    let said = until_closed(&mut socket);
    let end =
        said.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer to {request}"));
    let head = String::from_utf8(said[..end].to_vec()).unwrap();
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    (head[9..12].parse().unwrap(), headers, said[end + 4..].to_vec())
}

fn stats(server: &Server) -> Value {
    server.get("/api/v1/stats").unwrap().1
}

fn refused(server: &Server, reason: &str) -> u64 {
    let stats = stats(server);
    let losses = stats["refused"].as_array().unwrap();
    losses.iter().filter(|loss| loss["reason"] == reason).map(|loss| loss["requests"].as_u64().unwrap()).sum()
}

#[test]
fn what_is_acknowledged_is_kept_whatever_is_sent_wherever() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let batch = Workload::new(1).spans(5).max_trace_spans(5).requests(5).next().unwrap();
    let protobuf = otlp::encode_protobuf(&batch);
    let framed = [&[0][..], &(protobuf.len() as u32).to_be_bytes(), &protobuf].concat();
    let json = otlp::encode_json(&batch);
    let mut taken = 0;
    for port in PORTS {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            for path in [
                "/v1/traces",
                "/v1/traces/",
                "/v1/logs",
                "/",
                "/healthz",
                "/readyz",
                "/livez",
                "/api/v1/traces",
                "/api/traces",
                "/api/v2/spans",
                "/api/v1/export",
                "/search",
                EXPORT,
            ] {
                for (content_type, body) in [
                    ("application/json", json.as_ref()),
                    ("application/x-protobuf", &protobuf[..]),
                    ("application/grpc", &framed[..]),
                    ("application/grpc-web+proto", &framed[..]),
                    ("text/plain", json.as_ref()),
                ] {
                    let before = server.spans().unwrap();
                    let (status, _, _) = send(&server, port, method, path, &[("content-type", content_type)], body);
                    let kept = server.spans().unwrap() - before;
                    let expected = if (200..300).contains(&status) { batch.len() as u64 } else { 0 };
                    assert_eq!(kept, expected, "{port} {method} {path} {content_type}: {status}");
                    taken += usize::from(kept > 0);
                }
            }
        }
    }
    assert_eq!(taken, 4, "JSON and protobuf, on both ports of OTLP");
    server.stop().unwrap();
}

#[test]
fn both_protocols_are_taken_on_both_ports_over_http_2() {
    const OK: u8 = 0x88;
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let batch = Workload::new(2).spans(5).max_trace_spans(5).requests(5).next().unwrap();
    let protobuf = otlp::encode_protobuf(&batch);
    let framed = [&[0][..], &(protobuf.len() as u32).to_be_bytes(), &protobuf].concat();
    let json = otlp::encode_json(&batch);
    for port in PORTS {
        for (path, content_type, body, is_right) in [
            ("/v1/traces", "application/x-protobuf", &protobuf[..], true),
            ("/v1/traces", "application/json", json.as_ref(), true),
            (EXPORT, "application/grpc", &framed, true),
            (EXPORT, "Application/gRPC+proto", &framed, true),
            (EXPORT, "application/grpc+json", &framed, false),
            (EXPORT, "application/grpc-web+proto", &framed, false),
            (EXPORT, "application/x-protobuf", &protobuf, false),
            ("/v1/traces", "application/grpc", &framed, false),
            ("/v1/traces", "application/x-protobuf", &framed, false),
        ] {
            let before = server.spans().unwrap();
            let asked = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "localhost"),
                ("content-type", content_type),
                ("te", "trailers"),
            ];
            let (head, said) = http2(server.address(port), &asked, body);
            // A call that fails has its status in the head of an answer with 200, and no message.
            let is_message = !content_type.to_lowercase().starts_with("application/grpc") || said == [0; 5];
            let is_taken = head[0] == OK && is_message;
            assert_eq!(is_taken, is_right && port != "http", "{port} {path} {content_type}: {head:?}");
            let kept = server.spans().unwrap() - before;
            assert_eq!(kept, if is_taken { batch.len() as u64 } else { 0 }, "{port} {path} {content_type}");
        }
    }
    server.stop().unwrap();
}

#[test]
fn spans_that_are_sent_to_the_ui_are_told_where_to_go() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    for (path, content_type) in
        [("/v1/traces", "application/json"), ("/v1/traces", "application/x-protobuf"), ("/", "application/grpc")]
    {
        let (status, _, body) = send(&server, "http", "POST", path, &[("content-type", content_type)], b"x");
        let said = String::from_utf8(body).unwrap();
        assert!(status >= 400 && said.contains(server.address("otlp_http")), "{path} {content_type}: {status} {said}");
    }
    server.stop().unwrap();
}

#[test]
fn a_sender_hears_why_its_large_body_is_not_wanted() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--in-flight-size", "16MiB"]).unwrap();
    let body = vec![b'x'; 14 << 20];
    let json = ("content-type", "application/json");
    for (method, path, headers, expected, reason) in [
        ("POST", "/v1/traces", &[("content-type", "text/plain")][..], 415, "unsupported"),
        ("POST", "/v1/traces", &[json, ("content-encoding", "br")], 400, "malformed"),
        ("POST", "/v1/logs", &[json], 404, "not_found"),
        ("PUT", "/v1/traces", &[json], 405, "unsupported"),
    ] {
        let before = refused(&server, reason);
        let (status, _, _) = send(&server, "otlp_http", method, path, headers, &body);
        assert_eq!(status, expected, "{method} {path}");
        assert_eq!(refused(&server, reason), before + 1, "{reason}");
    }
    let (status, _, _) = send(&server, "http", "POST", "/api/v1/traces", &[json], &body);
    assert_eq!(status, 405);
    // Over the budget of all together: taken or put off, never cut off.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (status, headers, _) = send(&server, "otlp_http", "POST", "/v1/traces", &[json], &body);
                assert!(status == 400 || (status == 503 && headers.contains_key("retry-after")), "{status}");
            });
        }
    });
    // Who asks before it sends is told before it sends.
    for (content_type, expected) in [("text/plain", "415"), ("application/json", "413")] {
        let request = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: {content_type}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            1 << 30
        );
        let mut socket = connect(server.address("otlp_http"), request.as_bytes());
        let answer = head(&mut socket);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{answer}");
    }
    server.stop().unwrap();
}

#[test]
fn heads_that_are_no_heads_and_tls_are_refused_and_counted() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(80 << 10));
    for (bytes, answer) in [
        (&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], ""),
        (b"\0\x01\x02garbage", ""),
        (b"GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 400"),
        (large.as_bytes(), "HTTP/1.1 431"),
    ] {
        for port in PORTS {
            let mut socket = connect(server.address(port), b"");
            // It may be closed before all is written.
            let _ = socket.write_all(bytes);
            let said = String::from_utf8_lossy(&until_closed(&mut socket)).into_owned();
            assert!(said.starts_with(answer) && (!answer.is_empty() || said.is_empty()), "{port}: {said}");
        }
    }
    wait_until("the count of all", || {
        let stats = stats(&server);
        stats["connections"].as_array().unwrap().iter().all(|port| {
            let refused = port["refused"].as_array().unwrap();
            ["tls", "not_http", "bad_head", "head_too_large"]
                .iter()
                .all(|reason| refused.iter().any(|count| count["reason"] == *reason && count["count"] == 1))
        })
    });
    assert_eq!((refused(&server, "bad_head"), refused(&server, "head_too_large")), (3, 3));
    server.stop().unwrap();
}

#[test]
fn pages_may_send_by_their_origin_and_ask_nothing_from_elsewhere() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(
        data.path(),
        &["--cors-origin", "https://Shop.example:443/", "--allowed-host", "proxy.example"],
    )
    .unwrap();
    for (origin, allowed) in [
        ("http://localhost:3000", true),
        ("https://shop.example", true),
        ("https://shop.example:8443", false),
        ("null", false),
        ("http://localhost.evil.example", false),
    ] {
        let asked = [("origin", origin), ("access-control-request-method", "POST")];
        for (method, body) in [("OPTIONS", &b""[..]), ("POST", b"{}")] {
            let headers = [&asked[..], &[("content-type", "application/json")]].concat();
            let (_, headers, _) = send(&server, "otlp_http", method, "/v1/traces", &headers, body);
            let told = headers.get("access-control-allow-origin").map(String::as_str);
            assert_eq!(told, allowed.then_some(origin), "{method} {origin}");
            let credentials = headers.get("access-control-allow-credentials").map(String::as_str);
            assert_eq!(credentials, allowed.then_some("true"), "{method} {origin}");
        }
    }
    for (headers, expected) in [
        (&[][..], 200),
        (&[("sec-fetch-site", "cross-site")][..], 403),
        (&[("host", "proxy.example")], 200),
        (&[("host", "evil.example")], 421),
        (&[("host", "[::1].evil")], 421),
        (&[("host", "localhost:1x")], 421),
        (&[("host", "localhost"), ("host", "localhost")], 400),
    ] {
        let (status, headers_got, _) = send(&server, "http", "GET", "/api/v1/services", headers, b"");
        assert_eq!(status, expected, "{headers:?}");
        assert_eq!(headers_got["cache-control"], "no-store", "{headers:?}");
        assert_eq!(headers_got["cross-origin-resource-policy"], "same-origin", "{headers:?}");
    }
    server.stop().unwrap();
}

#[test]
fn settings_that_cannot_be_are_named_at_the_start_and_no_password_is_shown() {
    let data = tempfile::tempdir().unwrap();
    let start = |arguments: &[&str]| {
        let mut command = std::process::Command::new(tracewell());
        let output = command.arg("serve").arg("--data").arg(data.path()).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said, _) = start(&["--cors-origin", "shop.example"]);
    assert!(code == Some(1) && said.contains("shop.example"), "{said}");
    let bucket = ["--segments", "s3://spans", "--segments-endpoint", "http://me:s3cret@127.0.0.1:1"];
    let (code, said, _) = start(&bucket);
    assert!(code == Some(1) && said.contains("--segments-endpoint") && !said.contains("s3cret"), "{said}");
    let (code, _, shown) = start(&[&bucket[..], &["--print-config"]].concat());
    assert!(code == Some(0) && shown.contains("127.0.0.1:1") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_command_whose_reader_has_gone_ends_quietly() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    for arguments in [&["services"][..], &["stats"], &["version"], &["search"], &["--help"]] {
        let mut child = std::process::Command::new(tracewell())
            .args(arguments)
            .env("TRACEWELL_URL", server.url())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !said.contains("panicked"), "{arguments:?}: {said}");
    }
    server.stop().unwrap();
}

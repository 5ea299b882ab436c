//! Connections that dawdle, are too many, read nothing or say nothing: none of them stops the server or its end.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use tracewell_e2e::raw::{HTTP2, connect, fields, frame, head, until_closed};
use tracewell_e2e::{Server, wait_until};
use tracewell_model::SpanBatch;
use tracewell_sim::Workload;
use tracewell_wire::otlp;

const PORTS: [&str; 3] = ["http", "otlp_http", "otlp_grpc"];
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// This number of spans, of all services.
fn spans(seed: u64, spans: usize) -> SpanBatch {
    let mut batch = SpanBatch::new();
    Workload::new(seed).spans(spans).traces().for_each(|trace| batch.append(&trace));
    batch
}

/// A counter of a port: how often something timed out.
fn timed_out(server: &Server, port: &str, reason: &str) -> u64 {
    let (_, stats) = server.get("/api/v1/stats").unwrap();
    let ports = stats["connections"].as_array().unwrap();
    let port = ports.iter().find(|stats| stats["port"] == port).unwrap();
    let counts = port["timed_out"].as_array().unwrap();
    counts.iter().find(|count| count["reason"] == reason).unwrap()["count"].as_u64().unwrap()
}

#[test]
fn every_slow_connection_is_closed() {
    let data = tempfile::tempdir().unwrap();
    let short = ["--header-timeout", "1s", "--idle-timeout", "1s", "--body-timeout", "1s"];
    let server = Server::start_with(data.path(), &short).unwrap();
    let mut slow: Vec<(String, TcpStream)> = Vec::new();
    for port in PORTS {
        for (what, bytes) in [
            ("no byte", &b""[..]),
            ("half a head", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: "),
            ("half a preface", b"PRI * HTTP/2.0\r\n"),
            ("a preface and nothing more", HTTP2),
            ("kept alive", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("kept alive after a question", b"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ] {
            slow.push((format!("{port}, {what}"), connect(server.address(port), bytes)));
        }
    }
    for port in ["otlp_http", "otlp_grpc"] {
        let head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 1000\r\n\r\n\n";
        slow.push((format!("{port}, a body"), connect(server.address(port), head)));
    }
    for (what, socket) in &mut slow {
        let said = String::from_utf8_lossy(&until_closed(socket)).into_owned();
        assert!(!what.contains("a body") || said.starts_with("HTTP/1.1 408"), "{what}: {said}");
    }
    for port in PORTS {
        assert!(timed_out(&server, port, "header") >= 3 && timed_out(&server, port, "idle") >= 2, "{port}");
    }
    assert_eq!(timed_out(&server, "otlp_http", "body"), 1);

    // A head that comes a byte at a time is no better than one that does not come.
    let mut dripping = connect(server.address("otlp_http"), b"POST /v1/traces HTTP/1.1\r\nX: ");
    wait_until("the end of a head that drips", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        dripping.write_all(b"a").is_err()
    });
    server.stop().unwrap();
}

#[test]
fn half_heads_keep_nobody_out_and_a_full_port_no_other() {
    let batch = otlp::encode_protobuf(&spans(1, 10));
    let few = |data: &std::path::Path| Server::start_with(data, &["--connections", "5"]).unwrap();
    let no_files = |data: &std::path::Path| Server::start_under("ulimit -n 64", data, &[]).unwrap();
    for start in [&few as &dyn Fn(&std::path::Path) -> Server, &no_files] {
        let data = tempfile::tempdir().unwrap();
        let server = start(data.path());
        let mut halves: Vec<TcpStream> = Vec::new();
        for port in PORTS {
            halves.extend((0..70).map(|_| connect(server.address(port), b"POST /v1/traces HTTP/1.1\r\nX: ")));
        }
        for _ in 0..3 {
            assert_eq!(server.post("application/x-protobuf", &batch).unwrap().0, 200);
            assert_eq!(server.get("/api/v1/services").unwrap().0, 200);
        }
        server.stop().unwrap();
    }
}

#[test]
fn a_port_whose_connections_are_all_at_work_says_so() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--connections", "4"]).unwrap();
    let begin = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\ncontent-type: application/x-protobuf\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    let mut at_work: Vec<TcpStream> = (0..4).map(|_| connect(server.address("otlp_http"), begin)).collect();
    for socket in &mut at_work {
        assert!(head(socket).starts_with("HTTP/1.1 100"), "its body is asked for");
    }
    let mut late = connect(server.address("otlp_http"), b"");
    let said = String::from_utf8(until_closed(&mut late)).unwrap();
    assert!(
        said.starts_with("HTTP/1.1 503") && said.contains("retry-after") && said.contains("--connections"),
        "{said}"
    );
    assert_eq!(server.get("/api/v1/services").unwrap().0, 200, "another port has its own");
    drop(at_work);
    server.stop().unwrap();
}

#[test]
fn quiet_streams_of_grpc_are_cut_off() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--body-timeout", "1s", "--in-flight-size", "32MiB"]).unwrap();
    let call = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", TRACES),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]);
    let quiet: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut bytes = HTTP2.to_vec();
            for stream in (1..300).step_by(2) {
                bytes.extend(frame(1, 4, stream, &call));
                bytes.extend(frame(0, 0, stream, b"\0"));
            }
            connect(server.address("otlp_grpc"), &bytes)
        })
        .collect();
    server.send(&otlp::encode_protobuf(&spans(2, 10))).unwrap();
    wait_until("the end of all quiet streams", || timed_out(&server, "otlp_grpc", "body") == 20 * 150);
    let (_, stats) = server.get("/api/v1/stats").unwrap();
    let refused = stats["refused"].as_array().unwrap();
    assert!(refused.iter().any(|loss| loss["reason"] == "too_slow" && loss["requests"] == 20 * 150), "{refused:?}");
    drop(quiet);
    server.stop().unwrap();
}

#[test]
fn a_reader_who_takes_nothing_is_cut_off_in_http_1_and_2() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--write-timeout", "1s"]).unwrap();
    // Ten times what the buffers of sockets hold.
    for seed in 0..4 {
        server.send(&otlp::encode_protobuf(&spans(seed, 10_000))).unwrap();
    }
    let path = "/api/v1/export?start=0&end=2200-01-01T00:00:00Z";
    let mut http1 =
        connect(server.address("http"), format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    let mut bytes = HTTP2.to_vec();
    let asked = fields(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost")]);
    bytes.extend(frame(1, 5, 1, &asked));
    let http2 = connect(server.address("http"), &bytes);
    wait_until("the end of two readers", || timed_out(&server, "http", "write") >= 2);
    let mut answer = Vec::new();
    // What is in the sockets' buffers still comes; the end does not.
    let _ = http1.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 200") && !answer.ends_with(b"0\r\n\r\n"));
    drop(http2);
    server.stop().unwrap();
}

#[test]
fn an_orderly_end_waits_for_nobody_who_sends_nothing() {
    let data = tempfile::tempdir().unwrap();
    // Longer than the test's patience.
    let server = Server::start_with(data.path(), &["--drain", "10m"]).unwrap();
    let mut idle = Vec::new();
    for port in PORTS {
        for bytes in [
            &b""[..],
            b"GET / HTTP/1.1\r\nX: ",
            b"PRI * HTTP/2.0\r\n",
            HTTP2,
            b"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ] {
            idle.push(connect(server.address(port), bytes));
        }
    }
    server.stop().unwrap();
}

#[test]
fn a_request_in_work_is_acknowledged_at_the_end_and_kept() {
    let data = tempfile::tempdir().unwrap();
    let batch = spans(4, 50);
    let body = otlp::encode_protobuf(&batch);
    let server = Server::start(data.path()).unwrap();
    let begin = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: x\r\ncontent-type: application/x-protobuf\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = connect(server.address("otlp_http"), begin.as_bytes());
    assert!(head(&mut socket).starts_with("HTTP/1.1 100"), "the request is in work");
    server.signal(libc::SIGTERM);
    let address = server.address("otlp_http").to_owned();
    wait_until("the end of the port", || TcpStream::connect(&address).is_err());
    socket.write_all(&body).unwrap();
    let answer = head(&mut socket).to_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
    assert!(server.wait().unwrap().success());
    let server = Server::start(data.path()).unwrap();
    assert_eq!(server.spans().unwrap(), batch.len() as u64);
    server.stop().unwrap();
}

#[test]
fn a_second_signal_ends_at_once_and_a_drain_has_an_end() {
    let begin = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\ncontent-type: application/x-protobuf\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    for (drain, code) in [("10m", Some(128 + libc::SIGTERM)), ("200ms", Some(0))] {
        let data = tempfile::tempdir().unwrap();
        let patient = ["--body-timeout", "10m", "--body-rate", "0", "--drain", drain];
        let server = Server::start_with(data.path(), &patient).unwrap();
        let mut socket = connect(server.address("otlp_http"), begin);
        assert!(head(&mut socket).starts_with("HTTP/1.1 100"), "the request is in work");
        server.signal(libc::SIGTERM);
        if drain == "10m" {
            let address = server.address("otlp_http").to_owned();
            wait_until("the end of the port", || TcpStream::connect(&address).is_err());
            server.signal(libc::SIGTERM);
        }
        assert_eq!(server.wait().unwrap().code(), code, "{drain}");
        until_closed(&mut socket);
    }
}

#[test]
fn the_log_is_written_or_not_and_the_server_does_not_care() {
    let pipes = tempfile::tempdir().unwrap();
    let pipe = pipes.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let into_pipe = format!("exec 2>'{}'", pipe.display());
    for (set, reads) in [("exec 2>/dev/full", false), ("exec 2>&-", false), (&into_pipe, true), (&into_pipe, false)] {
        let data = tempfile::tempdir().unwrap();
        // For reading and writing a pipe is opened at once. It is never read: either it fills, or nobody has it open.
        let mut reader = Some(std::fs::File::options().read(true).write(true).open(&pipe).unwrap());
        let server = Server::start_under(set, data.path(), &["--log", "trace"]).unwrap();
        if !reads {
            reader = None;
        }
        for seed in 0..20 {
            server.send(&otlp::encode_protobuf(&spans(seed, 10))).unwrap();
        }
        assert_eq!(server.spans().unwrap(), 200, "{set}");
        server.stop().unwrap_or_else(|error| panic!("{set}: {error}"));
        drop(reader);
    }
}

#[test]
fn health_is_told_on_every_port_and_a_lost_directory_is_noticed() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let server = Server::start(&data).unwrap();
    let ask = |port: &str, method: &str, path: &str| -> (u16, Value) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let said = String::from_utf8(until_closed(&mut connect(server.address(port), request.as_bytes()))).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
    };
    for port in PORTS {
        for path in ["/livez", "/readyz", "/healthz"] {
            assert_eq!(ask(port, "GET", path).0, 200, "{port} {path}");
            assert_eq!(ask(port, "POST", path).0, 405, "{port} {path}: nothing is received there");
        }
    }
    std::fs::remove_dir_all(&data).unwrap();
    for port in PORTS {
        wait_until("the news that the directory is lost", || ask(port, "GET", "/readyz").0 == 503);
        let (_, told) = ask(port, "GET", "/readyz");
        assert!(told["reasons"].as_array().unwrap().iter().any(|reason| reason["component"] == "directory"), "{told}");
        assert_eq!(ask(port, "GET", "/livez").0, 200, "{port}");
    }
    server.kill();
}

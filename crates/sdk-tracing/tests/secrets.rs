//! No credential of the exporter's is in any log, with the subscribers of the documents and at every level. A program of its own
//! for each, for there is one subscriber in a process.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use tracewell::Config;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

const SECRET: &str = "SECRET-KEY-123";
const WHO: &str = "TRACEWELL_TEST_SUBSCRIBER";

/// Takes one request, and gives its head.
fn receive(listener: &TcpListener) -> String {
    let mut reader = BufReader::new(listener.accept().unwrap().0);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let begin = head.len();
        assert!(reader.read_line(&mut head).unwrap() > 0);
        length = head[begin..].strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
    head
}

/// What the program does that the test starts.
#[test]
fn program() {
    let Ok(subscriber) = std::env::var(WHO) else { return };
    let lines = || tracing_subscriber::fmt::layer().event_format(tracewell_tracing::with_ids(format()));
    let config = Config::from_env("gallery");
    let guard = match subscriber.as_str() {
        "init" => tracewell_tracing::init(config).unwrap(),
        "init_json" => tracewell_tracing::init_json(config).unwrap(),
        // Everything, unfiltered: the worst that a program can do.
        "all" => {
            tracing_subscriber::registry().with(tracewell_tracing::layer()).with(lines()).init();
            tracewell::init(config).unwrap()
        }
        other => panic!("{other}"),
    };
    tracing::info!("a line");
    tracing::info_span!("request").in_scope(|| tracing::info!("inside"));
    guard.shutdown().unwrap();
}

#[test]
fn credentials_are_sent_and_never_logged() {
    for subscriber in ["init", "init_json", "all"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let program = Command::new(std::env::current_exe().unwrap())
            .args(["program", "--exact", "--nocapture"])
            .env(WHO, subscriber)
            .env("RUST_LOG", "trace")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://user:{SECRET}@{address}/base?token={SECRET}"))
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-api-key={SECRET}"))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let head = receive(&listener);
        drop(listener);
        assert!(head.starts_with(&format!("POST /base/v1/traces?token={SECRET} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains(&format!("x-api-key: {SECRET}\r\n")) && head.contains("authorization: Basic "), "{head}");
        let output = program.wait_with_output().unwrap();
        assert!(output.status.success());
        let log = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(log.contains("a line") && log.contains("trace_id"), "{log}");
        // In clear, in base64, or as a dump.
        for secret in [SECRET, "dXNlcjpT", "53454352", "53 45 43", "5345 43"] {
            assert!(!log.contains(secret), "{subscriber}: {log}");
        }
    }
}

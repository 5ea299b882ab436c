//! `GET /metrics` as Prometheus reads it.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};
use tracewell_e2e::{Server, clients};

/// A sample: kind of its family, name, labels, value.
type Sample = (String, String, Value, f64);

fn scrape(server: &Server, dialect: &str) -> Vec<Sample> {
    let accept = if dialect == "openmetrics" { "application/openmetrics-text;version=1.0.0" } else { "text/plain" };
    let url = format!("{}/metrics", server.url());
    let page = ureq::get(url).header("accept", accept).call().unwrap().body_mut().read_to_string().unwrap();
    let mut parser = clients::prometheus().arg(dialect).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{dialect} is not understood:\n{page}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn value(samples: &[Sample], name: &str, labels: &Value) -> f64 {
    let found = samples.iter().find(|sample| sample.1 == name && sample.2 == *labels);
    found.unwrap_or_else(|| panic!("no {name} {labels}")).3
}

#[test]
fn what_is_received_and_refused_shows_in_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    let span = json!({"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "a\"\\\n",
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000000000001"});
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    assert_eq!(server.post("application/json", body.as_bytes()).unwrap().0, 200);
    assert_eq!(server.post("application/json", b"{").unwrap().0, 400);
    assert_eq!(server.post("text/plain", b"hello").unwrap().0, 415);
    assert_eq!(server.get("/api/v1/services").unwrap().0, 200);
    for dialect in ["prometheus", "openmetrics"] {
        let samples = scrape(&server, dialect);
        let port = json!({"port": "otlp_http"});
        assert_eq!(value(&samples, "tracewell_received_spans_total", &port), 1.0);
        assert_eq!(value(&samples, "tracewell_received_bytes_total", &port), body.len() as f64);
        for (reason, requests) in [("malformed", 1.0), ("unsupported", 1.0)] {
            let labels = json!({"port": "otlp_http", "reason": reason});
            assert_eq!(value(&samples, "tracewell_refused_requests_total", &labels), requests, "{reason}");
        }
        let answered = |port: &str, method: &str, route: &str, status: &str| {
            let labels = json!({"port": port, "http_request_method": method, "http_route": route, "http_response_status_code": status});
            value(&samples, "http_server_request_duration_seconds_count", &labels)
        };
        assert_eq!(answered("otlp_http", "POST", "/v1/traces", "415"), 1.0);
        assert_eq!(answered("http", "GET", "/api/v1/services", "200"), 1.0);
        assert_eq!(value(&samples, "tracewell_store_spans", &json!({})), 1.0);
        assert!(value(&samples, "process_resident_memory_bytes", &json!({})) > 1e6);
        assert!(value(&samples, "tracewell_disk_free_bytes", &json!({})) > 0.0);
        // Whoever sends chooses no label.
        assert!(samples.iter().all(|(_, name, labels, _)| labels.get("service").is_none() || name.is_empty()));
    }
    server.stop().unwrap();
}

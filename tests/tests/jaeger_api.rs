//! Jaeger's query API, read by a client with Jaeger's own types that knows nothing of Tracewell.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::BTreeMap;

use tracewell_e2e::{Child, Server, clients};
use tracewell_sim::Workload;
use tracewell_wire::otlp;

#[test]
fn a_jaeger_client_sees_every_trace_whole() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    // By trace: its spans, and those of them that have a parent.
    let mut expected = BTreeMap::<String, (usize, usize)>::new();
    for batch in Workload::new(3).spans(5_000).max_trace_spans(500).requests(500) {
        let (status, _) = server.post("application/x-protobuf", &otlp::encode_protobuf(&batch)).unwrap();
        assert_eq!(status, 200);
        for span in batch.iter() {
            let (spans, children) = expected.entry(span.trace_id().to_string()).or_default();
            *spans += 1;
            *children += usize::from(!span.parent_span_id().is_zero());
        }
    }

    let printed = Child::start(clients::go().args(["jaeger", &server.url()])).unwrap().finish().unwrap();
    let (calls, traces): (Vec<&str>, Vec<&str>) = printed.lines().partition(|line| line.starts_with("calls"));
    let seen: BTreeMap<String, (usize, usize)> = traces
        .iter()
        .map(|line| {
            let parts: Vec<&str> = line.split(' ').collect();
            (parts[0].to_owned(), (parts[1].parse().unwrap(), parts[2].parse().unwrap()))
        })
        .collect();
    assert_eq!(seen, expected);
    let calls: usize = calls[0].trim_start_matches("calls ").parse().unwrap();
    assert!(calls > 100, "services called each other: {calls}");
    server.stop().unwrap();
}

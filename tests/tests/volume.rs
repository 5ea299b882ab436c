//! A million spans go in, and every trace read back is whole.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::{BTreeMap, BTreeSet};

use tracewell_e2e::{Server, normal};
use tracewell_sim::Workload;
use tracewell_wire::otlp;

/// 100,000 in a build for developers; `cargo xtask test release` sends a million through the release binary.
fn wanted_spans() -> usize {
    std::env::var("TRACEWELL_VOLUME_SPANS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000)
}

#[test]
fn every_trace_comes_back_whole() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let mut expected: BTreeMap<u128, BTreeSet<u64>> = BTreeMap::new();
    let mut sent = 0;
    for batch in Workload::new(42).spans(wanted_spans()).requests(1_000) {
        server.send(&otlp::encode_protobuf(&batch)).unwrap();
        for span in batch.iter() {
            expected.entry(span.trace_id().as_u128()).or_default().insert(span.span_id().as_u64());
        }
        sent += batch.len();
    }
    assert_eq!(sent, wanted_spans());
    for (trace_id, span_ids) in &expected {
        let trace = server.trace(&format!("{trace_id:032x}")).unwrap().expect("the trace is there");
        let found: BTreeSet<u64> =
            normal::from_otlp_json(&trace).keys().map(|id| u64::from_str_radix(id, 16).unwrap()).collect();
        assert!(found == *span_ids, "trace {trace_id:032x}: {} of {} spans", found.len(), span_ids.len());
    }
    server.stop().unwrap();
}

//! A million spans go in, and every trace read back is whole.

use std::collections::{BTreeMap, BTreeSet};

use tracewell_e2e::{Server, normal};
use tracewell_sim::Workload;
use tracewell_wire::otlp;

/// `TRACEWELL_VOLUME_SPANS` makes it smaller or larger.
fn wanted_spans() -> usize {
    std::env::var("TRACEWELL_VOLUME_SPANS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

#[test]
fn every_trace_of_a_million_spans_comes_back_whole() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let mut expected: BTreeMap<u128, BTreeSet<u64>> = BTreeMap::new();
    let mut sent = 0;
    for batch in Workload::new(42).requests(1_000) {
        let (status, answer) = server.post("application/x-protobuf", &otlp::encode_protobuf(&batch)).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        for span in batch.iter() {
            expected.entry(span.trace_id().as_u128()).or_default().insert(span.span_id().as_u64());
        }
        sent += batch.len();
        if sent >= wanted_spans() {
            break;
        }
    }
    for (trace_id, span_ids) in &expected {
        let trace = server.trace(&format!("{trace_id:032x}")).unwrap().expect("the trace is there");
        let found: BTreeSet<u64> =
            normal::from_otlp_json(&trace).keys().map(|id| u64::from_str_radix(id, 16).unwrap()).collect();
        assert!(found == *span_ids, "trace {trace_id:032x}: {} of {} spans", found.len(), span_ids.len());
    }
    server.stop().unwrap();
}

//! The workload is what it says it is.

use tracewell_model::{SpanBatch, SpanKind, Trace};
use tracewell_sim::{Expected, Workload};

fn expected(batches: impl Iterator<Item = SpanBatch>) -> Expected {
    let mut expected = Expected::default();
    batches.for_each(|batch| expected.add(&batch));
    expected
}

#[test]
fn the_same_seed_gives_the_same_spans_and_another_gives_others() {
    let debug = |seed| {
        Workload::new(seed).spans(2_000).traces().map(|trace| format!("{:?}", trace.spans())).collect::<Vec<_>>()
    };
    assert_eq!(debug(1), debug(1));
    assert_ne!(debug(1), debug(2));
}

#[test]
fn every_trace_is_one_tree_and_the_number_of_spans_is_exact() {
    let mut spans = 0;
    let mut last_start = 0;
    for batch in Workload::new(3).spans(30_000).traces() {
        spans += batch.len();
        let trace = Trace::assemble(batch);
        assert_eq!(trace.roots().len(), 1);
        assert_eq!(trace.notes(), Default::default());
        assert!(trace.start_unix_nano() >= last_start, "traces come in time order");
        last_start = trace.start_unix_nano();
    }
    assert_eq!(spans, 30_000);
}

#[test]
fn requests_hold_the_same_spans_scattered() {
    let workload = Workload::new(4).spans(20_000);
    let whole = expected(workload.traces());
    assert_eq!(expected(workload.requests(100)), whole);
    assert_eq!(workload.requests(100).map(|request| request.len()).sum::<usize>(), 20_000);
    for request in workload.requests(100) {
        assert!(request.len() <= 100);
        assert!(request.iter().all(|span| span.service() == request.span(0).service()));
    }
    for trace in workload.traces() {
        whole.check(trace.span(0).trace_id(), &trace).unwrap();
        let missing_one = trace.select(1..trace.len());
        whole.check(trace.span(0).trace_id(), &missing_one).unwrap_err();
    }
}

#[test]
fn sizes_are_heavy_tailed_and_all_kinds_of_spans_occur() {
    let traces: Vec<_> = Workload::new(5).spans(200_000).traces().collect();
    let mut sizes: Vec<usize> = traces.iter().map(SpanBatch::len).collect();
    sizes.sort_unstable();
    let (median, mean) = (sizes[sizes.len() / 2], 200_000 / sizes.len());
    assert!((7..=14).contains(&median), "median {median}");
    assert!((50..=130).contains(&mean), "mean {mean}");
    assert!(sizes.last().is_some_and(|most| *most > 1_500));
    let has = |what: &dyn Fn(tracewell_model::SpanRef<'_>) -> bool| traces.iter().any(|trace| trace.iter().any(what));
    for kind in [SpanKind::Server, SpanKind::Client, SpanKind::Internal, SpanKind::Producer, SpanKind::Consumer] {
        assert!(has(&|span| span.kind() == kind), "no {kind} span");
    }
    for key in ["db.system.name", "rpc.system", "http.route", "messaging.system", "shop.feature_flags"] {
        assert!(has(&|span| span.attributes().get(key).is_some()), "no {key}");
    }
    assert!(has(&|span| span.is_error() && span.events().len() > 0), "no error with an exception");
    assert!(has(&|span| span.links().len() > 0), "no link");
    let services: std::collections::BTreeSet<&str> =
        traces.iter().flat_map(|trace| trace.iter().map(|span| span.service())).collect();
    assert_eq!(services.len(), 20);
}

#[test]
fn a_span_has_about_350_bytes_in_otlp() {
    let spans = 50_000;
    let requests = Workload::new(6).spans(spans).requests(500);
    let bytes: usize = requests.map(|request| tracewell_wire::otlp::encode_protobuf(&request).len()).sum();
    let bytes_per_span = bytes / spans;
    assert!((300..=400).contains(&bytes_per_span), "{bytes_per_span} bytes a span");
}

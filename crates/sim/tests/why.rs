//! `why` finds the faults that are planted here.

use tracewell_insight::{FindingKind, Options, Why, explain, why};
use tracewell_model::Trace;
use tracewell_sim::{Fault, FaultPlace, Workload};

const SEED: u64 = 11;

fn workload() -> Workload {
    Workload::new(SEED).spans(40_000).max_trace_spans(400)
}

fn slow_against_normal(place: FaultPlace, added_nanos: u64) -> Why {
    // Other requests than the normal ones, to the same services.
    let all: Vec<Trace> = workload()
        .fault(Fault { at_unix_nano: 1_767_227_400_000_000_000, place, added_nanos })
        .traces()
        .map(Trace::assemble)
        .collect();
    let (normal, slow): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|trace| trace.start_unix_nano() < 1_767_227_400_000_000_000);
    why(&slow, &normal, &Options::default())
}

#[test]
fn a_service_that_computes_longer_is_found() {
    for service in ["storefront", "checkout", "cart"] {
        let why = slow_against_normal(FaultPlace::Own { service: service.into(), operation: None }, 50_000_000);
        let first = &why.findings[0];
        assert_eq!((first.kind, first.service.as_str()), (FindingKind::SelfTime, service), "{}", why.summary);
        assert!(why.significant && first.significant, "{}", why.summary);
    }
}

#[test]
fn a_slow_database_is_found() {
    let why = slow_against_normal(FaultPlace::Database { service: "account".into() }, 80_000_000);
    let first = &why.findings[0];
    assert_eq!((first.kind, first.service.as_str()), (FindingKind::External, "account"), "{}", why.summary);
    assert!(why.significant && first.share > 0.5);
}

#[test]
fn a_slow_edge_is_found() {
    let topology = workload().topology();
    for (from, to) in topology.edges().take(3) {
        let why = slow_against_normal(FaultPlace::Edge { from: from.into(), to: to.into() }, 80_000_000);
        let first = &why.findings[0];
        assert_eq!(first.kind, FindingKind::Edge, "{}", why.summary);
        let edge = first.edge.as_ref().unwrap();
        assert_eq!((edge.from.as_str(), edge.to.as_str()), (from, to), "{}", why.summary);
    }
}

#[test]
fn without_a_fault_nothing_is_significant() {
    let none = FaultPlace::Database { service: "no such service".into() };
    let why = slow_against_normal(none, 1_000_000_000);
    assert!(!why.significant, "{}", why.summary);
}

#[test]
fn slow_requests_are_told_from_normal_ones_without_a_baseline() {
    let place = FaultPlace::Database { service: "gateway".into() };
    let at_unix_nano = 1_767_227_400_000_000_000;
    let traces = workload().fault(Fault { at_unix_nano, place, added_nanos: 2_000_000_000 }).traces();
    let why = explain(traces.map(Trace::assemble).collect(), &Options::default());
    let first = &why.findings[0];
    assert_eq!((first.kind, first.service.as_str()), (FindingKind::External, "gateway"), "{}", why.summary);
    assert!(why.significant);
}

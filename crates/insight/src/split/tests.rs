use super::*;
use crate::critical_path::testing::{TraceBuilder, kind::SERVER};

fn traces(operation: &str, durations_nanos: impl IntoIterator<Item = u64>) -> Vec<Trace> {
    durations_nanos
        .into_iter()
        .map(|nanos| {
            let mut builder = TraceBuilder::new(u128::from(nanos));
            builder.span(0, "api", operation, SERVER, 1_000, 1_000 + nanos);
            builder.build()
        })
        .collect()
}

fn durations(traces: &[Trace]) -> Vec<u64> {
    traces.iter().map(Trace::duration_nanos).collect()
}

#[test]
fn two_groups_of_latency_are_told_apart() {
    let fast = (0..40).map(|n| 80_000_000 + n * 1_000_000);
    let slow = (0..5).map(|n| 10_000_000_000 + n * 50_000_000);
    let split = split_by_latency(traces("GET /", fast.clone().chain(slow.clone())));
    assert_eq!(durations(&split.slow), slow.collect::<Vec<_>>());
    assert_eq!(durations(&split.normal), fast.collect::<Vec<_>>());
    assert!(split.caveats.is_empty());
}

#[test]
fn an_operation_that_is_always_slow_is_not_taken_for_the_slow_group() {
    let mut all = traces("GET /quick", (0..30).map(|n| 1_000_000 + n * 10_000));
    all.extend(traces("GET /report", (0..30).map(|n| 9_000_000_000 + n * 10_000_000)));
    all.extend(traces("GET /mixed", (0..20).map(|n| if n < 5 { 700_000_000 + n } else { 20_000_000 + n })));
    let split = split_by_latency(all);
    assert_eq!(split.slow.len(), 5);
    assert_eq!(split.normal.len(), 15);
    assert!(split.slow.iter().all(|trace| trace.span(0).name() == "GET /mixed"));
    assert_eq!(split.caveats, ["60 of 80 traces were left out: their operations show no slow and normal group."]);
}

#[test]
fn without_two_groups_the_slowest_tenth_is_compared_and_that_is_said() {
    let split = split_by_latency(traces("GET /", (0..100).map(|n| 50_000_000 + n * 1_000_000)));
    assert_eq!(split.slow.len(), 10);
    assert_eq!(split.normal.len(), 50);
    assert!(split.slow.iter().all(|trace| trace.duration_nanos() >= 140_000_000));
    assert_eq!(split.caveats.len(), 1);
}

#[test]
fn one_outlier_among_many_is_no_group() {
    assert_eq!(clear_split(&[&[100; 40][..], &[90_000]].concat()), None);
    assert_eq!(clear_split(&[&[100; 40][..], &[90_000; 3]].concat()), Some(40));
    assert_eq!(clear_split(&[0, 0, 0, 0]), None);
    assert_eq!(clear_split(&[5; 100]), None);
}

#[test]
fn nothing_splits_into_nothing() {
    let split = split_by_latency(Vec::new());
    assert!(split.slow.is_empty() && split.normal.is_empty());
    let split = split_by_latency(vec![Trace::assemble(tracewell_model::SpanBatch::new())]);
    assert!(split.slow.is_empty() && split.normal.is_empty());
}

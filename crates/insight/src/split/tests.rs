use super::*;

fn traces(entry: u32, durations_nanos: impl IntoIterator<Item = u64>) -> Vec<Observed> {
    let trace = |total_nanos| Observed { entry, total_nanos, ..Observed::default() };
    durations_nanos.into_iter().map(trace).collect()
}

/// Durations of the traces on a side.
fn durations(traces: &[Observed], split: &Split, is_slow: bool) -> Vec<u64> {
    let with_side = traces.iter().zip(&split.sides);
    with_side.filter(|(_, side)| **side == Some(is_slow)).map(|(trace, _)| trace.total_nanos).collect()
}

#[test]
fn two_groups_of_latency_are_told_apart() {
    let fast = (0..40).map(|n| 80_000_000 + n * 1_000_000);
    let slow = (0..5).map(|n| 10_000_000_000 + n * 50_000_000);
    let all = traces(1, fast.clone().chain(slow.clone()));
    let split = split_by_latency(&all);
    assert_eq!(durations(&all, &split, true), slow.collect::<Vec<_>>());
    assert_eq!(durations(&all, &split, false), fast.collect::<Vec<_>>());
    assert!(split.caveats.is_empty());
}

#[test]
fn an_operation_that_is_always_slow_is_not_taken_for_the_slow_group() {
    let mut all = traces(1, (0..30).map(|n| 1_000_000 + n * 10_000));
    all.extend(traces(2, (0..30).map(|n| 9_000_000_000 + n * 10_000_000)));
    all.extend(traces(3, (0..20).map(|n| if n < 5 { 700_000_000 + n } else { 20_000_000 + n })));
    let split = split_by_latency(&all);
    assert_eq!(durations(&all, &split, true).len(), 5);
    assert_eq!(durations(&all, &split, false).len(), 15);
    assert!(split.sides[..60].iter().all(Option::is_none));
    assert_eq!(split.caveats, ["60 of 80 traces were left out: their operations show no slow and normal group."]);
}

#[test]
fn without_two_groups_the_slowest_tenth_is_compared_and_that_is_said() {
    let all = traces(1, (0..100).map(|n| 50_000_000 + n * 1_000_000));
    let split = split_by_latency(&all);
    assert_eq!(durations(&all, &split, false).len(), 50);
    let slow = durations(&all, &split, true);
    assert!(slow.len() == 10 && slow.iter().all(|nanos| *nanos >= 140_000_000));
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
    assert!(split_by_latency(&[]).sides.is_empty());
}

use super::*;
use crate::critical_path::testing::{TraceBuilder, kind::*};

fn request(id: u128, queries: u64) -> Trace {
    let mut builder = TraceBuilder::new(id);
    let root = builder.span(0, "api", "GET /", SERVER, 0, 100 * (queries + 2));
    builder.span(root, "api", "check", INTERNAL, 10, 20);
    for query in 0..queries {
        builder.span(root, "api", "SELECT", CLIENT, 100 * (query + 1), 100 * (query + 1) + 50 + query);
    }
    builder.build()
}

fn compare(a: &[Trace], b: &[Trace]) -> Comparison {
    let mut comparer = Comparer::new(100);
    a.iter().for_each(|trace| comparer.add(0, trace));
    b.iter().for_each(|trace| comparer.add(1, trace));
    comparer.conclude()
}

fn rows(comparison: &Comparison) -> Vec<String> {
    let row = |path: &ComparedPath| {
        format!("{} {} {} {}", path.depth, path.operation, path.sides[0].calls, path.sides[1].calls)
    };
    comparison.paths.iter().map(row).collect()
}

#[test]
fn call_paths_are_aligned_and_what_one_side_lacks_is_seen() {
    let mut other = TraceBuilder::new(3);
    let root = other.span(0, "api", "GET /", SERVER, 0, 500);
    let check = other.span(root, "api", "check", INTERNAL, 10, 20);
    other.span(check, "api", "SELECT", CLIENT, 12, 15);
    let compared = compare(&[request(1, 1), request(2, 3)], &[other.build()]);
    assert_eq!(rows(&compared), ["0 GET / 1 1", "1 check 1 1", "2 SELECT 0 1", "1 SELECT 2 0"]);
    let parents: Vec<Option<usize>> = compared.paths.iter().map(|path| path.parent).collect();
    assert_eq!(parents, [None, Some(0), Some(1), Some(0)]);
    assert!(compared.paths[2].is_new() && compared.paths[3].is_missing() && !compared.paths[1].is_new());
    // 50 of the one, and 50, 51 and 52 of the other.
    assert!((compared.paths[3].sides[0].duration_nanos - 101.5).abs() < 1e-9);
    let critical: f64 = compared.paths.iter().map(|path| path.sides[1].critical_nanos).sum();
    assert!((critical - 500.0).abs() < 1e-9, "the critical path is divided without rest");
}

#[test]
fn a_path_leads_to_its_longest_span_and_a_side_to_its_traces() {
    let compared = compare(&[request(1, 1), request(2, 3)], &[request(3, 1)]);
    let longest = compared.paths[2].sides[0].longest.unwrap();
    assert_eq!(longest, (TraceId::from_u128(2), SpanId::from_u64(5)), "the third query of the second trace");
    let [a, b] = &compared.sides;
    assert_eq!((a.traces, a.spans, b.traces, b.spans), (2, 8, 1, 3));
    assert_eq!(a.examples, [TraceId::from_u128(1), TraceId::from_u128(2)]);
    assert_eq!((a.root_service.as_str(), a.root_operation.as_str()), ("api", "GET /"));
    assert!((a.duration_nanos - 400.0).abs() < 1e-9, "300 and 500");
}

#[test]
fn two_traces_are_told_apart_in_words() {
    let words = |a: &[Trace], b: &[Trace]| compare(a, b).summary;
    assert_eq!(
        words(&[request(1, 1)], &[request(2, 6)]),
        "B took 500 ns longer than A: 800 ns instead of 300 ns. The largest part, +265 ns, is at api: SELECT, called 6 \
         times instead of once. Both have the same call paths, one of them another number of times."
    );
    assert!(
        words(&[request(2, 6)], &[request(1, 1)]).starts_with("B took 500 ns less than A: 300 ns instead of 800 ns")
    );
    assert_eq!(
        words(&[request(1, 1)], &[request(2, 1)]),
        "B took about as long as A: 300 ns and 300 ns. Both make the same calls."
    );
    assert!(
        words(&[request(1, 1), request(2, 2)], &[request(3, 2)])
            .starts_with("B took 50 ns longer than A on average: 400 ns instead of 350 ns.")
    );
    assert_eq!(words(&[request(1, 1)], &[]), "There are no traces to compare.");
}

#[test]
fn traces_of_other_kinds_are_not_aligned_and_it_is_said() {
    let mut other = TraceBuilder::new(3);
    other.span(0, "api", "POST /", SERVER, 0, 300);
    let compared = compare(&[request(1, 1)], &[other.build()]);
    assert_eq!(compared.caveats, [""; 0]);
    assert!(compared.summary.contains("different kinds of request"), "{}", compared.summary);
    assert!(!compared.summary.contains("call path"), "{}", compared.summary);
}

#[test]
fn a_side_with_several_kinds_of_request_is_told_of() {
    let mut other = TraceBuilder::new(3);
    other.span(0, "api", "POST /", SERVER, 0, 300);
    let compared = compare(&[request(1, 1), other.build(), request(4, 1)], &[request(2, 1)]);
    assert!(compared.caveats[0].starts_with("There is more than one kind of request (2 in A, 1 in B)"));
    assert_eq!(compared.sides[0].root_operation, "GET /", "the more frequent one");
    assert!(compared.summary.contains("1 call path of A is missing"), "{}", compared.summary);
}

#[test]
fn no_more_paths_are_kept_than_allowed_and_what_is_left_out_is_counted() {
    let mut comparer = Comparer::new(2);
    comparer.add(0, &request(1, 1));
    comparer.add(1, &request(2, 3));
    let compared = comparer.conclude();
    assert_eq!(rows(&compared), ["0 GET / 1 1", "1 check 1 1"]);
    assert_eq!(compared.caveats, ["4 spans were left out: there are more than 2 call paths."]);
}

#[test]
fn what_lies_below_a_path_that_was_left_out_is_left_out_too() {
    let mut deep = TraceBuilder::new(1);
    let root = deep.span(0, "api", "GET /", SERVER, 0, 500);
    let check = deep.span(root, "api", "check", INTERNAL, 10, 20);
    deep.span(check, "api", "GET /", SERVER, 12, 15);
    let mut comparer = Comparer::new(1);
    comparer.add(0, &deep.build());
    assert_eq!(comparer.conclude().caveats, ["2 spans were left out: there are more than 1 call paths."]);
}

#[test]
fn clocks_that_were_moved_and_parents_that_are_not_there_are_told() {
    let mut skewed = TraceBuilder::new(1);
    let root = skewed.span(0, "api", "GET /", SERVER, 1_000, 2_000);
    let call = skewed.span(root, "api", "call", CLIENT, 1_100, 1_900);
    skewed.span(call, "cart", "serve", SERVER, 1_500, 2_200);
    skewed.span(77, "cart", "lost", INTERNAL, 1_500, 1_600);
    let compared = compare(&[skewed.build()], &[request(2, 1)]);
    assert_eq!(
        compared.caveats,
        [
            "The clocks of 1 trace were brought together, by 300 ns at most.",
            "1 trace has spans whose parent is not there: these stand as roots, and nobody is seen to wait for them.",
        ]
    );
}

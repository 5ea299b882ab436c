use proptest::prelude::*;

use super::testing::kind::*;
use super::testing::{TraceBuilder, assert_covers_root, describe};
use super::*;

fn path_of(builder: TraceBuilder) -> (Trace, Vec<Piece>) {
    let trace = builder.build();
    let pieces = critical_path(&trace);
    assert_covers_root(&trace, &pieces);
    (trace, pieces)
}

fn words(builder: TraceBuilder) -> Vec<String> {
    let (trace, pieces) = path_of(builder);
    describe(&trace, &pieces)
}

#[test]
fn a_lonely_span_is_its_own_path() {
    let mut builder = TraceBuilder::default();
    builder.span(0, "a", "root", SERVER, 10, 20);
    assert_eq!(words(builder), ["root 10-20"]);
}

#[test]
fn of_parallel_children_the_last_to_finish_is_waited_for() {
    let mut builder = TraceBuilder::default();
    let root = builder.span(0, "a", "root", SERVER, 0, 100);
    builder.span(root, "a", "short", INTERNAL, 10, 50);
    builder.span(root, "a", "long", INTERNAL, 10, 90);
    assert_eq!(words(builder), ["root 0-10", "long 10-90", "root 90-100"]);
}

#[test]
fn children_one_after_the_other_are_all_on_the_path() {
    let mut builder = TraceBuilder::default();
    let root = builder.span(0, "a", "root", SERVER, 0, 100);
    builder.span(root, "a", "first", INTERNAL, 10, 40);
    builder.span(root, "a", "second", INTERNAL, 60, 90);
    assert_eq!(words(builder), ["root 0-10", "first 10-40", "root 40-60", "second 60-90", "root 90-100"]);
}

#[test]
fn a_call_that_overlaps_the_next_by_a_clock_tick_keeps_its_time() {
    let mut builder = TraceBuilder::default();
    let root = builder.span(0, "a", "root", SERVER, 0, 100);
    builder.span(root, "a", "first", INTERNAL, 0, 51);
    builder.span(root, "a", "second", INTERNAL, 50, 100);
    assert_eq!(words(builder), ["first 0-50", "second 50-100"]);
}

#[test]
fn a_child_that_outlives_its_parent_counts_up_to_the_parents_end() {
    let mut builder = TraceBuilder::default();
    let root = builder.span(0, "a", "root", SERVER, 0, 100);
    let child = builder.span(root, "a", "child", INTERNAL, 50, 300);
    builder.span(child, "a", "inside", INTERNAL, 60, 80);
    builder.span(child, "a", "late", INTERNAL, 150, 250);
    assert_eq!(words(builder), ["root 0-50", "child 50-60", "inside 60-80", "child 80-100"]);
}

#[test]
fn a_consumer_that_outlives_its_producer_is_not_waited_for() {
    let mut builder = TraceBuilder::default();
    let root = builder.span(0, "a", "root", SERVER, 0, 100);
    let send = builder.span(root, "a", "send", PRODUCER, 50, 60);
    builder.span(send, "b", "process", CONSUMER, 55, 900);
    let (trace, pieces) = path_of(builder);
    assert_eq!(describe(&trace, &pieces), ["root 0-50", "send 50-60", "root 60-100"]);
}

#[test]
fn the_time_between_a_client_and_its_server_belongs_to_the_edge() {
    let mut builder = TraceBuilder::default();
    let root = builder.span(0, "a", "root", SERVER, 0, 100);
    let call = builder.span(root, "a", "call", CLIENT, 10, 90);
    builder.span(call, "b", "serve", SERVER, 30, 80);
    let (trace, pieces) = path_of(builder);
    assert_eq!(describe(&trace, &pieces), ["root 0-10", "call 10-30", "serve 30-80", "call 80-90", "root 90-100"]);
    let remote = pieces[2].span;
    let kinds: Vec<_> = pieces.iter().map(|piece| piece.kind).collect();
    let (own, edge) = (PieceKind::SelfTime, PieceKind::Edge { remote });
    assert_eq!(kinds, [own, edge, own, edge, own]);
}

#[test]
fn a_client_that_nobody_answers_with_spans_waits_for_something_external() {
    let mut builder = TraceBuilder::default();
    let root = builder.span(0, "a", "root", SERVER, 0, 100);
    let rpc = builder.span(root, "a", "rpc", CLIENT, 10, 90);
    builder.span(rpc, "a", "http", CLIENT, 20, 80);
    let (_, pieces) = path_of(builder);
    let kinds: Vec<_> = pieces.iter().map(|piece| piece.kind).collect();
    use PieceKind::{External, SelfTime};
    assert_eq!(kinds, [SelfTime, SelfTime, External, SelfTime, SelfTime]);
}

#[test]
fn spans_without_length_or_with_a_negative_one_take_no_part() {
    let mut builder = TraceBuilder::default();
    let root = builder.span(0, "a", "root", SERVER, 0, 100);
    builder.span(root, "a", "nothing", INTERNAL, 50, 50);
    builder.span(root, "a", "backwards", INTERNAL, 70, 30);
    assert_eq!(words(builder), ["root 0-100"]);

    let mut builder = TraceBuilder::default();
    builder.span(0, "a", "root", SERVER, 100, 50);
    assert!(words(builder).is_empty());
}

#[test]
fn a_child_that_a_skewed_clock_puts_outside_leaves_its_time_to_the_parent() {
    let mut builder = TraceBuilder::default();
    let root = builder.span(0, "a", "root", CLIENT, 1_000, 1_100);
    builder.span(root, "b", "serve", SERVER, 10, 90);
    let (trace, pieces) = path_of(builder);
    assert_eq!(describe(&trace, &pieces), ["root 1000-1100"]);
    assert!(matches!(pieces[0].kind, PieceKind::Edge { .. }));
}

#[test]
fn only_the_main_root_has_a_path() {
    let mut builder = TraceBuilder::default();
    builder.span(77, "a", "orphan", SERVER, 0, 1_000);
    builder.span(0, "a", "root", SERVER, 10, 20);
    builder.span(0, "a", "second root", SERVER, 12, 50);
    assert_eq!(words(builder), ["root 10-20"]);
}

#[test]
fn a_chain_of_100_000_spans_does_not_exhaust_the_stack() {
    const SPANS: u64 = 100_000;
    let mut builder = TraceBuilder::default();
    let mut parent = 0;
    for depth in 0..SPANS {
        parent = builder.span(parent, "a", "nested", INTERNAL, depth, 10 * SPANS - depth);
    }
    let (trace, pieces) = path_of(builder);
    assert_eq!(pieces.len() as u64, 2 * SPANS - 1);
    assert_eq!(crate::self_time_nanos(&trace).iter().sum::<u64>(), 10 * SPANS);
}

/// Any tree: each span's parent is an earlier one or none; times are small, so that they collide and run backwards.
fn any_trace() -> impl Strategy<Value = Trace> {
    let span = (any::<prop::sample::Index>(), 0..8u8, 0..3usize, 0..6usize, 0..60u64, 0..60u64);
    prop::collection::vec(span, 1..40).prop_map(|spans| {
        let mut builder = TraceBuilder::default();
        for (place, (parent, orphan, service, kind, start, end)) in spans.into_iter().enumerate() {
            let parent = match orphan {
                0 => 999,
                _ => parent.index(place + 1) as u64,
            };
            builder.span(parent, ["a", "b", "c"][service], "op", SpanKind::ALL[kind], start, end);
        }
        builder.build()
    })
}

proptest! {
    #[test]
    fn a_path_covers_the_root_with_disjoint_pieces_of_spans_that_were_open(trace in any_trace()) {
        let pieces = critical_path(&trace);
        assert_covers_root(&trace, &pieces);
        for pair in pieces.windows(2) {
            prop_assert!(pair[0].span != pair[1].span, "neighbours of one span are one piece");
        }
        for piece in &pieces {
            let mut row = piece.span;
            while let Some(parent) = trace.parent(row) {
                row = parent;
            }
            prop_assert_eq!(Some(row), trace.root().map(|root| root.row()), "a piece of another root");
        }
    }

    #[test]
    fn self_time_is_at_most_the_duration_and_a_leaf_has_all_of_its_own(trace in any_trace()) {
        for (row, nanos) in crate::self_time_nanos(&trace).into_iter().enumerate() {
            let duration = trace.span(row).duration_nanos();
            prop_assert!(nanos <= duration);
            prop_assert!(trace.children(row).len() > 0 || nanos == duration);
        }
    }
}

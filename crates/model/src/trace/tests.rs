use super::*;
use crate::{NewSpan, SpanId};

/// A batch of spans given as (id, parent, start, end).
fn batch(spans: &[(u64, u64, u64, u64)]) -> SpanBatch {
    let mut batch = SpanBatch::new();
    let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
    for (id, parent, start, end) in spans {
        let name = batch.intern(&format!("span {id}"));
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(7),
            span_id: SpanId::from_u64(*id),
            parent_span_id: SpanId::from_u64(*parent),
            start_unix_nano: *start,
            end_unix_nano: *end,
            name,
            ..NewSpan::new(resource, scope)
        });
    }
    batch
}

fn outline(trace: &Trace) -> Vec<(u64, usize)> {
    trace.depth_first().into_iter().map(|(row, depth)| (trace.span(row).span_id().as_u64(), depth)).collect()
}

#[test]
fn spans_in_any_order_become_a_tree() {
    let trace = Trace::assemble(batch(&[(3, 1, 20, 30), (4, 3, 22, 25), (1, 0, 0, 100), (2, 1, 5, 10)]));
    assert_eq!(outline(&trace), [(1, 0), (2, 1), (3, 1), (4, 2)]);
    assert_eq!(trace.duration_nanos(), 100);
    assert_eq!(trace.root().unwrap().span_id().as_u64(), 1);
    assert_eq!(trace.notes(), TraceNotes::default());
}

#[test]
fn a_span_sent_twice_is_there_once() {
    let trace = Trace::assemble(batch(&[(1, 0, 0, 9), (2, 1, 1, 2), (1, 0, 0, 9), (2, 1, 1, 3)]));
    assert_eq!(trace.len(), 3, "the two spans with id 2 differ and both stay");
    assert_eq!(trace.notes().duplicates, 1);
}

#[test]
fn a_span_reported_while_it_was_open_gives_way_to_how_it_ended() {
    // As it comes: reported at 50 and at 70, ended at 90; another is open still, and a third has nothing to do with them.
    let mut spans = SpanBatch::new();
    let (resource, scope) = (spans.add_resource(&[], 0, ""), spans.add_scope("", "", &[], 0, ""));
    let key = spans.intern("tracewell.pending");
    for (id, end, is_pending) in
        [(1, 50, true), (2, 60, true), (1, 90, false), (3, 20, false), (1, 70, true), (2, 80, true)]
    {
        let name = spans.intern("work");
        if is_pending {
            spans.push_attribute(key, crate::Value::Bool(true));
        }
        spans.push_span(NewSpan {
            trace_id: TraceId::from_u128(7),
            span_id: SpanId::from_u64(id),
            start_unix_nano: 10,
            end_unix_nano: end,
            name,
            ..NewSpan::new(resource, scope)
        });
    }
    let trace = Trace::assemble(spans);
    let mut left: Vec<_> =
        (0..trace.len()).map(|row| (trace.span(row).span_id().as_u64(), trace.span(row).end_unix_nano())).collect();
    left.sort_unstable();
    assert_eq!(left, [(1, 90), (2, 80), (3, 20)]);
}

#[test]
fn cycles_and_self_parents_are_cut_and_nothing_is_lost() {
    let trace = Trace::assemble(batch(&[(1, 1, 0, 9), (2, 3, 1, 2), (3, 4, 2, 3), (4, 2, 3, 4), (5, 4, 5, 6)]));
    assert_eq!(trace.notes(), TraceNotes { self_parents: 1, cycles: 1, ..TraceNotes::default() });
    assert_eq!(outline(&trace), [(1, 0), (2, 0), (4, 1), (3, 2), (5, 2)]);
}

#[test]
fn an_orphan_is_a_root_but_does_not_stand_for_the_trace() {
    let trace = Trace::assemble(batch(&[(2, 99, 0, 5), (1, 0, 3, 9)]));
    assert_eq!(trace.notes().orphans, 1);
    assert_eq!(trace.roots().len(), 2);
    assert_eq!(trace.root().unwrap().span_id().as_u64(), 1);
}

#[test]
fn an_end_before_the_start_is_counted_and_lasts_nothing() {
    let trace = Trace::assemble(batch(&[(1, 0, 10, 5)]));
    assert_eq!(trace.notes().negative_durations, 1);
    assert_eq!((trace.duration_nanos(), trace.span(0).duration_nanos()), (0, 0));
}

#[test]
fn an_empty_trace_is_no_special_case() {
    let trace = Trace::assemble(SpanBatch::new());
    assert!(trace.is_empty() && trace.root().is_none() && trace.depth_first().is_empty());
    assert_eq!(trace.duration_nanos(), 0);
}

#[test]
fn spans_of_many_traces_are_told_apart() {
    let mut mixed = batch(&[(1, 0, 0, 9)]);
    let other = {
        let one = batch(&[(5, 0, 1, 2)]);
        let mut other = SpanBatch::new();
        let (resource, scope) = (other.add_resource(&[], 0, ""), other.add_scope("", "", &[], 0, ""));
        other.push_span(NewSpan {
            trace_id: TraceId::from_u128(8),
            span_id: one.span(0).span_id(),
            ..NewSpan::new(resource, scope)
        });
        other
    };
    mixed.append(&other);
    mixed.append(&batch(&[(2, 1, 1, 2)]));
    let traces = Trace::assemble_all(&mixed);
    assert_eq!(traces.iter().map(Trace::len).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn a_server_that_shares_its_clients_id_is_nested_in_it() {
    let mut batch = SpanBatch::new();
    let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
    for (id, parent, kind, start) in [
        (2, 1, SpanKind::Client, 10),
        (2, 1, SpanKind::Server, 12),
        (3, 2, SpanKind::Client, 14),
        (1, 0, SpanKind::Server, 0),
    ] {
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(7),
            span_id: SpanId::from_u64(id),
            parent_span_id: SpanId::from_u64(parent),
            start_unix_nano: start,
            end_unix_nano: 100 - start,
            kind,
            ..NewSpan::new(resource, scope)
        });
    }
    let trace = Trace::assemble(batch);
    assert_eq!(outline(&trace), [(1, 0), (2, 1), (2, 2), (3, 3)]);
}

/// The order as its definition has it: everything compared with everything.
fn plainly_in_order(spans: &SpanBatch) -> Vec<usize> {
    let key = |row: usize| {
        let span = spans.span(row);
        let end = std::cmp::Reverse(span.end_unix_nano());
        (span.start_unix_nano(), end, span.span_id(), span.kind(), span.service(), span.name())
    };
    let is_pending = |row: usize| spans.span(row).attributes().get("tracewell.pending").is_some();
    let mut rows: Vec<usize> = (0..spans.len()).collect();
    rows.sort_by(|left, right| key(*left).cmp(&key(*right)));
    rows.dedup_by_key(|row| key(*row));
    let same = |left: usize, right: usize| {
        let (left, right) = (spans.span(left), spans.span(right));
        (left.span_id(), left.kind(), left.start_unix_nano())
            == (right.span_id(), right.kind(), right.start_unix_nano())
    };
    let is_replaced = |at: usize| {
        let twins = (0..rows.len()).filter(|other| *other != at && same(rows[at], rows[*other]));
        is_pending(rows[at]) && twins.into_iter().any(|other| other < at || !is_pending(rows[other]))
    };
    (0..rows.len()).filter(|at| !is_replaced(*at)).map(|at| rows[at]).collect()
}

#[test]
fn any_spans_come_into_the_order_that_is_defined() {
    let mut state = 1u64;
    let mut random = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    for round in 0..3_000 {
        let mut spans = SpanBatch::new();
        let key = spans.intern("tracewell.pending");
        let (resource, scope) = (spans.add_resource(&[], 0, ""), spans.add_scope("", "", &[], 0, ""));
        for _ in 0..random(10) {
            if round % 3 != 0 && random(3) == 0 {
                spans.push_attribute(key, crate::Value::Bool(true));
            }
            let start_unix_nano = random(4);
            let name = spans.intern(["a", "b"][random(2) as usize]);
            spans.push_span(NewSpan {
                span_id: SpanId::from_u64(random(3)),
                start_unix_nano,
                end_unix_nano: start_unix_nano + random(3),
                kind: [SpanKind::Server, SpanKind::Client][random(2) as usize],
                name,
                ..NewSpan::new(resource, scope)
            });
        }
        assert_eq!(Trace::in_order(&spans, (0..spans.len()).collect()), plainly_in_order(&spans), "round {round}");
    }
}

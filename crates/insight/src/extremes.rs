//! Times as senders make them: whatever they are, nothing panics and no sum wraps.

use proptest::prelude::*;
use tracewell_model::{NewSpan, SpanBatch, SpanId, SpanKind, Trace, TraceId, Value};

use crate::{Comparer, Flame, Options, Survey, critical_path, explain, leeway, self_time_nanos};

const TIMES: [u64; 9] =
    [0, 1, 1_000, 1 << 32, i64::MAX as u64 - 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX - 1, u64::MAX];
const KINDS: [SpanKind; 5] =
    [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];

/// Trace, id, parent, start, end, kind, service.
type Given = (u8, u8, u8, usize, usize, usize, u8);

fn batch(given: &[Given]) -> SpanBatch {
    let mut batch = SpanBatch::new();
    let scope = batch.add_scope("", "", &[], 0, "");
    for (trace, id, parent, start, end, kind, service) in given {
        let (key, name) = (batch.intern("service.name"), batch.intern(&format!("s{service}")));
        let resource = batch.add_resource(&[(key, Value::Str(name))], 0, "");
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(u128::from(*trace) + 1),
            span_id: SpanId::from_u64(u64::from(*id) + 1),
            parent_span_id: SpanId::from_u64(u64::from(*parent)),
            start_unix_nano: TIMES[*start],
            end_unix_nano: TIMES[*end],
            kind: KINDS[*kind],
            name,
            ..NewSpan::new(resource, scope)
        });
    }
    batch
}

proptest! {
    #[test]
    fn absurd_times_make_no_answer_panic(
        given in prop::collection::vec(
            (0u8..6, 0u8..6, 0u8..7, 0..TIMES.len(), 0..TIMES.len(), 0..KINDS.len(), 0u8..3), 1..80,
        ),
    ) {
        let batch = batch(&given);
        let traces = Trace::assemble_all(&batch);
        let mut flame = Flame::default();
        let mut comparer = Comparer::new(100);
        for (number, trace) in traces.iter().enumerate() {
            let path = critical_path(trace);
            prop_assert!(path.windows(2).all(|pair| pair[0].end_unix_nano <= pair[1].start_unix_nano));
            prop_assert_eq!(self_time_nanos(trace).len(), trace.len());
            prop_assert_eq!(leeway(trace).len(), trace.len());
            flame.add(trace);
            comparer.add(number % 2, trace);
        }
        let _ = (flame.folded(), flame.svg(), comparer.conclude());
        let options = Options { min_traces: 1, ..Options::default() };
        let _ = explain(&traces, &options);
        let mut survey = Survey::new(usize::MAX, 2_000);
        survey.add(&batch);
        survey.begin_baseline();
        survey.add(&batch);
        let mut inquiry = survey.compare(&options);
        inquiry.look(&batch);
        let _ = inquiry.conclude();
    }
}

/// As many long calls of one operation as make any sum of their times wrap.
#[test]
fn sums_of_very_long_spans_stay_at_the_largest_number() {
    let mut given: Vec<Given> = vec![(0, 0, 0, 0, TIMES.len() - 1, 1, 0)];
    given.extend((1..60).map(|id| (0, id, 1, 1, TIMES.len() - 1, 2, 1)));
    let traces = Trace::assemble_all(&batch(&given));
    let why = explain(&traces, &Options { min_traces: 1, ..Options::default() });
    assert!(!why.summary.is_empty());
    let mut survey = Survey::default();
    traces.iter().for_each(|trace| survey.add_trace(trace));
    assert_eq!(survey.len(), 1);
}

/// The work on one trace grows with its spans, whatever its shape: each of these would be 10^10 steps if it grew with the
/// square.
#[test]
fn chains_fans_twins_and_cycles_of_many_spans_take_time_in_proportion() {
    const SPANS: u64 = 100_000;
    type Shape = fn(u64) -> (u64, u64);
    let shapes: [(&str, Shape); 5] = [
        ("a chain", |n| (n + 1, n)),
        ("a fan", |n| (n + 1, u64::from(n > 0))),
        ("twins", |n| (1 + u64::from(n > 0), u64::from(n > 0))),
        ("a cycle", |n| (n + 1, (n + SPANS - 1) % SPANS + 1)),
        ("orphans", |n| (n + 1, SPANS + 1)),
    ];
    for (shape, ids) in shapes {
        let mut batch = SpanBatch::new();
        let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
        for n in 0..SPANS {
            let (id, parent) = ids(n);
            batch.push_span(NewSpan {
                trace_id: TraceId::from_u128(1),
                span_id: SpanId::from_u64(id),
                parent_span_id: SpanId::from_u64(parent),
                start_unix_nano: 1_000 + n,
                end_unix_nano: 1_000_000 - n,
                kind: KINDS[(n % 3) as usize],
                ..NewSpan::new(resource, scope)
            });
        }
        let trace = Trace::assemble(batch);
        assert_eq!(trace.len(), SPANS as usize, "{shape}");
        assert_eq!(trace.depth_first().len(), trace.len(), "{shape}");
        assert_eq!(self_time_nanos(&trace).len(), trace.len(), "{shape}");
        assert_eq!(leeway(&trace).len(), trace.len(), "{shape}");
        let mut survey = Survey::default();
        survey.add_trace(&trace);
        let mut comparer = Comparer::new(1_000);
        comparer.add(0, &trace);
        let mut flame = Flame::default();
        flame.add(&trace);
        assert!(!comparer.conclude().paths.is_empty(), "{shape}");
    }
}

#[test]
fn a_survey_keeps_to_its_bytes_however_long_the_names_are() {
    const BYTES: usize = 200_000;
    let mut survey = Survey::new(usize::MAX, BYTES);
    for round in 0..40u64 {
        let mut batch = SpanBatch::new();
        let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
        for n in 0..50u64 {
            let id = round * 50 + n + 1;
            let name = batch.intern(&format!("{id}{}", "x".repeat(60_000)));
            batch.push_span(NewSpan {
                trace_id: TraceId::from_u128(u128::from(id) << 64 | u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                span_id: SpanId::from_u64(id),
                start_unix_nano: id,
                end_unix_nano: id + 1_000_000,
                name,
                ..NewSpan::new(resource, scope)
            });
        }
        survey.add(&batch);
        assert!(survey.size_bytes() <= BYTES, "after {round} rounds: {}", survey.size_bytes());
    }
    assert!(survey.sampling().one_in() > 1, "it took a sample");
    assert!(!survey.is_empty());
    let why = survey.split(&Options::default()).conclude();
    assert!(!why.summary.is_empty());
}

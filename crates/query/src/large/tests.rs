use bytes::Bytes;
use tracewell_model::{NewSpan, SpanId, SpanKind, Trace, Value};
use tracewell_store::{Append, MemoryOptions, MemoryStore, SpanStore, Tenant};
use tracewell_wire::Format;

use super::*;

/// Spans as senders get them wrong: sent twice, sent before they end, ids shared by client and server.
fn spans(seed: u64, count: u64) -> SpanBatch {
    let mut state = seed;
    let mut random = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let mut batch = SpanBatch::new();
    let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
    let pending = batch.intern(PENDING);
    for _ in 0..count {
        let start_unix_nano = random(4);
        if random(3) == 0 {
            batch.push_attribute(pending, Value::Bool(true));
        }
        let name = batch.intern(["a", "b"][random(2) as usize]);
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(1),
            span_id: SpanId::from_u64(1 + random(count / 3 + 1)),
            start_unix_nano,
            end_unix_nano: start_unix_nano + random(3),
            kind: [SpanKind::Server, SpanKind::Client][random(2) as usize],
            name,
            ..NewSpan::new(resource, scope)
        });
    }
    batch
}

async fn large(batch: SpanBatch, max_ids: usize, max_records: usize) -> LargeTrace {
    let store = MemoryStore::new(MemoryOptions::default());
    store
        .append(
            &Tenant::default(),
            Append { batch, body: Bytes::new(), format: Format::OtlpProtobuf, arrival_unix_nano: 0 },
        )
        .await
        .unwrap();
    let id = TraceId::from_u128(1);
    let reader = store.open_traces(&Tenant::default(), &[id]).await.unwrap();
    LargeTrace::within(reader, id, max_ids, max_records).await.unwrap()
}

/// What tells spans apart, sorted; of two that have not ended, either may be shown.
fn spans_of(batch: &SpanBatch) -> Vec<(u64, u64, u64, u8)> {
    let of = |span: tracewell_model::SpanRef<'_>| {
        (span.start_unix_nano(), span.end_unix_nano(), span.span_id().as_u64(), span.kind() as u8)
    };
    let mut all: Vec<_> = batch.iter().map(of).collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn a_large_trace_has_the_spans_of_the_same_trace_joined_in_memory() {
    for seed in 0..300 {
        let batch = spans(seed, 1 + seed % 40);
        let expected = spans_of(Trace::assemble(batch.clone()).batch());
        for (max_ids, max_records) in [(1_000, 1_000), (7, 5)] {
            let mut trace = large(batch.clone(), max_ids, max_records).await;
            assert_eq!(trace.spans(), expected.len(), "seed {seed}");
            let mut all = SpanBatch::new();
            while let Some((spans, rows)) = trace.next().await.unwrap() {
                all.append(&spans.select(rows));
            }
            assert_eq!(spans_of(&all), expected, "seed {seed}");
            let first = trace.first(Projection::All, 5, usize::MAX).await.unwrap();
            let most = expected.len().min(5);
            assert_eq!(first.len(), most);
            let starts = |spans: &[(u64, u64, u64, u8)]| spans.iter().map(|span| span.0).collect::<Vec<_>>();
            assert_eq!(starts(&spans_of(&first)), starts(&expected[..most]), "seed {seed}: the first by start");
        }
    }
}

#[tokio::test]
async fn one_span_sent_any_number_of_times_is_one() {
    let mut batch = SpanBatch::new();
    let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
    for _ in 0..10_000 {
        let span_id = SpanId::from_u64(7);
        batch.push_span(NewSpan { trace_id: TraceId::from_u128(1), span_id, ..NewSpan::new(resource, scope) });
    }
    let trace = large(batch, 100_000, 100).await;
    assert_eq!(trace.spans(), 1);
}

//! Segments against the plainest way to hold the same spans.

use std::collections::BTreeSet;

use tracewell_model::{AnyValue, NewSpan, SpanBatch, SpanId, StatusCode, TimeRange, Trace, TraceId, TraceSummary};
use tracewell_sim::Workload;
use tracewell_wire::otlp;

use crate::conformance::append_of;
use crate::{
    AttributeScope, EmbeddedOptions, EmbeddedStore, Field, Literal, MemoryOptions, MemoryStore, Op, Predicate,
    Projection, Scan, SpanStore, Tenant,
};

fn same(left: &SpanBatch, right: &SpanBatch, what: &str) {
    let bytes = |batch: &SpanBatch| {
        let traces = Trace::assemble_all(batch);
        let mut all: Vec<Vec<u8>> = traces.iter().map(|trace| otlp::encode_protobuf(trace.batch())).collect();
        all.sort();
        all
    };
    assert_eq!(left.len(), right.len(), "{what}");
    assert!(bytes(left) == bytes(right), "{what}: other spans");
}

fn predicate(field: Field, op: Op, value: Literal) -> Predicate {
    Predicate { field, op, value }
}

fn questions(some_request: &str) -> Vec<Vec<Predicate>> {
    let tag = |key: &str| Field::Attribute(AttributeScope::Any, key.to_owned());
    let text = |text: &str| Literal::Text(text.to_owned());
    let string = |text: &str| Literal::Str(text.to_owned());
    vec![
        vec![],
        vec![predicate(Field::Service, Op::Eq, string("checkout"))],
        vec![predicate(Field::Service, Op::Ne, string("checkout"))],
        vec![predicate(Field::Kind, Op::Eq, string("consumer"))],
        vec![predicate(Field::Status, Op::Eq, string("error"))],
        vec![predicate(Field::Name, Op::Gt, string("S"))],
        vec![predicate(Field::DurationNanos, Op::Ge, Literal::Int(50_000_000))],
        vec![
            predicate(Field::DurationNanos, Op::Lt, Literal::Int(900_000)),
            predicate(Field::Kind, Op::Eq, string("server")),
        ],
        vec![predicate(tag("request.id"), Op::Eq, text(some_request))],
        vec![predicate(tag("request.id"), Op::Eq, text("req-none"))],
        vec![predicate(tag("http.response.status_code"), Op::Eq, text("500"))],
        vec![predicate(tag("http.response.status_code"), Op::Ne, text("200"))],
        vec![predicate(tag("http.response.body.size"), Op::Gt, text("59000"))],
        vec![predicate(tag("cache.hit"), Op::Eq, text("false"))],
        vec![predicate(tag("shop.discount"), Op::Le, Literal::Double(0.1))],
        vec![predicate(tag("shop.feature_flags"), Op::Exists, text(""))],
        vec![predicate(tag("k8s.node.name"), Op::Eq, text("node-3"))],
        vec![predicate(tag("exception.type"), Op::Exists, text(""))],
        vec![predicate(tag("exception.message"), Op::Eq, text("upstream request failed"))],
        vec![predicate(tag("code.line.number"), Op::Eq, Literal::Int(77))],
        vec![predicate(tag("messaging.kafka.offset"), Op::Gt, Literal::Int(900_000_000))],
        vec![
            predicate(tag("db.collection.name"), Op::Eq, string("orders")),
            predicate(tag("db.operation.name"), Op::Eq, string("UPDATE")),
        ],
        vec![predicate(Field::Attribute(AttributeScope::Resource, "service.version".into()), Op::Exists, text(""))],
    ]
}

/// All pages of a scan.
async fn all_pages(store: &dyn SpanStore, mut scan: Scan) -> (SpanBatch, usize) {
    let mut spans = SpanBatch::new();
    for pages in 1.. {
        let page = store.scan(&Tenant::default(), &scan).await.unwrap();
        spans.append(&page.spans);
        scan.after = page.next;
        if scan.after.is_none() {
            return (spans, pages);
        }
    }
    unreachable!()
}

/// Keys of attributes that are the same in many spans, that differ, and that are integers.
const OUTLINE: Projection =
    Projection::Outline(&["db.system.name", "request.id", "http.response.status_code", "key1", "key77"]);

/// The traces with such spans, each once.
async fn trace_ids(store: &dyn SpanStore, time: TimeRange, predicates: &[Predicate]) -> BTreeSet<TraceId> {
    store.trace_ids(&Tenant::default(), time, predicates).await.unwrap().into_iter().collect()
}

/// That what is kept of traces for lists is what a look at their spans gives. The number of those of which it is kept.
async fn summaries_agree(store: &dyn SpanStore, plain: &dyn SpanStore, ids: &[TraceId]) -> usize {
    let tenant = Tenant::default();
    let known = store.summaries(&tenant, ids).await.unwrap();
    for summary in &known {
        let spans = plain.traces(&tenant, &[summary.trace_id]).await.unwrap();
        assert_eq!(*summary, TraceSummary::of(&Trace::assemble(spans)));
    }
    known.len()
}

async fn agree(store: &dyn SpanStore, plain: &dyn SpanStore, workload: &Workload) {
    let tenant = Tenant::default();
    let mut ids: Vec<TraceId> = workload.traces().map(|trace| trace.span(0).trace_id()).collect();
    ids.truncate(60);
    ids.push(TraceId::from_u128(1));
    for projection in [Projection::All, OUTLINE, Projection::Core, Projection::Ids] {
        let found = store.traces_with(&tenant, &ids, projection).await.unwrap();
        let expected = plain.traces_with(&tenant, &ids, projection).await.unwrap();
        same(&found, &expected, &format!("traces, {projection:?}"));
    }
    let everything = workload.traces().last().unwrap();
    let middle = everything.span(0).start_unix_nano() - 1_800_000_000_000;
    let request = workload.traces().find_map(|trace| {
        trace.iter().find_map(|span| span.attributes().get("request.id").map(|value| value.to_string()))
    });
    for predicates in questions(&request.unwrap()) {
        let part = TimeRange::new(middle, middle + 400_000_000_000);
        for time in [TimeRange::ALL, part] {
            let found = trace_ids(store, time, &predicates).await;
            assert_eq!(found, trace_ids(plain, time, &predicates).await, "{predicates:?} in {time:?}");
        }
        for (time, projection, limit) in [
            (TimeRange::ALL, Projection::Ids, 1_000),
            (part, Projection::Core, 100),
            (part, OUTLINE, 200),
            (TimeRange::ALL, Projection::All, 3_000),
        ] {
            let scan = Scan { time, predicates: predicates.clone(), projection, after: None, limit };
            let what = format!("{predicates:?} {projection:?} in {time:?}");
            let (found, pages) = all_pages(store, scan.clone()).await;
            let (expected, expected_pages) = all_pages(plain, scan).await;
            let positions = |batch: &SpanBatch| -> Vec<_> {
                batch.iter().map(|span| (span.start_unix_nano(), span.trace_id(), span.span_id())).collect()
            };
            assert_eq!(positions(&found), positions(&expected), "{what}");
            assert_eq!(pages, expected_pages, "{what}");
            same(&found, &expected, &what);
        }
    }
    let keys = plain.attribute_keys(&tenant, 1000).await.unwrap().items;
    assert_eq!(store.attribute_keys(&tenant, 1000).await.unwrap().items, keys);
    assert_eq!(store.services(&tenant).await.unwrap(), plain.services(&tenant).await.unwrap());
    let operations = plain.operations(&tenant, None, 10_000).await.unwrap();
    assert_eq!(store.operations(&tenant, None, 10_000).await.unwrap(), operations);
    for (_, key) in keys {
        for time in [TimeRange::ALL, TimeRange::new(middle, middle + 400_000_000_000)] {
            for (prefix, limit) in [("r", 5), ("", 100_000)] {
                let found = store.attribute_values(&tenant, &key, prefix, time, limit).await.unwrap().items;
                let expected = plain.attribute_values(&tenant, &key, prefix, time, limit).await.unwrap().items;
                assert_eq!(found, expected, "values of {key} that begin with {prefix:?} in {time:?}");
            }
        }
    }
}

#[tokio::test]
async fn segments_answer_as_memory_does() {
    let workload = Workload::new(11).services(8).spans(5_000).max_trace_spans(2_000);
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
    let plain = MemoryStore::new(MemoryOptions::default());
    for (number, batch) in workload.requests(100).enumerate() {
        store.append(&Tenant::default(), append_of(batch.clone())).await.unwrap();
        plain.append(&Tenant::default(), append_of(batch)).await.unwrap();
        // Nine segments, of which eight are merged; the rest stays in memory.
        if number % 6 == 5 {
            store.flush().await.unwrap();
        }
    }
    agree(&store, &plain, &workload).await;
    let ids: Vec<TraceId> = workload.traces().map(|trace| trace.span(0).trace_id()).collect();
    summaries_agree(&store, &plain, &ids).await;
    store.settle().await.unwrap();
    agree(&store, &plain, &workload).await;
    summaries_agree(&store, &plain, &ids).await;
    assert!(store.damages().is_empty());
}

/// Spans that no two are alike: names, keys, types, flags, counts, scopes and resources differ at random.
fn unlike(seed: u64, spans: usize) -> SpanBatch {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut batch = SpanBatch::new();
    for _ in 0..spans {
        let service = (batch.intern("service.name"), AnyValue::Str(format!("s{}", random.u8(0..5))));
        let service = (service.0, batch.add_value(&service.1));
        let resource = batch.add_resource(&[service], random.u32(0..2), "");
        let scope = batch.add_scope(&format!("scope{}", random.u8(0..3)), "", &[], 0, "");
        for _ in 0..random.usize(0..6) {
            let key = batch.intern(&format!("key{}", random.u16(0..2000)));
            let value = match random.u8(0..9) {
                0 => AnyValue::Empty,
                1 => AnyValue::Bool(random.bool()),
                2 => AnyValue::Int(random.i64(..)),
                3 => AnyValue::Double(f64::from_bits(random.u64(..))),
                4 => AnyValue::Bytes(random.u64(..).to_le_bytes()[..random.usize(0..8)].to_vec()),
                5 => AnyValue::Array(vec![AnyValue::Int(random.i64(0..3))]),
                6 => AnyValue::Int(random.i64(0..3)),
                _ => AnyValue::Str("x".repeat(random.usize(0..3))),
            };
            let value = batch.add_value(&value);
            batch.push_attribute(key, value);
        }
        for _ in 0..random.usize(0..20).saturating_sub(17) {
            let key = batch.intern("event key");
            let value = batch.add_value(&AnyValue::Int(random.i64(0..100)));
            batch.push_event_attribute(key, value);
            let name = batch.intern(if random.bool() { "one" } else { "other" });
            batch.push_event(random.u64(..), name, random.u32(0..2));
        }
        for _ in 0..random.usize(0..20).saturating_sub(17) {
            let state = batch.intern("a=b");
            batch.push_link(TraceId::from_u128(random.u128(1..)), SpanId::from_u64(7), state, 1, random.u32(0..2));
        }
        let name = batch.intern(&format!("name{}", random.u16(..)));
        let message = batch.intern(&format!("message{}", random.u16(..)));
        let start = random.u64(0..1_000_000);
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(random.u128(1..40)),
            span_id: SpanId::from_u64(random.u64(1..)),
            parent_span_id: SpanId::from_u64(random.u64(0..3)),
            start_unix_nano: start,
            end_unix_nano: if random.u8(0..10) == 0 { random.u64(..) } else { start + random.u64(0..1_000) },
            name,
            status_message: message,
            flags: random.u32(..),
            dropped_attributes_count: random.u32(0..100),
            ..NewSpan::new(resource, scope)
        });
    }
    batch
}

#[tokio::test]
async fn spans_that_have_nothing_in_common_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
    let plain = MemoryStore::new(MemoryOptions::default());
    for seed in 0..8 {
        // Among them one segment with more templates than a table may have.
        let batch = unlike(seed, if seed == 3 { 30_000 } else { 700 });
        store.append(&Tenant::default(), append_of(batch.clone())).await.unwrap();
        plain.append(&Tenant::default(), append_of(batch)).await.unwrap();
        store.flush().await.unwrap();
    }
    let tenant = Tenant::default();
    let ids: Vec<TraceId> = (1..40).map(TraceId::from_u128).collect();
    for settled in [false, true] {
        if settled {
            store.settle().await.unwrap();
        }
        for projection in [Projection::All, OUTLINE, Projection::Core, Projection::Ids] {
            let found = store.traces_with(&tenant, &ids, projection).await.unwrap();
            let expected = plain.traces_with(&tenant, &ids, projection).await.unwrap();
            same(&found, &expected, &format!("{projection:?}, settled: {settled}"));
        }
        summaries_agree(&store, &plain, &ids).await;
        for key in ["key1", "key77", "event key"] {
            for (op, value) in [
                (Op::Eq, Literal::Text("xx".into())),
                (Op::Eq, Literal::Text("1".into())),
                (Op::Eq, Literal::Text("true".into())),
                (Op::Exists, Literal::Bool(true)),
                (Op::Lt, Literal::Int(2)),
            ] {
                let field = Field::Attribute(AttributeScope::Any, key.into());
                let predicates = vec![Predicate { field, op, value }];
                let scan =
                    Scan { time: TimeRange::ALL, predicates, projection: Projection::All, after: None, limit: 50_000 };
                let (found, _) = all_pages(&store, scan.clone()).await;
                let (expected, _) = all_pages(&plain, scan.clone()).await;
                same(&found, &expected, &format!("{scan:?}"));
            }
        }
    }
    assert!(store.damages().is_empty());
}

/// Traces of 100 to 20,000 spans, of which some are sent twice, have no root, or have spans whose names all differ.
fn large_traces() -> Vec<SpanBatch> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut traces = Vec::new();
    for trace in 1..=40 {
        let mut batch = SpanBatch::new();
        let scope = batch.add_scope("", "", &[], 0, "");
        let resources: Vec<_> = (0..6)
            .map(|number| {
                let service = AnyValue::Str(format!("s{}", number % 4));
                let service = (batch.intern("service.name"), batch.add_value(&service));
                batch.add_resource(&[service], number, "")
            })
            .collect();
        let spans = if trace % 10 == 0 { random.u64(4_000..20_000) } else { random.u64(100..600) };
        for span in 1..=spans {
            let vary = trace % 3 == 0 && span % 2 == 0;
            let name = batch.intern(&if vary { format!("name {trace} {span}") } else { format!("{}", span % 5) });
            // The later ones run at the same time.
            let start_unix_nano = trace.min(20) * 5_000 + random.u64(0..1_000);
            let is_root = span == 1 || random.u8(0..50) == 0;
            batch.push_span(NewSpan {
                trace_id: TraceId::from_u128(u128::from(trace)),
                span_id: SpanId::from_u64(if trace % 7 == 0 && span == 50 { 49 } else { span }),
                parent_span_id: SpanId::from_u64(if is_root && trace % 8 != 0 { 0 } else { random.u64(1..=spans) }),
                start_unix_nano,
                end_unix_nano: start_unix_nano + random.u64(0..100),
                status_code: if random.u8(0..20) == 0 { StatusCode::Error } else { StatusCode::Unset },
                name,
                ..NewSpan::new(resources[random.usize(0..6)], scope)
            });
        }
        traces.push(batch);
    }
    traces
}

#[tokio::test]
async fn large_traces_are_summed_up_where_they_lie_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
    let plain = MemoryStore::new(MemoryOptions::default());
    let tenant = Tenant::default();
    let traces = large_traces();
    let ids: Vec<TraceId> = traces.iter().map(|trace| trace.span(0).trace_id()).collect();
    let send = async |batch: SpanBatch| {
        store.append(&tenant, append_of(batch.clone())).await.unwrap();
        plain.append(&tenant, append_of(batch)).await.unwrap();
    };
    let (whole, split) = traces.split_at(10);
    for trace in whole {
        send(trace.clone()).await;
    }
    assert_eq!(summaries_agree(&store, &plain, &ids).await, 0, "spans in memory are read");
    // Eight segments become one.
    for part in 0..8 {
        for trace in split {
            send(trace.select((0..trace.len()).filter(|row| row % 8 == part))).await;
        }
        store.flush().await.unwrap();
    }
    let known = summaries_agree(&store, &plain, &ids).await;
    assert!(known > 5, "{known} of {}", whole.len());
    store.settle().await.unwrap();
    assert_eq!(store.stats(&tenant).await.unwrap().segments, 1);
    // Of the traces at the same time, more than a merge may hold back, some lie in two places.
    let merged = summaries_agree(&store, &plain, &ids).await;
    assert!(merged > known + 5, "{merged} of {}", ids.len());
    assert!(store.damages().is_empty());
}

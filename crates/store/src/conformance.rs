//! What every store must do. An implementation's tests call [`check`] on an empty store.

use bytes::Bytes;
use tracewell_model::{
    AnyValue, KeyValue, NewSpan, SpanBatch, SpanId, SpanKind, StatusCode, TimeRange, Trace, TraceId,
};
use tracewell_wire::{Format, otlp};

use crate::{Append, AttributeScope, Field, Literal, Op, Predicate, Projection, Scan, ScanPosition, SpanStore, Tenant};

/// A batch as a receiver would hand it over.
pub fn append_of(batch: SpanBatch) -> Append {
    let body = Bytes::from(otlp::encode_protobuf(&batch));
    Append { batch, body, format: Format::OtlpProtobuf, arrival_unix_nano: LATER }
}

/// An arrival after every start, so that spans are dated by their start.
const LATER: u64 = u64::MAX;

/// Plain spans of one trace that start at 1000 plus their id.
pub fn batch_of(trace: u64, ids: &[u64]) -> SpanBatch {
    let mut batch = SpanBatch::new();
    let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
    for id in ids {
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(u128::from(trace)),
            span_id: SpanId::from_u64(*id),
            start_unix_nano: 1_000 + id,
            end_unix_nano: 2_000 + id,
            ..NewSpan::new(resource, scope)
        });
    }
    batch
}

/// Everything a span can say, in `full`; and a plain one of another service, in `plain`.
fn telling_batch() -> SpanBatch {
    let mut batch = SpanBatch::new();
    let add = |batch: &mut SpanBatch, key: &str, value: AnyValue| (batch.intern(key), batch.add_value(&value));
    let service = add(&mut batch, "service.name", AnyValue::Str("cart".into()));
    let pod = add(&mut batch, "k8s.pod.name", AnyValue::Str("cart-1".into()));
    let resource = batch.add_resource(&[service, pod], 2, "https://example.test/resource/1");
    let library = add(&mut batch, "library.level", AnyValue::Int(3));
    let scope = batch.add_scope("http", "1.2", &[library], 1, "https://example.test/scope/1");
    let nested = AnyValue::KeyValues(vec![
        KeyValue { key: "list".into(), value: AnyValue::Array(vec![AnyValue::Int(1), AnyValue::Str("x".into())]) },
        KeyValue { key: "empty".into(), value: AnyValue::Empty },
    ]);
    for (key, value) in [
        ("http.status_code", AnyValue::Int(500)),
        ("min", AnyValue::Int(i64::MIN)),
        ("max", AnyValue::Int(i64::MAX)),
        ("pi", AnyValue::Double(std::f64::consts::PI)),
        ("nan", AnyValue::Double(f64::NAN)),
        ("yes", AnyValue::Bool(true)),
        ("raw", AnyValue::Bytes(vec![0, 1, 255])),
        ("nothing", AnyValue::Empty),
        ("nested", nested),
        ("twice", AnyValue::Str("first".into())),
        ("twice", AnyValue::Str("second".into())),
        ("mixed", AnyValue::Str("7".into())),
        ("request.id", AnyValue::Str("r-1".into())),
    ] {
        let (key, value) = add(&mut batch, key, value);
        batch.push_attribute(key, value);
    }
    let (key, value) = add(&mut batch, "exception.type", AnyValue::Str("IoError".into()));
    batch.push_event_attribute(key, value);
    let event = batch.intern("exception");
    batch.push_event(1_500, event, 4);
    let event = batch.intern("retry");
    batch.push_event(u64::MAX, event, 0);
    let (key, value) = add(&mut batch, "why", AnyValue::Str("batch".into()));
    batch.push_link_attribute(key, value);
    let state = batch.intern("a=1,b=2");
    batch.push_link(TraceId::from_u128(99), SpanId::from_u64(98), state, 1, 5);
    let (name, message) = (batch.intern("GET /cart"), batch.intern("out of stock"));
    batch.push_span(NewSpan {
        trace_id: TraceId::from_u128(7),
        span_id: SpanId::from_u64(70),
        parent_span_id: SpanId::from_u64(71),
        start_unix_nano: 1_000,
        end_unix_nano: 5_000,
        name,
        kind: SpanKind::Server,
        status_code: StatusCode::Error,
        status_message: message,
        trace_state: state,
        flags: 0x301,
        dropped_attributes_count: 6,
        dropped_events_count: 7,
        dropped_links_count: 8,
        ..NewSpan::new(resource, scope)
    });

    let service = add(&mut batch, "service.name", AnyValue::Str("db".into()));
    let resource = batch.add_resource(&[service], 0, "");
    let scope = batch.add_scope("", "", &[], 0, "");
    let (key, value) = add(&mut batch, "mixed", AnyValue::Int(7));
    batch.push_attribute(key, value);
    let name = batch.intern("SELECT");
    batch.push_span(NewSpan {
        trace_id: TraceId::from_u128(7),
        span_id: SpanId::from_u64(71),
        start_unix_nano: 2_000,
        end_unix_nano: 2_100,
        name,
        kind: SpanKind::Client,
        ..NewSpan::new(resource, scope)
    });
    batch
}

/// Checks the whole contract. With `flush`, every append is flushed first, so that reads come from where spans rest.
///
/// # Panics
/// When the store does not conform.
pub async fn check(store: &dyn SpanStore, flush: bool) {
    everything_comes_back(store, flush).await;
    predicates_select(store).await;
    names_are_known(store).await;
    tenants_are_apart(store, flush).await;
    scans_are_ordered_and_paged(store, flush).await;
    extremes_are_kept(store, flush).await;
    traces_are_whole(store, flush).await;
    traces_come_in_portions(store, flush).await;
}

async fn add(store: &dyn SpanStore, tenant: &Tenant, batch: SpanBatch, flush: bool) {
    store.append(tenant, append_of(batch)).await.expect("an append is taken");
    if flush {
        store.flush().await.expect("a flush succeeds");
    }
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("a valid name")
}

/// A batch's spans as comparable bytes, in the order of a trace.
fn bytes(batch: SpanBatch) -> Vec<u8> {
    otlp::encode_protobuf(Trace::assemble(batch).batch())
}

async fn everything_comes_back(store: &dyn SpanStore, flush: bool) {
    let tenant = tenant("everything");
    add(store, &tenant, telling_batch(), flush).await;
    let found = store.traces(&tenant, &[TraceId::from_u128(7)]).await.expect("a read succeeds");
    assert_eq!(bytes(found), bytes(telling_batch()), "every span comes back unchanged");
    let none = store.traces(&tenant, &[TraceId::from_u128(8)]).await.expect("a read succeeds");
    assert!(none.is_empty(), "an unknown trace has no spans");
    store.append(&tenant, append_of(SpanBatch::new())).await.expect("an empty append is taken");
}

fn scan(predicates: Vec<Predicate>, limit: usize) -> Scan {
    Scan { time: TimeRange::ALL, predicates, projection: Projection::All, after: None, limit }
}

async fn predicates_select(store: &dyn SpanStore) {
    let tenant = tenant("everything");
    let attribute = |scope, key: &str| Field::Attribute(scope, key.to_owned());
    let text = |text: &str| Literal::Text(text.to_owned());
    let any = AttributeScope::Any;
    for (field, op, value, expected) in [
        (Field::Service, Op::Eq, Literal::Str("cart".into()), &[70][..]),
        (Field::Service, Op::Ne, Literal::Str("cart".into()), &[71]),
        (Field::Name, Op::Eq, Literal::Str("SELECT".into()), &[71]),
        (Field::Kind, Op::Eq, Literal::Str("server".into()), &[70]),
        (Field::Status, Op::Eq, Literal::Str("error".into()), &[70]),
        (Field::StatusMessage, Op::Eq, Literal::Str("out of stock".into()), &[70]),
        (Field::ScopeName, Op::Eq, Literal::Str("http".into()), &[70]),
        (Field::ScopeVersion, Op::Eq, Literal::Str("1.2".into()), &[70]),
        (Field::EventName, Op::Eq, Literal::Str("retry".into()), &[70]),
        (Field::EventName, Op::Eq, Literal::Str("absent".into()), &[]),
        (Field::TraceState, Op::Eq, Literal::Str("absent".into()), &[]),
        (attribute(any, "raw"), Op::Eq, text("AAH/"), &[70]),
        (attribute(any, "raw"), Op::Eq, text("0001ff"), &[70]),
        (attribute(any, "nan"), Op::Eq, text("NaN"), &[70]),
        (Field::DurationNanos, Op::Ge, Literal::Int(4_000), &[70]),
        (Field::DurationNanos, Op::Lt, Literal::Int(101), &[71]),
        (attribute(any, "http.status_code"), Op::Eq, text("500"), &[70]),
        (attribute(any, "http.status_code"), Op::Eq, Literal::Int(500), &[70]),
        (attribute(any, "http.status_code"), Op::Eq, Literal::Str("500".into()), &[]),
        (attribute(any, "http.status_code"), Op::Gt, text("99"), &[70]),
        (attribute(any, "mixed"), Op::Eq, text("7"), &[71, 70]),
        (attribute(any, "mixed"), Op::Eq, Literal::Int(7), &[71]),
        (attribute(any, "twice"), Op::Eq, text("second"), &[70]),
        (attribute(any, "pi"), Op::Gt, Literal::Double(3.0), &[70]),
        (attribute(any, "yes"), Op::Eq, Literal::Bool(true), &[70]),
        (attribute(any, "k8s.pod.name"), Op::Eq, text("cart-1"), &[70]),
        (attribute(AttributeScope::Resource, "k8s.pod.name"), Op::Exists, text(""), &[70]),
        (attribute(AttributeScope::Span, "k8s.pod.name"), Op::Exists, text(""), &[]),
        (attribute(AttributeScope::Scope, "library.level"), Op::Eq, text("3"), &[70]),
        (attribute(AttributeScope::Event, "exception.type"), Op::Eq, text("IoError"), &[70]),
        (attribute(any, "absent"), Op::Ne, text("x"), &[]),
    ] {
        let predicate = Predicate { field, op, value };
        let page = store.scan(&tenant, &scan(vec![predicate.clone()], 10)).await.expect("a scan succeeds");
        let matching = page.spans.iter().filter(|span| predicate.matches(*span));
        let found: Vec<u64> = matching.map(|span| span.span_id().as_u64()).collect();
        assert_eq!(found, expected, "{predicate:?}");
        if store.capabilities().evaluates_predicates {
            assert_eq!(page.spans.len(), expected.len(), "{predicate:?} is evaluated by the store");
        }
    }
}

async fn names_are_known(store: &dyn SpanStore) {
    let tenant = tenant("everything");
    let services = store.services(&tenant).await.expect("names are read");
    assert!(services.complete, "few names are all listed");
    assert_eq!(services.items, ["cart", "db"]);
    let operations = store.operations(&tenant, Some("db"), 10).await.expect("names are read");
    assert_eq!(
        operations.items.iter().map(|o| (o.name.as_str(), o.kind)).collect::<Vec<_>>(),
        [("SELECT", SpanKind::Client)]
    );
    for (limit, expected) in [(10, (2, true)), (1, (1, false))] {
        let operations = store.operations(&tenant, None, limit).await.expect("names are read");
        assert_eq!((operations.items.len(), operations.complete), expected, "of 2 operations at most {limit}");
    }
    let keys = store.attribute_keys(&tenant, 100).await.expect("names are read").items;
    for expected in [
        (AttributeScope::Span, "request.id"),
        (AttributeScope::Resource, "k8s.pod.name"),
        (AttributeScope::Scope, "library.level"),
        (AttributeScope::Event, "exception.type"),
    ] {
        assert!(keys.iter().any(|(scope, key)| (*scope, key.as_str()) == expected), "{expected:?} in {keys:?}");
    }
    let values = async |key: &str, prefix: &str, limit| {
        store.attribute_values(&tenant, key, prefix, TimeRange::ALL, limit).await.expect("values are read").items
    };
    assert_eq!(values("twice", "", 10).await, ["first", "second"]);
    assert_eq!(values("twice", "s", 10).await, ["second"]);
    assert_eq!(values("twice", "", 1).await, ["first"]);
    assert_eq!(values("mixed", "", 10).await, ["7"]);
    assert!(values("absent", "", 10).await.is_empty());
}

async fn tenants_are_apart(store: &dyn SpanStore, flush: bool) {
    let (one, other) = (tenant("one"), tenant("other"));
    add(store, &one, batch_of(1, &[1]), flush).await;
    assert!(store.traces(&other, &[TraceId::from_u128(1)]).await.expect("a read succeeds").is_empty());
    assert!(store.services(&other).await.expect("names are read").items.is_empty());
    assert!(store.scan(&other, &scan(vec![], 10)).await.expect("a scan succeeds").spans.is_empty());
}

async fn scans_are_ordered_and_paged(store: &dyn SpanStore, flush: bool) {
    let tenant = tenant("pages");
    // Appended out of order, in several batches, some at one start; one twice.
    for (trace, ids) in [(3, &[30, 31, 5][..]), (1, &[10, 30]), (2, &[5, 6, 7]), (1, &[10])] {
        add(store, &tenant, batch_of(trace, ids), flush).await;
    }
    let mut expected = vec![
        (1031, 3, 31),
        (1030, 1, 30),
        (1030, 3, 30),
        (1010, 1, 10),
        (1010, 1, 10),
        (1007, 2, 7),
        (1006, 2, 6),
        (1005, 2, 5),
        (1005, 3, 5),
    ];
    let positions = |spans: &SpanBatch| -> Vec<(u64, u128, u64)> {
        spans.iter().map(|s| (s.start_unix_nano(), s.trace_id().as_u128(), s.span_id().as_u64())).collect()
    };
    for limit in [1, 2, 3, 4, 9, 100] {
        let mut found = Vec::new();
        let mut after: Option<ScanPosition> = None;
        for page_number in 0.. {
            assert!(page_number < 100, "paging ends");
            let page = store.scan(&tenant, &Scan { after, ..scan(vec![], limit) }).await.expect("a scan succeeds");
            found.extend(positions(&page.spans));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "pages of {limit}");
    }
    let time = TimeRange::new(1_006, 1_030);
    let page = store.scan(&tenant, &Scan { time, ..scan(vec![], 100) }).await.expect("a scan succeeds");
    expected.retain(|(start, ..)| time.contains(*start));
    assert_eq!(positions(&page.spans), expected, "a time range holds its start and not its end");
}

async fn extremes_are_kept(store: &dyn SpanStore, flush: bool) {
    let tenant = tenant("extremes");
    let year_2200 = 7_258_118_400_000_000_000;
    let times = [(0, 0), (1, u64::MAX), (u64::MAX, 0), (year_2200, year_2200 + 1), (50, 40)];
    let mut batch = SpanBatch::new();
    let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
    for (id, (start_unix_nano, end_unix_nano)) in times.iter().enumerate() {
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(u128::MAX),
            span_id: SpanId::from_u64(id as u64 + 1),
            start_unix_nano: *start_unix_nano,
            end_unix_nano: *end_unix_nano,
            ..NewSpan::new(resource, scope)
        });
    }
    let expected = bytes(batch.clone());
    add(store, &tenant, batch, flush).await;
    let found = store.traces(&tenant, &[TraceId::from_u128(u128::MAX)]).await.expect("a read succeeds");
    assert_eq!(bytes(found), expected, "any 64 bits are a time");
}

async fn traces_are_whole(store: &dyn SpanStore, flush: bool) {
    let tenant = tenant("whole");
    for round in 0..10 {
        let ids: Vec<u64> = (1..=5).map(|place| round * 5 + place).collect();
        // Flushed now and then: a trace's spans lie in memory and in segments.
        add(store, &tenant, batch_of(round % 2 + 1, &ids), flush && round % 3 == 0).await;
    }
    let found = store.traces(&tenant, &[TraceId::from_u128(1), TraceId::from_u128(2), TraceId::from_u128(3)]).await;
    let traces = Trace::assemble_all(&found.expect("a read succeeds"));
    assert_eq!(traces.iter().map(Trace::len).collect::<Vec<_>>(), [25, 25]);
}

async fn traces_come_in_portions(store: &dyn SpanStore, flush: bool) {
    let tenant = tenant("portions");
    for round in 0..6 {
        let ids: Vec<u64> = (1..=50).map(|place| round * 50 + place).collect();
        // Of three traces, one is not asked for; some spans lie in memory and some in segments.
        add(store, &tenant, batch_of(round % 3 + 1, &ids), flush && round < 3).await;
    }
    let ids = [TraceId::from_u128(3), TraceId::from_u128(1), TraceId::from_u128(1), TraceId::from_u128(9)];
    let mut reader = store.open_traces(&tenant, &ids).await.expect("a reader opens");
    let expected = bytes_of_each(store.traces(&tenant, &[ids[0], ids[1]]).await.expect("a read succeeds"));
    // What is appended and flushed from here on is not seen, and what was there is read as often as is asked.
    add(store, &tenant, batch_of(1, &[1_000]), true).await;
    let mut orders = Vec::new();
    for (max_bytes, projection) in [(1, Projection::All), (2_000, Projection::All), (1 << 20, Projection::Tree)] {
        reader.restart(projection);
        let mut spans = SpanBatch::new();
        for portion_number in 0.. {
            assert!(portion_number < 1_000, "portions end");
            let portion = reader.next(max_bytes).await.expect("a read succeeds");
            spans.append(&portion.spans);
            if portion.is_last {
                break;
            }
        }
        orders.push(spans.spans().span_id.clone());
        if projection == Projection::All {
            assert_eq!(bytes_of_each(spans), expected, "portions of {max_bytes} bytes");
        }
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "each reading has the same order");
    assert_eq!(orders[0].len(), 200);
}

/// The spans of each trace as comparable bytes.
fn bytes_of_each(spans: SpanBatch) -> Vec<Vec<u8>> {
    let mut traces: Vec<Vec<u8>> =
        Trace::assemble_all(&spans).iter().map(|trace| otlp::encode_protobuf(trace.batch())).collect();
    traces.sort_unstable();
    traces
}

use bytes::Bytes;
use proptest::prelude::*;
use tracewell_model::StatusCode;
use tracewell_store::{Append, MemoryOptions, MemoryStore};
use tracewell_wire::Format;

use super::*;
use crate::test_store::{TestSpan, TestStore};

fn request(conditions: Conditions, limit: usize) -> SearchRequest {
    SearchRequest { tenant: Tenant::default(), conditions, time: TimeRange::new(0, 2000), limit, cursor: None }
}

async fn ids(store: &TestStore, request: &SearchRequest) -> Vec<u128> {
    search(store, request).await.unwrap().items.iter().map(|summary| summary.trace_id.as_u128()).collect()
}

/// Every page of a search, one after the other.
async fn all_pages(store: &dyn SpanStore, mut request: SearchRequest) -> Vec<u128> {
    let mut out = Vec::new();
    loop {
        let page = search(store, &request).await.unwrap();
        assert!(page.items.len() <= request.limit);
        assert!(page.items.len() == request.limit || page.next.is_none(), "only the last page is short");
        out.extend(page.items.iter().map(|summary| summary.trace_id.as_u128()));
        request.cursor = page.next;
        if request.cursor.is_none() {
            return out;
        }
    }
}

#[tokio::test]
async fn one_span_has_to_meet_every_condition() {
    let store = TestStore::new([
        TestSpan { trace: 1, id: 1, service: "web", tag: 7, ..TestSpan::default() },
        TestSpan { trace: 1, id: 2, service: "db", tag: 8, ..TestSpan::default() },
        TestSpan { trace: 2, id: 1, service: "db", tag: 7, ..TestSpan::default() },
    ]);
    let conditions =
        Conditions { service: Some("db".into()), tags: vec![("tag".into(), "7".into())], ..Conditions::default() };
    assert_eq!(ids(&store, &request(conditions, 10)).await, [2]);
}

#[tokio::test]
async fn each_condition_filters_and_none_needs_a_service() {
    let store = TestStore::new([
        TestSpan { trace: 1, duration: 10, ..TestSpan::default() },
        TestSpan { trace: 2, duration: 20, error: true, ..TestSpan::default() },
        TestSpan { trace: 3, duration: 30, name: "put", ..TestSpan::default() },
    ]);
    let find = async |conditions| ids(&store, &request(conditions, 10)).await;
    let all = Conditions::default;
    assert_eq!(find(all()).await, [1, 2, 3]);
    assert_eq!(find(Conditions { min_duration_nanos: Some(20), ..all() }).await, [2, 3]);
    assert_eq!(find(Conditions { max_duration_nanos: Some(20), ..all() }).await, [1, 2]);
    assert_eq!(find(Conditions { status: Some(StatusCode::Error), ..all() }).await, [2]);
    assert_eq!(find(Conditions { operation: Some("put".into()), ..all() }).await, [3]);
}

#[tokio::test]
async fn a_list_takes_what_the_store_knows_and_reads_the_rest_in_the_same_order_and_pages() {
    let spans = (1..=9u64).map(|n| TestSpan { trace: u128::from(n), start: 100 - n, ..TestSpan::default() });
    let mut store = TestStore::new(spans);
    let request = request(Conditions::default(), 4);
    let read = search(&store, &request).await.unwrap();
    let pages = all_pages(&store, request.clone()).await;
    assert_eq!(pages, (1..=9).collect::<Vec<_>>());
    // What is known is told as it is; nothing is told of a trace that the search does not find.
    let told = |n: usize| TraceSummary { root_operation: format!("known {n}"), ..read.items[n].clone() };
    let unfound = TraceSummary { trace_id: TraceId::from_u128(99), ..read.items[0].clone() };
    store.known = vec![told(2), unfound, told(0)];
    let expected: Vec<TraceSummary> = [told(0), read.items[1].clone(), told(2), read.items[3].clone()].into();
    assert_eq!(search(&store, &request).await.unwrap(), Page { items: expected, next: read.next });
    assert_eq!(all_pages(&store, request.clone()).await, pages);
    // So it is behind a cursor.
    store.known.clear();
    let second = SearchRequest { cursor: read.next, ..request };
    let read = search(&store, &second).await.unwrap();
    store.known = vec![TraceSummary { root_operation: "known".to_owned(), ..read.items[3].clone() }];
    assert_eq!(search(&store, &second).await.unwrap().items[3].root_operation, "known");
}

#[tokio::test]
async fn a_summary_is_of_the_whole_trace_not_of_what_matched() {
    let store = TestStore::new([
        TestSpan { trace: 1, id: 1, start: 5, duration: 2000, ..TestSpan::default() },
        TestSpan { trace: 1, id: 2, parent: 1, start: 1500, service: "db", error: true, ..TestSpan::default() },
        TestSpan { trace: 1, id: 3, parent: 1, start: 6, ..TestSpan::default() },
    ]);
    let found = search(&store, &request(Conditions::default(), 10)).await.unwrap();
    let count = |name: &str, spans, errors| tracewell_model::ServiceCount { name: name.into(), spans, errors };
    assert_eq!(
        found.items,
        [TraceSummary {
            trace_id: TraceId::from_u128(1),
            root_service: "web".into(),
            root_operation: "get".into(),
            start_unix_nano: 5,
            duration_nanos: 2000,
            spans: 3,
            errors: 1,
            services: vec![count("web", 2, 0), count("db", 1, 1)],
        }]
    );
    assert_eq!(found.next, None);
}

#[tokio::test]
async fn a_cursor_of_other_conditions_is_refused() {
    let store = TestStore::new((1..5).map(|trace| TestSpan { trace, ..TestSpan::default() }));
    let cursor = search(&store, &request(Conditions::default(), 2)).await.unwrap().next;
    assert!(cursor.is_some());
    let other = Conditions { operation: Some("get".into()), ..Conditions::default() };
    let answer = search(&store, &SearchRequest { cursor, ..request(other, 2) }).await;
    assert!(matches!(answer, Err(QueryError::ForeignCursor)));
}

#[tokio::test]
async fn later_pages_keep_the_time_of_the_first() {
    let store = TestStore::new((1..=4).map(|trace| TestSpan { trace, start: trace as u64, ..TestSpan::default() }));
    let first = SearchRequest { time: TimeRange::new(2, 5), ..request(Conditions::default(), 2) };
    let page = search(&store, &first).await.unwrap();
    let second = SearchRequest { time: TimeRange::ALL, cursor: page.next, ..first };
    assert_eq!(ids(&store, &second).await, [2]);
}

fn any_span() -> impl Strategy<Value = TestSpan> {
    // Few of everything, so that traces interleave, starts collide and conditions hit some spans of a trace.
    (1..12u128, 1..6u64, 0..20u64, 0..3u64, 0..3i64, any::<bool>()).prop_map(
        |(trace, id, start, duration, tag, web)| {
            let service = if web { "web" } else { "db" };
            TestSpan { trace, id, start, duration, tag, service, ..TestSpan::default() }
        },
    )
}

/// What a search means, said in the simplest way.
fn reference(spans: &[TestSpan], tag: Option<i64>, service: Option<&str>, time: TimeRange) -> Vec<u128> {
    let mut newest: HashMap<u128, u64> = HashMap::new();
    for span in spans {
        let matches = time.contains(span.start)
            && tag.is_none_or(|tag| tag == span.tag)
            && service.is_none_or(|service| service == span.service);
        if matches {
            let start = newest.entry(span.trace).or_insert(span.start);
            *start = span.start.max(*start);
        }
    }
    let mut out: Vec<_> = newest.into_iter().map(|(trace, start)| (Reverse(start), trace)).collect();
    out.sort_unstable();
    out.into_iter().map(|(_, trace)| trace).collect()
}

proptest! {
    #[test]
    fn pages_of_any_size_are_the_reference_without_repeats_or_gaps(
        spans in proptest::collection::vec(any_span(), 0..60),
        limit in 1..6usize,
        exact: bool,
        rows_per_page in 1..8usize,
        tag in proptest::option::of(0..3i64),
        service in proptest::option::of(proptest::sample::select(vec!["web", "db"])),
        (from, length) in (0..10u64, 0..20u64),
    ) {
        // A scan's position names a row by start, trace and span: a span that occurs twice there must be one span.
        let mut spans = spans;
        spans.sort_by_key(|span| (span.start, span.trace, span.id));
        spans.dedup_by_key(|span| (span.start, span.trace, span.id));
        let time = TimeRange::new(from, from + length);
        let conditions = Conditions {
            service: service.map(str::to_owned),
            tags: tag.iter().map(|tag| ("tag".to_owned(), tag.to_string())).collect(),
            ..Conditions::default()
        };
        let mut store = TestStore::new(spans.iter().copied());
        store.exact = exact;
        store.rows_per_page = rows_per_page;
        let request = SearchRequest { time, ..request(conditions, limit) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let memory = MemoryStore::new(MemoryOptions::default());
        let append = Append { batch: store.spans().clone(), body: Bytes::new(), format: Format::OtlpProtobuf, arrival_unix_nano: u64::MAX };
        runtime.block_on(memory.append(&Tenant::default(), append)).unwrap();
        let expected = reference(&spans, tag, service, time);
        prop_assert_eq!(&runtime.block_on(all_pages(&store, request.clone())), &expected);
        prop_assert_eq!(&runtime.block_on(all_pages(&memory, request)), &expected, "of the memory store");
    }
}

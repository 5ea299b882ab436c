use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value as Json, json as value};
use tower::ServiceExt;
use tracewell_model::{NewSpan, SpanBatch, SpanId, TraceId, Value};

use super::fixture::{
    CHECKOUT, CHECKOUT_START, FAILED, FAILED_START, MILLI, NOW, OLD, app, app_budgeted, app_limited, app_with, get,
    get_with, json, texts,
};
use crate::api::ApiLimits;
use crate::budget::MemoryBudget;

async fn found(uri: &str) -> Vec<String> {
    let page = json(&app().await, uri).await;
    texts(&page["traces"], "trace_id").into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_search_gives_the_last_hour_newest_first() {
    let page = json(&app().await, "/api/v1/traces").await;
    assert_eq!(
        page,
        value!({
            "traces": [
                {
                    "trace_id": CHECKOUT, "root_service": "web", "root_operation": "GET /checkout",
                    "start_unix_nano": CHECKOUT_START.to_string(), "duration_nanos": 100 * MILLI,
                    "spans": 4, "errors": 0,
                    "services": [
                        {"name": "web", "spans": 2, "errors": 0},
                        {"name": "cart", "spans": 1, "errors": 0},
                        {"name": "db", "spans": 1, "errors": 0},
                    ],
                },
                {
                    "trace_id": FAILED, "root_service": "web", "root_operation": "GET /login",
                    "start_unix_nano": FAILED_START.to_string(), "duration_nanos": 5 * MILLI,
                    "spans": 1, "errors": 1,
                    "services": [{"name": "web", "spans": 1, "errors": 1}],
                },
            ],
            "next_cursor": null,
        })
    );
}

#[tokio::test]
async fn every_condition_narrows_a_search() {
    for (query, ids) in [
        ("start=-3h", vec![CHECKOUT, FAILED, OLD]),
        ("start=-3h&end=-1h", vec![OLD]),
        ("end=-1h30m", vec![OLD]),
        ("start=2023-11-14T22:11:00Z&end=2023-11-14T22:11:30Z", vec![FAILED]),
        ("service=cart", vec![CHECKOUT]),
        ("service=", vec![CHECKOUT, FAILED]),
        ("service=cart&operation=SELECT", vec![]),
        ("operation=GET%20/login", vec![FAILED]),
        ("status=error", vec![FAILED]),
        ("kind=client", vec![CHECKOUT]),
        ("tag=http.response.status_code=500", vec![FAILED]),
        ("tag=http.response.status_code=200&tag=user=ann", vec![CHECKOUT]),
        ("tag=exception.type=Timeout", vec![CHECKOUT]),
        ("tag=user=bob", vec![]),
        ("min_duration=100ms", vec![CHECKOUT]),
        ("max_duration=5ms", vec![FAILED]),
        ("min_duration=20ms&max_duration=50ms", vec![CHECKOUT]),
    ] {
        assert_eq!(found(&format!("/api/v1/traces?{query}")).await, ids, "{query}");
    }
}

#[tokio::test]
async fn pages_follow_each_other_by_cursor() {
    let app = app().await;
    let mut ids = Vec::new();
    let mut uri = "/api/v1/traces?start=-3h&limit=1".to_owned();
    loop {
        let page = json(&app, &uri).await;
        ids.extend(texts(&page["traces"], "trace_id").into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        assert!(ids.len() <= 3);
        uri = format!("/api/v1/traces?start=-3h&limit=1&cursor={cursor}");
    }
    assert_eq!(ids, [CHECKOUT, FAILED, OLD]);
}

#[tokio::test]
async fn a_wrong_request_is_refused_with_the_name_of_the_field() {
    let app = app().await;
    for (uri, field) in [
        ("/api/v1/traces?start=now&end=-1h", "start"),
        ("/api/v1/traces?start=yesterday", "start"),
        ("/api/v1/traces?end=soon", "end"),
        ("/api/v1/traces?min_duration=5", "min_duration"),
        ("/api/v1/traces?min_duration=2s&max_duration=1s", "min_duration"),
        ("/api/v1/traces?limit=0", "limit"),
        ("/api/v1/traces?limit=1001", "limit"),
        ("/api/v1/traces?limit=many", "limit"),
        ("/api/v1/traces?status=bad", "status"),
        ("/api/v1/traces?kind=bad", "kind"),
        ("/api/v1/traces?tag=user", "tag"),
        ("/api/v1/traces?tag==ann", "tag"),
        ("/api/v1/traces?service=a&service=b", "service"),
        ("/api/v1/traces?cursor=abc", "cursor"),
        ("/api/v1/traces?serivce=web", "serivce"),
        ("/api/v1/traces/xyz", "trace_id"),
        ("/api/v1/traces/0", "trace_id"),
        ("/api/v1/traces/100112233445566778899aabbccddeeff", "trace_id"),
        ("/api/v1/traces/abcd?deep=yes", "deep"),
        ("/api/v1/traces/xyz/otlp", "trace_id"),
        ("/api/v1/export?limit=5", "limit"),
        ("/api/v1/services?service=web", "service"),
        ("/api/v1/attributes/user/values?limit=0", "limit"),
        ("/api/v1/dependencies?start=now&end=-1m", "start"),
        ("/api/v1/why?baseline_start=-2h", "baseline_end"),
        ("/api/v1/why?baseline_start=now&baseline_end=-2h", "baseline_start"),
    ] {
        let answer = get(&app, uri).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri}");
        let error = &answer.json()["error"];
        assert_eq!((&error["code"], &error["field"]), (&value!("invalid_argument"), &value!(field)), "{uri}");
        assert_ne!(error["message"], "", "{uri}");
    }
}

#[tokio::test]
async fn a_cursor_of_another_search_is_refused() {
    let app = app().await;
    let page = json(&app, "/api/v1/traces?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let answer = get(&app, &format!("/api/v1/traces?limit=1&service=web&cursor={cursor}")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["error"]["field"], "cursor");
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let app = app().await;
    for uri in ["/api/v1/traces/77", "/api/v1/traces/77/otlp", "/api/v1/nothing", "/api/v1"] {
        let answer = get(&app, uri).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{uri}");
        assert_eq!(answer.json()["error"]["code"], "not_found", "{uri}");
    }
}

#[tokio::test]
async fn a_trace_id_is_understood_short_long_and_in_any_case() {
    let app = app().await;
    for id in ["abcd", "ABCD", "0abcd", CHECKOUT] {
        assert_eq!(json(&app, &format!("/api/v1/traces/{id}")).await["trace_id"], CHECKOUT, "{id}");
    }
}

#[tokio::test]
async fn a_trace_is_laid_out_as_a_waterfall_with_all_its_spans_say() {
    let trace = json(&app().await, "/api/v1/traces/abcd").await;
    let spans = trace["spans"].as_array().unwrap();
    let outline: Vec<_> = spans.iter().map(|span| (span["name"].as_str().unwrap(), span["depth"].as_u64())).collect();
    assert_eq!(
        outline,
        [("GET /checkout", Some(0)), ("call cart", Some(1)), ("GET /cart", Some(2)), ("SELECT", Some(3))]
    );
    assert_eq!(trace["start_unix_nano"], CHECKOUT_START.to_string());
    let mut root = spans[0].clone();
    let (resource, scope) = (&trace["resources"][index(&root["resource"])], &trace["scopes"][index(&root["scope"])]);
    assert_eq!(
        *resource,
        value!({
            "service": "web",
            "attributes": [{"key": "service.name", "value": {"stringValue": "web"}}],
            "dropped_attributes_count": 0,
            "schema_url": "https://opentelemetry.io/schemas/1.27.0",
        })
    );
    assert_eq!(
        *scope,
        value!({"name": "tests", "version": "1.0", "attributes": [], "dropped_attributes_count": 0, "schema_url": ""})
    );
    for field in ["resource", "scope"] {
        root.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(
        root,
        value!({
            "span_id": "0000000000000001", "parent_span_id": null, "parent": null, "depth": 0,
            "name": "GET /checkout", "service": "web", "kind": "server", "status": {"code": "unset", "message": ""},
            "start_nanos": 0, "duration_nanos": 100 * MILLI, "self_nanos": 20 * MILLI, "critical_nanos": 20 * MILLI,
            "drag_nanos": 100 * MILLI, "slack_nanos": 0,
            "trace_state": "a=b", "flags": 1,
            "attributes": [
                {"key": "http.response.status_code", "value": {"intValue": "200"}},
                {"key": "user", "value": {"stringValue": "ann"}},
                {"key": "ratio", "value": {"doubleValue": 0.5}},
                {"key": "beta", "value": {"boolValue": true}},
                {"key": "raw", "value": {"bytesValue": "AQI="}},
                {"key": "none", "value": {}},
                {"key": "nested", "value": {"kvlistValue": {"values": [
                    {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}]}}},
                ]}}},
            ],
            "dropped_attributes_count": 0,
            "events": [{
                "time_nanos": -5, "name": "exception",
                "attributes": [{"key": "exception.type", "value": {"stringValue": "Timeout"}}],
                "dropped_attributes_count": 2,
            }],
            "dropped_events_count": 0,
            "links": [{
                "trace_id": "00000000000000000000000000000009", "span_id": "0000000000000008",
                "trace_state": "a=b", "flags": 1,
                "attributes": [{"key": "exception.type", "value": {"stringValue": "Timeout"}}],
                "dropped_attributes_count": 3,
            }],
            "dropped_links_count": 0,
        })
    );
    assert_eq!(spans[3]["parent"], 2);
    assert_eq!(spans[3]["parent_span_id"], "0000000000000003");
    assert_eq!(spans[3]["start_nanos"], 30 * MILLI);
}

#[tokio::test]
async fn the_critical_path_covers_the_root_without_overlap() {
    let trace = json(&app().await, "/api/v1/traces/abcd").await;
    let path = trace["critical_path"].as_array().unwrap();
    let mut end = 0;
    for piece in path {
        assert_eq!(piece["start_nanos"].as_u64(), Some(end));
        end += piece["duration_nanos"].as_u64().unwrap();
    }
    assert_eq!(end, 100 * MILLI);
    let of = |span: u64| -> u64 {
        let pieces = path.iter().filter(|piece| piece["span"] == span);
        pieces.map(|piece| piece["duration_nanos"].as_u64().unwrap()).sum()
    };
    for (place, nanos) in [(0, 20), (1, 20), (2, 20), (3, 40)] {
        assert_eq!(of(place), nanos * MILLI);
        assert_eq!(trace["spans"][place as usize]["critical_nanos"], nanos * MILLI);
    }
}

#[tokio::test]
async fn a_trace_that_is_broken_is_shown_with_notes() {
    let mut batch = SpanBatch::new();
    let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
    // A self-parent, an orphan that ends before it starts in 1970, and a root in the year 2200.
    for (id, parent, start, end) in [(1, 1, 50, 60), (2, 77, 10, 5), (3, 0, 7_258_118_400_000_000_000, u64::MAX)] {
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(1),
            span_id: SpanId::from_u64(id),
            parent_span_id: SpanId::from_u64(parent),
            start_unix_nano: start,
            end_unix_nano: end,
            ..NewSpan::new(resource, scope)
        });
    }
    let trace = json(&app_with(batch).await, "/api/v1/traces/1").await;
    assert_eq!(
        trace["notes"],
        value!({"duplicates": 0, "self_parents": 1, "cycles": 0, "orphans": 1, "negative_durations": 1})
    );
    assert_eq!(trace["spans"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_trace_is_there_as_otlp_in_both_encodings() {
    let app = app().await;
    let otlp = json(&app, "/api/v1/traces/abcd/otlp").await;
    assert_eq!(otlp_spans(&otlp), 4);
    let answer = get_with(&app, "/api/v1/traces/abcd/otlp", &[("accept", "application/x-protobuf")]).await;
    assert_eq!((answer.status, answer.content_type.as_str()), (StatusCode::OK, "application/x-protobuf"));
    let limits = tracewell_wire::Limits::default();
    let decoded = tracewell_wire::decode(tracewell_wire::Format::OtlpProtobuf, &answer.body, &limits).unwrap();
    assert_eq!(decoded.batch.len(), 4);
}

#[tokio::test]
async fn an_export_is_a_line_for_each_trace() {
    let answer = get(&app().await, "/api/v1/export?start=-3h").await;
    assert_eq!((answer.status, answer.content_type.as_str()), (StatusCode::OK, "application/jsonl"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let counts: Vec<_> = text.lines().map(|line| otlp_spans(&serde_json::from_str(line).unwrap())).collect();
    assert_eq!(counts, [4, 1, 1]);
    let answer = get(&app().await, "/api/v1/export?service=nobody").await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn an_export_of_more_than_one_portion_is_whole() {
    let mut batch = SpanBatch::new();
    let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
    for number in 1..=500u64 {
        batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(u128::from(number)),
            span_id: SpanId::from_u64(number),
            start_unix_nano: NOW - number,
            end_unix_nano: NOW,
            ..NewSpan::new(resource, scope)
        });
    }
    let answer = get(&app_with(batch).await, "/api/v1/export").await;
    assert_eq!(answer.body.iter().filter(|byte| **byte == b'\n').count(), 500);
}

#[tokio::test]
async fn names_and_values_are_listed() {
    let app = app().await;
    assert_eq!(
        json(&app, "/api/v1/services").await,
        value!({"services": ["batch", "cart", "db", "web"], "complete": true})
    );
    assert_eq!(
        json(&app, "/api/v1/operations?service=web").await,
        value!({"operations": [
            {"name": "GET /checkout", "kind": "server"},
            {"name": "GET /login", "kind": "server"},
            {"name": "call cart", "kind": "client"},
        ], "complete": true})
    );
    assert_eq!(json(&app, "/api/v1/operations").await["operations"].as_array().unwrap().len(), 6);
    let attributes = json(&app, "/api/v1/attributes").await;
    for attribute in [
        value!({"scope": "span", "key": "user"}),
        value!({"scope": "resource", "key": "service.name"}),
        value!({"scope": "event", "key": "exception.type"}),
    ] {
        assert!(attributes["attributes"].as_array().unwrap().contains(&attribute), "{attribute}");
    }
    let values = "/api/v1/attributes/http.response.status_code/values";
    assert_eq!(json(&app, values).await, value!({"values": ["200", "500"], "complete": true}));
    assert_eq!(json(&app, &format!("{values}?prefix=5")).await, value!({"values": ["500"], "complete": true}));
    assert_eq!(json(&app, &format!("{values}?limit=1")).await, value!({"values": ["200"], "complete": false}));
    assert_eq!(json(&app, "/api/v1/attributes/user/values?end=-1h").await, value!({"values": [], "complete": true}));
}

#[tokio::test]
async fn dependencies_are_counted() {
    let edge = |parent, child| value!({"parent": parent, "child": child, "call_count": 1, "error_count": 0});
    assert_eq!(
        json(&app().await, "/api/v1/dependencies").await,
        value!({"dependencies": [edge("cart", "db"), edge("web", "cart")], "complete": true})
    );
}

/// Forty requests of web and db, of which db takes `slow_millis` in the last half hour and 10 ms before.
fn requests(slow_millis: u64) -> SpanBatch {
    let mut batch = SpanBatch::new();
    let scope = batch.add_scope("", "", &[], 0, "");
    let key = batch.intern("service.name");
    let resource = |batch: &mut SpanBatch, name: &str| {
        let name = batch.intern(name);
        batch.add_resource(&[(key, Value::Str(name))], 0, "")
    };
    let (web, db) = (resource(&mut batch, "web"), resource(&mut batch, "db"));
    let (get, select) = (batch.intern("GET /"), batch.intern("SELECT"));
    for number in 0..40 {
        let slow = number < 20;
        let start = NOW - (number * 90 + 60) * 1000 * MILLI;
        let millis = if slow { slow_millis } else { 10 } + number % 3;
        for (resource, name, id, parent, from, to) in
            [(web, get, 1, 0, 0, millis + 10), (db, select, 2, 1, 5, millis + 5)]
        {
            batch.push_span(NewSpan {
                trace_id: TraceId::from_u128(u128::from(number) + 1),
                span_id: SpanId::from_u64(id),
                parent_span_id: SpanId::from_u64(parent),
                start_unix_nano: start + from * MILLI,
                end_unix_nano: start + to * MILLI,
                name,
                ..NewSpan::new(resource, scope)
            });
        }
    }
    batch
}

#[tokio::test]
async fn why_names_the_service_that_got_slow_with_and_without_a_baseline() {
    let app = app_with(requests(500)).await;
    for query in ["start=-1h", "start=-30m&baseline_start=-2h&baseline_end=-30m", "service=db&start=-1h"] {
        let why = json(&app, &format!("/api/v1/why?{query}")).await;
        let finding = &why["findings"][0];
        assert_eq!((&why["significant"], &finding["service"]), (&value!(true), &value!("db")), "{query}: {why}");
        assert_eq!((&why["slow"]["traces"], &why["normal"]["traces"]), (&value!(20), &value!(20)), "{query}");
        assert_eq!(finding["rank"], 1);
        let added_millis = finding["added_nanos"].as_u64().unwrap() / MILLI;
        assert!((488..=492).contains(&added_millis), "{query}: {added_millis}");
    }
    let why = json(&app, "/api/v1/why?service=nobody").await;
    assert_eq!((&why["significant"], &why["findings"]), (&value!(false), &value!([])));
}

#[tokio::test]
async fn why_says_what_to_do_next_where_nothing_is_to_be_compared() {
    let empty = app_with(SpanBatch::new()).await;
    let filled = app_with(requests(500)).await;
    let baseline = "start=-5m&end=-4m&baseline_start=-2h&baseline_end=-30m";
    for (app, query, words) in [
        (&empty, "", "There are no spans yet. Let a service send some to this server by OTLP, to port 4318 (HTTP)"),
        (&filled, "service=nobody", "No spans are from a service \"nobody\". Check its name; those that are known: "),
        (&filled, "start=-1d&end=-23h", "No spans are from this time: the oldest is from 2"),
        (&filled, "service=db&operation=dance", "No requests of db named \"dance\" are from this time. Widen the time"),
        // The baseline has traces, which tell nothing of a time that has none.
        (&filled, &format!("service=db&operation=dance&{baseline}"), "No requests of db named"),
    ] {
        let why = json(app, &format!("/api/v1/why?{query}")).await;
        assert!(why["summary"].as_str().unwrap().starts_with(words), "{query}: {why}");
        assert_eq!((&why["caveats"], &why["slow"]["traces"]), (&value!([]), &value!(0)), "{query}");
    }
}

#[tokio::test]
async fn why_compares_with_the_time_before_where_the_time_itself_has_one_kind_of_latency() {
    let app = app_with(requests(500)).await;
    let why = json(&app, "/api/v1/why?start=-30m").await;
    // As long as from the first request that was found to the last one's end, which is a little less than half an hour.
    assert_eq!((&why["slow"]["traces"], &why["normal"]["traces"]), (&value!(20), &value!(19)), "{why}");
    assert_eq!((&why["significant"], &why["findings"][0]["service"]), (&value!(true), &value!("db")), "{why}");
    assert!(why["caveats"][0].as_str().unwrap().contains("as long a time before"), "{why}");
    let finding = &why["findings"][0];
    let parts = finding["slower_nanos"].as_i64().unwrap() + finding["more_often_nanos"].as_i64().unwrap();
    assert_eq!(finding["added_nanos"].as_i64().unwrap(), parts);
    let (low, high) = (finding["confidence"][0].as_i64().unwrap(), finding["confidence"][1].as_i64().unwrap());
    assert!(low <= parts && parts <= high, "{finding}");
}

#[tokio::test]
async fn why_says_so_when_it_looked_at_a_sample() {
    let limits = ApiLimits { why_spans: 50, ..ApiLimits::default() };
    let app = app_limited(requests(500), limits).await;
    let why = json(&app, "/api/v1/why?start=-1h").await;
    let traces = why["slow"]["traces"].as_u64().unwrap() + why["normal"]["traces"].as_u64().unwrap();
    assert!((1..=33).contains(&traces), "{why}");
    let caveats = why["caveats"].as_array().unwrap();
    assert!(caveats.iter().any(|caveat| caveat.as_str().unwrap().contains("one in 2 was")), "{caveats:?}");
}

#[tokio::test]
async fn the_server_tells_about_itself() {
    let app = app().await;
    let stats = json(&app, "/api/v1/stats").await;
    assert_eq!(stats["store"]["spans"], 6);
    assert_eq!(stats["received"], value!({"requests": 0, "spans": 0, "bytes": 0}));
    assert_eq!(stats["addresses"], value!({"otlp_http": "[::]:4318", "otlp_grpc": "127.0.0.1:4317"}));
    assert_eq!(stats["sdks"][0]["dropped"], value!([{"reason": "queue_full", "spans": 1}]));
    assert_eq!(json(&app, "/api/v1/version").await["version"], env!("CARGO_PKG_VERSION"));
}

fn index(number: &Json) -> usize {
    number.as_u64().unwrap() as usize
}

fn otlp_spans(otlp: &Json) -> usize {
    let list = |parent: &Json, field: &str| parent[field].as_array().unwrap().clone();
    let scopes = list(otlp, "resourceSpans").into_iter().flat_map(|resource| list(&resource, "scopeSpans"));
    scopes.map(|scope| list(&scope, "spans").len()).sum()
}

#[tokio::test]
async fn a_whole_answer_takes_memory_until_it_is_sent_or_dropped() {
    let budget = MemoryBudget::default();
    let app = app_budgeted(budget.clone()).await;
    let request = Request::get("/api/v1/services").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let length = axum::body::HttpBody::size_hint(response.body()).exact().unwrap();
    assert!(length > 0);
    assert_eq!(budget.answers().used_bytes() as u64, length);
    drop(response);
    assert_eq!(budget.answers().used_bytes(), 0);
}

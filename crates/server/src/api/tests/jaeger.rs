use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Value as Json, json as value};
use tracewell_model::{NewSpan, SpanBatch, SpanId, Trace, TraceId};
use tracewell_store::{Append, EmbeddedOptions, EmbeddedStore, SpanStore, Tenant};
use tracewell_wire::Format;

use crate::api::{ApiState, router};

use super::fixture::{CHECKOUT, CHECKOUT_START, FAILED, FAILED_START, NOW, OLD, app, get, json, texts};

const MICRO: u64 = 1_000;

async fn found(query: &str) -> Vec<String> {
    let answer = json(&app().await, &format!("/api/traces?{query}")).await;
    assert_eq!(answer["errors"], Json::Null);
    texts(&answer["data"], "traceID").into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_search_takes_what_jaegers_ui_and_grafana_send() {
    let (from, to) = (FAILED_START / MICRO - 1, CHECKOUT_START / MICRO - 1);
    for (query, ids) in [
        // Jaeger's UI: empty fields, both ends, a lookback that may be a word.
        (format!("end={to}&limit=20&lookback=custom&maxDuration&minDuration&service=web&start={from}"), vec![FAILED]),
        ("service=web".to_owned(), vec![CHECKOUT, FAILED]),
        (String::new(), vec![CHECKOUT, FAILED, OLD]),
        ("lookback=1h".to_owned(), vec![CHECKOUT, FAILED]),
        ("limit=1".to_owned(), vec![CHECKOUT]),
        ("limit=1500".to_owned(), vec![CHECKOUT, FAILED, OLD]),
        ("service=web&operation=GET%20%2Flogin".to_owned(), vec![FAILED]),
        ("tags=%7B%22http.response.status_code%22%3A%22200%22%7D".to_owned(), vec![CHECKOUT]),
        ("tags=%7B%22http.response.status_code%22%3A200%7D".to_owned(), vec![CHECKOUT]),
        ("tag=http.response.status_code:500".to_owned(), vec![FAILED]),
        ("tags=%7B%22error%22%3A%22true%22%7D".to_owned(), vec![FAILED]),
        ("tag=span.kind:client".to_owned(), vec![CHECKOUT]),
        ("tag=otel.status_code:ERROR".to_owned(), vec![FAILED]),
        ("minDuration=1s".to_owned(), vec![OLD]),
        ("maxDuration=5ms".to_owned(), vec![FAILED]),
        (format!("traceID={FAILED}&traceID=ABCD"), vec![FAILED, CHECKOUT]),
        ("service=web&prettyPrint=true&unheard=of".to_owned(), vec![CHECKOUT, FAILED]),
    ] {
        assert_eq!(found(&query).await, ids, "{query}");
    }
}

#[tokio::test]
async fn a_trace_has_jaegers_shape() {
    let answer = json(&app().await, "/api/traces/abcd").await;
    for (field, expected) in [("total", value!(0)), ("limit", value!(0)), ("offset", value!(0)), ("errors", Json::Null)]
    {
        assert_eq!(answer[field], expected, "{field}");
    }
    let trace = &answer["data"][0];
    assert_eq!(trace["traceID"], CHECKOUT);
    assert_eq!(trace["spans"].as_array().unwrap().len(), 4);
    let root = trace["spans"].as_array().unwrap().iter().find(|span| span["operationName"] == "GET /checkout").unwrap();
    assert_eq!(root["startTime"], CHECKOUT_START / MICRO);
    assert_eq!(root["duration"], 100_000);
    assert_eq!(trace["processes"][root["processID"].as_str().unwrap()]["serviceName"], "web");
    let child = trace["spans"].as_array().unwrap().iter().find(|span| span["operationName"] == "SELECT").unwrap();
    assert_eq!(
        child["references"],
        value!([{"refType": "CHILD_OF", "traceID": CHECKOUT, "spanID": "0000000000000003"}])
    );
}

#[tokio::test]
async fn errors_have_jaegers_shape() {
    let app = app().await;
    for (uri, status) in [
        ("/api/traces/77", 404),
        ("/api/traces/xyz", 400),
        ("/api/traces?limit=none", 400),
        ("/api/traces?start=5&end=4", 400),
        ("/api/traces?tags=%7B", 400),
        ("/api/traces?tag=word", 400),
        ("/api/traces?minDuration=2s&maxDuration=1s", 400),
        ("/api/traces?traceID=xyz", 400),
        ("/api/operations", 400),
        ("/api/dependencies?endTs=soon", 400),
        ("/api/metrics/latencies", 404),
    ] {
        let answer = get(&app, uri).await;
        assert_eq!(answer.status.as_u16(), status, "{uri}");
        let body = answer.json();
        assert_eq!(body["data"], Json::Null, "{uri}");
        assert_eq!(body["errors"][0]["code"], status, "{uri}");
        assert!(body["errors"][0]["msg"].is_string(), "{uri}");
    }
    let missing = get(&app, "/api/traces/77").await.json();
    assert_eq!(missing["errors"], value!([{"code": 404, "msg": "trace not found"}]));
}

#[tokio::test]
async fn of_several_ids_those_that_are_missing_are_named() {
    let answer = get(&app().await, "/api/traces?traceID=abcd&traceID=77").await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!(texts(&body["data"], "traceID"), [CHECKOUT]);
    assert_eq!(body["errors"], value!([{"msg": "trace not found", "traceID": "00000000000000000000000000000077"}]));

    let body =
        json(&app().await, "/api/traces?traceID=71&traceID=72&traceID=73&traceID=74&traceID=75&traceID=abcd").await;
    assert_eq!(texts(&body["data"], "traceID"), [CHECKOUT]);
    assert_eq!(body["errors"].as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn names_are_listed_in_jaegers_envelope() {
    let app = app().await;
    let envelope = |data: Json| {
        let total = data.as_array().unwrap().len();
        value!({"data": data, "total": total, "limit": 0, "offset": 0, "errors": null})
    };
    assert_eq!(json(&app, "/api/services").await, envelope(value!(["batch", "cart", "db", "web"])));
    assert_eq!(
        json(&app, "/api/services/web/operations").await,
        envelope(value!(["GET /checkout", "GET /login", "call cart"]))
    );
    let operation = |name, kind| value!({"name": name, "spanKind": kind});
    assert_eq!(
        json(&app, "/api/operations?service=web&spanKind=client").await,
        envelope(value!([operation("call cart", "client")]))
    );
    assert_eq!(json(&app, "/api/operations?service=batch").await, envelope(value!([operation("nightly", "")])));
}

#[tokio::test]
async fn dependencies_are_of_the_time_asked_for() {
    let app = app().await;
    let (end, hour) = (NOW / 1_000_000, 3_600_000);
    let edge = |parent, child| value!({"parent": parent, "child": child, "callCount": 1});
    let answer = json(&app, &format!("/api/dependencies?endTs={end}&lookback={hour}")).await;
    assert_eq!(answer["data"], value!([edge("cart", "db"), edge("web", "cart")]));
    let answer = json(&app, &format!("/api/dependencies?endTs={end}&lookback={hour}&service=web")).await;
    assert_eq!(answer["data"], value!([edge("web", "cart")]));
    let answer = json(&app, &format!("/api/dependencies?endTs={}&lookback={hour}", end - hour)).await;
    assert_eq!(answer["data"], value!([]));
}

/// Traces as senders send them, and as they get them wrong: spans twice, cycles, orphans, and spans that were pending.
fn mixed(seed: u64) -> Vec<SpanBatch> {
    let mut batches: Vec<SpanBatch> = tracewell_sim::Workload::new(seed).spans(3_000).requests(200).collect();
    let again = batches[1].clone();
    batches.push(again);
    let mut odd = SpanBatch::new();
    let (resource, scope) = (odd.add_resource(&[], 0, ""), odd.add_scope("", "", &[], 0, ""));
    let pending = odd.intern("tracewell.pending");
    let start = batches[0].spans().start_unix_nano[0];
    for number in 0..60 {
        if number % 4 == 0 {
            odd.push_attribute(pending, tracewell_model::Value::Bool(true));
        }
        odd.push_span(NewSpan {
            trace_id: TraceId::from_u128(1 + number % 3),
            span_id: SpanId::from_u64(1 + seed.wrapping_mul(number as u64 + 7) % 5),
            parent_span_id: SpanId::from_u64(seed.wrapping_mul(number as u64 + 3) % 7),
            start_unix_nano: start + number as u64 / 12,
            end_unix_nano: start + 3 + number as u64 % 7,
            ..NewSpan::new(resource, scope)
        });
    }
    batches.push(odd);
    batches
}

#[tokio::test]
async fn answers_are_the_joined_traces_whether_they_lie_in_memory_or_in_segments() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
        let mut all = SpanBatch::new();
        for (number, batch) in mixed(seed).into_iter().enumerate() {
            all.append(&batch);
            let body = tracewell_wire::otlp::encode_protobuf(&batch).into();
            let append = Append { batch, body, format: Format::OtlpProtobuf, arrival_unix_nano: u64::MAX };
            store.append(&Tenant::default(), append).await.unwrap();
            // Some in one segment, some in another, and the last ones in memory.
            if number == 4 || number == 9 {
                store.flush().await.unwrap();
            }
        }
        let mut expected = HashMap::new();
        for trace in Trace::assemble_all(&all) {
            let written = tracewell_wire::jaeger::encode_traces(std::slice::from_ref(&trace));
            let written: Json = serde_json::from_slice(&written).unwrap();
            expected.insert(trace.trace_id().to_string(), resolved(&written["data"][0]));
        }
        let app = router(ApiState::new(Arc::new(store)));
        let answer = json(&app, "/api/traces?limit=1000&start=0&end=9000000000000000").await;
        let found = answer["data"].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "seed {seed}");
        for trace in found {
            assert_eq!(resolved(trace), expected[trace["traceID"].as_str().unwrap()], "seed {seed}");
        }
        for (id, expected) in &expected {
            let answer = json(&app, &format!("/api/traces/{id}")).await;
            assert_eq!(resolved(&answer["data"][0]), *expected, "seed {seed}");
        }
    }
}

/// One span that says all that Jaeger's answers show as tags, and one of which a tag says what is a field of the other.
const SHOWN: &str = r#"{"resourceSpans": [{"resource": {"attributes": [
      {"key": "service.name", "value": {"stringValue": "shop"}}, {"key": "host.name", "value": {"stringValue": "h1"}}]},
    "scopeSpans": [{"scope": {"name": "lib", "version": "1.2"}, "spans": [
      {"traceId": "0000000000000000000000000000000a", "spanId": "0000000000000001", "name": "op", "kind": 3,
       "startTimeUnixNano": "1785000000000000000", "endTimeUnixNano": "1785000000000100000", "traceState": "a=b",
       "status": {"code": 2, "message": "no stock"},
       "events": [{"timeUnixNano": "1785000000000000001", "name": "cache miss", "attributes": [{"key": "sku", "value": {"intValue": 7}}]}],
       "attributes": [{"key": "text", "value": {"stringValue": "x y"}}, {"key": "int", "value": {"intValue": "42"}},
         {"key": "big", "value": {"intValue": "9007199254740993"}}, {"key": "least", "value": {"intValue": "-9223372036854775808"}},
         {"key": "safe", "value": {"intValue": "9007199254740991"}},
         {"key": "two", "value": {"doubleValue": 2.0}}, {"key": "large", "value": {"doubleValue": 1e21}},
         {"key": "inf", "value": {"doubleValue": "-Infinity"}}, {"key": "nan", "value": {"doubleValue": "NaN"}},
         {"key": "bool", "value": {"boolValue": true}}, {"key": "bytes", "value": {"bytesValue": "AQL/"}},
         {"key": "empty"}, {"key": "internal.span.format", "value": {"stringValue": "otlp"}},
         {"key": "list", "value": {"arrayValue": {"values": [{"intValue": 1}, {"stringValue": "b"}]}}}]}]}]},
    {"resource": {}, "scopeSpans": [{"spans": [
      {"traceId": "0000000000000000000000000000000b", "spanId": "0000000000000002", "name": "other",
       "startTimeUnixNano": "1785000000000000000", "endTimeUnixNano": "1785000000000000000",
       "attributes": [{"key": "error", "value": {"stringValue": "true"}}, {"key": "otel.scope.name", "value": {"stringValue": "own"}}]},
      {"traceId": "0000000000000000000000000000000c", "spanId": "0000000000000003", "name": "third",
       "startTimeUnixNano": "1785000000000000000", "endTimeUnixNano": "1785000000000000000"}]}]}]}"#;

#[tokio::test]
async fn every_tag_that_an_answer_shows_is_found_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap());
    let decoded = tracewell_wire::decode(Format::OtlpJson, SHOWN.as_bytes(), &Default::default()).unwrap();
    assert_eq!((decoded.batch.len(), decoded.message.as_str()), (3, ""));
    let append =
        Append { batch: decoded.batch, body: SHOWN.into(), format: Format::OtlpJson, arrival_unix_nano: u64::MAX };
    store.append(&Tenant::default(), append).await.unwrap();
    let app = router(ApiState::new(store.clone()));
    for place in ["in memory", "in a segment"] {
        let mut tags = Vec::new();
        for id in ["a", "b"] {
            let trace = json(&app, &format!("/api/traces/{id}")).await["data"][0].clone();
            let span = &trace["spans"][0];
            let process = &trace["processes"]["p1"];
            let fields = span["logs"].as_array().unwrap().iter().flat_map(|log| log["fields"].as_array().unwrap());
            let own = span["tags"].as_array().unwrap().iter().chain(process["tags"].as_array().unwrap()).chain(fields);
            for tag in own {
                let text = tag["value"].as_str().map_or_else(|| tag["value"].to_string(), str::to_owned);
                tags.push((id, tag["key"].as_str().unwrap().to_owned(), text));
            }
        }
        assert!(tags.len() >= 24, "{tags:?}");
        let time = "start=0&end=1885000000000000";
        for (id, key, text) in tags {
            let encoded: String =
                value!({ &key: &text }).to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
            let found = json(&app, &format!("/api/traces?{time}&tags={encoded}")).await;
            let ids: Vec<&str> = texts(&found["data"], "traceID");
            assert!(ids.iter().any(|found| found.ends_with(id)), "{place}: {key}={text} finds {ids:?}");
            assert!(!ids.iter().any(|found| found.ends_with('c')), "{place}: {key}={text} finds what has no such tag");
            let native: String = format!("{key}={text}").bytes().map(|byte| format!("%{byte:02X}")).collect();
            let found = json(&app, &format!("/api/v1/traces?start=0&end=1885000000000000000&tag={native}")).await;
            assert!(!found["traces"].as_array().unwrap().is_empty(), "{place}: {key}={text} by the native API");
        }
        // Both at once, from one span: what is a field and what is an attribute.
        let both = "tag=error:true&tag=otel.scope.name:lib&tag=span.kind:client";
        let found = json(&app, &format!("/api/traces?{time}&{both}")).await;
        assert_eq!(texts(&found["data"], "traceID"), ["0000000000000000000000000000000a"], "{place}");
        let found = json(&app, &format!("/api/traces?{time}&tag=error:true&limit=1")).await;
        assert_eq!(found["data"].as_array().unwrap().len(), 1, "{place}");
        store.flush().await.unwrap();
    }
    let trace = json(&app, "/api/traces/a").await;
    let tags = &trace["data"][0]["spans"][0]["tags"];
    let tag = |key: &str| tags.as_array().unwrap().iter().find(|tag| tag["key"] == key).unwrap().clone();
    assert_eq!(tag("big"), value!({"key": "big", "type": "int64", "value": "9007199254740993"}));
    assert_eq!(tag("least"), value!({"key": "least", "type": "int64", "value": "-9223372036854775808"}));
    assert_eq!(tag("safe"), value!({"key": "safe", "type": "int64", "value": 9_007_199_254_740_991u64}));
}

/// A trace with its processes in the spans: which numbers they have says nothing.
fn resolved(trace: &Json) -> Json {
    let mut trace = trace.clone();
    let processes = trace["processes"].take();
    for span in trace["spans"].as_array_mut().unwrap() {
        let process = processes[span["processID"].as_str().unwrap()].clone();
        assert!(process["serviceName"].is_string(), "every span has its process");
        span["processID"] = process;
    }
    trace
}

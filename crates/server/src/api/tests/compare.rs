use axum::http::StatusCode;
use serde_json::json as value;

use super::fixture::{CHECKOUT, FAILED, MILLI, OLD, app, get, json, texts};

fn uri(a: &str, b: &str) -> String {
    let encode = |text: &str| text.replace('%', "%25").replace(' ', "%20").replace('"', "%22").replace('&', "%26");
    format!("/api/v1/compare?a={}&b={}", encode(a), encode(b))
}

#[tokio::test]
async fn two_traces_are_aligned_by_call_path() {
    let answer = json(&app().await, &uri("abcd", FAILED)).await;
    let none = value!({
        "calls": 0.0, "duration_nanos": 0.0, "self_nanos": 0.0, "critical_nanos": 0.0, "errors": 0.0, "longest": null,
    });
    assert_eq!(answer["paths"].as_array().unwrap().len(), 5);
    assert_eq!(
        answer["paths"][1],
        value!({
            "parent": 0, "depth": 1, "service": "web", "operation": "call cart", "kind": "client", "presence": "missing",
            "a": {
                "calls": 1.0, "duration_nanos": (80 * MILLI) as f64, "self_nanos": (20 * MILLI) as f64,
                "critical_nanos": (20 * MILLI) as f64, "errors": 0.0,
                "longest": {"trace_id": CHECKOUT, "span_id": "0000000000000002"},
            },
            "b": none,
        })
    );
    assert_eq!((&answer["paths"][4]["presence"], &answer["paths"][4]["a"]), (&value!("new"), &none));
    assert_eq!((&answer["b"]["errors"], &answer["b"]["complete"]), (&value!(1), &value!(true)));
    assert_eq!(answer["a"]["examples"], value!([CHECKOUT]));
    let summary = answer["summary"].as_str().unwrap();
    assert!(summary.starts_with("B took 95 ms less than A: 5 ms instead of 100 ms."), "{summary}");
}

#[tokio::test]
async fn sides_are_ids_or_conditions() {
    let app = app().await;
    for (side, ids, is_complete) in [
        ("abcd", vec![CHECKOUT], true),
        (&format!("abcd, {FAILED},,abcd"), vec![CHECKOUT, FAILED], true),
        ("service=web", vec![CHECKOUT, FAILED], true),
        ("service=web limit=1", vec![CHECKOUT], false),
        (" operation=\"GET /login\"  status=error ", vec![FAILED], true),
        ("tag=user=ann", vec![CHECKOUT], true),
        ("start=-3h end=-1h", vec![OLD], true),
    ] {
        let answer = json(&app, &uri(side, "abcd")).await;
        let examples = answer["a"]["examples"].as_array().unwrap();
        assert_eq!(examples, &ids, "{side}");
        assert_eq!(answer["a"]["traces"], ids.len(), "{side}");
        assert_eq!(answer["a"]["complete"], is_complete, "{side}");
        let says_more = answer["caveats"].to_string().contains("there are more");
        assert_eq!(says_more, !is_complete, "{side}: {}", answer["caveats"]);
    }
}

#[tokio::test]
async fn figures_of_a_set_are_means() {
    let answer = json(&app().await, &uri("service=web", &format!("{FAILED},abcd"))).await;
    let paths = answer["paths"].as_array().unwrap();
    assert!(paths.iter().all(|path| path["a"] == path["b"] && path["presence"] == "both"), "{answer}");
    assert_eq!(texts(&answer["paths"], "operation").len(), 5);
    assert_eq!(answer["a"]["duration_nanos"], (105 * MILLI) as f64 / 2.0);
    assert!(paths.iter().all(|path| path["a"]["calls"] == 0.5), "{answer}");
}

#[tokio::test]
async fn what_is_wrong_names_the_side_and_the_condition() {
    let app = app().await;
    let many = (1..=101).map(|id| format!("{id:x}")).collect::<Vec<_>>().join(",");
    for (a, b, field, said) in [
        ("", "abcd", "a", "name a trace id"),
        ("abcd", "", "b", "name a trace id"),
        ("abcd", ",", "b", "no trace id"),
        ("xyz", "abcd", "a", "\"xyz\" is not a trace id"),
        ("abcd", &many, "b", "more than 100 trace ids"),
        ("abcd", "service=cart limit=2000", "b", "limit: \"2000\" is not a number from 1 to 1000"),
        ("start=yesterday", "abcd", "a", "start: \"yesterday\" is not a time"),
        ("servce=cart", "abcd", "a", "servce: there is no parameter"),
        ("service=cart web", "abcd", "a", "\"web\" is not of the form name=value"),
        ("operation=\"GET", "abcd", "a", "a quote is not closed"),
        ("tag=x", "abcd", "a", "tag: \"x\" is not of the form key=value"),
        ("service=cart cursor=1", "abcd", "a", "cursor: there is no parameter"),
    ] {
        let answer = get(&app, &uri(a, b)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{a} {b}");
        let error = &answer.json()["error"];
        assert_eq!(error["field"], field, "{a} {b}: {error}");
        assert!(error["message"].as_str().unwrap().contains(said), "{a} {b}: {error}");
    }
    for (a, b, field, said) in
        [("abcd", "77", "b", "there is no trace 0"), ("service=nobody", "abcd", "a", "no trace meets these conditions")]
    {
        let answer = get(&app, &uri(a, b)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{a} {b}");
        let error = &answer.json()["error"];
        assert_eq!((error["field"].as_str(), error["code"].as_str()), (Some(field), Some("not_found")));
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
    }
}

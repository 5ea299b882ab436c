use axum::http::StatusCode;
use serde_json::Value as Json;
use yaml_rust2::{Yaml, YamlLoader};

use super::fixture::{app, get};
use super::schema::difference;
use crate::api::NATIVE_PATHS;

fn document() -> Json {
    let documents = YamlLoader::load_from_str(include_str!("../../../../../docs/openapi.yaml")).unwrap();
    json_of(&documents[0])
}

fn json_of(yaml: &Yaml) -> Json {
    match yaml {
        Yaml::String(text) => text.as_str().into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Boolean(value) => (*value).into(),
        Yaml::Null => Json::Null,
        Yaml::Array(items) => items.iter().map(json_of).collect(),
        Yaml::Hash(entries) => {
            entries.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), json_of(value))).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_route_is_described_and_every_description_has_a_route() {
    let document = document();
    let mut described: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut routed: Vec<&str> = NATIVE_PATHS.to_vec();
    routed.extend(["/healthz", "/livez", "/metrics", "/readyz"]);
    described.sort_unstable();
    routed.sort_unstable();
    assert_eq!(described, routed);
    let app = app().await;
    for path in NATIVE_PATHS {
        let query = if *path == "/compare" { "?a=abcd&b=abcd" } else { "" };
        let uri = format!("/api/v1{}{query}", path.replace("{trace_id}", "abcd").replace("{key}", "user"));
        assert_eq!(get(&app, &uri).await.status, StatusCode::OK, "{uri}");
    }
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let (app, document) = (app().await, document());
    for (path, query) in [
        ("/traces", "?start=-3h"),
        ("/traces", "?limit=1"),
        ("/traces", "?service=nobody"),
        ("/traces/{trace_id}", ""),
        ("/traces/{trace_id}/otlp", ""),
        ("/services", ""),
        ("/operations", ""),
        ("/attributes", ""),
        ("/attributes/{key}/values", ""),
        ("/dependencies", ""),
        ("/why", "?start=-3h"),
        ("/why", "?service=nobody"),
        ("/compare", "?a=abcd&b=f0000000000000000000000000000001"),
        ("/compare", "?a=service=web%20limit=1&b=start=-3h"),
        ("/stats", ""),
        ("/version", ""),
    ] {
        let uri = format!("/api/v1{}{query}", path.replace("{trace_id}", "abcd").replace("{key}", "user"));
        let answer = get(&app, &uri).await;
        assert_eq!(answer.status, StatusCode::OK, "{uri}");
        let schema = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(difference(&document, schema, &answer.json(), &uri), None);
    }
    for uri in ["/api/v1/traces/77", "/api/v1/traces?limit=0", "/api/v1/nothing"] {
        let answer = get(&app, uri).await;
        let schema = &document["components"]["schemas"]["Error"];
        assert_eq!(difference(&document, schema, &answer.json(), uri), None);
    }
}

#[tokio::test]
async fn every_described_parameter_is_understood() {
    let (app, document) = (app().await, document());
    for (path, item) in document["paths"].as_object().unwrap() {
        for parameter in item["get"]["parameters"].as_array().into_iter().flatten() {
            let parameter = match parameter["$ref"].as_str() {
                Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
                None => parameter,
            };
            if parameter["in"] != "query" {
                continue;
            }
            // A value that no parameter takes: the error says something else than that the parameter is unknown, or
            // there is none.
            let name = parameter["name"].as_str().unwrap();
            let uri = format!("/api/v1{}?{name}=%20", path.replace("{trace_id}", "abcd").replace("{key}", "user"));
            let body = get(&app, &uri).await.body;
            assert!(!String::from_utf8_lossy(&body).contains("there is no parameter"), "{uri}");
        }
    }
}

#[tokio::test]
async fn the_document_is_served() {
    let answer = get(&app().await, "/api/v1/openapi.yaml").await;
    assert_eq!((answer.status, answer.content_type.as_str()), (StatusCode::OK, "application/yaml"));
    assert!(answer.body.starts_with(b"openapi: 3.1"));
}

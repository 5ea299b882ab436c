//! Requests of a real client to what stands in for the Kubernetes API.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::time::Duration;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::json;
use tracewell::{Config, FutureExt as _, InMemoryExporter, SpanKind, Status, Tracer};

fn pod(name: &str, parent: &str, request: &str) -> serde_json::Value {
    let labels = json!({ "parent": parent, "request": request });
    json!({ "metadata": { "name": name, "namespace": "shop", "labels": labels }, "spec": { "containers": [] } })
}

async fn api() -> String {
    let one = async |Path(name): Path<String>, headers: HeaderMap| {
        if name == "missing" {
            let status = json!({ "status": "Failure", "reason": "NotFound", "message": "secret", "code": 404 });
            return (StatusCode::NOT_FOUND, Json(status)).into_response();
        }
        let header = |name| headers[name].to_str().unwrap();
        Json(pod(&name, header("traceparent"), header("x-request-id"))).into_response()
    };
    let all = async || Json(json!({ "metadata": {}, "items": [pod("a", "", ""), pod("b", "", "")] }));
    let routes = Router::new()
        .route("/api/v1/namespaces/shop/pods/{name}", get(one))
        .route("/api/v1/namespaces/shop/pods", get(all));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test]
async fn each_request_is_a_span_named_by_its_template() {
    let exporter = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let url = api().await;
    let config = kube::Config::new(url.parse().unwrap());
    let client = tracewell_kube::Traced::new(config).unwrap().tracer(tracer.clone());
    let parent = tracer.span("parent").start();
    let parent_id = parent.span_context().span_id;
    let work = async {
        let pods: Api<Pod> = Api::namespaced(client.here(), "shop");
        let found = pods.get("gallery-7").await.unwrap();
        assert_eq!(pods.list(&ListParams::default().labels("app=gallery")).await.unwrap().items.len(), 2);
        pods.get("missing").await.unwrap_err();
        found.metadata.labels.unwrap()
    };
    let context = parent.context().with_request_id("r-42");
    let labels = work.with_context(context).await;
    parent.end();
    tracer.shutdown(Duration::from_secs(30)).unwrap();

    let one = "GET /api/v1/namespaces/{namespace}/pods/{name}";
    let found = exporter.spans().into_iter().find(|span| span.name == one && span.status == Status::Unset).unwrap();
    assert_eq!((found.kind, found.parent_span_id), (SpanKind::Client, Some(parent_id)));
    assert!(labels["parent"].contains(&found.context.span_id.to_string()), "{labels:?}");
    assert_eq!(labels["request"], "r-42");
    assert_eq!(found.tag_value("server.address"), Some(&"127.0.0.1".into()));
    let full = format!("{url}/api/v1/namespaces/shop/pods/gallery-7");
    assert_eq!(found.tag_value("url.full"), Some(&full.as_str().into()));
    assert!(exporter.span("GET /api/v1/namespaces/{namespace}/pods").is_some());
    let spans = exporter.spans();
    let missing = spans.iter().find(|span| span.status != Status::Unset).unwrap();
    assert_eq!((&*missing.name, missing.tag_value("error.type")), (one, Some(&"404".into())));
    assert!(!format!("{spans:?}").contains("secret"));
}

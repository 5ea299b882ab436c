//! Requests to a real server.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use tracewell::{Config, Context, FutureExt as _, InMemoryExporter, SpanKind, Status, Tracer};
use tracewell_reqwest::SendTraced as _;

/// A server that answers with the context that it was sent; its base URL.
async fn server() -> String {
    let parent = async |headers: HeaderMap| headers["traceparent"].to_str().unwrap().to_owned();
    let request_id = async |headers: HeaderMap| headers["x-request-id"].to_str().unwrap().to_owned();
    let routes = Router::new()
        .route("/images/{id}", get(parent))
        .route("/request-id", get(request_id))
        .route("/broken", get(async || StatusCode::BAD_GATEWAY));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

/// Built together with what brings TLS, the client needs to be told of cryptography, although no test here needs any.
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

#[tokio::test]
async fn a_request_carries_its_own_span_and_tells_no_secret() {
    let exporter = InMemoryExporter::new();
    let config = Config::new("test").exporter(exporter.clone()).shutdown_timeout(Duration::from_secs(60));
    let guard = tracewell::init(config).unwrap();
    let url = server().await;
    let client = client();
    let parent = tracewell::span("parent").start();
    let parent_id = parent.span_context().span_id;
    let work = async {
        let asked = format!("{}/images/7?token=secret1", url.replace("http://", "http://user:secret2@"));
        let carried = client.get(asked).send_traced_as("/images/{id}").await.unwrap().text().await.unwrap();
        client.get(format!("{url}/broken")).send_traced().await.unwrap();
        carried
    };
    let carried = work.in_span(parent).await;
    let brew = client.request(reqwest::Method::from_bytes(b"BREW").unwrap(), &url).send_traced().await.unwrap();
    assert_eq!(brew.status(), 404);
    // Nobody listens on port 1.
    client.get("http://user:secret3@127.0.0.1:1/?password=secret4").send_traced().await.unwrap_err();
    guard.tracer().flush(Duration::from_secs(30)).unwrap();

    let spans = exporter.spans();
    let found = exporter.span("GET /images/{id}").unwrap();
    assert_eq!((found.kind, found.parent_span_id), (SpanKind::Client, Some(parent_id)));
    assert!(carried.contains(&found.context.span_id.to_string()), "{carried}");
    let port = i64::from(url.rsplit(':').next().unwrap().parse::<u16>().unwrap());
    for (key, value) in [
        ("http.request.method", "GET".into()),
        ("url.template", "/images/{id}".into()),
        ("server.address", "127.0.0.1".into()),
        ("server.port", port.into()),
        ("http.response.status_code", 200.into()),
    ] {
        assert_eq!(found.tag_value(key), Some(&value), "{key}");
    }
    let broken = spans.iter().find(|span| span.tag_value("error.type") == Some(&"502".into())).unwrap();
    assert_eq!((&*broken.name, broken.parent_span_id), ("GET", Some(parent_id)));
    let other = exporter.span("HTTP").unwrap();
    assert_eq!(other.tag_value("http.request.method"), Some(&"_OTHER".into()));
    assert_eq!(other.tag_value("http.request.method_original"), Some(&"BREW".into()));
    let refused = spans.iter().find(|span| span.tag_value("error.type") == Some(&"connect".into())).unwrap();
    assert!(matches!(&refused.status, Status::Error(text) if text.contains("refused")), "{:?}", refused.status);
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
    guard.shutdown().unwrap();
}

#[tokio::test]
async fn a_request_carries_the_request_id_unless_it_has_one() {
    let url = format!("{}/request-id", server().await);
    let client = client();
    let work = async {
        let sent = client.get(&url).send_traced().await.unwrap().text().await.unwrap();
        let own = client.get(&url).header("x-request-id", "own").send_traced().await.unwrap().text().await.unwrap();
        (sent, own)
    };
    let (sent, own) = work.with_context(Context::new().with_request_id("r-42")).await;
    assert_eq!((&*sent, &*own), ("r-42", "own"));
}

/// As the tests above, with the version before, whose types are others.
#[tokio::test]
async fn requests_of_reqwest_0_12_are_traced_too() {
    let exporter = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let client = reqwest_0_12::Client::new();
    let url = server().await;
    let work = async {
        let answer = client.get(format!("{url}/request-id?token=secret1")).send_traced_as("/request-id").await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "r-42");
        assert_eq!(client.get(format!("{url}/broken")).send_traced().await.unwrap().status(), 502);
        client.get("http://user:secret2@127.0.0.1:1/").send_traced().await.unwrap_err();
        let request = client.get(format!("{url}/request-id")).build().unwrap();
        tracewell_reqwest::v0_12::execute(&tracer, &client, request, Some("/own")).await.unwrap();
    };
    let parent = tracer.span("parent").start();
    work.with_context(parent.context().with_request_id("r-42")).await;
    parent.end();
    tracer.shutdown(Duration::from_secs(30)).unwrap();
    let kinds = ["http.response.status_code", "error.type"];
    let tree = exporter.tree(&kinds);
    let (lines, reason) = tree.rsplit_once("error=").unwrap();
    assert_eq!(
        lines,
        "parent\n  GET /request-id http.response.status_code=200\n  \
         GET http.response.status_code=502 error.type=\"502\" error=\"\"\n  \
         GET error.type=\"connect\" "
    );
    assert!(reason.contains("refused") && !format!("{:?}", exporter.spans()).contains("secret"), "{tree}");
}

#[tokio::test]
async fn a_tracer_of_the_callers_is_used_where_it_is_told() {
    let exporter = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let client = client();
    let request = client.get(format!("{}/images/7", server().await)).build().unwrap();
    tracewell_reqwest::execute(&tracer, &client, request, None).await.unwrap();
    tracer.shutdown(Duration::from_secs(30)).unwrap();
    assert!(exporter.span("GET").is_some());
}

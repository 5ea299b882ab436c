//! The gallery's programs with real databases and object stores: each call of them is in the trace of the request that
//! needed it.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use image_gallery::peer::Peer;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// A receiver of spans.
struct Receiver {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Receiver {
    async fn start() -> Self {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = spans.clone();
        let receive = async move |body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let resources = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
            kept.lock().unwrap().extend(resources.flat_map(|scope| scope.spans));
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(receive))).await });
        Self { url, spans }
    }

    /// The query or command that a request made. Whether it had to wait for a connection is not in the test's hands.
    fn query_of(&self, request: &Span) -> Span {
        let spans = self.spans.lock().unwrap();
        let mut children = spans.iter().filter(|span| span.parent_span_id == request.span_id);
        let query = children.find(|span| span.name != "acquire connection");
        query.unwrap_or_else(|| panic!("{} asked nothing: {spans:#?}", request.name)).clone()
    }

    /// The only span of this name.
    fn span(&self, name: &str) -> Span {
        let spans = self.spans.lock().unwrap();
        let mut found = spans.iter().filter(|span| span.name == name);
        let span = found.next().unwrap_or_else(|| panic!("no span {name}: {spans:#?}"));
        assert!(found.next().is_none(), "two spans {name}");
        span.clone()
    }
}

fn tag(span: &Span, key: &str) -> String {
    match span.attributes.iter().find(|tag| tag.key == key).and_then(|tag| tag.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{key} is {other:?} in {span:#?}"),
    }
}

/// A program of the gallery.
struct Service {
    process: Child,
    url: String,
}

impl Service {
    fn start(program: &str, receiver: &Receiver, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut process = Command::new(program)
            .args(["--level", "3"])
            .args(arguments)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("ready ").expect("the service is ready");
        Self { url: format!("http://{address}"), process }
    }

    fn peer(&self) -> Peer {
        Peer::new(&self.url, 0)
    }

    /// SIGTERM, after which all spans have been sent.
    async fn stop(mut self) {
        assert!(Command::new("kill").arg(self.process.id().to_string()).status().unwrap().success());
        // The receiver goes on meanwhile.
        while self.process.try_wait().unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn use_catalog(catalog: Service) {
    let found = catalog.peer().get("/entries/7").await.unwrap();
    assert_eq!(found, r#"{"id":7,"title":"people no. 7","tag":"people"}"#);
    let tagged = catalog.peer().get("/entries?tag=sea").await.unwrap();
    assert_eq!(String::from_utf8_lossy(&tagged).matches("sea no.").count(), 20);
    catalog.stop().await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_of_postgresql_is_in_the_trace_of_its_request() {
    let Some(server) = tracewell_parts::Postgres::start() else { return };
    let receiver = Receiver::start().await;
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port());
    let catalog = Service::start(env!("CARGO_BIN_EXE_catalog"), &receiver, &["--database", &url], &[]);
    catalog.peer().call(http::Method::PUT, "/admin/slow-database?millis=20", Bytes::new()).await.unwrap();
    use_catalog(catalog).await;
    let request = receiver.span("GET /entries/{id}");
    let query = receiver.query_of(&request);
    assert_eq!(query.name, "SELECT images");
    assert_eq!(tag(&query, "db.system.name"), "postgresql");
    let text = "SELECT id, title, tag FROM images, pg_sleep($2) WHERE id = $1";
    assert_eq!(tag(&query, "db.query.text"), text);
    let nanos = query.end_time_unix_nano - query.start_time_unix_nano;
    assert!(nanos >= 20_000_000, "the database was told to wait 20 ms, and the query took {nanos} ns");
}

#[cfg(feature = "mongodb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_of_mongodb_is_in_the_trace_of_its_request() {
    let Some(server) = tracewell_parts::Mongo::start() else { return };
    let receiver = Receiver::start().await;
    let url = format!("mongodb://127.0.0.1:{}", server.port());
    let catalog = Service::start(env!("CARGO_BIN_EXE_catalog"), &receiver, &["--database", &url], &[]);
    use_catalog(catalog).await;
    let request = receiver.span("GET /entries/{id}");
    let command = receiver.query_of(&request);
    assert_eq!((&*command.name, tag(&command, "db.system.name").as_str()), ("find images", "mongodb"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_of_sqlite_is_in_the_trace_of_its_request() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let file = folder.path().join("catalog.db");
    let arguments = ["--database", file.to_str().unwrap()];
    use_catalog(Service::start(env!("CARGO_BIN_EXE_catalog"), &receiver, &arguments, &[])).await;
    let request = receiver.span("GET /entries/{id}");
    let query = receiver.query_of(&request);
    assert_eq!((&*query.name, tag(&query, "db.system.name").as_str()), ("SELECT images", "sqlite"));
}

#[cfg(feature = "s3")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_in_s3_is_in_the_trace_of_its_request() {
    let Some(server) = tracewell_parts::S3::start("pictures") else { return };
    let receiver = Receiver::start().await;
    let environment = [
        ("AWS_ENDPOINT_URL", server.url().as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let store = Service::start(env!("CARGO_BIN_EXE_store"), &receiver, &["--bucket", "pictures"], &environment);
    let picture = store.peer().get("/pictures/7").await.unwrap();
    assert!(picture.starts_with(b"<svg"), "{picture:?}");
    store.peer().call(http::Method::PUT, "/pictures/7", "<svg/>".into()).await.unwrap();
    assert_eq!(store.peer().get("/pictures/7").await.unwrap(), "<svg/>");
    store.stop().await;
    let (request, put) = (receiver.span("PUT /pictures/{id}"), receiver.span("S3/PutObject"));
    assert_eq!(put.parent_span_id, request.span_id);
    assert_eq!((tag(&put, "aws.s3.bucket").as_str(), tag(&put, "aws.s3.key").as_str()), ("pictures", "7.svg"));
}

#[cfg(feature = "kubernetes")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gallery_asks_the_api_of_its_cluster_in_the_trace_of_its_request() {
    use axum::Json;
    use axum::routing::get;
    use serde_json::json;

    let pod = |name: &str| json!({ "metadata": { "name": name }, "spec": { "nodeName": "node-1", "containers": [] } });
    let (own, all) = (pod("gallery-7"), json!({ "metadata": {}, "items": [pod("gallery-7"), pod("store-1")] }));
    let routes = Router::new()
        .route("/api/v1/namespaces/shop/pods/gallery-7", get(async || Json(own)))
        .route("/api/v1/namespaces/shop/pods", get(async || Json(all)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("config");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{ "name": "here", "cluster": { "server": api } }],
        "users": [{ "name": "gallery", "user": {} }],
        "contexts": [{ "name": "here", "context": { "cluster": "here", "user": "gallery", "namespace": "shop" } }],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let receiver = Receiver::start().await;
    let environment = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBECONFIG", kubeconfig.to_str().unwrap()),
        ("HOSTNAME", "gallery-7"),
    ];
    let peers = ["--catalog", "http://127.0.0.1:1", "--store", "http://127.0.0.1:1"];
    let gallery = Service::start(env!("CARGO_BIN_EXE_gallery"), &receiver, &peers, &environment);
    let about = gallery.peer().get("/about").await.unwrap();
    assert_eq!(about, r#"{"pod":"gallery-7","node":"node-1","peers":["store-1"]}"#);
    gallery.stop().await;
    let request = receiver.span("GET /about");
    for name in ["GET /api/v1/namespaces/{namespace}/pods/{name}", "GET /api/v1/namespaces/{namespace}/pods"] {
        assert_eq!(receiver.span(name).parent_span_id, request.span_id, "{name}");
    }
}

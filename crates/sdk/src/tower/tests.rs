use super::*;
use crate::{Config, Context, InMemoryExporter, SpanKind, Status, Tracer, Value};
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn tracer() -> (Tracer, InMemoryExporter) {
    let exporter = InMemoryExporter::new();
    (Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap(), exporter)
}

fn flush(tracer: &Tracer) {
    tracer.shutdown(Duration::from_secs(30)).unwrap();
}

fn request(uri: &str) -> http::request::Builder {
    Request::get(uri).header("host", "shop.example:8080")
}

/// One route, whose handler makes a span of its own.
fn app(tracer: &Tracer) -> Router {
    let inner = tracer.clone();
    let handler = move |request: Request<Body>| async move {
        tokio::task::yield_now().await;
        inner.span("handler").start().end();
        let in_extensions = request.extensions().get::<Context>().unwrap().span_context().span_id;
        assert_eq!(in_extensions, Context::current().span_context().span_id);
        assert!(!request.extensions().get::<RequestId>().unwrap().as_str().is_empty());
        Context::current().baggage().get("user").unwrap_or("nobody").to_owned()
    };
    let layer = ServerLayer::new()
        .tracer(tracer.clone())
        .route(|request| request.extensions().get::<axum::extract::MatchedPath>().map(|path| path.as_str().to_owned()));
    Router::new()
        .route("/images/{id}", get(handler))
        .route("/broken", get(async || StatusCode::BAD_GATEWAY))
        .layer(layer)
}

#[tokio::test]
async fn a_request_continues_the_callers_trace_and_its_handler_the_requests() {
    let (tracer, exporter) = tracer();
    let request = request("/images/7?page=2&token=abc").header("traceparent", PARENT).header("baggage", "user=ada");
    let request = request.header("user-agent", "test/1").header("x-request-id", "abc-123").body(Body::empty()).unwrap();
    let response = app(&tracer).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "abc-123");
    assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), "ada");
    flush(&tracer);
    let server = exporter.span("GET /images/{id}").unwrap();
    assert_eq!(server.kind, SpanKind::Server);
    assert_eq!(server.context.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(server.parent_span_id.unwrap().to_string(), "b7ad6b7169203331");
    assert!(server.parent_is_remote);
    assert_eq!(server.status, Status::Unset);
    let expected: [(&str, Value); 11] = [
        ("http.request.method", "GET".into()),
        ("url.path", "/images/7".into()),
        ("url.scheme", "http".into()),
        ("request.id", "abc-123".into()),
        ("url.query", "page=2&token=REDACTED".into()),
        ("server.address", "shop.example".into()),
        ("server.port", 8080.into()),
        ("http.route", "/images/{id}".into()),
        ("user_agent.original", "test/1".into()),
        ("network.protocol.version", "1.1".into()),
        ("http.response.status_code", 200.into()),
    ];
    assert_eq!(server.tags.iter().map(|(key, value)| (&**key, value.clone())).collect::<Vec<_>>(), expected);
    assert_eq!(exporter.span("handler").unwrap().parent_span_id, Some(server.context.span_id));
}

#[tokio::test]
async fn a_server_error_marks_the_span_and_bad_headers_start_a_new_trace() {
    let (tracer, exporter) = tracer();
    let request = request("/broken").header("traceparent", "00-nonsense").header("x-request-id", "has spaces");
    let response = app(&tracer).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(id.len(), 32, "an unfit id is replaced");
    flush(&tracer);
    let span = exporter.span("GET /broken").unwrap();
    assert_eq!(span.parent_span_id, None);
    assert_eq!(span.status, Status::Error("".into()));
    assert_eq!(span.tag_value("error.type"), Some(&"502".into()));
    assert_eq!(span.tag_value("request.id"), Some(&id.as_str().into()));
}

#[tokio::test]
async fn an_unknown_method_and_a_missing_route_make_no_names_up() {
    let (tracer, exporter) = tracer();
    let service = ServiceBuilder::new().layer(ServerLayer::new().tracer(tracer.clone()));
    let service = service.service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    service.oneshot(Request::builder().method("BREW").uri("/pot/1").body(()).unwrap()).await.unwrap();
    flush(&tracer);
    assert_eq!(exporter.span("HTTP").unwrap().tag_value("http.request.method_original"), Some(&"BREW".into()));
}

#[tokio::test]
async fn a_request_given_up_ends_its_span_as_cancelled() {
    let (tracer, exporter) = tracer();
    let service = ServiceBuilder::new().layer(ServerLayer::new().tracer(tracer.clone()));
    let service =
        service.service(service_fn(|_: Request<()>| std::future::pending::<Result<Response<String>, Infallible>>()));
    {
        let mut waiting = std::pin::pin!(service.oneshot(Request::new(())));
        assert!(std::future::poll_fn(|task| std::task::Poll::Ready(waiting.as_mut().poll(task).is_pending())).await);
    }
    flush(&tracer);
    assert_eq!(exporter.span("GET").unwrap().events[0].name, "cancelled");
}

#[tokio::test]
async fn an_outgoing_request_carries_its_own_span() {
    let (tracer, exporter) = tracer();
    let target = |uri: &http::Uri| uri.path().starts_with("/images/").then(|| "/images/{id}".to_owned());
    let layer = ClientLayer::new().tracer(tracer.clone()).target(target);
    let echo = service_fn(async |request: Request<()>| {
        let parent = request.headers()["traceparent"].to_str().unwrap().to_owned();
        match request.uri().path() {
            "/images/1" => Ok(Response::new(parent)),
            "/missing" => Ok(Response::builder().status(404).body(parent).unwrap()),
            _ => Err(std::io::Error::other("connection refused")),
        }
    });
    let client = ServiceBuilder::new().layer(layer).service(echo);
    let parent = tracer.span("parent").start();
    let send = |uri: &str| parent.in_scope(|| client.clone().oneshot(Request::get(uri).body(()).unwrap()));
    let calls = async {
        let carried = send("http://catalog:8081/images/1").await.unwrap().into_body();
        send("http://u:secret@catalog/missing").await.unwrap();
        send("http://catalog/refused").await.unwrap_err();
        carried
    };
    let carried = crate::FutureExt::with_context(calls, parent.context()).await;
    let parent_id = parent.span_context().span_id;
    parent.end();
    flush(&tracer);
    let found = exporter.span("GET /images/{id}").unwrap();
    assert_eq!((found.kind, found.parent_span_id), (SpanKind::Client, Some(parent_id)));
    assert_eq!(found.tag_value("url.template"), Some(&"/images/{id}".into()));
    assert_eq!(carried, format!("00-{}-{}-03", found.context.trace_id, found.context.span_id));
    let others: Vec<_> = exporter.spans().into_iter().filter(|span| span.name == "GET").collect();
    assert_eq!(others[0].tag_value("url.full"), Some(&"http://REDACTED:REDACTED@catalog/missing".into()));
    assert_eq!(others[0].tag_value("error.type"), Some(&"404".into()));
    assert_eq!(others[1].status, Status::Error("connection refused".into()));
    assert_eq!(others[1].tag_value("error.type"), Some(&"std::io::error::Error".into()));
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_route_is_axums_without_being_told() {
    let (tracer, exporter) = tracer();
    let app = Router::new().route("/a/{b}", get(async || "")).layer(ServerLayer::new().tracer(tracer.clone()));
    app.oneshot(request("/a/1").body(Body::empty()).unwrap()).await.unwrap();
    flush(&tracer);
    assert!(exporter.span("GET /a/{b}").is_some());
}

#[tokio::test]
async fn a_request_id_reaches_the_services_that_the_handler_asks() {
    let (tracer, _exporter) = tracer();
    let echo = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.headers()["x-request-id"].to_str().unwrap().to_owned()))
    });
    let client = ServiceBuilder::new().layer(ClientLayer::new().tracer(tracer.clone())).service(echo);
    let handler = service_fn(move |_: Request<()>| client.clone().oneshot(Request::new(())));
    let server = ServiceBuilder::new().layer(ServerLayer::new().tracer(tracer.clone())).service(handler);
    let request = Request::builder().header("x-request-id", "r-1").body(()).unwrap();
    assert_eq!(server.oneshot(request).await.unwrap().body().get_ref(), "r-1");
}

/// A body of two frames, each made in a span of its own, which then ends or fails.
struct Rows {
    left: usize,
    fails: bool,
}

impl http_body::Body for Rows {
    type Data = &'static [u8];
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let frame = self.left.checked_sub(1).map(|left| {
            self.left = left;
            crate::span("row").start().end();
            Ok(http_body::Frame::data(&b"row"[..]))
        });
        let failed = self.fails.then(|| Err(std::io::Error::other("disk")));
        std::task::Poll::Ready(frame.or(failed))
    }
}

/// The trace of a request whose body is asked for so many frames and then dropped.
async fn trace_of(
    layer: ServerLayer,
    method: &str,
    head: http::response::Builder,
    fails: bool,
    frames: usize,
) -> String {
    let (tracer, exporter) = tracer();
    let head = std::sync::Mutex::new(Some(head));
    let service = service_fn(move |_: Request<()>| {
        let response = head.lock().unwrap().take().unwrap().body(Rows { left: 2, fails });
        std::future::ready(Ok::<_, Infallible>(response.unwrap()))
    });
    let service = ServiceBuilder::new().layer(layer.tracer(tracer.clone())).service(service);
    let response = service.oneshot(Request::builder().method(method).body(()).unwrap()).await.unwrap();
    let mut body = std::pin::pin!(response.into_body());
    for _ in 0..frames {
        std::future::poll_fn(|task| http_body::Body::poll_frame(body.as_mut(), task)).await;
    }
    // In the place of a drop: the pinned body lives on.
    body.set(TracedBody::new(Rows { left: 0, fails: false }, Context::new(), None, None));
    flush(&tracer);
    exporter.tree(&["http.response.status_code"])
}

#[tokio::test]
async fn a_span_lasts_until_the_body_ends_and_says_how_that_was() {
    let rows = "  row\n  row\n";
    let status = "GET http.response.status_code=200";
    let head = Response::builder;
    let whole = trace_of(ServerLayer::new(), "GET", head(), false, 3).await;
    assert_eq!(whole, format!("{status}\n{rows}"));
    let failed = trace_of(ServerLayer::new(), "GET", head(), true, 3).await;
    assert_eq!(failed, format!("{status} error=\"disk\"\n{rows}"));
    let dropped = trace_of(ServerLayer::new(), "GET", head(), false, 1).await;
    assert_eq!(dropped, format!("{status}\n  * cancelled\n  row\n"));
    // As servers do with a body of a known length: they do not ask for the end.
    let counted = trace_of(ServerLayer::new(), "GET", head().header("content-length", "6"), false, 2).await;
    assert_eq!(counted, format!("{status}\n{rows}"));
}

#[tokio::test]
async fn a_span_ends_with_the_head_where_nobody_asks_for_a_body_or_it_was_told_to() {
    let head = Response::builder;
    assert_eq!(trace_of(ServerLayer::new(), "HEAD", head(), false, 0).await, "HEAD http.response.status_code=200\n");
    assert_eq!(
        trace_of(ServerLayer::new(), "GET", head().status(304), false, 0).await,
        "GET http.response.status_code=304\n"
    );
    let until_head = trace_of(ServerLayer::new().until_head(), "GET", head(), false, 1).await;
    assert_eq!(until_head.lines().next(), Some("GET http.response.status_code=200"));
    assert!(!until_head.contains("cancelled"), "{until_head}");
}

#[tokio::test]
async fn a_response_tells_its_trace_when_it_shall() {
    let (tracer, exporter) = tracer();
    let app = app(&tracer).layer(ServerLayer::new().tracer(tracer.clone()).trace_response());
    let response = app.oneshot(request("/images/7").body(Body::empty()).unwrap()).await.unwrap();
    let traceresponse = response.headers()["traceresponse"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["server-timing"], format!("traceparent;desc=\"{traceresponse}\""));
    drop(response);
    flush(&tracer);
    assert!(exporter.spans().iter().any(|span| traceresponse.contains(&span.context.span_id.to_string())));
}

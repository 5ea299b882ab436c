//! Requests to an application.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody, to_bytes};
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, call_service, init_service, try_call_service};
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpMessage as _, HttpRequest, HttpResponse};
use tracewell::{Config, Context, InMemoryExporter, SpanKind, Tracer};
use tracewell_actix_web::ServerLayer;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn tracer() -> (Tracer, InMemoryExporter) {
    let exporter = InMemoryExporter::new();
    (Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap(), exporter)
}

async fn image(request: HttpRequest, id: web::Path<u32>) -> String {
    actix_web::rt::task::yield_now().await;
    tracewell::span("SELECT images").start().end();
    let context = request.extensions().get::<Context>().cloned().unwrap();
    assert_eq!(context.span_context().span_id, Context::current().span_context().span_id);
    format!("image {id} of {}", context.request_id().unwrap())
}

/// Rows, a span each; the last one may be an error.
struct Rows {
    left: usize,
    fails: bool,
}

impl MessageBody for Rows {
    type Error = std::io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        tracewell::span("row").start().end();
        self.left = self.left.saturating_sub(1);
        Poll::Ready(match (self.left, self.fails) {
            (0, true) => Some(Err(std::io::Error::other("secret"))),
            (0, false) => None,
            _ => Some(Ok(Bytes::from_static(b"row"))),
        })
    }
}

macro_rules! app {
    ($tracer:expr) => {
        init_service(
            App::new()
                .route("/images/{id}", web::get().to(image))
                .route("/images/{id}", web::head().to(async || HttpResponse::Ok().body("image")))
                .route("/empty", web::get().to(async || HttpResponse::NoContent()))
                .route("/rows", web::get().to(async || HttpResponse::Ok().body(Rows { left: 2, fails: false })))
                .route("/broken-rows", web::get().to(async || HttpResponse::Ok().body(Rows { left: 2, fails: true })))
                .route("/broken", web::get().to(async || Err::<String, _>(actix_web::error::ErrorBadGateway("secret"))))
                .route("/never", web::get().to(std::future::pending::<String>))
                .wrap(ServerLayer::new().tracer($tracer.clone())),
        )
        .await
    };
}

fn run(work: impl Future<Output = ()>) {
    actix_web::rt::System::new().block_on(work);
}

#[test]
fn a_request_is_a_span_of_its_callers_trace_and_current_in_the_handler() {
    run(async {
        let (tracer, exporter) = tracer();
        let app = app!(tracer);
        let request = TestRequest::get().uri("http://shop.example:8080/images/7?token=secret");
        let request = request.insert_header(("traceparent", PARENT)).insert_header(("x-request-id", "r-1"));
        let response = call_service(&app, request.insert_header(("user-agent", "test/1")).to_request()).await;
        assert_eq!(response.headers().get("x-request-id").unwrap(), "r-1");
        assert_eq!(to_bytes(response.into_body()).await.unwrap(), "image 7 of r-1");
        tracer.shutdown(Duration::from_secs(30)).unwrap();
        let span = exporter.span("GET /images/{id}").unwrap();
        assert_eq!(
            (span.kind, span.parent_span_id.unwrap().to_string()),
            (SpanKind::Server, PARENT[36..52].to_owned())
        );
        for (key, value) in [
            ("http.route", "/images/{id}".into()),
            ("url.path", "/images/7".into()),
            ("url.query", "token=REDACTED".into()),
            ("server.address", "shop.example".into()),
            ("server.port", 8080.into()),
            ("user_agent.original", "test/1".into()),
            ("request.id", "r-1".into()),
            ("network.protocol.version", "1.1".into()),
            ("http.response.status_code", 200.into()),
        ] {
            assert_eq!(span.tag_value(key), Some(&value), "{key}");
        }
        assert_eq!(exporter.tree(&[]), "GET /images/{id}\n  SELECT images\n");
    });
}

#[test]
fn a_span_lasts_until_the_end_of_the_body_and_knows_how_it_ends() {
    run(async {
        let (tracer, exporter) = tracer();
        let app = app!(tracer);
        let response = call_service(&app, TestRequest::get().uri("/rows").to_request()).await;
        tracer.flush(Duration::from_secs(30)).unwrap();
        assert_eq!(exporter.spans(), [], "the body is not there yet");
        to_bytes(response.into_body()).await.unwrap();
        let response = call_service(&app, TestRequest::get().uri("/broken-rows").to_request()).await;
        to_bytes(response.into_body()).await.unwrap_err();
        // Nobody waits for this one, nor for that.
        drop(call_service(&app, TestRequest::get().uri("/rows").to_request()).await);
        let mut never = Box::pin(try_call_service(&app, TestRequest::get().uri("/never").to_request()));
        let polled = std::future::poll_fn(|task| Poll::Ready(never.as_mut().poll(task).is_pending()));
        assert!(polled.await);
        drop(never);
        tracer.shutdown(Duration::from_secs(30)).unwrap();
        assert_eq!(
            exporter.tree(&[]),
            "GET /rows\n  row\n  row\n\
             GET /broken-rows error=\"the response's body failed\"\n  row\n  row\n\
             GET /rows\n  * cancelled\n\
             GET /never\n  * cancelled\n"
        );
        assert!(!format!("{:?}", exporter.spans()).contains("secret"));
    });
}

#[test]
fn answers_without_a_body_end_with_their_head_and_errors_have_their_status() {
    run(async {
        let (tracer, exporter) = tracer();
        let app = app!(tracer);
        for (method, path, status) in [
            (Method::GET, "/empty", StatusCode::NO_CONTENT),
            (Method::HEAD, "/images/7", StatusCode::OK),
            (Method::GET, "/missing", StatusCode::NOT_FOUND),
        ] {
            let response = call_service(&app, TestRequest::default().method(method).uri(path).to_request()).await;
            assert_eq!(response.status(), status, "{path}");
            let id = response.headers().get("x-request-id").unwrap();
            assert_eq!(id.len(), 32);
        }
        let response = call_service(&app, TestRequest::get().uri("/broken").to_request()).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        to_bytes(response.into_body()).await.unwrap();
        tracer.shutdown(Duration::from_secs(30)).unwrap();
        assert_eq!(
            exporter.tree(&["http.response.status_code", "error.type"]),
            "GET /empty http.response.status_code=204\n\
             HEAD /images/{id} http.response.status_code=200\n\
             GET http.response.status_code=404\n\
             GET /broken http.response.status_code=502 error.type=\"502\" error=\"\"\n"
        );
        assert!(!format!("{:?}", exporter.spans()).contains("secret"));
    });
}

//! Spans that are sent to the port of the UI: the sender is told where they are received, in words that it understands.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tonic::Status;

use crate::api::OtlpAddresses;

/// Answers what is sent instead of asked.
pub(crate) fn layer(router: Router, addresses: OtlpAddresses) -> Router {
    let OtlpAddresses { otlp_http, otlp_grpc } = addresses;
    let message = format!(
        "this is the port of the UI, and nothing is received here: send OTLP/HTTP to http://{otlp_http}/v1/traces and \
         OTLP/gRPC to {otlp_grpc}"
    );
    router.layer(from_fn(move |request: Request, next: Next| {
        let message = message.clone();
        async move {
            let is_grpc = is_grpc(&request);
            let is_otlp = request.uri().path().starts_with("/v1/") && request.method() != Method::GET;
            if is_grpc && request.version() >= Version::HTTP_2 {
                return Status::unimplemented(message).into_http::<tonic::body::Body>().map(axum::body::Body::new);
            }
            if is_grpc || is_otlp {
                return status(StatusCode::NOT_FOUND, &message);
            }
            let is_sent = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
            let response = next.run(request).await;
            let is_silent = !response.headers().contains_key(header::CONTENT_TYPE);
            if is_sent && is_silent && response.status() == StatusCode::METHOD_NOT_ALLOWED {
                let allow = response.headers().get(header::ALLOW).cloned();
                let mut response = status(StatusCode::METHOD_NOT_ALLOWED, &message);
                let allow = allow.unwrap_or(HeaderValue::from_static("GET, HEAD"));
                response.headers_mut().insert(header::ALLOW, allow);
                return response;
            }
            response
        }
    }))
}

fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"application/grpc"))
}

/// A `google.rpc.Status`, as OTLP has it.
fn status(code: StatusCode, message: &str) -> Response {
    const UNIMPLEMENTED: i32 = 12;
    (code, axum::Json(serde_json::json!({ "code": UNIMPLEMENTED, "message": message }))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn post(path: &str, content_type: &str, version: Version) -> (StatusCode, String, Option<String>) {
        let addresses = OtlpAddresses {
            otlp_http: "127.0.0.1:4318".parse().unwrap(),
            otlp_grpc: "127.0.0.1:4317".parse().unwrap(),
        };
        let router = layer(crate::ui::router(), addresses);
        let request = Request::post(path).header("content-type", content_type).version(version);
        let response = router.oneshot(request.body(Body::from("spans")).unwrap()).await.unwrap();
        let grpc = response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned());
        let (parts, body) = response.into_parts();
        let said = match parts.headers.get("grpc-message") {
            Some(message) => message.to_str().unwrap().to_owned(),
            None => String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        };
        (parts.status, said, grpc)
    }

    #[tokio::test]
    async fn spans_are_sent_to_the_right_port_by_every_answer() {
        for (path, content_type) in [
            ("/v1/traces", "application/json"),
            ("/v1/traces", "application/x-protobuf"),
            ("/v1/logs", "application/json"),
            ("/", "application/json"),
            ("/search", "text/plain"),
            ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc"),
        ] {
            let (status, said, grpc) = post(path, content_type, Version::HTTP_11).await;
            assert!(status.is_client_error() && grpc.is_none(), "{path}: {status}");
            assert!(said.contains("4318"), "{path}: {said}");
        }
        let (status, said, grpc) = post("/anything", "application/grpc+proto", Version::HTTP_2).await;
        assert_eq!((status, grpc.as_deref()), (StatusCode::OK, Some("12")));
        assert!(said.contains("4317"), "{said}");
    }
}

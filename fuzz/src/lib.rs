//! What the targets share: a runtime, and requests to routers without a socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use tower::ServiceExt;

/// A runtime of one thread, with as many for what blocks as one request may need at once.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(3)
        .enable_time()
        .build()
        .expect("threads can be started")
}

/// Sends a request and reads the answer to its end, which may be early. A fault of the server's own is one to look at.
pub async fn ask(router: &Router, request: Request<Body>) -> StatusCode {
    let answer: Response<Body> = match router.clone().oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let status = answer.status();
    let code = answer.headers().get("grpc-status").cloned();
    let body = to_bytes(answer.into_body(), 1 << 26).await.unwrap_or_default();
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{}", String::from_utf8_lossy(&body));
    assert_ne!(code.as_ref().map(HeaderValue::as_bytes), Some(&b"13"[..]), "INTERNAL");
    status
}

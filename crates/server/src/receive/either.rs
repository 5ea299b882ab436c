//! OTLP over HTTP and gRPC on the same port.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Version, header};
use axum::response::Response;
use axum::routing::future::RouteFuture;
use tower::Service;

use super::{Receiver, grpc, http};
use crate::metrics::Metrics;

/// What a content type of gRPC is: the plain one is protobuf.
const GRPC: &str = "application/grpc";

pub(super) fn router(receiver: &Receiver, metrics: &Metrics) -> Router {
    let timed = |router| metrics.layer(receiver.port, router);
    let refused = |message: &'static str| {
        let receiver = receiver.clone();
        timed(Router::new().fallback(async move || -> Response { http::no_grpc(&receiver, message) }))
    };
    Router::new().fallback_service(Either {
        old: refused("gRPC needs HTTP/2; over HTTP/1.1 send application/x-protobuf or application/json to /v1/traces"),
        strange: refused(
            "of gRPC, application/grpc and application/grpc+proto are supported; else send \
                          application/x-protobuf or application/json to /v1/traces",
        ),
        grpc: timed(grpc::router(receiver.clone())),
        http: timed(http::router(receiver.clone())),
    })
}

/// Hands requests to whom they are for.
#[derive(Clone)]
struct Either {
    http: Router,
    grpc: Router,
    old: Router,
    strange: Router,
}

impl Service<Request> for Either {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { http, grpc, old, strange } = self;
        let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let kind =
            content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        let router = match kind.strip_prefix(GRPC.as_bytes()) {
            None => http,
            Some(_) if request.method() == Method::OPTIONS => http,
            Some(_) if request.version() < Version::HTTP_2 => old,
            Some(b"" | b"+proto") => grpc,
            Some(_) => strange,
        };
        router.call(request)
    }
}

//! Spans of requests that `actix-web` serves: one line for each application.
//!
//! ```
//! use actix_web::{App, web};
//!
//! async fn image(id: web::Path<u32>) -> String {
//!     tracewell::tag("image.id", *id);
//!     format!("image {id}")
//! }
//!
//! let app = App::new()
//!     .route("/images/{id}", web::get().to(image))
//!     .wrap(tracewell_actix_web::ServerLayer::new());
//! # drop(app);
//! ```
//!
//! A request is a server span named by its method and route (`GET /images/{id}`), a part of its caller's trace, with the tags of
//! [`tracewell::http::server_span`]. It is current in the handler and while the response's body is produced, and lasts until the
//! end of that. From status 500 on it is an error; so is one whose body fails. What the client does not wait for says
//! `cancelled`. The request's id comes from `x-request-id` or is made up, and is put on the response.

mod body;
mod future;
mod headers;

use std::future::{Ready, ready};
use std::task::{Context as Task, Poll};

use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::{Method, Version};
use actix_web::{Error, HttpMessage as _};
pub use body::TracedBody;
pub use future::TracedFuture;
use headers::Headers;
use tracewell::{Span, Tracer, Value, http};

/// Makes a span of each request: `App::new().wrap(ServerLayer::new())`, as the last call, so that it is around everything else.
/// The request's extensions have the span's [`tracewell::Context`].
#[derive(Clone, Debug, Default)]
pub struct ServerLayer {
    tracer: Option<Tracer>,
}

impl ServerLayer {
    /// With the global tracer, as it is when a request comes in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this tracer.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = Some(tracer);
        self
    }

    fn start(&self, request: &ServiceRequest) -> Span {
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let (target, route) = (request.uri().to_string(), request.match_pattern());
        let headers = Headers(request.headers());
        let span = http::server_span_of(tracer, request.method().as_str(), &target, route.as_deref(), &headers);
        if request.app_config().secure() {
            span.tag("url.scheme", Value::from_static("https"));
        }
        let version = match request.version() {
            Version::HTTP_10 => Some("1.0"),
            Version::HTTP_11 => Some("1.1"),
            Version::HTTP_2 => Some("2"),
            Version::HTTP_3 => Some("3"),
            _ => None,
        };
        span.tag("network.protocol.version", version.map(Value::from_static));
        span
    }
}

impl<S, B> Transform<S, ServiceRequest> for ServerLayer
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<TracedBody<B>>;
    type Error = Error;
    type Transform = ServerService<S>;
    type InitError = ();
    type Future = Ready<Result<ServerService<S>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(ServerService { layer: self.clone(), service }))
    }
}

/// The service that [`ServerLayer`] makes.
#[derive(Clone, Debug)]
pub struct ServerService<S> {
    layer: ServerLayer,
    service: S,
}

impl<S, B> Service<ServiceRequest> for ServerService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<TracedBody<B>>;
    type Error = Error;
    type Future = TracedFuture<S::Future>;

    fn poll_ready(&self, task: &mut Task<'_>) -> Poll<Result<(), Error>> {
        self.service.poll_ready(task)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let span = self.layer.start(&request);
        request.extensions_mut().insert(span.context());
        // Nobody asks for the body of an answer to HEAD.
        let is_head = request.method() == Method::HEAD;
        let inner = span.in_scope(|| self.service.call(request));
        TracedFuture::new(inner, span, is_head)
    }
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

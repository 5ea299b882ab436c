//! Incoming requests.

use super::TracedBody;
use crate::http::{Incoming, incoming, server_status, with_version};
use crate::poll_in;
use crate::propagation::{is_request_id, new_request_id};
use crate::{Context, Span, SpanContext, Tracer, Value, run_in, tracer};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

static REQUEST_ID: HeaderName = HeaderName::from_static(crate::propagation::REQUEST_ID);

/// Traces incoming requests: continues the caller's trace with a server span `{METHOD} {route}`, which is current in
/// the handler, and in the request's extensions as a [`Context`].
///
/// The span lasts until the end of the response's body, and is current while the body is produced. A request that is given
/// up, or a body that is dropped before its end, ends it with an event `cancelled`; a body that fails makes it an error.
/// [`ServerLayer::until_head`] ends it with the head of the response.
///
/// Tags: `http.request.method`, `url.path`, `url.query` (secrets redacted), `url.scheme`, `server.address`,
/// `server.port`, `http.route`, `user_agent.original`, `network.protocol.version`, `http.response.status_code`,
/// `error.type`, and `request.id`: the header `x-request-id`, made up where it is missing, handed to the handler as
/// [`RequestId`] and put on the response. From status 500 on the span is an error.
///
/// ```
/// # use tracewell::ServerLayer;
/// let layer = ServerLayer::new().route(|request| {
///     request.uri().path().starts_with("/images/").then(|| "/images/{id}".to_owned())
/// });
/// ```
#[derive(Clone, Default)]
pub struct ServerLayer {
    tracer: Option<Tracer>,
    route: Option<RouteOf>,
    until_head: bool,
    trace_response: bool,
}

type RouteOf = Arc<dyn Fn(&Request<()>) -> Option<String> + Send + Sync>;

/// The id that logs and traces of one request share; an extension of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id: 1 to 128 printable ASCII characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }

    /// The one that was sent, when it is fit to be stored and sent on, or a random one.
    fn of(headers: &HeaderMap) -> Self {
        let is_fit = |value: &&HeaderValue| value.to_str().is_ok_and(is_request_id);
        let sent = headers.get(&REQUEST_ID).filter(is_fit).cloned();
        Self(sent.unwrap_or_else(|| HeaderValue::try_from(new_request_id()).unwrap_or(HeaderValue::from_static("0"))))
    }
}

impl ServerLayer {
    /// With the tracer of the context in which a request comes in, or else the global one, as it is then.
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

    /// Tells the route's template, such as `/images/{id}`, from the request's head; `None` when there is none. It must
    /// not tell the path itself: names are grouped by.
    #[must_use]
    pub fn route(mut self, route: impl Fn(&Request<()>) -> Option<String> + Send + Sync + 'static) -> Self {
        self.route = Some(Arc::new(route));
        self
    }

    /// Ends the span with the head of the response: a body that is streamed afterwards is not part of it.
    #[must_use]
    pub fn until_head(mut self) -> Self {
        self.until_head = true;
        self
    }

    /// Tells the caller which trace it was: in the response's header `traceresponse` (W3C trace context), and for browsers as
    /// `traceparent` of `server-timing`.
    #[must_use]
    pub fn trace_response(mut self) -> Self {
        self.trace_response = true;
        self
    }

    /// The span of a request whose head this is.
    fn start(&self, head: &Request<()>, request_id: &RequestId) -> Span {
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracer());
        let headers = head.headers();
        let route = self.route_of(head);
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let mut parent = tracer.propagators().extract(headers);
        if parent.request_id().is_none() {
            parent = parent.with_request_id(request_id.as_str());
        }
        let uri = head.uri();
        let request = Incoming {
            path: uri.path(),
            query: uri.query(),
            scheme: uri.scheme_str(),
            host: uri.authority().map(|authority| authority.as_str()).or_else(|| text(header::HOST)),
            agent: text(header::USER_AGENT),
            route: route.as_deref(),
        };
        with_version(incoming(tracer, head.method().as_str(), &parent, request), head.version()).start()
    }

    fn route_of(&self, head: &Request<()>) -> Option<String> {
        if let Some(route) = &self.route {
            return route(head);
        }
        #[cfg(feature = "axum")]
        if let Some(path) = head.extensions().get::<axum::extract::MatchedPath>() {
            return Some(path.as_str().to_owned());
        }
        None
    }
}

impl fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer").field("tracer", &self.tracer).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerService { layer: self.clone(), inner }
    }
}

/// The service that [`ServerLayer`] makes.
#[derive(Clone, Debug)]
pub struct ServerService<S> {
    layer: ServerLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for ServerService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut std::task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let request_id = RequestId::of(&parts.headers);
        let head = Request::from_parts(parts, ());
        // Nobody asks for the body of an answer to HEAD.
        let until_head = self.layer.until_head || head.method() == Method::HEAD;
        let trace_response = self.layer.trace_response;
        let span = self.layer.start(&head, &request_id);
        let (mut parts, ()) = head.into_parts();
        let mut context = span.context();
        parts.extensions.insert(context.clone());
        parts.extensions.insert(request_id.clone());
        let request = Request::from_parts(parts, body);
        // Services may do their work in `call` as well as in the future.
        let inner = run_in(&mut context, || self.inner.call(request));
        ServerFuture { inner, context, span: Some(span), request_id, until_head, trace_response }
    }
}

pin_project! {
    /// The future of [`ServerService`].
    #[derive(Debug)]
    pub struct ServerFuture<F> {
        #[pin]
        inner: F,
        context: Context,
        span: Option<Span>,
        request_id: RequestId,
        until_head: bool,
        trace_response: bool,
    }

    impl<F> PinnedDrop for ServerFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(span) = this.project().span.take() {
                span.event("cancelled");
            }
        }
    }
}

impl<F, R, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<TracedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        let result = ready!(poll_in(this.context, this.span, || inner.poll(task)));
        let context = std::mem::take(this.context);
        let Some(span) = this.span.take() else {
            return Poll::Ready(result.map(|response| response.map(|body| TracedBody::new(body, context, None, None))));
        };
        Poll::Ready(match result {
            Ok(mut response) => {
                let status = response.status().as_u16();
                server_status(&span, status);
                response.headers_mut().entry(&REQUEST_ID).or_insert_with(|| this.request_id.0.clone());
                if *this.trace_response {
                    tell_trace(response.headers_mut(), span.span_context());
                }
                let has_no_body = status < 200 || matches!(status, 204 | 205 | 304) || response.body().is_end_stream();
                let span = Some(span).filter(|_| !*this.until_head && !has_no_body);
                let length = response.headers().get(header::CONTENT_LENGTH);
                let length = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
                Ok(response.map(|body| TracedBody::new(body, context, span, length)))
            }
            // The error need not be printable; its type tells most.
            Err(error) => {
                let name = std::any::type_name::<E>();
                span.tag("error.type", Value::from_static(name)).error("the service failed without a response");
                Err(error)
            }
        })
    }
}

/// See [`ServerLayer::trace_response`].
fn tell_trace(headers: &mut HeaderMap, span: &SpanContext) {
    static TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");
    static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
    if !span.is_valid() {
        return;
    }
    let value = format!("00-{}-{}-{:02x}", span.trace_id, span.span_id, span.flags.to_byte());
    if let Ok(timing) = HeaderValue::try_from(format!("traceparent;desc=\"{value}\"")) {
        headers.append(&SERVER_TIMING, timing);
    }
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(&TRACE_RESPONSE, value);
    }
}

//! Outgoing requests.

use crate::http::{client_error, client_span_of, client_status};
use crate::poll_in;
use crate::{Context, Span, Tracer, run_in, tracer};
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// Traces outgoing requests: a client span `{METHOD}` (or `{METHOD} {target}`), child of the current span, whose
/// context goes into the request's headers.
///
/// The span covers the time until the head of the response. Tags: `http.request.method`, `url.full` (credentials
/// redacted), `server.address`, `server.port`, `http.response.status_code`, `error.type`. From status 400 on, and
/// when there is no response, the span is an error.
#[derive(Clone, Default)]
pub struct ClientLayer {
    tracer: Option<Tracer>,
    target: Option<TargetOf>,
}

type TargetOf = Arc<dyn Fn(&http::Uri) -> Option<String> + Send + Sync>;

impl ClientLayer {
    /// With the global tracer, as it is when a request is sent.
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

    /// Tells the template of what is asked for, such as `/images/{id}`, which becomes part of the name and
    /// `url.template`; `None` when there is none.
    #[must_use]
    pub fn target(mut self, target: impl Fn(&http::Uri) -> Option<String> + Send + Sync + 'static) -> Self {
        self.target = Some(Arc::new(target));
        self
    }
}

impl fmt::Debug for ClientLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLayer").field("tracer", &self.tracer).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = ClientService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientService { layer: self.clone(), inner }
    }
}

/// The service that [`ClientLayer`] makes.
#[derive(Clone, Debug)]
pub struct ClientService<S> {
    layer: ClientLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for ClientService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: fmt::Display,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut std::task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let tracer = self.layer.tracer.as_ref().unwrap_or_else(|| tracer());
        let span = client_span_of(tracer, request.method().as_str(), &request.uri().to_string());
        if let Some(target) = self.layer.target.as_ref().and_then(|target| target(request.uri())) {
            span.rename(format!("{} {target}", request.method())).tag("url.template", target);
        }
        let mut context = span.context();
        tracer.propagators().inject(&context, request.headers_mut());
        let inner = run_in(&mut context, || self.inner.call(request));
        ClientFuture { inner, context, span: Some(span) }
    }
}

pin_project! {
    /// The future of [`ClientService`].
    #[derive(Debug)]
    pub struct ClientFuture<F> {
        #[pin]
        inner: F,
        context: Context,
        span: Option<Span>,
    }

    impl<F> PinnedDrop for ClientFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(span) = this.project().span.take() {
                span.event("cancelled");
            }
        }
    }
}

impl<F, R, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: fmt::Display,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        let result = ready!(poll_in(this.context, this.span, || inner.poll(task)));
        if let Some(span) = this.span.take() {
            match &result {
                Ok(response) => client_status(&span, response.status().as_u16()),
                Err(error) => client_error(&span, error),
            }
        }
        Poll::Ready(result)
    }
}

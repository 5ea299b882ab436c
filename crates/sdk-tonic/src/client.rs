//! Outgoing calls.

use std::task::{Context, Poll};

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;
use tracewell::Tracer;

use crate::body::Call;
use crate::{CallFuture, Side, TracedBody, builder, with_authority};

/// Makes a client span of each call, whose context goes along in the metadata.
#[derive(Clone, Debug, Default)]
pub struct ClientLayer {
    tracer: Option<Tracer>,
    server: Option<String>,
}

impl ClientLayer {
    /// With the global tracer, as it is when a call is made.
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

    /// Tells whom the channel is connected to (`catalog:50051`), which tonic adds to a call only further in.
    #[must_use]
    pub fn server(mut self, authority: impl Into<String>) -> Self {
        self.server = Some(authority.into());
        self
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
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = CallFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let tracer = self.layer.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let span = builder(tracer, Side::Client, request.uri());
        let span = with_authority(span, authority.or(self.layer.server.as_deref())).start();
        tracer.propagators().inject(&span.context(), request.headers_mut());
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let inner = span.in_scope(|| self.inner.call(request));
        CallFuture::new(inner, Call { span, side: Side::Client, method })
    }
}

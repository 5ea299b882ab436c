//! Incoming calls.

use std::task::{Context, Poll};

use http::{Request, Response, header};
use tower_layer::Layer;
use tower_service::Service;
use tracewell::Tracer;

use crate::body::Call;
use crate::{CallFuture, Side, TracedBody, builder, with_authority};

/// Continues the caller's trace with a server span of each call, which is current in the handler and, as a
/// [`tracewell::Context`], among the request's extensions.
#[derive(Clone, Debug, Default)]
pub struct ServerLayer {
    tracer: Option<Tracer>,
}

impl ServerLayer {
    /// With the global tracer, as it is when a call comes in.
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
{
    type Response = Response<TracedBody<R>>;
    type Error = S::Error;
    type Future = CallFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let tracer = self.layer.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let parent = tracer.propagators().extract(request.headers());
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        // The parent is set through being current, for the first tag already asks the sampler.
        let span = parent.in_scope(|| builder(tracer, Side::Server, request.uri()));
        let span = with_authority(span, authority.or(host)).start();
        let method = request.uri().path().trim_start_matches('/').to_owned();
        request.extensions_mut().insert(span.context());
        let inner = span.in_scope(|| self.inner.call(request));
        CallFuture::new(inner, Call { span, side: Side::Server, method })
    }
}

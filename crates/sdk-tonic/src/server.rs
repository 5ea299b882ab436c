//! Incoming calls.

use http::{Request, header};
use tower_layer::Layer;
use tracewell::{Span, Tracer};

use crate::service::{CallService, SideLayer};
use crate::{Side, builder, with_authority};

/// Continues the caller's trace with a server span of each call, which is current in the handler and, as a
/// [`tracewell::Context`], among the request's extensions. Its request id is the caller's `x-request-id`, or made up.
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

    pub(crate) fn start<B>(&self, request: &mut Request<B>) -> Span {
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let parent = tracer.propagators().extract(request.headers()).ensure_request_id();
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        // The parent is set through being current, for the first tag already asks the sampler.
        let span = parent.clone().in_scope(|| builder(tracer, Side::Server, request.uri()));
        let span = with_authority(span, authority.or(host)).tag("request.id", parent.request_id()).start();
        request.extensions_mut().insert(span.context());
        span
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallService::new(SideLayer::Server(self.clone()), inner)
    }
}

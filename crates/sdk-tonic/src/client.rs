//! Outgoing calls.

use http::Request;
use tower_layer::Layer;
use tracewell::{Span, Tracer};

use crate::service::{CallService, SideLayer};
use crate::{Side, builder, with_authority};

/// Makes a client span of each call, whose context goes along in the metadata, and the request id as `x-request-id`.
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

    pub(crate) fn start<B>(&self, request: &mut Request<B>) -> Span {
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let span = builder(tracer, Side::Client, request.uri());
        let span = with_authority(span, authority.or(self.server.as_deref())).start();
        tracer.propagators().inject(&span.context(), request.headers_mut());
        span
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallService::new(SideLayer::Client(self.clone()), inner)
    }
}

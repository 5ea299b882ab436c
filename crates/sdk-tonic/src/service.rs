//! The service that both layers make.

use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use crate::body::Call;
use crate::client::ClientLayer;
use crate::server::ServerLayer;
use crate::{CallFuture, Side, TracedBody};

/// Makes a span of each call, as [`ClientLayer`] or [`ServerLayer`] says.
#[derive(Clone, Debug)]
pub struct CallService<S> {
    layer: SideLayer,
    inner: S,
}

#[derive(Clone, Debug)]
pub(crate) enum SideLayer {
    Client(ClientLayer),
    Server(ServerLayer),
}

impl<S> CallService<S> {
    pub(crate) fn new(layer: SideLayer, inner: S) -> Self {
        Self { layer, inner }
    }
}

impl<S, B, R> Service<Request<B>> for CallService<S>
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
        let (side, span) = match &self.layer {
            SideLayer::Client(layer) => (Side::Client, layer.start(&mut request)),
            SideLayer::Server(layer) => (Side::Server, layer.start(&mut request)),
        };
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let inner = span.in_scope(|| self.inner.call(request));
        CallFuture::new(inner, Call { span, side, method })
    }
}

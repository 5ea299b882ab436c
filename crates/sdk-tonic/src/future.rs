//! Calls until the head of their answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use crate::body::Call;
use crate::{Side, TracedBody};

pin_project! {
    /// The future of [`crate::ClientService`] and [`crate::ServerService`].
    #[derive(Debug)]
    pub struct CallFuture<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
    }

    impl<F> PinnedDrop for CallFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(call) = this.project().call.take() {
                call.cancelled();
            }
        }
    }
}

impl<F> CallFuture<F> {
    pub(crate) fn new(inner: F, call: Call) -> Self {
        Self { inner, call: Some(call) }
    }
}

impl<F, R, E> Future for CallFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<TracedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.call.as_ref() {
            Some(call) => call.span.in_scope(|| this.inner.poll(task)),
            None => this.inner.poll(task),
        };
        let result = ready!(result);
        let call = this.call.take();
        Poll::Ready(match result {
            Ok(response) => {
                let call = call.and_then(|call| call.end_with(response.headers()));
                Ok(response.map(|body| TracedBody::new(body, call)))
            }
            Err(error) => {
                if let Some(call) = call {
                    // What gRPC's clients make of no answer is `UNAVAILABLE`; a server that fails sends an unknown error.
                    let code = if call.side == Side::Client { "14" } else { "2" };
                    call.end(Some(code));
                }
                Err(error)
            }
        })
    }
}

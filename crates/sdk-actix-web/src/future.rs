//! A request until the head of its response.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{HeaderName, HeaderValue};
use pin_project_lite::pin_project;
use tracewell::{FutureExt as _, Span, WithContext, http};

use crate::TracedBody;

pin_project! {
    /// The future of [`crate::ServerService`].
    pub struct TracedFuture<F> {
        #[pin]
        inner: WithContext<F>,
        span: Option<Span>,
        is_head: bool,
    }

    impl<F> PinnedDrop for TracedFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(span) = this.project().span.take() {
                span.event("cancelled");
            }
        }
    }
}

impl<F: Future> TracedFuture<F> {
    pub(crate) fn new(inner: F, span: Span, is_head: bool) -> Self {
        Self { inner: inner.with_context(span.context()), span: Some(span), is_head }
    }
}

impl<F> std::fmt::Debug for TracedFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TracedFuture").field("span", &self.span).finish_non_exhaustive()
    }
}

impl<F, B> Future for TracedFuture<F>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<TracedBody<B>>, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(task));
        let span = this.span.take();
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                if let Some(span) = span {
                    http::server_status(&span, error.as_response_error().status_code().as_u16());
                }
                return Poll::Ready(Err(error));
            }
        };
        let status = response.status().as_u16();
        if let Some(span) = &span {
            http::server_status(span, status);
            let id = HeaderName::from_static("x-request-id");
            if let Some(Ok(value)) = span.context().request_id().map(HeaderValue::from_str)
                && !response.headers().contains_key(&id)
            {
                response.headers_mut().insert(id, value);
            }
        }
        let size = response.response().body().size();
        let has_no_body = *this.is_head
            || status < 200
            || matches!(status, 204 | 205 | 304)
            || matches!(size, BodySize::None | BodySize::Sized(0));
        let span = span.filter(|_| !has_no_body);
        Poll::Ready(Ok(response.map_body(|_, body| TracedBody::new(body, size, span))))
    }
}

//! Bodies of responses, with whose end the request's span ends.

use crate::{Context, Span, Value, display, poll_in};
use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Poll, ready};

pin_project! {
    /// The body of a response of [`crate::ServerService`]: the request's span is current while it is produced, and ends with
    /// it. One that fails makes the span an error, one that is dropped before its end says `cancelled`.
    #[derive(Debug)]
    pub struct TracedBody<B> {
        #[pin]
        inner: B,
        context: Context,
        span: Option<Span>,
        left_bytes: Option<u64>,
    }

    impl<B> PinnedDrop for TracedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(span) = this.project().span.take() {
                span.event("cancelled");
            }
        }
    }
}

impl<B> TracedBody<B> {
    /// `left_bytes` are those that the head promises: a server does not ask for more.
    pub(super) fn new(inner: B, context: Context, span: Option<Span>, left_bytes: Option<u64>) -> Self {
        Self { inner, context, span, left_bytes }
    }

    /// The body itself.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }
}

impl<B: Default> Default for TracedBody<B> {
    fn default() -> Self {
        Self::new(B::default(), Context::new(), None, None)
    }
}

impl<B: Body> Body for TracedBody<B>
where
    B::Error: fmt::Display,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let mut inner = this.inner;
        let frame = ready!(poll_in(this.context, this.span, || inner.as_mut().poll_frame(task)));
        let is_end = match &frame {
            Some(Ok(frame)) => {
                if let (Some(left), Some(data)) = (this.left_bytes.as_mut(), frame.data_ref()) {
                    *left = left.saturating_sub(data.remaining() as u64);
                }
                // Nobody asks a body for more that has said that it is at its end.
                inner.is_end_stream() || frame.is_trailers() || *this.left_bytes == Some(0)
            }
            Some(Err(error)) => {
                if let Some(span) = this.span.as_ref().filter(|span| span.is_recording()) {
                    span.tag("error.type", Value::from_static(std::any::type_name::<B::Error>()));
                    span.error(display(error));
                }
                true
            }
            None => true,
        };
        if is_end {
            drop(this.span.take());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

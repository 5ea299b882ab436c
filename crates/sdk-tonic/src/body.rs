//! Bodies of answers, at whose end the call's status is.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tracewell::Span;

use crate::{Side, end};

/// A call that goes on.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) span: Span,
    pub(crate) side: Side,
    pub(crate) method: String,
}

impl Call {
    pub(crate) fn end(self, status: Option<&str>) {
        end(&self.span, self.side, status, &self.method);
    }

    /// Ends the call if the headers say how it went; else gives it back.
    pub(crate) fn end_with(self, headers: &HeaderMap) -> Option<Self> {
        let Some(status) = headers.get("grpc-status") else { return Some(self) };
        self.end(status.to_str().ok());
        None
    }

    /// Nobody waits for the end any more.
    pub(crate) fn cancelled(self) {
        self.span.event("cancelled");
        self.end(Some("1"));
    }
}

pin_project! {
    /// An answer's body, which ends the span of its call.
    #[derive(Debug)]
    pub struct TracedBody<B> {
        #[pin]
        body: B,
        call: Option<Call>,
    }

    impl<B> PinnedDrop for TracedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(call) = this.project().call.take() {
                call.cancelled();
            }
        }
    }
}

impl<B> TracedBody<B> {
    pub(crate) fn new(body: B, call: Option<Call>) -> Self {
        Self { body, call }
    }
}

impl<B: Body> Body for TracedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = match this.call.as_ref() {
            Some(call) => call.span.in_scope(|| this.body.poll_frame(task)),
            None => return this.body.poll_frame(task),
        };
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(trailers), Some(call)) = (frame.trailers_ref(), this.call.take_if(|_| frame.is_trailers()))
                {
                    *this.call = call.end_with(trailers);
                }
            }
            Poll::Ready(Some(Err(_)) | None) => {
                if let Some(call) = this.call.take() {
                    call.end(None);
                }
            }
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Default> Default for TracedBody<B> {
    fn default() -> Self {
        Self { body: B::default(), call: None }
    }
}

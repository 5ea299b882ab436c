//! A response's body, with whose end its request's span ends.

use std::pin::Pin;
use std::task::{Context as Task, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use pin_project_lite::pin_project;
use tracewell::{Span, Value};

pin_project! {
    /// A body that is produced in the span of its request.
    #[derive(Debug)]
    pub struct TracedBody<B> {
        #[pin]
        body: B,
        span: Option<Span>,
        // Of a body whose size is known; it is not asked for more than that.
        left: Option<u64>,
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
    pub(crate) fn new(body: B, size: BodySize, span: Option<Span>) -> Self {
        let left = if let BodySize::Sized(bytes) = size { Some(bytes) } else { None };
        Self { body, span, left }
    }
}

impl<B: MessageBody> MessageBody for TracedBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        let this = self.project();
        let Some(span) = this.span.as_ref() else { return this.body.poll_next(task) };
        let next = span.in_scope(|| this.body.poll_next(task));
        let is_over = match &next {
            Poll::Pending => false,
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(bytes))) => {
                *this.left = this.left.map(|left| left.saturating_sub(bytes.len() as u64));
                *this.left == Some(0)
            }
            Poll::Ready(Some(Err(_))) => {
                // The error need not be printable; its type tells most.
                let name = std::any::type_name::<B::Error>();
                span.tag("error.type", Value::from_static(name)).error("the response's body failed");
                true
            }
        };
        if is_over {
            *this.span = None;
        }
        next
    }
}

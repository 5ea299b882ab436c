//! Entries inside a span.

use futures_core::Stream;
use futures_core::stream::BoxStream;
use object_store::Result;
use std::pin::Pin;
use std::task::{Context, Poll};
use tracewell::Span;

/// Entries, each of which is fetched inside the span, which ends with the last or with an error.
pub(crate) struct Listing<T> {
    entries: BoxStream<'static, Result<T>>,
    span: Option<Span>,
}

impl<T> Listing<T> {
    pub(crate) fn new(entries: BoxStream<'static, Result<T>>, span: Span) -> Self {
        Self { entries, span: Some(span) }
    }
}

impl<T> Stream for Listing<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(span) = &this.span else { return this.entries.as_mut().poll_next(task) };
        let _entered = span.enter();
        let polled = this.entries.as_mut().poll_next(task);
        match &polled {
            Poll::Pending | Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None) => this.span = None,
            Poll::Ready(Some(Err(error))) => {
                crate::note(error);
                this.span = None;
            }
        }
        polled
    }
}

//! Spans around streams, such as the rows of a query.

use crate::Span;
use futures_core::Stream;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is done with each item of a stream.
type Each<T> = fn(&Span, Option<&T>);

/// Gives streams a span. `use tracewell::StreamExt as _;`
pub trait StreamExt: Stream + Sized {
    /// Runs the stream inside the span, which ends with the stream or when it is dropped.
    fn in_span(self, span: Span) -> InSpanStream<Self, Each<Self::Item>> {
        self.in_span_with(span, |_, _| {})
    }

    /// As [`StreamExt::in_span`]; each item is shown beside the span before it is handed out, and `None` at
    /// the stream's end.
    fn in_span_with<F: FnMut(&Span, Option<&Self::Item>)>(self, span: Span, each: F) -> InSpanStream<Self, F> {
        InSpanStream { inner: self, span: Some(span), each }
    }
}

impl<S: Stream> StreamExt for S {}

pin_project! {
    /// See [`StreamExt::in_span`].
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct InSpanStream<S, F> {
        #[pin]
        inner: S,
        span: Option<Span>,
        each: F,
    }
}

impl<S: Stream, F: FnMut(&Span, Option<&S::Item>)> Stream for InSpanStream<S, F> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let Some(span) = this.span.as_ref() else { return this.inner.poll_next(task) };
        let item = span.in_scope(|| this.inner.poll_next(task));
        if let Poll::Ready(item) = &item {
            (this.each)(span, item.as_ref());
            if item.is_none() {
                *this.span = None;
            }
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

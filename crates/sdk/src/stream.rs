//! Spans around streams, such as the rows of a query.

use crate::{Span, poll_in, run_in};
use futures_core::Stream;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What is done with each item of a stream.
type Each<T> = fn(&Span, Option<&T>);

/// Gives streams a span. `use tracewell::StreamExt as _;`
pub trait StreamExt: Stream + Sized {
    /// Runs the stream inside the span, which ends with the stream. When it is dropped before that, the span ends with an
    /// event `cancelled`.
    fn in_span(self, span: Span) -> InSpanStream<Self, Each<Self::Item>> {
        self.in_span_with(span, |_, _| {})
    }

    /// As [`StreamExt::in_span`]; each item is shown beside the span before it is handed out, and `None` at
    /// the stream's end.
    fn in_span_with<F: FnMut(&Span, Option<&Self::Item>)>(self, span: Span, each: F) -> InSpanStream<Self, F> {
        InSpanStream { inner: self, context: span.context(), span: Some(span), each }
    }

    /// Runs the stream in the context, such as [`crate::Context::current`] of the task that hands it to somebody else: the
    /// body of a request is produced by a task of the client's, which knows no context.
    ///
    /// ```ignore
    /// let body = reqwest::Body::wrap_stream(rows.with_context(Context::current()));
    /// ```
    fn with_context(self, context: crate::Context) -> WithContextStream<Self> {
        WithContextStream { inner: self, context }
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
        context: crate::Context,
        span: Option<Span>,
        each: F,
    }

    impl<S, F> PinnedDrop for InSpanStream<S, F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(span) = this.project().span.take() {
                span.event("cancelled");
            }
        }
    }
}

impl<S: Stream, F: FnMut(&Span, Option<&S::Item>)> Stream for InSpanStream<S, F> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let inner = this.inner;
        if this.span.is_none() {
            return inner.poll_next(task);
        }
        let item = ready!(poll_in(this.context, this.span, || inner.poll_next(task)));
        if let Some(span) = this.span.as_ref() {
            (this.each)(span, item.as_ref());
        }
        if item.is_none() {
            drop(this.span.take());
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

pin_project! {
    /// See [`StreamExt::with_context`].
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct WithContextStream<S> {
        #[pin]
        inner: S,
        context: crate::Context,
    }
}

impl<S: Stream> Stream for WithContextStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let inner = this.inner;
        run_in(this.context, || inner.poll_next(task))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

#[cfg(all(test, not(feature = "off")))]
mod tests {
    use super::*;
    use crate::{Config, InMemoryExporter, Status, Tracer, span};
    use std::time::Duration;

    /// Makes a span for each item, and panics after so many.
    struct Rows(usize);

    impl Stream for Rows {
        type Item = usize;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<usize>> {
            span("row").start().end();
            self.0 = self.0.checked_sub(1).expect("there are more rows");
            Poll::Ready(Some(self.0))
        }
    }

    async fn next(stream: &mut (impl Stream + Unpin)) {
        std::future::poll_fn(|task| Pin::new(&mut *stream).poll_next(task)).await;
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_says_cancelled_and_one_that_panics_is_an_error() {
        let exporter = InMemoryExporter::new();
        let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
        let mut dropped = Rows(2).in_span(tracer.span("dropped").start());
        next(&mut dropped).await;
        drop(dropped);
        let mut panics = Rows(0).in_span(tracer.span("panics").start());
        tokio::spawn(async move { next(&mut panics).await }).await.unwrap_err();
        let around = tracer.span("around").start();
        let mut elsewhere = Rows(1).with_context(around.context());
        tokio::spawn(async move { next(&mut elsewhere).await }).await.unwrap();
        drop(around);
        tracer.shutdown(Duration::from_secs(30)).unwrap();
        assert_eq!(exporter.span("dropped").unwrap().events[0].name, "cancelled");
        let panicked = exporter.span("panics").unwrap();
        assert_eq!(panicked.status, Status::Error("panicked: there are more rows".into()));
        let around = exporter.span("around").unwrap().context.span_id;
        assert_eq!(exporter.spans().iter().filter(|span| span.parent_span_id == Some(around)).count(), 1);
    }
}

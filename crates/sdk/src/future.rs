//! Context for futures: entered for each poll, left after it.

use crate::{Context, Span, context};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Poll, ready};

/// Gives futures a span or a context. `use tracewell::FutureExt as _;`
pub trait FutureExt: Future + Sized {
    /// Runs the future inside the span, which ends when the future is ready. When it is dropped before that, the
    /// span ends with an event `cancelled`.
    fn in_span(self, span: Span) -> InSpan<Self> {
        InSpan { context: span.context(), span: Some(span), inner: self }
    }

    /// Runs the future in the context, such as [`Context::current`] of the task that spawns it.
    fn with_context(self, context: Context) -> WithContext<Self> {
        WithContext { context, inner: self }
    }
}

impl<F: Future> FutureExt for F {}

pin_project! {
    /// See [`FutureExt::in_span`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InSpan<F> {
        #[pin]
        inner: F,
        context: Context,
        span: Option<Span>,
    }

    impl<F> PinnedDrop for InSpan<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(span) = this.project().span.take() {
                span.event("cancelled");
            }
        }
    }
}

impl<F: Future> Future for InSpan<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let inner = this.inner;
        let output = ready!(poll_in(this.context, this.span, || inner.poll(task)));
        drop(this.span.take());
        Poll::Ready(output)
    }
}

/// Polls in the context. A panic ends the span at once: a runtime catches it and drops the future only later, when
/// nothing tells any more that it panicked.
pub(crate) fn poll_in<R>(context: &mut Context, span: &mut Option<Span>, poll: impl FnOnce() -> R) -> R {
    struct EndOnPanic<'a>(&'a mut Option<Span>);
    impl Drop for EndOnPanic<'_> {
        fn drop(&mut self) {
            self.0.take();
        }
    }
    let end_on_panic = EndOnPanic(span);
    let result = context::run_in(context, poll);
    std::mem::forget(end_on_panic);
    result
}

pin_project! {
    /// See [`FutureExt::with_context`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct WithContext<F> {
        #[pin]
        inner: F,
        context: Context,
    }
}

impl<F: Future> Future for WithContext<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let inner = this.inner;
        context::run_in(this.context, || inner.poll(task))
    }
}

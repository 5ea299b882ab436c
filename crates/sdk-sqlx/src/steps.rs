//! A stream of what a future gives bit by bit: the future owns what the stream borrows from.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;

/// The items that `work` gives to its [`Giver`], in order.
pub(crate) fn steps<'e, T, F>(work: impl FnOnce(Giver<T>) -> F) -> BoxStream<'e, T>
where
    T: Send + 'e,
    F: Future<Output = ()> + Send + 'e,
{
    let slot = Arc::new(Mutex::new(None));
    let work = Box::pin(work(Giver { slot: Arc::clone(&slot) }));
    Box::pin(Steps { work: Some(work), slot })
}

/// Hands items to the stream, one for each time that it is asked.
pub(crate) struct Giver<T> {
    slot: Arc<Mutex<Option<T>>>,
}

impl<T> Giver<T> {
    pub(crate) async fn give(&self, item: T) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(item);
        // Goes on when the stream is asked for the next.
        let mut given = false;
        std::future::poll_fn(|_| if std::mem::replace(&mut given, true) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }
}

/// The stream's next item.
pub(crate) async fn next<T>(stream: &mut BoxStream<'_, T>) -> Option<T> {
    std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
}

struct Steps<'e, T> {
    /// `None` once it is done.
    work: Option<BoxFuture<'e, ()>>,
    slot: Arc<Mutex<Option<T>>>,
}

impl<T> Stream for Steps<'_, T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        let is_done = work.as_mut().poll(context).is_ready();
        if is_done {
            self.work = None;
        }
        match self.slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(item) => Poll::Ready(Some(item)),
            None if is_done => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

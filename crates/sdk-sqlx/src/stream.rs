//! Rows inside a span.

use futures_core::Stream;
use futures_core::stream::BoxStream;
use sqlx::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use tracewell::Span;

/// Rows, each of which is fetched inside the span, which ends with the last or with an error.
pub(crate) struct SpanStream<'e, T> {
    rows: BoxStream<'e, Result<T, Error>>,
    span: Option<Span>,
}

impl<'e, T> SpanStream<'e, T> {
    pub(crate) fn new(rows: BoxStream<'e, Result<T, Error>>, span: Span) -> Self {
        Self { rows, span: Some(span) }
    }
}

impl<T> Stream for SpanStream<'_, T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(span) = &this.span else { return this.rows.as_mut().poll_next(task) };
        let _entered = span.enter();
        let polled = this.rows.as_mut().poll_next(task);
        match &polled {
            Poll::Pending | Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(None) => this.span = None,
            Poll::Ready(Some(Err(error))) => {
                note(error);
                this.span = None;
            }
        }
        polled
    }
}

/// Marks the current span as failed. What the database says may repeat values; its code does not.
pub(crate) fn note(error: &Error) {
    match error {
        // An answer like any other.
        Error::RowNotFound => {}
        Error::Database(database) => {
            if let Some(code) = database.code() {
                tracewell::tag("db.response.status_code", code);
            }
            tracewell::tag("error.type", format!("{:?}", database.kind()));
            tracewell::error("the database refused the statement");
        }
        other => {
            tracewell::tag("error.type", "sqlx::Error");
            tracewell::error(other);
        }
    }
}

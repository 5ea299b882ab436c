//! Calls whose result says something of their span.

use crate::{FutureExt as _, Span};
use std::future::Future;

/// Runs the work inside the span, shows its result beside the span, and ends the span. When the work is given up before it
/// is done, the span ends with an event `cancelled`.
///
/// ```
/// # async fn ask() -> Result<u8, std::io::Error> { Ok(7) }
/// # async fn example() {
/// let answer = tracewell::with_outcome(tracewell::span("ask").start(), ask(), |span, answer| match answer {
///     Ok(answer) => _ = span.tag("answer", i64::from(*answer)),
///     Err(error) => _ = span.error(error),
/// })
/// .await;
/// # drop(answer);
/// # }
/// ```
pub async fn with_outcome<T>(span: Span, work: impl Future<Output = T>, outcome: impl FnOnce(&Span, &T)) -> T {
    struct Cancelled(Option<Span>);
    impl Drop for Cancelled {
        fn drop(&mut self) {
            if let Some(span) = self.0.take()
                && !std::thread::panicking()
            {
                span.event("cancelled");
            }
        }
    }
    let context = span.context();
    let mut cancelled = Cancelled(Some(span));
    let result = work.with_context(context).await;
    if let Some(span) = cancelled.0.take() {
        outcome(&span, &result);
    }
    result
}

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

#[cfg(all(test, not(feature = "off")))]
mod tests {
    use super::*;
    use crate::{Config, Context, InMemoryExporter, Tracer};
    use std::time::Duration;

    #[tokio::test]
    async fn a_result_is_shown_and_work_that_is_given_up_is_cancelled() {
        let exporter = InMemoryExporter::new();
        let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
        let inside = async { Context::current().span_context().span_id };
        let span_id = with_outcome(tracer.span("done").start(), inside, |span, id| {
            span.tag("result", id.to_string());
        })
        .await;
        {
            let span = tracer.span("given up").start();
            let mut work = std::pin::pin!(with_outcome(span, std::future::pending::<()>(), |_, ()| {}));
            std::future::poll_fn(|task| {
                assert!(work.as_mut().poll(task).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        tracer.shutdown(Duration::from_secs(30)).unwrap();
        let done = exporter.span("done").unwrap();
        assert_eq!(done.context.span_id, span_id);
        assert_eq!(done.tag_value("result"), Some(&span_id.to_string().into()));
        assert!(done.events.is_empty());
        assert_eq!(exporter.span("given up").unwrap().events[0].name, "cancelled");
    }
}

//! Ids in log lines.

use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Puts `trace_id=... span_id=... request_id=...` before each line of a text format, as far as there are such.
pub fn with_ids<F>(format: F) -> WithIds<F> {
    WithIds { format }
}

/// A format with ids; made by [`with_ids`].
#[derive(Clone, Debug, Default)]
pub struct WithIds<F> {
    format: F,
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let ids = tracewell::ids().to_string();
        if !ids.is_empty() {
            write!(writer, "{ids} ")?;
        }
        self.format.format_event(context, writer, event)
    }
}

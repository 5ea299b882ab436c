//! Spans as lines, to look at.

use super::{Batch, ExportError, Exporter};
use crate::{SpanData, Status};
use std::fmt::Write as _;
use std::io::Write as _;

/// Prints a line for each span to the standard output: its duration, name, identity, tags, events and error. Also
/// `OTEL_TRACES_EXPORTER=console`.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutExporter;

impl Exporter for StdoutExporter {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        let lines: String = batch.spans().iter().map(line).collect();
        // Who looks has gone: there is nobody to tell.
        let _ = std::io::stdout().lock().write_all(lines.as_bytes());
        Ok(())
    }
}

fn line(span: &SpanData) -> String {
    let millis = span.end_unix_nanos.saturating_sub(span.start_unix_nanos) as f64 / 1e6;
    let mut line = format!("{millis:>10.3} ms  {}", span.name);
    let (trace_id, span_id) = (span.context.trace_id, span.context.span_id);
    // Writing to a string cannot fail.
    let _ = write!(line, "  trace={trace_id} span={span_id}");
    if let Some(parent) = span.parent_span_id {
        let _ = write!(line, " parent={parent}");
    }
    for (key, value) in &span.tags {
        let _ = write!(line, " {key}={value}");
    }
    for event in &span.events {
        let _ = write!(line, " event={:?}", event.name);
    }
    if let Status::Error(text) = &span.status {
        let _ = write!(line, " error={text:?}");
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpanId;

    #[test]
    fn a_line_says_what_the_span_says() {
        let mut span =
            SpanData { name: "GET".into(), start_unix_nanos: 1, end_unix_nanos: 2_500_001, ..SpanData::default() };
        span.tags = vec![("url.path".into(), "/a b".into()), ("count".into(), 3.into())];
        span.parent_span_id = Some(SpanId::from_bytes([0, 0, 0, 0, 0, 0, 0, 7]));
        span.status = Status::Error("broken".into());
        let zeros = ("0".repeat(32), "0".repeat(16));
        let expected = format!(
            "     2.500 ms  GET  trace={} span={} parent=0000000000000007 url.path=\"/a b\" count=3 error=\"broken\"\n",
            zeros.0, zeros.1
        );
        assert_eq!(line(&span), expected);
    }
}

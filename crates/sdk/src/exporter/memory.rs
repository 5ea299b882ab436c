//! Spans kept for tests.

use super::{Batch, ExportError, Exporter};
use crate::{Resource, SpanData, Status};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps spans in memory, for tests: clone it, give one to [`crate::Config::exporter`], ask the other.
#[derive(Clone, Debug, Default)]
pub struct InMemoryExporter {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<SpanData>,
    batches: Vec<KeptBatch>,
}

/// A batch as it was offered.
#[derive(Debug)]
struct KeptBatch {
    resource: Resource,
    otlp: Vec<u8>,
    spans_at: usize,
    len: usize,
}

impl InMemoryExporter {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The spans exported so far, in the order they ended on each thread. Flush the tracer first.
    #[must_use]
    pub fn spans(&self) -> Vec<SpanData> {
        self.lock().spans.clone()
    }

    /// Forgets the spans exported so far, for the next part of a test. Flush the tracer first.
    pub fn clear(&self) {
        *self.lock() = Kept::default();
    }

    /// Offers the batches exported so far to another exporter, once each, for the test of that one.
    ///
    /// # Errors
    /// Its first.
    pub fn export_to(&self, exporter: &mut impl Exporter) -> Result<(), ExportError> {
        self.lock().batches.iter().try_for_each(|batch| {
            let KeptBatch { resource, otlp, spans_at, len } = batch;
            exporter.export(&Batch { resource, otlp, spans_at: *spans_at, len: *len, attempt: 1 })
        })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The exported span of that name, when there is exactly one.
    #[must_use]
    pub fn span(&self, name: &str) -> Option<SpanData> {
        let mut named = self.spans().into_iter().filter(|span| span.name == name);
        named.next().filter(|_| named.next().is_none())
    }
}

impl InMemoryExporter {
    /// The spans as a picture, for tests to compare: a line each, under its parent, in the order they started. Behind the
    /// name stand the tags of these keys, events, and errors.
    ///
    /// ```text
    /// GET /images/{id} http.response.status_code=500 error=""
    ///   SELECT images error="no such table"
    ///     * retried
    /// ```
    #[must_use]
    pub fn tree(&self, keys: &[&str]) -> String {
        let mut spans = self.spans();
        spans.sort_by_key(|span| (span.start_unix_nanos, std::cmp::Reverse(span.end_unix_nanos)));
        let mut out = String::new();
        let is_root = |span: &&SpanData| !spans.iter().any(|other| span.parent_span_id == Some(other.context.span_id));
        // Depth first; the youngest child is put on the stack first.
        let mut stack: Vec<(usize, &SpanData)> = spans.iter().filter(is_root).map(|span| (0, span)).collect();
        stack.reverse();
        while let Some((depth, span)) = stack.pop() {
            line(&mut out, depth, span, keys);
            let children = spans.iter().filter(|child| child.parent_span_id == Some(span.context.span_id));
            stack.extend(children.rev().map(|child| (depth + 1, child)));
        }
        out
    }
}

fn line(out: &mut String, depth: usize, span: &SpanData, keys: &[&str]) {
    let indent = "  ".repeat(depth);
    // Writing to a string cannot fail.
    let _ = write!(out, "{indent}{}", span.name);
    for (key, value) in span.tags.iter().filter(|(key, _)| keys.contains(&&**key)) {
        let _ = write!(out, " {key}={value}");
    }
    if let Status::Error(text) = &span.status {
        let _ = write!(out, " error={text:?}");
    }
    out.push('\n');
    for event in &span.events {
        let _ = writeln!(out, "{indent}  * {}", event.name);
    }
}

impl Exporter for InMemoryExporter {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        let mut kept = self.lock();
        kept.spans.extend(batch.spans());
        let (resource, otlp) = (batch.resource().clone(), batch.otlp().to_vec());
        kept.batches.push(KeptBatch { resource, otlp, spans_at: batch.spans_at, len: batch.len });
        Ok(())
    }
}

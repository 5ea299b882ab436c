//! Reading whole traces of any size: a portion at a time.

use async_trait::async_trait;
use tracewell_model::SpanBatch;

use crate::{Projection, StoreError};

/// Reads some traces a portion at a time; see [`SpanStore::open_traces`](crate::SpanStore::open_traces).
///
/// The spans are those that the store had when the reader was opened, whatever is appended, merged or deleted since, each
/// reading of them in the same order. A span appended twice comes twice.
#[async_trait]
pub trait TraceReader: Send {
    /// The next spans. A portion ends with the row or the block with which it has `max_bytes` or more.
    async fn next(&mut self, max_bytes: usize) -> Result<TracePortion, StoreError>;

    /// Goes back to the beginning, to read the same spans with another projection.
    fn restart(&mut self, projection: Projection);
}

/// Some of the spans that a [`TraceReader`] reads.
#[derive(Clone, Debug, Default)]
pub struct TracePortion {
    /// The spans, of one or of several traces.
    pub spans: SpanBatch,
    /// Whether there are no more.
    pub is_last: bool,
}

/// Spans that were read at once, by a store that has no other way.
pub(crate) struct WholeReader {
    spans: SpanBatch,
    row: usize,
}

impl WholeReader {
    /// Reads from a batch with everything that spans say.
    pub(crate) fn new(spans: SpanBatch) -> Self {
        Self { spans, row: 0 }
    }
}

#[async_trait]
impl TraceReader for WholeReader {
    async fn next(&mut self, max_bytes: usize) -> Result<TracePortion, StoreError> {
        if self.row == 0 && self.spans.content_bytes() <= max_bytes {
            self.row = self.spans.len();
            return Ok(TracePortion { spans: self.spans.clone(), is_last: true });
        }
        let mut spans = SpanBatch::new();
        let mut copier = tracewell_model::BatchCopier::new(&self.spans);
        while self.row < self.spans.len() && spans.content_bytes() < max_bytes {
            copier.copy_span(self.row, &mut spans);
            self.row += 1;
        }
        Ok(TracePortion { spans, is_last: self.row == self.spans.len() })
    }

    fn restart(&mut self, _: Projection) {
        self.row = 0;
    }
}

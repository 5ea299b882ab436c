//! What a store must give back.

use std::collections::{BTreeMap, BTreeSet};

use tracewell_model::{SpanBatch, SpanId, TraceId};

/// The reference model: which spans each trace has, however they were batched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    traces: BTreeMap<TraceId, BTreeSet<SpanId>>,
}

impl Expected {
    /// Notes the spans of a batch.
    pub fn add(&mut self, batch: &SpanBatch) {
        let spans = batch.spans();
        for (trace_id, span_id) in spans.trace_id.iter().zip(&spans.span_id) {
            self.traces.entry(*trace_id).or_default().insert(*span_id);
        }
    }

    /// How many spans there are in all.
    pub fn spans(&self) -> usize {
        self.traces.values().map(BTreeSet::len).sum()
    }

    /// The traces with the ids of their spans.
    pub fn traces(&self) -> &BTreeMap<TraceId, BTreeSet<SpanId>> {
        &self.traces
    }

    /// Whether a batch holds exactly the spans of this trace, each once; says what is wrong if not.
    ///
    /// # Errors
    /// In words: which spans are missing, unexpected or doubled.
    pub fn check(&self, trace_id: TraceId, found: &SpanBatch) -> Result<(), String> {
        let empty = BTreeSet::new();
        let wanted = self.traces.get(&trace_id).unwrap_or(&empty);
        if let Some(other) = found.spans().trace_id.iter().find(|id| **id != trace_id) {
            return Err(format!("trace {trace_id}: holds a span of trace {other}"));
        }
        let ids: BTreeSet<SpanId> = found.spans().span_id.iter().copied().collect();
        let missing = wanted.difference(&ids).count();
        let unexpected = ids.difference(wanted).count();
        let doubled = found.len() - ids.len();
        if missing + unexpected + doubled > 0 {
            let wanted = wanted.len();
            return Err(format!(
                "trace {trace_id}: of {wanted} spans {missing} are missing, {unexpected} unexpected, {doubled} doubled"
            ));
        }
        Ok(())
    }
}

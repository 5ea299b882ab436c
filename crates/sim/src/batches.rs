//! The spans as services would send them.

use std::collections::{BTreeMap, VecDeque};

use tracewell_model::{BatchCopier, SpanBatch};

use crate::Traces;

/// Export requests: each of one service, its spans in the order in which they ended within a trace. A trace's spans lie
/// in the requests of all its services, and a service's request holds spans of several traces.
#[derive(Debug)]
pub struct Requests {
    traces: Traces,
    spans_per_request: usize,
    /// What each service has not sent yet; less than a request each.
    waiting: BTreeMap<String, SpanBatch>,
    ready: VecDeque<SpanBatch>,
}

impl Requests {
    pub(crate) fn new(traces: Traces, spans_per_request: usize) -> Self {
        Self { traces, spans_per_request: spans_per_request.max(1), waiting: BTreeMap::new(), ready: VecDeque::new() }
    }

    fn take(&mut self, trace: &SpanBatch) {
        let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for span in trace.iter() {
            rows.entry(span.service()).or_default().push(span.row());
        }
        for (service, rows) in rows {
            if !self.waiting.contains_key(service) {
                self.waiting.insert(service.to_owned(), SpanBatch::new());
            }
            let Some(batch) = self.waiting.get_mut(service) else { continue };
            let mut copier = BatchCopier::new(trace);
            for row in rows {
                copier.copy_span(row, batch);
                if batch.len() >= self.spans_per_request {
                    self.ready.push_back(std::mem::take(batch));
                    copier = BatchCopier::new(trace);
                }
            }
        }
    }
}

impl Iterator for Requests {
    type Item = SpanBatch;

    fn next(&mut self) -> Option<SpanBatch> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Some(batch);
            }
            match self.traces.next() {
                Some(trace) => self.take(&trace),
                None => {
                    let (_, batch) = self.waiting.pop_first()?;
                    if !batch.is_empty() {
                        return Some(batch);
                    }
                }
            }
        }
    }
}

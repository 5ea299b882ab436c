//! Spans in memory, visible the moment they are in.

use std::collections::{BTreeSet, HashMap};

use tracewell_model::{BatchCopier, SpanBatch, TraceId};

use crate::Scan;
use crate::names::Names;
use crate::scan::{self, Hit};

/// The spans of one tenant, in the batches they came in.
#[derive(Default)]
pub(crate) struct Memtable {
    batches: Vec<SpanBatch>,
    /// Where each trace's spans lie: batch and row.
    traces: HashMap<TraceId, Vec<(u32, u32)>>,
    names: Names,
    spans: usize,
    bytes: usize,
    /// The earliest and the latest start.
    starts: Option<(u64, u64)>,
}

impl Memtable {
    pub(crate) fn insert(&mut self, batch: SpanBatch) {
        let number = self.batches.len() as u32;
        for (row, (trace_id, start)) in batch.spans().trace_id.iter().zip(&batch.spans().start_unix_nano).enumerate() {
            self.traces.entry(*trace_id).or_default().push((number, row as u32));
            let (first, last) = self.starts.get_or_insert((*start, *start));
            *first = (*first).min(*start);
            *last = (*last).max(*start);
        }
        self.names.add(&batch);
        self.spans += batch.len();
        // The index takes about 48 bytes a trace and 8 a span.
        self.bytes += batch.size_bytes() + batch.len() * 16;
        self.batches.push(batch);
    }

    pub(crate) fn spans(&self) -> usize {
        self.spans
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn starts(&self) -> Option<(u64, u64)> {
        self.starts
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn batches(&self) -> &[SpanBatch] {
        &self.batches
    }

    /// Appends the spans of some traces to `out`.
    pub(crate) fn traces(&self, ids: &[TraceId], out: &mut SpanBatch) {
        let mut places: Vec<(u32, u32)> = ids.iter().filter_map(|id| self.traces.get(id)).flatten().copied().collect();
        places.sort_unstable();
        for group in places.chunk_by(|left, right| left.0 == right.0) {
            let mut copier = BatchCopier::new(&self.batches[group[0].0 as usize]);
            for (_, row) in group {
                copier.copy_span(*row as usize, out);
            }
        }
    }

    /// Appends the rows of a scan that come first in its order, at most `limit` of them.
    pub(crate) fn scan(&self, scan: &Scan, limit: usize, out: &mut Vec<Hit>) {
        let Some((first, last)) = self.starts else { return };
        if !scan.time.overlaps(first, last) {
            return;
        }
        for batch in &self.batches {
            scan::add_hits(scan, batch, limit, out);
        }
    }

    /// Adds values of an attribute as text.
    pub(crate) fn values(&self, wanted: &crate::names::ValuesOf<'_>, out: &mut BTreeSet<String>) {
        for batch in &self.batches {
            wanted.collect(batch, out);
        }
    }
}

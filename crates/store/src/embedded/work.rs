//! What the flush thread did, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::{StoreError, WorkStats};

/// Counters since the store was opened.
#[derive(Default)]
pub(super) struct Work {
    flushes: AtomicU64,
    flush_nanos: AtomicU64,
    failed_flushes: AtomicU64,
    merges: AtomicU64,
    merge_nanos: AtomicU64,
    retired_segments: AtomicU64,
}

impl Work {
    pub(super) fn flushed(&self, begun: Instant, result: &Result<(), StoreError>) {
        self.flush_nanos.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
        let counter = if result.is_ok() { &self.flushes } else { &self.failed_flushes };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn merged(&self, begun: Instant, result: &Result<(), StoreError>) {
        self.merge_nanos.fetch_add(begun.elapsed().as_nanos() as u64, Relaxed);
        if result.is_ok() {
            self.merges.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn retired(&self, segments: usize) {
        self.retired_segments.fetch_add(segments as u64, Relaxed);
    }

    /// The counters now; what is not counted here is left 0.
    pub(super) fn snapshot(&self) -> WorkStats {
        WorkStats {
            flushes: self.flushes.load(Relaxed),
            flush_nanos: self.flush_nanos.load(Relaxed),
            failed_flushes: self.failed_flushes.load(Relaxed),
            merges: self.merges.load(Relaxed),
            merge_nanos: self.merge_nanos.load(Relaxed),
            retired_segments: self.retired_segments.load(Relaxed),
            ..WorkStats::default()
        }
    }
}

//! What a thread gathers by itself before it takes the queue's lock.

use super::queue::Chunk;
use crate::recording::Recording;
use crate::sync::{Arc, Mutex, thread_local};
use std::cell::RefCell;

/// Spans that a thread gathers before it takes the queue's lock.
pub(super) const CHUNK_SPANS: usize = 64;

/// A thread's own.
#[derive(Default)]
pub(super) struct Buffer(pub(super) Mutex<Own>);

#[derive(Default)]
pub(super) struct Own {
    pub(super) chunk: Chunk,
    /// Every recording that this thread has made and that is still in use, when pending spans are reported.
    pub(super) recordings: Vec<Arc<Recording>>,
    forget_at: usize,
}

impl Own {
    /// Remembers a recording.
    pub(super) fn register(&mut self, recording: &Arc<Recording>) {
        if self.recordings.len() >= self.forget_at {
            self.forget();
        }
        self.recordings.push(Arc::clone(recording));
    }

    /// Forgets recordings that nobody else knows any more.
    pub(super) fn forget(&mut self) {
        self.recordings.retain(|recording| Arc::strong_count(recording) > 1);
        self.forget_at = (2 * self.recordings.len()).max(256);
    }
}

thread_local! {
    /// This thread's buffers, one for each pipeline it has ended spans of.
    pub(super) static BUFFERS: RefCell<Vec<(u64, Arc<Buffer>)>> = const { RefCell::new(Vec::new()) };
}

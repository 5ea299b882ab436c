//! The spans that wait for the exporter, bounded in number and in bytes. No locks: see [`super::Pipeline`].

use std::collections::VecDeque;

/// A thread gathers so many bytes of spans before it takes the queue's lock.
pub(super) const CHUNK_BYTES: usize = 16 << 10;
/// Emptied chunks that are kept for the next.
const MOST_FREE_CHUNKS: usize = 64;

/// Encoded spans.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: usize,
    /// How many of them are not finished: they are copies of spans that are still open.
    pub(super) pending: usize,
}

impl Chunk {
    /// Those that count as recorded: what is pending counts when it ends.
    pub(super) fn ended(&self) -> u64 {
        (self.spans - self.pending) as u64
    }
}

/// Bounds on what waits, and on what goes out together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) queue_spans: usize,
    pub(super) queue_bytes: usize,
    pub(super) batch_spans: usize,
    pub(super) batch_bytes: usize,
}

impl Bounds {
    pub(super) fn chunk_bytes(&self) -> usize {
        CHUNK_BYTES.min(self.batch_bytes)
    }
}

pub(super) struct Queue {
    bounds: Bounds,
    chunks: VecDeque<Chunk>,
    spans: usize,
    bytes: usize,
    /// Emptied, to be filled again.
    free: Vec<Vec<u8>>,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, chunks: VecDeque::new(), spans: 0, bytes: 0, free: Vec::new() }
    }

    /// How many chunks wait.
    pub(super) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// How many spans wait, without those that are pending.
    pub(super) fn ended(&self) -> u64 {
        self.chunks.iter().map(Chunk::ended).sum()
    }

    #[cfg(test)]
    pub(super) fn spans(&self) -> usize {
        self.spans
    }

    /// Whether there is enough for a whole batch.
    pub(super) fn has_batch(&self) -> bool {
        self.spans >= self.bounds.batch_spans || self.bytes >= self.bounds.batch_bytes
    }

    /// Takes a chunk, or gives it back when there is no room. One that is larger than the queue may be alone in it.
    pub(super) fn push(&mut self, chunk: Chunk) -> Result<(), Chunk> {
        let (spans, bytes) = (self.spans + chunk.spans, self.bytes + chunk.bytes.len());
        if spans > self.bounds.queue_spans || (bytes > self.bounds.queue_bytes && !self.chunks.is_empty()) {
            return Err(chunk);
        }
        (self.spans, self.bytes) = (spans, bytes);
        self.chunks.push_back(chunk);
        Ok(())
    }

    /// Takes the oldest chunks, as many as go out together: at least one, if there is any.
    pub(super) fn next_batch(&mut self) -> Vec<Chunk> {
        let (mut spans, mut bytes) = (0, 0);
        let fitting = self.chunks.iter().take_while(|chunk| {
            spans += chunk.spans;
            bytes += chunk.bytes.len();
            spans <= self.bounds.batch_spans && bytes <= self.bounds.batch_bytes
        });
        let count = fitting.count().max(1).min(self.chunks.len());
        let batch: Vec<Chunk> = self.chunks.drain(..count).collect();
        for chunk in &batch {
            self.spans -= chunk.spans;
            self.bytes -= chunk.bytes.len();
        }
        batch
    }

    /// The bytes of an emptied chunk, or new ones.
    pub(super) fn free_bytes(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// Keeps the bytes for [`Queue::free_bytes`], within bounds.
    pub(super) fn reuse(&mut self, mut bytes: Vec<u8>) {
        if self.free.len() < MOST_FREE_CHUNKS && bytes.capacity() <= 2 * CHUNK_BYTES {
            bytes.clear();
            self.free.push(bytes);
        }
    }
}

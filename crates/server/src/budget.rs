//! One memory budget for the whole process, divided among those that take what others decide the size of.
//!
//! ```text
//! --memory  ┬─ 3/8  ingest      bodies as they arrive, what they decompress and decode to, until the store has it
//!           ├─ 2/8  memtables   spans that are not in segments yet, those that are being flushed included
//!           ├─ 3/16 queries     what questions read and keep while they are answered
//!           ├─ 1/16 answers     what is encoded and not yet sent
//!           └─ 1/8  not given   flushes and merges, connections, the program, what malloc keeps
//! ```
//!
//! Ingest has the largest share because the largest request that the defaults allow needs it at once: 64 MiB when
//! decompressed, 64 MiB when decoded, and as much again while the log's record is made. Memtables have a quarter, which is
//! 128 MiB of the default of 512 MiB; a flush of one needs about its size again, and that is what is not given.
//!
//! The parts do not lend to each other: whoever is full is told to come again, and nobody pays for a neighbour.

mod machine;
mod part;

pub use part::{Held, Part, Short};

/// With less than this in all, the parts stay as they are for it, or ordinary requests would no longer fit: 36 MiB for
/// ingest, 24 for memtables, 18 for queries, 6 for answers.
pub const MIN_DIVIDED_BYTES: usize = 96 << 20;

/// However much there is, this is the default: a tracing server is a guest on most machines.
const MAX_DEFAULT_BYTES: u64 = 512 << 20;

/// An active memtable is handed to the flush at this part of the whole: a quarter of what memtables may take together, so
/// that one fills while others are written. A small budget makes it small.
const FLUSH_PART: usize = 16;

/// What the process may take, and who takes it. Cheap to clone; clones are the same budget.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    total_bytes: usize,
    ingest: Part,
    memtables: Part,
    queries: Part,
    answers: Part,
}

impl MemoryBudget {
    /// Divides so many bytes.
    pub fn new(total_bytes: usize) -> Self {
        let sixteenth = total_bytes.max(MIN_DIVIDED_BYTES) / 16;
        Self {
            total_bytes,
            ingest: Part::new("ingest", "--memory or --in-flight-size", 6 * sixteenth),
            memtables: Part::new("memtables", "--memory", 4 * sixteenth),
            queries: Part::new("queries", "--memory", 3 * sixteenth),
            answers: Part::new("answers", "--memory", sixteenth),
        }
    }

    /// With another limit for ingest, which is then no longer a part of the whole.
    #[must_use]
    pub fn with_ingest_bytes(mut self, bytes: usize) -> Self {
        self.ingest = Part::new("ingest", "--in-flight-size", bytes);
        self
    }

    /// What is taken when nothing is said: half of the least that the control group, the machine or the resource limits
    /// leave, and never more than 512 MiB.
    pub fn default_bytes() -> usize {
        (machine::limit_bytes().unwrap_or(u64::MAX) / 2).min(MAX_DEFAULT_BYTES) as usize
    }

    /// The whole.
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// For requests with spans, from their first byte until the store has what they carry.
    pub fn ingest(&self) -> &Part {
        &self.ingest
    }

    /// For spans that are not in segments yet.
    pub fn memtables(&self) -> &Part {
        &self.memtables
    }

    /// For what a question reads and keeps.
    pub fn queries(&self) -> &Part {
        &self.queries
    }

    /// For what was encoded and is not sent yet.
    pub fn answers(&self) -> &Part {
        &self.answers
    }

    /// All parts, for those who show them.
    pub fn parts(&self) -> [&Part; 4] {
        [&self.ingest, &self.memtables, &self.queries, &self.answers]
    }

    /// What the process takes when all parts are full, an eighth for all else included.
    pub fn ceiling_bytes(&self) -> usize {
        self.parts().iter().map(|part| part.limit_bytes() / 7 * 8).fold(0, usize::saturating_add)
    }

    /// Bytes at which an active memtable is handed to the flush.
    pub fn flush_bytes(&self) -> usize {
        self.total_bytes / FLUSH_PART
    }
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(Self::default_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_less_than_the_whole_and_follow_it() {
        for total in [MIN_DIVIDED_BYTES, 512 << 20, 64 << 30] {
            let budget = MemoryBudget::new(total);
            let given: usize = budget.parts().iter().map(|part| part.limit_bytes()).sum();
            assert_eq!(given, total / 8 * 7, "an eighth is not given");
        }
    }

    #[test]
    fn a_small_budget_flushes_early_and_still_takes_ordinary_requests() {
        let small = MemoryBudget::new(2 << 20);
        assert_eq!(small.flush_bytes(), 128 << 10);
        assert_eq!(small.ingest().limit_bytes(), 36 << 20);
        assert_eq!(small.memtables().limit_bytes(), 24 << 20);
        assert_eq!(small.with_ingest_bytes(5).ingest().limit_bytes(), 5);
    }

    #[test]
    fn the_default_is_within_what_the_machine_has() {
        let bytes = MemoryBudget::default_bytes();
        assert!(bytes > 0 && bytes as u64 <= MAX_DEFAULT_BYTES);
        assert!(machine::limit_bytes().is_none_or(|limit| bytes as u64 <= limit / 2));
    }
}

//! What an answer was made without.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts that are remembered one by one; the others are counted.
const MAX_PARTS: usize = 100;

/// Collects what could not be read while a question was answered. Without a [view](crate::SpanStore::view) that has one, a
/// read leaves out what is damaged without a mark, and fails at what is not available.
#[derive(Debug, Default)]
pub struct LeftOut {
    accepts_unavailable: bool,
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    known: BTreeSet<MissingPart>,
    further: u64,
}

/// A part of the store that an answer could have needed and was made without.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingPart {
    /// The file, as it is named in the store's directory or bucket, and where in it, if it is not the whole.
    pub file: String,
    /// How many spans are in it, if that is known.
    pub spans: Option<u64>,
    /// The earliest and the latest start of them, if that is known.
    pub starts_unix_nano: Option<(u64, u64)>,
    /// Whether it is damaged. If not, it cannot be read at the moment, which may pass.
    pub is_damaged: bool,
}

/// What was collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The parts, at most 100.
    pub parts: Vec<MissingPart>,
    /// How many more there are.
    pub further: u64,
}

impl LeftOut {
    /// Collects what is damaged. With `accepts_unavailable`, also what cannot be read at the moment: without it a read that
    /// needs such a part fails with [`StoreError::Unavailable`](crate::StoreError::Unavailable).
    pub fn new(accepts_unavailable: bool) -> Self {
        Self { accepts_unavailable, parts: Mutex::default() }
    }

    /// Whether nothing was left out so far.
    pub fn is_empty(&self) -> bool {
        self.parts().known.is_empty()
    }

    /// What was left out so far.
    pub fn missing(&self) -> Missing {
        let parts = self.parts();
        Missing { parts: parts.known.iter().cloned().collect(), further: parts.further }
    }

    /// Whether it collects what cannot be read at the moment, too.
    pub fn accepts_unavailable(&self) -> bool {
        self.accepts_unavailable
    }

    pub(crate) fn add(&self, part: MissingPart) {
        let mut parts = self.parts();
        if parts.known.len() < MAX_PARTS {
            parts.known.insert(part);
        } else if !parts.known.contains(&part) {
            parts.further += 1;
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

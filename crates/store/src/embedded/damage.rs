//! What was found to be damaged, told once and remembered, and what one read does about it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{LeftOut, MissingPart, StoreError};

/// So many pieces of damage are remembered; the log tells of every one.
const MAX_REMEMBERED: usize = 1000;
/// For so long after a read that failed, reads are said to fail.
const FAILING: Duration = Duration::from_secs(10);

/// Pieces of damage, by what is said of each.
#[derive(Default)]
pub(super) struct Damages {
    /// With the number of the segment that it is in, if it may be read well again.
    known: Mutex<BTreeMap<String, Option<u64>>>,
    last_read_error: Mutex<Option<(String, Instant)>>,
}

impl Damages {
    /// Notes that something cannot be read, and says so the first time.
    pub(super) fn note(&self, what: &str) {
        self.note_in(None, what);
    }

    /// Notes damage of a segment.
    pub(super) fn note_in(&self, segment: Option<u64>, what: &str) {
        let mut known = self.known();
        if known.len() < MAX_REMEMBERED && known.insert(what.to_owned(), segment).is_none() {
            tracing::error!(damage = what, "the store is damaged; the rest is served");
        }
    }

    /// Forgets the damage of a segment: it can be read again, or is gone.
    pub(super) fn forget(&self, segment: u64) {
        self.known().retain(|_, known| *known != Some(segment));
    }

    /// The segments of which damage is known.
    pub(super) fn segments(&self) -> Vec<u64> {
        let mut segments: Vec<u64> = self.known().values().filter_map(|segment| *segment).collect();
        segments.sort_unstable();
        segments.dedup();
        segments
    }

    /// Notes a read that failed at something that may pass.
    pub(super) fn note_read_error(&self, what: &str) {
        let mut last = self.last_read_error.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(last, _)| last != what) {
            tracing::warn!(error = what, "a read failed; answers that need it are refused until it succeeds");
        }
        *last = Some((what.to_owned(), Instant::now()));
    }

    /// The read that failed last.
    pub(super) fn last_read_error(&self) -> Option<String> {
        let last = self.last_read_error.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|(what, _)| what.clone())
    }

    /// A read that failed a moment ago.
    pub(super) fn failing_read(&self) -> Option<String> {
        let last = self.last_read_error.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(_, when)| when.elapsed() < FAILING).map(|(what, _)| what.clone())
    }

    /// All that is remembered.
    pub(super) fn list(&self) -> Vec<String> {
        self.known().keys().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Option<u64>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one read does about what it cannot read.
#[derive(Clone, Copy)]
pub(super) struct Tolerance<'a> {
    damages: &'a Damages,
    left_out: Option<&'a LeftOut>,
}

impl<'a> Tolerance<'a> {
    pub(super) fn new(damages: &'a Damages, left_out: Option<&'a LeftOut>) -> Self {
        Self { damages, left_out }
    }

    /// Notes damage with which no span is lost.
    pub(super) fn note_harmless(&self, segment: u64, what: &str) {
        self.damages.note_in(Some(segment), what);
    }

    /// Goes on after damage, which is noted, and is missing in the answer. What cannot be read at the moment is no damage:
    /// the answer is made without it only if the caller accepts that.
    pub(super) fn tolerate<T>(
        &self,
        segment: u64,
        part: impl FnOnce() -> MissingPart,
        result: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error @ StoreError::Corrupt(_)) => {
                self.damages.note_in(Some(segment), &error.to_string());
                self.miss(|| MissingPart { is_damaged: true, ..part() });
                Ok(None)
            }
            Err(error @ (StoreError::Unavailable(_) | StoreError::Io { .. })) => {
                self.damages.note_read_error(&error.to_string());
                self.miss_unavailable(&error.to_string(), part)?;
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Notes that the answer is made without something that is damaged.
    pub(super) fn miss(&self, part: impl FnOnce() -> MissingPart) {
        if let Some(left_out) = self.left_out {
            left_out.add(part());
        }
    }

    /// Notes that the answer is made without something that cannot be read at the moment; an error if it must not be.
    pub(super) fn miss_unavailable(&self, why: &str, part: impl FnOnce() -> MissingPart) -> Result<(), StoreError> {
        match self.left_out.filter(|left_out| left_out.accepts_unavailable()) {
            Some(left_out) => {
                left_out.add(MissingPart { is_damaged: false, ..part() });
                Ok(())
            }
            None => Err(StoreError::Unavailable(why.to_owned())),
        }
    }
}

//! What was found to be damaged, told once and remembered.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::StoreError;

/// So many pieces of damage are remembered; the log tells of every one.
const MOST_REMEMBERED: usize = 1000;

/// Pieces of damage, by what is said of each.
#[derive(Default)]
pub(super) struct Damages(Mutex<BTreeSet<String>>);

impl Damages {
    /// Notes that something cannot be read, and says so the first time.
    pub(super) fn note(&self, what: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_REMEMBERED && known.insert(what.to_owned()) {
            tracing::error!(damage = what, "the store is damaged; the rest is served");
        }
    }

    /// Goes on after damage, which is noted, and stops at any other error. A read that fails is damage, too: what cannot
    /// be read now may be readable later, and what can be is served. A file that cannot be reached is not damaged, and no
    /// answer is made without it.
    pub(super) fn tolerate<T>(&self, result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error @ (StoreError::Corrupt(_) | StoreError::Io { .. })) => {
                self.note(&error.to_string());
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// All that is remembered.
    pub(super) fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

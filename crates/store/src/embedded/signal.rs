//! Waking the flush thread, and waiting for what it does.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Shared;
use crate::StoreError;

/// How often retention is looked at when nothing else happens.
const TICK: Duration = Duration::from_secs(10);
/// How soon what failed is tried again: a full disk may have space by then.
const RETRY: Duration = Duration::from_millis(500);

/// Wakes the flush thread, and lets others wait for it.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default)]
struct SignalState {
    awake: bool,
    /// What the last round could not do.
    failed: Option<Failed>,
    /// Whether the last round left something to be moved.
    has_more: bool,
    rounds: u64,
    /// Whether there will be no more rounds.
    is_ended: bool,
}

/// Why a round did not do all.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) why: String,
    /// Whether it is that the bucket cannot be reached.
    pub(super) is_away: bool,
}

impl From<&StoreError> for Failed {
    fn from(error: &StoreError) -> Self {
        Self { why: error.to_string(), is_away: matches!(error, StoreError::Unavailable(_)) }
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        if failed.is_away { Self::Unavailable(failed.why) } else { Self::Busy(failed.why) }
    }
}

impl Signal {
    pub(super) fn wake(&self) {
        self.state().awake = true;
        self.changed.notify_all();
    }

    /// Lets those who wait look again.
    pub(super) fn tell(&self) {
        self.changed.notify_all();
    }

    pub(super) fn wait_for_work(&self) {
        let is_failing = self.state().failed.is_some();
        self.wait_at_most(if is_failing { RETRY } else { TICK });
    }

    /// Waits until there is something to do, but no longer than so.
    pub(super) fn wait_at_most(&self, most: Duration) {
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.state(), most, |state| !state.awake)
            .unwrap_or_else(PoisonError::into_inner);
        state.awake = false;
    }

    pub(super) fn finish_round(&self, failed: Option<Failed>, has_more: bool) {
        let mut state = self.state();
        state.failed = failed;
        state.has_more = has_more;
        state.rounds += 1;
        self.changed.notify_all();
    }

    /// Lets nobody wait for a round that will not come.
    pub(super) fn end(&self) {
        self.state().is_ended = true;
        self.changed.notify_all();
    }

    /// What the last round could not do.
    pub(super) fn failed(&self) -> Option<Failed> {
        self.state().failed.clone()
    }

    fn state(&self) -> MutexGuard<'_, SignalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no frozen memtable is left, or until a round failed to write one.
    pub(super) fn wait_until_flushed(&self, shared: &Shared) -> Result<(), StoreError> {
        loop {
            if shared.state().frozen.is_empty() {
                return Ok(());
            }
            let rounds = self.state().rounds;
            self.wake();
            // A flush in the midst of a round wakes everyone, too.
            let (state, _) = self
                .changed
                .wait_timeout_while(self.state(), Duration::from_millis(50), |state| {
                    state.rounds == rounds && !state.is_ended
                })
                .unwrap_or_else(PoisonError::into_inner);
            if state.rounds != rounds
                && let Some(failed) = &state.failed
            {
                return Err(failed.clone().into());
            }
            if state.is_ended {
                return Err(StoreError::Closed);
            }
        }
    }

    /// Waits until nothing is left to merge or to move, or until a round failed.
    pub(super) fn wait_until_merged(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        // The round that is under way may have looked before.
        let wanted = state.rounds + 2;
        loop {
            if state.rounds >= wanted {
                if let Some(failed) = &state.failed {
                    return Err(failed.clone().into());
                }
                if !state.has_more {
                    return Ok(());
                }
            }
            if state.is_ended {
                return Err(StoreError::Closed);
            }
            state.awake = true;
            self.changed.notify_all();
            let before = state.rounds;
            state = self
                .changed
                .wait_while(state, |state| state.rounds == before && !state.is_ended)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

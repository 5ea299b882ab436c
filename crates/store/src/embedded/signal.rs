//! Waking the flush thread, and waiting for what it does.

use std::sync::{Condvar, Mutex, PoisonError};
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
    failed: Option<String>,
    rounds: u64,
}

impl Signal {
    pub(super) fn wake(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).awake = true;
        self.changed.notify_all();
    }

    /// Lets those who wait look again.
    pub(super) fn tell(&self) {
        self.changed.notify_all();
    }

    pub(super) fn wait_for_work(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let most = if state.failed.is_some() { RETRY } else { TICK };
        let (mut state, _) =
            self.changed.wait_timeout_while(state, most, |state| !state.awake).unwrap_or_else(PoisonError::into_inner);
        state.awake = false;
    }

    pub(super) fn finish_round(&self, failed: Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed = failed;
        state.rounds += 1;
        self.changed.notify_all();
    }

    /// Waits until a round that begins after this has ended.
    fn wait_for_a_round(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The round that is under way may have looked before.
        let wanted = state.rounds + 2;
        let mut state = state;
        while state.rounds < wanted {
            state.awake = true;
            self.changed.notify_all();
            let before = state.rounds;
            state =
                self.changed.wait_while(state, |state| state.rounds == before).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.clone()
    }

    /// Waits until no frozen memtable is left, or until a round failed to write one.
    pub(super) fn wait_until_flushed(&self, shared: &Shared) -> Result<(), StoreError> {
        loop {
            if shared.state().frozen.is_empty() {
                return Ok(());
            }
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let rounds = state.rounds;
            drop(state);
            self.wake();
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // A flush in the midst of a round wakes everyone, too.
            let (state, _) = self
                .changed
                .wait_timeout_while(state, Duration::from_millis(50), |state| state.rounds == rounds)
                .unwrap_or_else(PoisonError::into_inner);
            if state.rounds != rounds
                && let Some(reason) = &state.failed
            {
                return Err(StoreError::Busy(reason.clone()));
            }
        }
    }

    /// Waits until nothing is left to merge.
    pub(super) fn wait_until_merged(&self) -> Result<(), StoreError> {
        self.wait_for_a_round().map_or(Ok(()), |reason| Err(StoreError::Busy(reason)))
    }
}

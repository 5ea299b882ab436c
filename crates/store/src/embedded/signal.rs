//! Waking the flush thread, and waiting for what it does.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use crate::StoreError;

/// How often retention is looked at when nothing else happens.
const TICK: Duration = Duration::from_secs(10);
/// The same for those who keep spans for seconds.
const MIN_TICK: Duration = Duration::from_secs(1);
/// How soon what failed is tried again: a full disk may have space by then.
const RETRY: Duration = Duration::from_millis(500);
/// How often who waits looks for himself.
const LOOK: Duration = Duration::from_millis(50);

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
    /// How many rounds have ended.
    rounds: u64,
    /// Whether one is under way.
    is_in_round: bool,
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

    /// Waits until there is something to do, until retention by this age is due, or until a known time.
    pub(super) fn wait_for_work(&self, retention_age: Option<Duration>, next: Option<Instant>) {
        let is_failing = self.state().failed.is_some();
        let tick = retention_age.map_or(TICK, |age| (age / 4).clamp(MIN_TICK, TICK));
        let most = if is_failing { RETRY } else { tick };
        let next = next.map_or(most, |next| next.saturating_duration_since(Instant::now()));
        self.wait_at_most(most.min(next.max(LOOK)));
    }

    /// Waits until there is something to do, but no longer than so.
    pub(super) fn wait_at_most(&self, most: Duration) {
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.state(), most, |state| !state.awake)
            .unwrap_or_else(PoisonError::into_inner);
        state.awake = false;
    }

    pub(super) fn begin_round(&self) {
        self.state().is_in_round = true;
    }

    pub(super) fn finish_round(&self, failed: Option<Failed>, has_more: bool) {
        let mut state = self.state();
        state.failed = failed;
        state.has_more = has_more;
        state.rounds += 1;
        state.is_in_round = false;
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
        self.wait_until(|_, _| shared.state().frozen.is_empty())
    }

    /// Waits until nothing is left to merge or to move, or until a round failed.
    pub(super) fn wait_until_merged(&self) -> Result<(), StoreError> {
        self.wait_until(|state, is_whole| is_whole && state.failed.is_none() && !state.has_more)
    }

    /// Waits until `is_done`, which is told whether a whole round has passed meanwhile, or until such a round failed. One
    /// that was under way before may have failed at what has changed since, and may have looked before there was anything
    /// to do.
    fn wait_until(&self, is_done: impl Fn(&SignalState, bool) -> bool) -> Result<(), StoreError> {
        let mut state = self.state();
        let wanted = state.rounds + 1 + u64::from(state.is_in_round);
        loop {
            let is_whole = state.rounds >= wanted;
            if is_done(&state, is_whole) {
                return Ok(());
            }
            if let Some(failed) = state.failed.as_ref().filter(|_| is_whole) {
                return Err(failed.clone().into());
            }
            if state.is_ended {
                return Err(StoreError::Closed);
            }
            state.awake = true;
            self.changed.notify_all();
            let before = state.rounds;
            // A memtable may be written long before its round ends.
            (state, _) = self
                .changed
                .wait_timeout_while(state, LOOK, |state| state.rounds == before && !state.is_ended)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_not_told_of_a_round_that_began_before() {
        for is_done_by_then in [true, false] {
            let signal = Signal::default();
            let failed = || Some(Failed { why: "the bucket is away".to_owned(), is_away: true });
            signal.begin_round();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| signal.wait_until_merged());
                // Who waits for a round wakes the one who makes it.
                while !std::mem::take(&mut signal.state().awake) {
                    std::thread::yield_now();
                }
                // It failed at what has changed by now.
                signal.finish_round(failed(), false);
                signal.begin_round();
                signal.finish_round(if is_done_by_then { None } else { failed() }, false);
                let told = waiting.join().unwrap();
                assert_eq!(told.is_ok(), is_done_by_then, "{told:?}");
            });
        }
    }
}

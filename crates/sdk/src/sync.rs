//! What threads meet at: the standard library's, or loom's where `crates/sdk-loom` tries every order of events.
//!
//! Only what takes part in the way of a span is taken from here. Values that never change once they are shared (baggage,
//! request ids) stay in the standard library's `Arc`.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use std::thread::Builder;
pub(crate) use std::thread_local;

use std::sync::PoisonError;
use std::time::Duration;

/// A panic elsewhere leaves these locks' data whole: only moves of whole spans happen under them.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits while the condition holds, and says whether that ended before the time.
pub(crate) fn wait_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
    mut condition: impl FnMut(&T) -> bool,
) -> (MutexGuard<'a, T>, bool) {
    let waited = condvar.wait_timeout_while(guard, timeout, |value| condition(value));
    let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
    (guard, !result.timed_out())
}

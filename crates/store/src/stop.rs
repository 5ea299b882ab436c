//! Reads end soon after nobody waits for them any more.
//!
//! A read runs on a blocking thread, which nothing can take away from it. So the future that waits for it holds a
//! [`Waiter`]; when that is dropped, by a deadline or because the client hung up, [`check`] fails on the thread that
//! reads. Reads call it for each block or batch: every few thousand rows.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::StoreError;

thread_local! {
    /// Whether anyone waits for what this thread reads; `None` where that is not known.
    static CURRENT: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Held by the future that waits for a read.
pub(crate) struct Waiter(Arc<AtomicBool>);

/// The other end, for the thread that reads.
pub(crate) struct Awaited(Arc<AtomicBool>);

impl Waiter {
    pub(crate) fn new() -> (Self, Awaited) {
        let left = Arc::new(AtomicBool::new(false));
        (Self(left.clone()), Awaited(left))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Awaited {
    /// Reads, and fails at the next [`check`] once the waiter is dropped.
    pub(crate) fn run<T>(self, read: impl FnOnce() -> T) -> T {
        /// Threads are used again, whatever happens to a read.
        struct Restore(Option<Arc<AtomicBool>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.0)));
        read()
    }
}

/// Fails if nobody waits for what this thread reads.
#[inline]
pub(crate) fn check() -> Result<(), StoreError> {
    let is_left = CURRENT.with_borrow(|current| current.as_ref().is_some_and(|left| left.load(Ordering::Relaxed)));
    if is_left { Err(StoreError::Busy("nobody waits for this read any more".to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_fails_once_nobody_waits_for_it_and_the_next_one_does_not() {
        assert!(check().is_ok(), "a thread without a waiter is never stopped");
        let (waiter, awaited) = Waiter::new();
        awaited.run(|| {
            assert!(check().is_ok());
            drop(waiter);
            assert!(matches!(check(), Err(StoreError::Busy(_))));
        });
        assert!(check().is_ok());
    }
}

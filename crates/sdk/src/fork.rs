//! Whether this is a process that was forked off: threads stay behind in its parent, and the locks that they held stay
//! locked.

#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);
static WATCHED: Once = Once::new();

/// How many forks lie between this process and the first that was watched. Only a read of memory, for it is asked once or
/// twice a span; a process's id is a call of the operating system.
#[inline]
pub(crate) fn count() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Has forks counted from now on.
pub(crate) fn watch() {
    WATCHED.call_once(register);
}

#[cfg(unix)]
extern "C" fn count_one() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(unix)]
fn register() {
    type Handler = Option<extern "C" fn()>;
    unsafe extern "C" {
        /// POSIX; returns 0, or ENOMEM.
        fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> std::ffi::c_int;
    }
    // SAFETY: the declaration is POSIX's. The handler runs in the child before anything else of it does, on the only
    // thread that there is then; all that it does is to add to an atomic number, which a signal handler might do, too. It
    // lives in this program's code, which stays where it is.
    let failed = unsafe { pthread_atfork(None, None, Some(count_one)) };
    if failed != 0 {
        log::warn!(target: "tracewell", "forks cannot be noticed; a forked process must not trace");
    }
}

#[cfg(not(unix))]
fn register() {}

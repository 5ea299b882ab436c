//! What becomes of memory that is freed.
//!
//! An answer of many spans takes megabytes, gives them back, and the next takes as many. With its defaults glibc returns
//! them to the kernel in between, and gets each page anew, zeroed, at its first use: measured, that is two fifths of the
//! time that reading a trace of 20,000 spans takes.

/// Above this, an allocation is the kernel's own affair; spans of one answer stay below.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: i32 = 16 << 20;

/// An arena keeps so much for what comes next.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: i32 = 16 << 20;

/// So many arenas there are at most, and so `ARENAS` times `KEPT_BYTES` is the most that is kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: i32 = 4;

/// Keeps memory that is given back for what comes next, up to 64 MiB.
pub(crate) fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in
        [(libc::M_MMAP_THRESHOLD, LARGE_BYTES), (libc::M_TRIM_THRESHOLD, KEPT_BYTES), (libc::M_ARENA_MAX, ARENAS)]
    {
        // SAFETY: mallopt takes two integers, has no precondition, and may be called at any time from any thread.
        #[allow(unsafe_code, reason = "glibc has no other way to say so; it makes reads faster by two fifths")]
        let understood = unsafe { libc::mallopt(parameter, value) };
        if understood != 1 {
            tracing::debug!(parameter, "malloc does not know this parameter");
        }
    }
}

/// Gives the kernel what is kept and not in use, holes between what is in use included: before and after a question that
/// takes far more than others, for which it would otherwise be room in the wrong places.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: malloc_trim takes an integer, has no precondition, and may be called at any time from any thread.
        #[allow(unsafe_code, reason = "glibc has no other way to say so; it keeps memory flat over many questions")]
        let _ = unsafe { libc::malloc_trim(0) };
    }
}

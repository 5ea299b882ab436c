//! What becomes of memory that is freed, and what happens when the process takes more than it counts.
//!
//! An answer of many spans takes megabytes, gives them back, and the next takes as many. With its defaults glibc returns
//! them to the kernel in between, and gets each page anew, zeroed, at its first use: measured, that is two fifths of the
//! time that reading a trace of 20,000 spans takes.

use std::time::{Duration, Instant};

use crate::budget::MemoryBudget;

/// Above this, an allocation is the kernel's own affair; spans of one answer stay below.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: i32 = 16 << 20;

/// An arena keeps so much for what comes next.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: i32 = 16 << 20;

/// So many arenas there are at most, and so `ARENAS` times `KEPT_BYTES` is the most that is kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: i32 = 4;

/// An arena reserves addresses for 64 MiB at a time. Where addresses are limited, fewer have to do.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS_OF_FEW_ADDRESSES: i32 = 2;

/// Keeps memory that is given back for what comes next, up to 64 MiB.
pub(crate) fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    let has_few_addresses = rustix::process::getrlimit(rustix::process::Resource::As).current.is_some();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    let arenas = if has_few_addresses { ARENAS_OF_FEW_ADDRESSES } else { ARENAS };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in
        [(libc::M_MMAP_THRESHOLD, LARGE_BYTES), (libc::M_TRIM_THRESHOLD, KEPT_BYTES), (libc::M_ARENA_MAX, arenas)]
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

/// How often it is looked at what the process takes.
const LOOK: Duration = Duration::from_millis(100);
/// Trimming walks through all that is free, so it is not done at every look.
const TRIM: Duration = Duration::from_secs(1);
/// How often what is kept is given back while nobody is at work, and how much may be kept for ever.
const IDLE_TRIM: Duration = Duration::from_secs(10);
const IDLE_BYTES: usize = 96 << 20;
/// What the process may take beyond its budget: a quarter for what is freed and not given back, and this for the rest.
const ALLOWANCE_BYTES: usize = 32 << 20;

/// A backstop behind the budget's counters: looks now and then at what the process really takes, and while that is more than
/// the budget and an allowance, lets no further requests and questions have memory and gives back what is free.
pub(crate) fn watch(budget: MemoryBudget) -> std::io::Result<()> {
    let ceiling = budget.ceiling_bytes() / 4 * 5 + ALLOWANCE_BYTES;
    let watch = move || {
        let mut is_shed = false;
        let mut trimmed: Option<Instant> = None;
        loop {
            std::thread::sleep(LOOK);
            // Where it cannot be known, there is no backstop.
            let Some(taken) = taken_bytes() else { return };
            let is_over = taken > ceiling;
            if !is_over && is_idle(&budget, taken) && trimmed.is_none_or(|at| at.elapsed() > IDLE_TRIM) {
                give_back();
                trimmed = Some(Instant::now());
            }
            if is_over && trimmed.is_none_or(|at| at.elapsed() > TRIM) {
                give_back();
                trimmed = Some(Instant::now());
                continue;
            }
            if is_over != is_shed {
                is_shed = is_over;
                [budget.ingest(), budget.queries()].into_iter().for_each(|part| part.shed(is_shed));
                let setting = "--memory";
                if is_shed {
                    tracing::warn!(
                        taken,
                        ceiling,
                        setting,
                        "the process takes more memory than its budget; new requests are put off"
                    );
                } else {
                    tracing::info!(taken, "memory is within its budget again");
                }
            }
        }
    };
    std::thread::Builder::new().name("memory".to_owned()).stack_size(128 << 10).spawn(watch).map(drop)
}

/// Whether nobody is at work, and much is kept for what comes next: then a burst is over, and its memory is others' again.
fn is_idle(budget: &MemoryBudget, taken: usize) -> bool {
    let at_work = [budget.ingest(), budget.queries(), budget.answers()];
    at_work.iter().all(|part| part.used_bytes() == 0) && taken > budget.memtables().used_bytes() + IDLE_BYTES
}

/// What the process takes of memory that is not a file's.
fn taken_bytes() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1).map(str::parse::<usize>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    resident.saturating_sub(shared).checked_mul(rustix::param::page_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_takes_is_known() {
        let before = taken_bytes().unwrap();
        let taken = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(taken_bytes().unwrap() >= before + (48 << 20));
        drop(taken);
    }

    #[test]
    fn over_the_ceiling_nothing_more_is_given() {
        let budget = MemoryBudget::new(0).with_ingest_bytes(1 << 20);
        watch(budget.clone()).unwrap();
        let ceiling = budget.ceiling_bytes() / 4 * 5 + ALLOWANCE_BYTES;
        let taken = std::hint::black_box(vec![1u8; 2 * ceiling]);
        while budget.queries().try_take(1).is_ok() || budget.ingest().try_take(1).is_ok() {
            std::thread::yield_now();
        }
        drop(taken);
        while budget.queries().try_take(1).is_err() || budget.ingest().try_take(1).is_err() {
            std::thread::yield_now();
        }
    }
}

//! Processor time and allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What one of something costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub nanos: f64,
    pub allocations: f64,
}

/// The mean over so many, of this thread's processor time.
pub fn measured(count: u64, mut work: impl FnMut()) -> Cost {
    let allocations = ALLOCATED.get();
    let begin = thread_cpu_nanos();
    (0..count).for_each(|_| work());
    let nanos = thread_cpu_nanos() - begin;
    Cost { nanos: nanos as f64 / count as f64, allocations: (ALLOCATED.get() - allocations) as f64 / count as f64 }
}

pub fn thread_cpu_nanos() -> u64 {
    cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID)
}

pub fn process_cpu_nanos() -> u64 {
    cpu_nanos(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn cpu_nanos(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is that of a local that lives through the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts for each thread.
pub struct Allocations;

// SAFETY: every call is the system allocator's, unchanged; counting touches a thread-local integer only.
unsafe impl GlobalAlloc for Allocations {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATED.try_with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATED.try_with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

//! The processor's time stamp counter: a third of the price of asking the operating system.

#![allow(unsafe_code)]

/// The counter's value; `None` on processors where this library does not read it.
#[inline]
pub(crate) fn ticks() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: RDTSC reads a register and touches no memory. It exists on every x86-64 processor; where an operating
        // system traps it in user mode (CR4.TSD, which Linux sets only for processes that ask for it by prctl) the
        // process would be stopped by a signal, as it would by the clock of the C library, which reads it too whenever
        // the kernel's clock source is `tsc`: the only case in which this is called, see `crate::clock`.
        Some(unsafe { core::arch::x86_64::_rdtsc() })
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        None
    }
}

//! The clock that spans are timed by.

use crate::tsc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where spans get their time from; tests put their own in with [`crate::Config::clock`].
///
/// The first span of a trace in this process reads both clocks, its descendants only the monotonic one. So a
/// corrected wall clock never makes a child start before its parent or a duration negative.
pub trait Clock: Send + Sync + 'static {
    /// Nanoseconds since the Unix epoch.
    fn unix_nanos(&self) -> u64;

    /// Nanoseconds since any fixed moment; never goes back.
    fn monotonic_nanos(&self) -> u64;
}

/// The operating system's clocks, of which the monotonic one is read from the processor's time stamp counter where the
/// operating system itself trusts it, and checked against the operating system's once a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_nanos(&self) -> u64 {
        to_unix_nanos(SystemTime::now())
    }

    #[inline]
    fn monotonic_nanos(&self) -> u64 {
        COUNTER.nanos().unwrap_or_else(os_monotonic_nanos)
    }
}

/// The clock of a pipeline: the usual one without a call through a table.
#[derive(Clone)]
pub(crate) enum TimeSource {
    System,
    Custom(Arc<dyn Clock>),
}

/// What, added to the monotonic clock, gives Unix time; kept by [`TimeSource::check`].
static UNIX_OFFSET_NANOS: AtomicU64 = AtomicU64::new(0);

impl TimeSource {
    #[inline]
    pub(crate) fn monotonic_nanos(&self) -> u64 {
        match self {
            Self::System => SystemClock.monotonic_nanos(),
            Self::Custom(clock) => clock.monotonic_nanos(),
        }
    }

    /// What, added to the monotonic clock, gives Unix time, as far as is known at this monotonic time.
    #[inline]
    pub(crate) fn unix_offset_nanos(&self, monotonic_nanos: u64) -> u64 {
        match self {
            Self::System => UNIX_OFFSET_NANOS.load(Ordering::Relaxed),
            Self::Custom(clock) => clock.unix_nanos().wrapping_sub(monotonic_nanos),
        }
    }

    /// Compares the clocks. To be called about once a second: this is how a corrected wall clock is noticed.
    pub(crate) fn check(&self) {
        if matches!(self, Self::System) {
            COUNTER.check(os_monotonic_nanos, tsc::ticks);
            let offset = SystemClock.unix_nanos().wrapping_sub(SystemClock.monotonic_nanos());
            UNIX_OFFSET_NANOS.store(offset, Ordering::Relaxed);
        }
    }
}

fn os_monotonic_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Times before 1970 become 0, times after 2554 the greatest.
pub(crate) fn to_unix_nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

static COUNTER: Counter = Counter::new();

/// A counter of unknown rate, measured against the operating system's clock before it is used, and given up for good
/// when it once disagrees with it: after a suspend, or a move to another machine.
struct Counter {
    /// The three that follow are set and may be used.
    ready: AtomicBool,
    base_ticks: AtomicU64,
    base_nanos: AtomicU64,
    /// Nanoseconds per tick, times 2^32.
    scale: AtomicU64,
    progress: Mutex<Progress>,
}

enum Progress {
    New,
    /// Ticks and nanoseconds at the beginning of the measurement.
    Measuring(u64, u64),
    Used,
    GivenUp,
}

impl Counter {
    /// Over this time an error of 100 ns in reading the two clocks together is 2 ppm of the rate.
    const MEASURED_NANOS: u64 = 50_000_000;
    const MOST_ERROR_NANOS: u64 = 1_000_000;

    const fn new() -> Self {
        Self {
            ready: AtomicBool::new(false),
            base_ticks: AtomicU64::new(0),
            base_nanos: AtomicU64::new(0),
            scale: AtomicU64::new(0),
            progress: Mutex::new(Progress::New),
        }
    }

    /// The time; `None` when the counter is not to be used.
    #[inline]
    fn nanos(&self) -> Option<u64> {
        if !self.ready.load(Ordering::Acquire) {
            return None;
        }
        tsc::ticks().map(|ticks| self.at(ticks))
    }

    #[inline]
    fn at(&self, ticks: u64) -> u64 {
        // Another processor's counter may be a few ticks behind.
        let since = ticks.saturating_sub(self.base_ticks.load(Ordering::Relaxed));
        let nanos = (u128::from(since) * u128::from(self.scale.load(Ordering::Relaxed))) >> 32;
        self.base_nanos.load(Ordering::Relaxed).wrapping_add(nanos as u64)
    }

    /// Begins or ends the measurement, or checks the counter in use.
    fn check(&self, nanos: impl Fn() -> u64, ticks: impl Fn() -> Option<u64>) {
        // Whoever holds it checks; or it was held by a thread that stayed behind in a fork, and will never be let go.
        let mut progress = match self.progress.try_lock() {
            Ok(progress) => progress,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        match *progress {
            Progress::New => {
                *progress = match trusted_by_the_os().then(|| together(&nanos, &ticks)).flatten() {
                    Some((ticks, nanos)) => Progress::Measuring(ticks, nanos),
                    None => Progress::GivenUp,
                };
            }
            Progress::Measuring(first_ticks, first_nanos) => {
                let Some((ticks, nanos)) = together(&nanos, &ticks) else { return };
                let (took_ticks, took_nanos) = (ticks.saturating_sub(first_ticks), nanos.saturating_sub(first_nanos));
                if took_nanos < Self::MEASURED_NANOS {
                    return;
                }
                // Between 100 MHz and 20 GHz; anything else is no time stamp counter.
                if !(took_nanos / 10..took_nanos.saturating_mul(20)).contains(&took_ticks) {
                    *progress = Progress::GivenUp;
                    return;
                }
                let scale = (u128::from(took_nanos) << 32) / u128::from(took_ticks);
                self.scale.store(scale as u64, Ordering::Relaxed);
                self.base_ticks.store(ticks, Ordering::Relaxed);
                self.base_nanos.store(nanos, Ordering::Relaxed);
                self.ready.store(true, Ordering::Release);
                *progress = Progress::Used;
            }
            Progress::Used => {
                let Some((ticks, nanos)) = together(&nanos, &ticks) else { return };
                let since_base = nanos.saturating_sub(self.base_nanos.load(Ordering::Relaxed));
                // The rate is known to some ppm; a thousand of them, or a jump, mean that it has changed.
                if self.at(ticks).abs_diff(nanos) > Self::MOST_ERROR_NANOS + since_base / 1000 {
                    self.ready.store(false, Ordering::Release);
                    *progress = Progress::GivenUp;
                }
            }
            Progress::GivenUp => {}
        }
    }
}

/// Both clocks at one moment, as nearly as five attempts give it.
fn together(nanos: &impl Fn() -> u64, ticks: &impl Fn() -> Option<u64>) -> Option<(u64, u64)> {
    let mut nearest: Option<(u64, u64, u64)> = None;
    for _ in 0..5 {
        let before = ticks()?;
        let now = nanos();
        let after = ticks()?;
        let gap = after.saturating_sub(before);
        if nearest.is_none_or(|(least, ..)| gap < least) {
            nearest = Some((gap, before + gap / 2, now));
        }
    }
    nearest.map(|(_, ticks, nanos)| (ticks, nanos))
}

/// Linux watches the counter: it leaves the clock source `tsc` when the counters of the processors disagree or stop in
/// sleep, and does not take it up where a hypervisor says that it is not stable. Elsewhere nobody tells.
fn trusted_by_the_os() -> bool {
    std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        .is_ok_and(|source| source.trim() == "tsc")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A counter of 3 GHz beside a clock, both by hand.
    struct Rig {
        counter: Counter,
        nanos: Cell<u64>,
        ticks: Cell<u64>,
    }

    impl Rig {
        fn pass(&self, nanos: u64, ticks: u64) {
            self.nanos.set(self.nanos.get() + nanos);
            self.ticks.set(self.ticks.get() + ticks);
        }

        fn check(&self) {
            self.counter.check(|| self.nanos.get(), || Some(self.ticks.get()));
        }

        fn is_used(&self) -> bool {
            self.counter.ready.load(Ordering::Relaxed)
        }
    }

    /// As after the first check where the operating system trusts the counter.
    fn measuring() -> Rig {
        let counter = Counter::new();
        *counter.progress.lock().unwrap() = Progress::Measuring(500, 1_000);
        Rig { counter, nanos: Cell::new(1_000), ticks: Cell::new(500) }
    }

    #[test]
    fn the_counter_is_used_once_its_rate_is_known_and_tells_the_same_time() {
        let rig = measuring();
        rig.pass(10_000_000, 30_000_000);
        rig.check();
        assert!(!rig.is_used(), "too short to know the rate");
        rig.pass(90_000_000, 270_000_000);
        rig.check();
        assert!(rig.is_used());
        rig.pass(3_600_000_000_000, 10_800_000_000_000);
        rig.check();
        assert!(rig.is_used());
        assert!(rig.counter.at(rig.ticks.get()).abs_diff(rig.nanos.get()) < 10_000, "an hour later");
        assert_eq!(rig.counter.at(0), 100_001_000, "a counter that is behind does not go back");
    }

    #[test]
    fn a_counter_that_stops_jumps_or_is_none_is_given_up() {
        for (nanos, ticks) in [(1_000_000_000, 0), (1_000_000_000, 9_000_000_000), (100, 30_000_000_000)] {
            let rig = measuring();
            rig.pass(100_000_000, 300_000_000);
            rig.check();
            assert!(rig.is_used());
            rig.pass(nanos, ticks);
            rig.check();
            assert!(!rig.is_used());
            rig.pass(1_000_000_000, 3_000_000_000);
            rig.check();
            assert!(!rig.is_used(), "for good");
        }
        let rig = measuring();
        rig.pass(100_000_000, 3);
        rig.check();
        rig.pass(100_000_000, 300_000_000);
        rig.check();
        assert!(!rig.is_used());
    }
}

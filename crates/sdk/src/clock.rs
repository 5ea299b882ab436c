//! The clock that spans are timed by.

use std::sync::OnceLock;
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

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_nanos(&self) -> u64 {
        to_unix_nanos(SystemTime::now())
    }

    fn monotonic_nanos(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Times before 1970 become 0, times after 2554 the greatest.
pub(crate) fn to_unix_nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

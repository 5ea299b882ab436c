//! A wall clock that is not believed when it leaps: what retention deletes does not come back when the clock does.

use std::time::{Duration, Instant};

/// So far ahead of the time that passed, a clock has leapt.
const LEAP: Duration = Duration::from_secs(60);
/// So long it has to stay there before it is believed.
const DOUBT: Duration = Duration::from_secs(30);

/// What was seen of a wall clock.
#[derive(Default)]
pub(super) struct Clock {
    believed: Option<(u64, Instant)>,
    leapt: Option<Instant>,
}

impl Clock {
    /// The time to go by, in Unix nanoseconds, given what the wall clock says and a clock that only passes. A step back
    /// is believed at once, as it deletes nothing.
    pub(super) fn now(&mut self, wall: u64, passing: Instant) -> u64 {
        let Some((last, at)) = self.believed else {
            self.believed = Some((wall, passing));
            return wall;
        };
        let passed = passing.saturating_duration_since(at);
        let expected = last.saturating_add(passed.as_nanos() as u64);
        if wall > expected.saturating_add(LEAP.as_nanos() as u64) {
            let leapt = *self.leapt.get_or_insert(passing);
            if passing.saturating_duration_since(leapt) < DOUBT {
                return expected;
            }
        }
        self.leapt = None;
        self.believed = Some((wall, passing));
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_leap_is_believed_only_when_it_lasts() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut clock = Clock::default();
        assert_eq!(clock.now(1_000 * SECOND, at(0)), 1_000 * SECOND);
        assert_eq!(clock.now(1_010 * SECOND, at(10)), 1_010 * SECOND);
        // A year ahead, and back before anyone believed it.
        let year = 31_536_000 * SECOND;
        assert_eq!(clock.now(year, at(20)), 1_020 * SECOND);
        assert_eq!(clock.now(year, at(40)), 1_040 * SECOND);
        assert_eq!(clock.now(1_045 * SECOND, at(45)), 1_045 * SECOND);
        // Ahead again, and there to stay.
        assert_eq!(clock.now(year, at(50)), 1_050 * SECOND);
        assert_eq!(clock.now(year + 30 * SECOND, at(80)), year + 30 * SECOND);
        // A step back is believed.
        assert_eq!(clock.now(500 * SECOND, at(90)), 500 * SECOND);
    }
}

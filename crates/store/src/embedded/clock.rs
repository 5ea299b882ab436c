//! A wall clock that is believed only as far as something else agrees with it: what retention deletes does not come back
//! when the clock does.
//!
//! Once believed, a clock is expected to go on as the machine's own passing time does. When it is elsewhere, it has to stay
//! there for a while, and those who send spans have to agree with it more than with what was expected; until then the
//! earlier of the two counts, by which nothing is deleted too soon. What was believed last is written with the catalog, and
//! is what a start expects to be not long ago.

use std::time::Duration;

/// A clock may be off by this, and by a thousandth of the time that passed, and is still where it is expected.
const SLACK_NANOS: u64 = 2_000_000_000;
/// So long a clock has to stay where it was not expected before it is believed.
const PROOF: Duration = Duration::from_secs(600);
/// Spans that were sent so long before they arrive, or a store that was closed for so long, say nothing against a clock.
const DAY_NANOS: u64 = 24 * 3600 * 1_000_000_000;
/// How often the expectation is set anew, so that the drift of two clocks does not add up.
const ANEW: Duration = Duration::from_secs(3600);
/// A difference that people need not hear of: a clock that was set right.
const MINOR_NANOS: u64 = 60_000_000_000;
/// So many more have to agree with a clock than disagree before it is believed where it was not expected.
const MIN_VOTES: i32 = 3;
/// So many votes are remembered: many old spans do not outweigh all new ones for ever.
const MAX_VOTES: i32 = 20;

/// What is known of a wall clock.
#[derive(Default)]
pub(super) struct Clock {
    is_trusted: bool,
    /// A time that was believed, and when that was by the passing time.
    anchor: Option<Anchor>,
    /// Where the clock is instead of where it was expected.
    elsewhere: Option<Elsewhere>,
    /// What those who sent spans lately say of the clock, each in one word.
    votes: i32,
}

#[derive(Clone, Copy)]
struct Anchor {
    unix_nano: u64,
    passing: Duration,
    /// Whether it is what a process before this one left, so that an unknown time has passed.
    is_from_before: bool,
}

#[derive(Clone, Copy)]
struct Elsewhere {
    expected: u64,
    /// Since when it has been there, and what it said then.
    since: Duration,
    at: u64,
    votes: i32,
    has_voters: bool,
}

/// What to go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The time by which it is safe to delete, in Unix nanoseconds.
    pub(super) safe_unix_nano: u64,
    /// Whether that is what the clock says.
    pub(super) is_believed: bool,
    /// Whether most who sent spans since the start confirm it: then what is there has arrived by now.
    pub(super) is_confirmed: bool,
    /// Why it is not, if that is worth telling.
    pub(super) doubt: Option<String>,
}

impl Clock {
    /// One that is believed whatever it says.
    pub(super) fn trusted() -> Self {
        Self { is_trusted: true, ..Self::default() }
    }

    /// Goes by what a process before this one believed.
    pub(super) fn expect(&mut self, unix_nano: u64, passing: Duration) {
        if self.anchor.is_none() {
            self.anchor = Some(Anchor { unix_nano, passing, is_from_before: true });
        }
    }

    /// Hears from senders, who have clocks of their own: when some spans were sent, and what this clock said when they
    /// arrived.
    pub(super) fn note_sent(&mut self, sent_unix_nano: u64, wall_unix_nano: u64) {
        let vote = |votes: &mut i32, agrees: bool| {
            *votes = (*votes + if agrees { 1 } else { -1 }).clamp(-MAX_VOTES, MAX_VOTES)
        };
        let off = sent_unix_nano.abs_diff(wall_unix_nano);
        let is_near = off <= DAY_NANOS;
        vote(&mut self.votes, is_near);
        if let Some(elsewhere) = &mut self.elsewhere {
            vote(&mut elsewhere.votes, is_near && off < sent_unix_nano.abs_diff(elsewhere.expected));
            elsewhere.has_voters = true;
        }
    }

    /// Whether the clock says an earlier time than what is known, or nothing is known: what arrives now must not seem old
    /// when the clock is right again.
    pub(super) fn is_behind(&self, sent_unix_nano: u64, wall: u64, passing: Duration) -> bool {
        if self.is_trusted {
            return false;
        }
        if sent_unix_nano > wall.saturating_add(DAY_NANOS) {
            return true;
        }
        let Some(anchor) = self.anchor.filter(|_| self.votes >= 0) else { return self.votes <= 0 };
        let passed = nanos(passing.saturating_sub(anchor.passing));
        let expected = anchor.unix_nano.saturating_add(passed);
        wall.saturating_add(SLACK_NANOS).saturating_add(passed / 1000) < expected
    }

    /// What to go by, given what the wall clock says and a clock that only passes.
    pub(super) fn read(&mut self, wall: u64, passing: Duration) -> Reading {
        let is_confirmed = self.is_trusted || self.votes > 0;
        let believed = Reading { safe_unix_nano: wall, is_believed: true, is_confirmed, doubt: None };
        if self.is_trusted {
            return believed;
        }
        let Some(anchor) = self.anchor else {
            if self.votes > 0 {
                self.anchor = Some(Anchor { unix_nano: wall, passing, is_from_before: false });
                return believed;
            }
            let doubt = (self.votes < 0).then(|| {
                "the clock is more than a day away from the times of the spans that arrive, or that are in the store"
                    .to_owned()
            });
            return Reading { safe_unix_nano: 0, is_believed: false, is_confirmed: false, doubt };
        };
        let passed = passing.saturating_sub(anchor.passing);
        let passed_nanos = nanos(passed);
        let expected = anchor.unix_nano.saturating_add(passed_nanos);
        let off = wall.abs_diff(expected);
        if off <= SLACK_NANOS.saturating_add(passed_nanos / 1000) {
            if self.elsewhere.take().is_some() {
                // What was said was said of another time.
                self.votes = 0;
            }
            if self.votes < 0 {
                // It is where it is expected, and most who send spans are not: it may have stood when it was last looked at.
                return Reading {
                    safe_unix_nano: wall.min(expected),
                    is_believed: false,
                    is_confirmed: false,
                    doubt: None,
                };
            }
            if passed >= ANEW || anchor.is_from_before {
                self.anchor = Some(Anchor { unix_nano: wall, passing, is_from_before: false });
            }
            return believed;
        }
        let elsewhere = self.note_elsewhere(wall, expected, passing);
        let is_steady = passing.saturating_sub(elsewhere.since) >= PROOF;
        let is_short_pause = anchor.is_from_before && !elsewhere.has_voters && wall > expected && off <= DAY_NANOS;
        if is_steady && (elsewhere.votes >= MIN_VOTES || is_short_pause) {
            tracing::info!(seconds = off / 1_000_000_000, "the clock is believed where it is now");
            self.anchor = Some(Anchor { unix_nano: wall, passing, is_from_before: false });
            self.elsewhere = None;
            return believed;
        }
        let is_worth_telling = off > if anchor.is_from_before { DAY_NANOS } else { MINOR_NANOS };
        let doubt = is_worth_telling.then(|| {
            let seconds = off / 1_000_000_000;
            let way = if wall > expected { "ahead of" } else { "behind" };
            format!("the clock is {seconds} s {way} what is expected, and the spans that arrive have not confirmed it")
        });
        Reading { safe_unix_nano: wall.min(expected), is_believed: false, is_confirmed: false, doubt }
    }

    /// Remembers where the clock is for as long as it stays there.
    fn note_elsewhere(&mut self, wall: u64, expected: u64, passing: Duration) -> Elsewhere {
        let stays = self.elsewhere.is_some_and(|elsewhere| {
            let passed = nanos(passing.saturating_sub(elsewhere.since));
            wall.abs_diff(elsewhere.at.saturating_add(passed)) <= SLACK_NANOS.saturating_add(passed / 1000)
        });
        let begun = Elsewhere { expected, since: passing, at: wall, votes: 0, has_voters: false };
        let elsewhere = self.elsewhere.filter(|_| stays).unwrap_or(begun);
        let elsewhere = Elsewhere { expected, ..elsewhere };
        self.elsewhere = Some(elsewhere);
        elsewhere
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const DAY: u64 = DAY_NANOS;
    const NOW: u64 = 1_700_000_000 * SECOND;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A clock that has been believed.
    fn believed() -> Clock {
        let mut clock = Clock::default();
        clock.note_sent(NOW - SECOND, NOW);
        assert!(clock.read(NOW, at(0)).is_believed);
        clock
    }

    #[test]
    fn a_leap_is_believed_when_it_lasts_and_senders_agree() {
        let mut clock = believed();
        assert_eq!(clock.read(NOW + 10 * SECOND, at(10)).safe_unix_nano, NOW + 10 * SECOND);
        for second in [20, 400, 700] {
            let leapt = clock.read(NOW + 2 * DAY + second * SECOND, at(second));
            assert_eq!(leapt.safe_unix_nano, NOW + second * SECOND, "nobody has confirmed it");
            assert!(leapt.doubt.is_some());
        }
        for _ in 0..MIN_VOTES {
            clock.note_sent(NOW + 2 * DAY + 699 * SECOND, NOW + 2 * DAY + 700 * SECOND);
        }
        assert!(clock.read(NOW + 2 * DAY + 710 * SECOND, at(710)).is_believed);
    }

    #[test]
    fn a_leap_that_senders_contradict_is_not_believed() {
        let mut clock = believed();
        for second in (10..10_000).step_by(10) {
            let reading = clock.read(NOW + 2 * DAY + second * SECOND, at(second));
            assert_eq!(reading.safe_unix_nano, NOW + second * SECOND);
            // One in ten lies as the clock does.
            let sent = if second % 100 == 0 { NOW + 2 * DAY } else { NOW };
            clock.note_sent(sent + second * SECOND, NOW + 2 * DAY + second * SECOND);
        }
        assert!(clock.read(NOW + 10_000 * SECOND, at(10_000)).is_believed, "it came back");
    }

    #[test]
    fn a_step_back_counts_at_once_and_a_clock_that_stands_is_no_proof() {
        let mut clock = believed();
        assert_eq!(clock.read(NOW - DAY, at(10)).safe_unix_nano, NOW - DAY);
        for second in (20..2_000).step_by(10) {
            assert_eq!(clock.read(NOW, at(second)).safe_unix_nano, NOW, "it stands");
        }
        assert!(clock.read(NOW + 2_000 * SECOND, at(2_000)).is_believed, "it goes on where it is expected");
    }

    #[test]
    fn after_a_start_the_time_since_the_last_one_counts_when_the_clock_has_proved_itself() {
        let start = |wall: u64| {
            let mut clock = Clock::default();
            clock.expect(NOW, at(0));
            (
                clock.read(wall, at(0)),
                clock.read(wall + 100 * SECOND, at(100)),
                clock.read(wall + 700 * SECOND, at(700)),
            )
        };
        let (first, then, later) = start(NOW + SECOND);
        assert!(first.is_believed && then.is_believed && later.is_believed);
        // Closed for an hour.
        let (first, then, later) = start(NOW + 3600 * SECOND);
        assert_eq!((first.safe_unix_nano, then.safe_unix_nano), (NOW, NOW + 100 * SECOND));
        assert_eq!((first.doubt, later.is_believed), (None, true));
        // Closed for two days, or two days ahead: nobody can tell.
        let (first, _, later) = start(NOW + 2 * DAY);
        assert!(first.doubt.is_some());
        assert_eq!(later.safe_unix_nano, NOW + 700 * SECOND);
        // Behind.
        let (first, ..) = start(NOW - DAY);
        assert_eq!(first.safe_unix_nano, NOW - DAY);
    }

    #[test]
    fn a_new_store_believes_what_senders_confirm() {
        let mut clock = Clock::default();
        assert_eq!(clock.read(NOW, at(0)).safe_unix_nano, 0);
        for _ in 0..100 {
            clock.note_sent(NOW - 30 * DAY, NOW);
        }
        assert!(clock.read(NOW + 5 * SECOND, at(5)).doubt.is_some());
        for _ in 0..30 {
            clock.note_sent(NOW, NOW);
        }
        assert!(clock.read(NOW + 6 * SECOND, at(6)).is_believed);
        let mut trusted = Clock::trusted();
        assert_eq!(trusted.read(u64::MAX, at(0)).safe_unix_nano, u64::MAX);
    }
}

//! Clocks that lie, senders whose clocks lie, and a machine that sleeps and starts again, from a seed: whatever they say, no
//! span is deleted that is younger than the retention by the true time.
//!
//! A store is modelled here by what matters of it: segments with dates, a catalog with the time of its last commit, and
//! the very clock that the flush thread goes by. `retention_tests` has whole stores.

use std::time::Duration;

use super::clock::Clock;
use super::fault_tests::seeds;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;
const BEGIN: u64 = 1_700_000_000 * SECOND;
const RETENTION: u64 = 7 * DAY;

/// What a clock shows.
#[derive(Clone, Copy, Debug)]
enum Lie {
    None,
    /// Off by so much.
    Off(i64),
    /// It stands at this time.
    Stands(u64),
    /// It says the time since 1970 that the machine has run for.
    Unset {
        booted: u64,
    },
}

impl Lie {
    fn show(self, now: u64) -> u64 {
        match self {
            Self::None => now,
            Self::Off(nanos) => now.saturating_add_signed(nanos),
            Self::Stands(at) => at,
            Self::Unset { booted } => now - booted,
        }
    }

    /// Another lie; `min_nanos` is how far off it is at least.
    fn random(random: &mut fastrand::Rng, now: u64, min_nanos: u64) -> Self {
        let far = min_nanos + random.u64(0..400 * DAY);
        match random.u8(0..6) {
            0 | 1 => Self::None,
            2 => Self::Off(far as i64),
            3 => Self::Off(-(far as i64)),
            // It is off by little at first.
            4 if min_nanos < DAY => Self::Stands(now),
            _ => Self::Unset { booted: now },
        }
    }
}

/// Spans that became a segment together.
struct Segment {
    /// The true date of the youngest span in it: the earlier of its start and its true arrival.
    true_date: u64,
    last_start: u64,
    last_date: Option<u64>,
}

#[derive(Default)]
struct Outcome {
    deleted: usize,
    kept: usize,
    doubts: usize,
}

/// Some years of a store. `slack` is by how much too early a span may be deleted.
fn live(seed: u64, min_lie_nanos: u64, slack: u64) -> Outcome {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut now, mut booted) = (BEGIN, BEGIN);
    let mut clock = Clock::default();
    let mut lie = Lie::random(&mut random, now, min_lie_nanos);
    let mut segments: Vec<Segment> = Vec::new();
    let mut written: Option<u64> = None;
    let mut outcome = Outcome::default();
    for step in 0..400 {
        let what = || format!("seed {seed}, step {step}");
        now += match random.u8(0..4) {
            0 => random.u64(0..10 * SECOND),
            1 => random.u64(0..HOUR),
            2 => random.u64(0..DAY),
            _ => 10 * SECOND,
        };
        if random.u8(0..20) == 0 {
            lie = Lie::random(&mut random, now, min_lie_nanos);
        }
        if random.u8(0..40) == 0 {
            // The process, and perhaps the machine, starts again after a while.
            now += random.u64(0..10 * DAY);
            booted = now;
            clock = Clock::default();
            if let Some(written) = written {
                clock.expect(written, Duration::ZERO);
            } else if let Some(last) =
                segments.iter().map(|segment| segment.last_date.unwrap_or(segment.last_start)).max()
            {
                clock.note_sent(last, lie.show(now));
            }
        }
        let passing = Duration::from_nanos(now - booted);
        let wall = lie.show(now);
        // Requests: most are honest and fresh, as many at most are late, or have times that make no sense.
        let fresh = random.usize(0..3);
        let others = if fresh > 0 { random.usize(0..=fresh) } else { 0 };
        for place in 0..fresh + others {
            let start = match random.u8(0..3) {
                _ if place < fresh => now - random.u64(0..5 * SECOND),
                0 => now - random.u64(0..30 * DAY),
                1 => 0,
                _ => u64::MAX - random.u64(0..DAY),
            };
            clock.note_sent(start, wall);
            let arrival = (!clock.is_behind(start, wall, passing)).then_some(wall);
            let reading = clock.read(wall, passing);
            let by_now = reading.is_confirmed.then_some(reading.safe_unix_nano);
            let last_date = arrival.or(by_now).map(|arrival| start.min(arrival));
            segments.push(Segment { true_date: start.min(now), last_start: start, last_date });
        }
        let reading = clock.read(wall, passing);
        outcome.doubts += usize::from(reading.doubt.is_some());
        if reading.is_confirmed {
            for segment in segments.iter_mut().filter(|segment| segment.last_date.is_none()) {
                segment.last_date = Some(segment.last_start.min(reading.safe_unix_nano));
            }
        }
        if reading.is_believed && random.bool() {
            written = Some(reading.safe_unix_nano);
        }
        let oldest = reading.safe_unix_nano.saturating_sub(RETENTION);
        segments.retain(|segment| {
            let is_dropped = segment.last_date.unwrap_or(segment.last_start) < oldest;
            if is_dropped {
                let age = now - segment.true_date;
                assert!(age + slack >= RETENTION, "{}: a span of {} h is deleted, {lie:?}", what(), age / HOUR);
                outcome.deleted += 1;
            }
            !is_dropped
        });
    }
    outcome.kept = segments.len();
    outcome
}

#[test]
fn no_lie_of_a_clock_deletes_a_span_that_is_younger_than_the_retention() {
    let (mut deleted, mut doubts) = (0, 0);
    for seed in seeds(4_000) {
        let outcome = live(seed, DAY + HOUR, 0);
        deleted += outcome.deleted;
        doubts += outcome.doubts;
    }
    // It deletes what is old, and it does doubt.
    assert!(deleted > 100_000 && doubts > 10_000, "{deleted} deleted, {doubts} doubts");
}

#[test]
fn a_lie_of_less_than_a_day_deletes_nothing_more_than_a_day_too_early() {
    for seed in seeds(2_000) {
        live(seed, 0, DAY);
    }
}

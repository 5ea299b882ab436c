//! Spans whose start makes no sense: long before tracing was invented, or far ahead of the time at which they arrive.

use tracewell_model::SpanBatch;

/// 2000-01-01: no span is older.
const FIRST_PLAUSIBLE_UNIX_NANO: u64 = 946_684_800_000_000_000;

/// What is done with spans of odd times. All are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum OddTimes {
    /// They are kept as they are.
    #[default]
    Keep = 0,
    /// They are refused.
    Refuse = 1,
    /// They start when they arrive.
    Clamp = 2,
}

impl OddTimes {
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        [Self::Keep, Self::Refuse, Self::Clamp].into_iter().find(|known| *known as u64 == number)
    }
}

/// Which times are odd, and what is done about them. With the time of arrival this is a function of what was received, so
/// that a log that is read back gives the same spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRules {
    /// What is done.
    pub odd: OddTimes,
    /// A span that starts more than this after it arrives is odd.
    pub future_nanos: u64,
}

impl Default for TimeRules {
    /// Kept; more than 24 hours ahead.
    fn default() -> Self {
        Self { odd: OddTimes::Keep, future_nanos: 24 * 3600 * 1_000_000_000 }
    }
}

/// How many spans of a request had odd times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OddCounts {
    /// Spans that start too far ahead.
    pub future: u64,
    /// Spans that start before 2000.
    pub past: u64,
}

impl OddCounts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.future + self.past
    }
}

impl TimeRules {
    /// Counts spans of odd times and does about them what the rules say. `None` is an arrival that is not known: nothing is
    /// changed then.
    pub fn apply(&self, batch: SpanBatch, arrival_unix_nano: Option<u64>) -> (SpanBatch, OddCounts) {
        let Some(arrival) = arrival_unix_nano else { return (batch, OddCounts::default()) };
        let last = arrival.saturating_add(self.future_nanos);
        // A server whose clock is wrong must not find every span odd: what the clock says then is before 2000, too.
        let first = FIRST_PLAUSIBLE_UNIX_NANO.min(arrival);
        let is_odd = |start: &u64| !(first..=last).contains(start);
        let starts = &batch.spans().start_unix_nano;
        let counts = OddCounts {
            future: starts.iter().filter(|start| **start > last).count() as u64,
            past: starts.iter().filter(|start| **start < first).count() as u64,
        };
        if counts.total() == 0 {
            return (batch, counts);
        }
        let batch = match self.odd {
            OddTimes::Keep => batch,
            OddTimes::Refuse => {
                let kept: Vec<usize> = (0..batch.len()).filter(|row| !is_odd(&starts[*row])).collect();
                batch.select(kept)
            }
            OddTimes::Clamp => {
                let odd: Vec<usize> = (0..batch.len()).filter(|row| is_odd(&starts[*row])).collect();
                let mut batch = batch;
                for row in odd {
                    let end = batch.spans().end_unix_nano[row];
                    // With an end that makes sense only the start was left out; otherwise all of the span is elsewhere.
                    let is_end_plausible = (first..=last).contains(&end);
                    batch.move_span(row, if is_end_plausible { end } else { arrival }, !is_end_plausible);
                }
                batch
            }
        };
        (batch, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::batch_of;

    const NOW: u64 = 1_700_000_000_000_000_000;

    /// Spans that start at these times and last ten nanoseconds.
    fn batch(starts: &[u64]) -> SpanBatch {
        let mut batch = batch_of(1, &(1..=starts.len() as u64).collect::<Vec<_>>());
        for (row, start) in starts.iter().enumerate() {
            batch.move_span(row, *start, true);
        }
        batch
    }

    #[test]
    fn spans_of_odd_times_are_counted_and_kept_refused_or_clamped() {
        let starts = [NOW, 0, NOW - 86_400_000_000_000 * 365, u64::MAX - 20, NOW + 3_600_000_000_000];
        let with = |odd| TimeRules { odd, ..TimeRules::default() }.apply(batch(&starts), Some(NOW));
        let counts = OddCounts { future: 1, past: 1 };

        let (kept, counted) = with(OddTimes::Keep);
        assert_eq!((&kept.spans().start_unix_nano[..], counted), (&starts[..], counts));
        let (kept, counted) = with(OddTimes::Refuse);
        assert_eq!((&kept.spans().start_unix_nano[..], counted), (&[starts[0], starts[2], starts[4]][..], counts));
        let (kept, counted) = with(OddTimes::Clamp);
        assert_eq!(counted, counts);
        assert_eq!(kept.spans().start_unix_nano, [NOW, NOW, starts[2], NOW, starts[4]]);
        let lasting: Vec<u64> = kept.iter().map(|span| span.end_unix_nano() - span.start_unix_nano()).collect();
        let before: Vec<u64> =
            batch(&starts).iter().map(|span| span.end_unix_nano() - span.start_unix_nano()).collect();
        assert_eq!(lasting, before, "a span lasts as long as before");
    }

    #[test]
    fn a_server_that_believes_it_is_1970_refuses_no_span_of_its_own_time() {
        let rules = TimeRules { odd: OddTimes::Refuse, ..TimeRules::default() };
        let (kept, _) = rules.apply(batch(&[100_000, 200_000]), Some(150_000));
        assert_eq!(kept.len(), 1, "the one that is older than 1970's clock");
    }
}

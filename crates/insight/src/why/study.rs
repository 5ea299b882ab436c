//! Slow and normal traces side by side.

use crate::observe::{Observations, Observed, Observer, Visit};
use crate::statistics::{Difference, Moments, median};

use super::effect::Samples;
use super::strata::Strata;

/// What is compared with what.
pub(crate) struct Study {
    pub(crate) observer: Observer,
    pub(crate) observed: Observations,
    pub(crate) strata: Strata,
    /// Slow traces without normal ones to compare with.
    pub(crate) unmatched: usize,
    /// Of each trace that takes part, whether it is slow.
    sides: Vec<Option<bool>>,
    /// Of each trace that is compared, its stratum.
    stratum: Vec<Option<u32>>,
    /// Times are compared by the logarithm of themselves and this: what is much shorter does not matter to a request.
    scale_nanos: f64,
}

/// One thousandth of what a request takes does not matter to it.
const SCALE: f64 = 0.001;

/// What a place adds to a trace, on average.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Added {
    /// Because each call takes longer.
    pub(crate) slower_nanos: f64,
    /// Because there are more calls.
    pub(crate) more_often_nanos: f64,
    pub(crate) slow_nanos: f64,
    pub(crate) normal_nanos: f64,
}

/// A comparison of one number a trace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    pub(crate) difference: Difference,
    pub(crate) slow_mean: f64,
    pub(crate) normal_mean: f64,
}

impl Study {
    /// Of the traces that are on a side: `true` for the slow one.
    pub(crate) fn new(observer: Observer, observed: Observations, sides: Vec<Option<bool>>) -> Self {
        let (strata, unmatched) = Strata::new(&observed.traces, &sides);
        let mut stratum = vec![None; sides.len()];
        for (number, rows) in strata.strata.iter().enumerate() {
            rows.slow.iter().chain(&rows.normal).for_each(|row| stratum[*row] = Some(number as u32));
        }
        let is_normal = |row: &usize| sides[*row] == Some(false);
        let mut totals: Vec<u64> =
            (0..sides.len()).filter(is_normal).map(|row| observed.traces[row].total_nanos).collect();
        let scale_nanos = (SCALE * median(&mut totals) as f64).max(1.0);
        Self { observer, observed, strata, unmatched, sides, stratum, scale_nanos }
    }

    /// The traces that take part, each with whether it is slow.
    pub(crate) fn traces(&self) -> impl Iterator<Item = (bool, &Observed)> {
        self.sides.iter().zip(&self.observed.traces).filter_map(|(side, trace)| Some(((*side)?, trace)))
    }

    /// The side and the stratum of a trace, if it is compared.
    pub(crate) fn compared(&self, row: usize) -> Option<(bool, u32)> {
        Some((self.sides[row]?, self.stratum[row]?))
    }

    /// Whether a trace takes part and is slow.
    pub(crate) fn is_slow(&self, row: usize) -> bool {
        self.sides[row] == Some(true)
    }

    /// The traces that pass any of some places, in order.
    pub(crate) fn passing(&self, places: &[u32]) -> Vec<usize> {
        let mut rows: Vec<usize> =
            places.iter().flat_map(|place| self.observed.visits(*place).map(|(row, _)| row)).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// A time on the scale on which times are compared.
    pub(crate) fn log_nanos(&self, nanos: f64) -> f64 {
        (nanos + self.scale_nanos).ln()
    }

    /// One number of each trace that has it, given by row.
    pub(crate) fn samples(&self, values: impl Iterator<Item = (usize, f64)>) -> Samples {
        let mut samples = Samples::default();
        for (row, value) in values {
            if let Some((is_slow, stratum)) = self.compared(row) {
                if is_slow { samples.slow.push((stratum, value)) } else { samples.normal.push((stratum, value)) }
            }
        }
        samples
    }

    /// How long a call takes at a place in each trace that passes it, on the scale on which times are compared.
    pub(crate) fn durations(&self, place: u32) -> impl Iterator<Item = (usize, f64)> {
        let a_call = |visit: Visit| self.log_nanos(visit.own_nanos as f64 / visit.spans as f64);
        self.observed.visits(place).map(move |(row, visit)| (row, a_call(visit)))
    }

    /// What each place adds, by place. All together are exactly the difference in the length of the critical path:
    /// within a stratum, a place's mean time is its calls a trace times its time a call, and a difference of products is
    /// `(n' - n) * (s + s') / 2` (more often) plus `(s' - s) * (n + n') / 2` (slower).
    pub(crate) fn added(&self) -> Vec<Added> {
        (0..self.observer.places.len() as u32).map(|place| self.added_at(place)).collect()
    }

    fn added_at(&self, place: u32) -> Added {
        // Nanoseconds and calls, of slow and of normal traces, by stratum.
        let mut sums: Vec<Option<[f64; 4]>> = vec![None; self.strata.strata.len()];
        for (row, visit) in self.observed.visits(place) {
            let Some((is_slow, stratum)) = self.compared(row) else { continue };
            let rows = &self.strata.strata[stratum as usize];
            let (offset, traces) = if is_slow { (0, rows.slow.len()) } else { (2, rows.normal.len()) };
            let sums = sums[stratum as usize].get_or_insert_default();
            sums[offset] += visit.path_nanos as f64 / traces as f64;
            sums[offset + 1] += visit.path_spans as f64 / traces as f64;
        }
        let mut added = Added::default();
        for (stratum, sums) in self.strata.strata.iter().zip(sums) {
            let Some([slow_nanos, slow_calls, normal_nanos, normal_calls]) = sums else { continue };
            let a_call = |nanos: f64, calls: f64| (calls > 0.0).then(|| nanos / calls);
            let (slow, normal) = (a_call(slow_nanos, slow_calls), a_call(normal_nanos, normal_calls));
            // Of calls that one side does not have at all, it is not known how long they would take there.
            let slow_a_call = slow.or(normal).unwrap_or(0.0);
            let normal_a_call = normal.or(slow).unwrap_or(0.0);
            let more = (slow_calls - normal_calls) * (slow_a_call + normal_a_call) / 2.0;
            added.more_often_nanos += stratum.weight * more;
            added.slower_nanos += stratum.weight * (slow_nanos - normal_nanos - more);
            added.slow_nanos += stratum.weight * slow_nanos;
            added.normal_nanos += stratum.weight * normal_nanos;
        }
        added
    }

    /// Critical path at some places, by row.
    pub(crate) fn path_nanos(&self, places: &[u32]) -> Vec<u64> {
        let mut nanos = vec![0; self.observed.traces.len()];
        for place in places {
            self.observed.visits(*place).for_each(|(row, visit)| nanos[row] += visit.path_nanos);
        }
        nanos
    }

    /// A number of each trace, by row, from those that have one; the others have 0.
    pub(crate) fn filled(&self, values: impl Iterator<Item = (usize, f64)>) -> Vec<f64> {
        let mut all = vec![0.0; self.observed.traces.len()];
        values.for_each(|(row, value)| all[row] = value);
        all
    }

    /// Compares the mean of a number, stratum by stratum.
    pub(crate) fn compare(&self, value: impl Fn(usize) -> f64) -> Compared {
        let mut compared = Compared::default();
        for stratum in &self.strata.strata {
            let of = |rows: &[usize]| Moments::of(rows.iter().map(|row| value(*row)));
            let (slow, normal) = (of(&stratum.slow), of(&stratum.normal));
            compared.difference.add_stratum(stratum.weight, slow, normal);
            compared.slow_mean += stratum.weight * slow.mean;
            compared.normal_mean += stratum.weight * normal.mean;
        }
        compared
    }
}

//! Slow and normal traces side by side.

use std::collections::HashMap;

use crate::observe::{Observation, Observer};
use crate::statistics::{Difference, Moments, median};

use super::effect::Samples;
use super::strata::Strata;

/// What is compared with what.
pub(crate) struct Study<'a> {
    pub(crate) observer: &'a Observer,
    pub(crate) slow: &'a [Observation],
    pub(crate) normal: &'a [Observation],
    pub(crate) strata: Strata,
    /// Slow traces without normal ones to compare with.
    pub(crate) unmatched: usize,
    slow_stratum: Vec<Option<u32>>,
    normal_stratum: Vec<Option<u32>>,
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

impl<'a> Study<'a> {
    pub(crate) fn new(observer: &'a Observer, slow: &'a [Observation], normal: &'a [Observation]) -> Self {
        let (strata, unmatched) = Strata::new(slow, normal);
        let mut slow_stratum = vec![None; slow.len()];
        let mut normal_stratum = vec![None; normal.len()];
        for (number, stratum) in strata.strata.iter().enumerate() {
            stratum.slow.iter().for_each(|row| slow_stratum[*row] = Some(number as u32));
            stratum.normal.iter().for_each(|row| normal_stratum[*row] = Some(number as u32));
        }
        let mut totals: Vec<u64> = normal.iter().map(|trace| trace.total_nanos).collect();
        let scale_nanos = (SCALE * median(&mut totals) as f64).max(1.0);
        Self { observer, slow, normal, strata, unmatched, slow_stratum, normal_stratum, scale_nanos }
    }

    /// The traces that are compared, each with its stratum; first slow ones, then normal ones.
    pub(crate) fn compared(&self) -> impl Iterator<Item = (bool, u32, &'a Observation)> {
        let side = |traces: &'a [Observation], strata: &[Option<u32>], is_slow: bool| {
            let strata = strata.to_vec();
            traces.iter().zip(strata).filter_map(move |(trace, stratum)| Some((is_slow, stratum?, trace)))
        };
        side(self.slow, &self.slow_stratum, true).chain(side(self.normal, &self.normal_stratum, false))
    }

    /// The stratum of a trace, if it is compared.
    pub(crate) fn stratum(&self, is_slow: bool, row: usize) -> Option<u32> {
        if is_slow { self.slow_stratum[row] } else { self.normal_stratum[row] }
    }

    /// A time on the scale on which times are compared.
    pub(crate) fn log_nanos(&self, nanos: f64) -> f64 {
        (nanos + self.scale_nanos).ln()
    }

    /// One number of each trace that has it.
    pub(crate) fn samples(&self, value: impl Fn(&Observation) -> Option<f64>) -> Samples {
        let mut samples = Samples::default();
        for (is_slow, stratum, trace) in self.compared() {
            if let Some(value) = value(trace) {
                if is_slow { samples.slow.push((stratum, value)) } else { samples.normal.push((stratum, value)) }
            }
        }
        samples
    }

    /// How long calls take at each place, by place.
    pub(crate) fn durations(&self) -> Vec<Samples> {
        let mut all = vec![Samples::default(); self.observer.places.len()];
        for (is_slow, stratum, trace) in self.compared() {
            for visit in &trace.visits {
                let value = self.log_nanos(visit.own_nanos as f64 / f64::from(visit.spans));
                let samples = &mut all[visit.place as usize];
                if is_slow { samples.slow.push((stratum, value)) } else { samples.normal.push((stratum, value)) }
            }
        }
        all
    }

    /// What each place adds, by place. All together are exactly the difference in the length of the critical path:
    /// within a stratum, a place's mean time is its calls a trace times its time a call, and a difference of products is
    /// `(n' - n) * (s + s') / 2` (more often) plus `(s' - s) * (n + n') / 2` (slower).
    pub(crate) fn added(&self) -> Vec<Added> {
        let mut all = vec![Added::default(); self.observer.places.len()];
        for stratum in &self.strata.strata {
            // Nanoseconds and calls, of slow and of normal traces.
            let mut sums: HashMap<u32, [f64; 4]> = HashMap::new();
            for (traces, rows, offset) in [(self.slow, &stratum.slow, 0), (self.normal, &stratum.normal, 2)] {
                for row in rows {
                    for visit in &traces[*row].visits {
                        let sums = sums.entry(visit.place).or_default();
                        sums[offset] += visit.path_nanos as f64 / rows.len() as f64;
                        sums[offset + 1] += f64::from(visit.path_spans) / rows.len() as f64;
                    }
                }
            }
            for (place, [slow_nanos, slow_calls, normal_nanos, normal_calls]) in sums {
                let added = &mut all[place as usize];
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
        }
        all
    }

    /// Compares the mean of a number, stratum by stratum.
    pub(crate) fn compare(&self, value: impl Fn(&Observation) -> f64) -> Compared {
        let mut compared = Compared::default();
        for stratum in &self.strata.strata {
            let slow = Moments::of(stratum.slow.iter().map(|row| value(&self.slow[*row])));
            let normal = Moments::of(stratum.normal.iter().map(|row| value(&self.normal[*row])));
            compared.difference.add_stratum(stratum.weight, slow, normal);
            compared.slow_mean += stratum.weight * slow.mean;
            compared.normal_mean += stratum.weight * normal.mean;
        }
        compared
    }
}

//! The spans that show a cause, one by one, each with how much it shows.

use std::collections::{BTreeMap, HashMap};

use tracewell_model::Trace;

use crate::observe::{Observer, Rows};

use super::causes::{Cause, Signal};
use super::study::Study;

/// One span where a cause shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    /// The number of its trace on its side.
    pub(crate) trace: usize,
    pub(crate) row: usize,
    /// How much: standard deviations above normal for what is slower, calls, the part that ran one by one, or 1 for an
    /// error and 0 for none.
    pub(crate) score: f64,
}

/// More traces than this on a side add nothing to what is known of attributes.
const MOST_TRACES: usize = 1_000;

/// The units of both sides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Units {
    pub(crate) slow: Vec<Unit>,
    pub(crate) normal: Vec<Unit>,
    /// What a standard deviation of a score is as a difference of logarithms of durations.
    pub(crate) spread: f64,
}

/// The units of both sides, in the order of time.
pub(crate) fn units(
    study: &Study<'_>,
    observer: &mut Observer,
    cause: &Cause,
    slow: &[&Trace],
    normal: &[&Trace],
) -> Units {
    let usual = usual(study, cause);
    let mut side = |traces: &[&Trace], is_slow: bool| {
        let observed = if is_slow { study.slow } else { study.normal };
        let shows = |number: &usize| {
            study.stratum(is_slow, *number).is_some()
                && watched(cause).iter().any(|place| observed[*number].visit(*place).is_some())
        };
        let mut numbers: Vec<usize> = (0..observed.len()).filter(shows).collect();
        // Evenly over the time, if there are too many.
        if numbers.len() > MOST_TRACES {
            let step = numbers.len() as f64 / MOST_TRACES as f64;
            numbers = (0..MOST_TRACES).map(|number| numbers[(number as f64 * step) as usize]).collect();
        }
        let mut units = Vec::new();
        for number in numbers {
            let rows = observer.rows(traces[number]);
            of_trace(study, cause, traces[number], &rows, &usual, |row, score| {
                units.push(Unit { trace: number, row, score });
            });
        }
        units
    };
    let spreads: Vec<f64> = usual.values().map(|(_, spread)| *spread).collect();
    let spread = spreads.iter().sum::<f64>() / spreads.len().max(1) as f64;
    Units { slow: side(slow, true), normal: side(normal, false), spread }
}

/// The places whose spans are the units.
fn watched(cause: &Cause) -> Vec<u32> {
    match cause.signal {
        Signal::Slower => cause.places.clone(),
        Signal::Calls { parent, .. } => vec![parent],
        Signal::Fork { place } | Signal::Errors { place } => vec![place],
    }
}

/// Mean and standard deviation of normal times at each of the places.
fn usual(study: &Study<'_>, cause: &Cause) -> HashMap<u32, (f64, f64)> {
    let mut all: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for (is_slow, _, trace) in study.compared() {
        for place in cause.places.iter().filter(|_| !is_slow) {
            if let Some(visit) = trace.visit(*place) {
                let value = study.log_nanos(visit.own_nanos as f64 / f64::from(visit.spans));
                all.entry(*place).or_default().push(value);
            }
        }
    }
    let of = |values: &Vec<f64>| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt().max(0.05))
    };
    all.iter().map(|(place, values)| (*place, of(values))).collect()
}

fn of_trace(
    study: &Study<'_>,
    cause: &Cause,
    trace: &Trace,
    rows: &Rows,
    usual: &HashMap<u32, (f64, f64)>,
    mut add: impl FnMut(usize, f64),
) {
    for row in 0..trace.len() {
        let place = rows.places[row];
        match cause.signal {
            Signal::Slower => {
                if let Some((mean, spread)) = usual.get(&place) {
                    add(row, (study.log_nanos(rows.own_nanos[row] as f64) - mean) / spread);
                }
            }
            Signal::Calls { parent, child } if place == parent => {
                add(row, trace.children(row).filter(|other| rows.places[*other] == child).count() as f64);
            }
            Signal::Fork { place: fork } if place == fork => {
                if let Some(overlap) = rows.overlap(trace, row) {
                    add(row, 1.0 - overlap);
                }
            }
            Signal::Errors { place: failing } if place == failing => {
                add(row, f64::from(rows.first_error[row]));
            }
            _ => {}
        }
    }
}

//! Since when.
//!
//! The normal traces say what a cause's number usually is. From some moment on it is more: of all moments, the one is
//! taken after which the mean exceeds the usual one the most, measured by the likelihood of a normal distribution with a
//! known mean before and another after (Hinkley, "Inference about the change-point in a sequence of random variables",
//! Biometrika 1970). Numbers far out are clipped, so that one outlier makes no onset.

use super::units::Unit;

/// The trace with which a change begins, by number, given units of normal traces and units of slow ones in the order of
/// time. `None` where nothing became more.
pub(crate) fn onset(slow: &[Unit], normal: &[Unit]) -> Option<usize> {
    let slow = by_trace(slow);
    let normal = by_trace(normal);
    if slow.len() < 4 || normal.len() < 2 {
        return None;
    }
    let mean = normal.iter().map(|(_, value)| value).sum::<f64>() / normal.len() as f64;
    let variance = normal.iter().map(|(_, value)| (value - mean).powi(2)).sum::<f64>() / normal.len() as f64;
    let spread = variance.sqrt().max(0.05);
    let (mut sum, mut best, mut found) = (0.0, 0.0, None);
    for (count, (trace, value)) in slow.iter().rev().enumerate() {
        sum += ((value - mean) / spread).clamp(-FAR, FAR);
        let likelihood = sum * sum / (count + 1) as f64;
        if sum > 0.0 && likelihood > best {
            (best, found) = (likelihood, Some(*trace));
        }
    }
    found
}

const FAR: f64 = 4.0;

/// The mean of each trace, in the order of the units.
fn by_trace(units: &[Unit]) -> Vec<(usize, f64)> {
    let mut traces: Vec<(usize, f64, f64)> = Vec::new();
    for unit in units {
        match traces.last_mut() {
            Some((trace, sum, count)) if *trace == unit.trace => {
                *sum += unit.score;
                *count += 1.0;
            }
            _ => traces.push((unit.trace, unit.score, 1.0)),
        }
    }
    traces.into_iter().map(|(trace, sum, count)| (trace, sum / count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_where_it_is_and_an_outlier_before_is_not() {
        let unit = Unit::bare;
        let wobble = |trace: usize| [0.3, -0.2, 0.1, -0.4][trace % 4];
        let normal: Vec<Unit> = (0..40).map(|trace| unit(trace, wobble(trace))).collect();
        let mut slow: Vec<Unit> =
            (0..100).map(|trace| unit(trace, wobble(trace) + if trace < 60 { 0.0 } else { 1.0 })).collect();
        slow[20].score = 500.0;
        assert_eq!(onset(&slow, &normal), Some(60));
        assert_eq!(onset(&normal[..3], &normal), None, "too few");
    }
}

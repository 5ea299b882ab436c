//! The little statistics that findings need.

/// The middle value, or the mean of the middle two; 0 of nothing.
pub(crate) fn median(values: &mut [u64]) -> u64 {
    if values.is_empty() {
        return 0;
    }
    values.sort_unstable();
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { values[middle - 1].midpoint(values[middle]) }
}

/// The value in the middle of weighted ones, each given with its weight; 0 of nothing. Each value stands at the middle of its
/// weight, and what lies between two is interpolated: a rounded weight moves the median by a rounding, and not from one
/// value to the next.
pub(crate) fn weighted_median(mut values: Vec<(f64, f64)>) -> f64 {
    values.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let half = 0.5 * values.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut sum = 0.0;
    let mut before: Option<(f64, f64)> = None;
    for (value, weight) in values {
        let place = sum + 0.5 * weight;
        match before {
            None if place >= half => return value,
            Some((last, last_place)) if place >= half => {
                return last + (value - last) * (half - last_place) / (place - last_place).max(f64::MIN_POSITIVE);
            }
            _ => before = Some((value, place)),
        }
        sum += weight;
    }
    before.map_or(0.0, |(value, _)| value)
}

/// Mean and variance of numbers that arrive one by one (Welford).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) count: f64,
    pub(crate) mean: f64,
    squares: f64,
}

impl Moments {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut moments = Self::default();
        for value in values {
            moments.count += 1.0;
            let from_old_mean = value - moments.mean;
            moments.mean += from_old_mean / moments.count;
            moments.squares += from_old_mean * (value - moments.mean);
        }
        moments
    }

    /// The sample variance; `None` below two values.
    pub(crate) fn variance(&self) -> Option<f64> {
        (self.count >= 2.0).then(|| self.squares / (self.count - 1.0))
    }
}

/// A difference of means, summed over strata with weights (Welch's test, stratified).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Difference {
    pub(crate) mean: f64,
    variance: f64,
    /// The denominator of Welch and Satterthwaite's degrees of freedom.
    freedom_denominator: f64,
}

impl Difference {
    pub(crate) fn add_stratum(&mut self, weight: f64, slow: Moments, normal: Moments) {
        let difference = slow.mean - normal.mean;
        self.mean += weight * difference;
        for side in [slow, normal] {
            // One value says nothing about its spread: the other side's stands in, or else the difference itself.
            let variance = side.variance().or(slow.variance()).or(normal.variance());
            let variance = variance.unwrap_or(difference * difference);
            let of_mean = weight * weight * variance / side.count;
            self.variance += of_mean;
            self.freedom_denominator += of_mean * of_mean / (side.count - 1.0).max(1.0);
        }
    }

    /// The standard error.
    pub(crate) fn error(&self) -> f64 {
        self.variance.sqrt()
    }

    /// Half of the width of the 95 % confidence interval.
    pub(crate) fn half_width(&self) -> f64 {
        if self.variance == 0.0 {
            return 0.0;
        }
        // Student's t at 0.975: 1.96 for many degrees of freedom; the expansion is within 4 % from 3 upwards.
        let freedom = (self.variance * self.variance / self.freedom_denominator).max(2.0);
        (1.96 + 2.4 / freedom + 3.0 / freedom.powi(2)) * self.variance.sqrt()
    }
}

/// The logarithm of how much likelier two counts (hits, of so many) are if their parts differ than if they are the same,
/// with Jeffreys' prior on each part. Negative infinity if the first part is not the larger.
pub(crate) fn log_bayes_of_parts((hits, all): (f64, f64), (other_hits, other_all): (f64, f64)) -> f64 {
    if hits * other_all <= other_hits * all {
        return f64::NEG_INFINITY;
    }
    let of = |hits: f64, all: f64| ln_beta(hits + 0.5, all - hits + 0.5) - ln_beta(0.5, 0.5);
    of(hits, all) + of(other_hits, other_all) - of(hits + other_hits, all + other_all)
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The logarithm of the gamma function: Stirling's series, moved up to where it is exact to ten digits.
fn ln_gamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 12.0 {
        below += x.ln();
        x += 1.0;
    }
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) - below
}

/// How likely it is to draw at least `hits` marked ones among `drawn`, of `all` of which `marked` are (the upper tail of
/// the hypergeometric distribution: Fisher's exact test, one-sided).
pub(crate) fn hypergeometric_tail(hits: usize, drawn: usize, marked: usize, all: usize) -> f64 {
    let choose = |n: usize, k: usize| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let whole = choose(all, drawn);
    let most = drawn.min(marked);
    let least = hits.max((drawn + marked).saturating_sub(all));
    let of = |hits: usize| (choose(marked, hits) + choose(all - marked, drawn - hits) - whole).exp();
    (least..=most).map(of).sum::<f64>().min(1.0)
}

fn ln_factorial(n: usize) -> f64 {
    ln_gamma(n as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&mut []), 0);
        assert_eq!(median(&mut [3, 1, 2]), 2);
        assert_eq!(median(&mut [u64::MAX, u64::MAX - 2]), u64::MAX - 1);
    }

    #[test]
    fn a_weighted_median_goes_smoothly_from_one_value_to_the_next() {
        assert_eq!(weighted_median(vec![]), 0.0);
        assert_eq!(weighted_median(vec![(3.0, 2.0)]), 3.0);
        assert_eq!(weighted_median(vec![(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]), 2.0);
        assert_eq!(weighted_median(vec![(4.0, 1.0), (1.0, 1.0), (2.0, 1.0), (8.0, 1.0)]), 3.0);
        assert_eq!(weighted_median(vec![(0.0, 100.0), (9.0, 1.0), (-9.0, 1.0)]), 0.0);
        let nearly_even = weighted_median(vec![(0.0, 1.0 - 1e-12), (1.0, 1.0 + 1e-12)]);
        assert!((nearly_even - 0.5).abs() < 1e-9, "{nearly_even}");
    }

    #[test]
    fn drawing_marked_ones_is_as_likely_as_counting_says() {
        // 5 of 10 are marked and 5 are drawn: all 5 marked in 1 of 252 ways, at least 4 in 26.
        assert!((hypergeometric_tail(5, 5, 5, 10) - 1.0 / 252.0).abs() < 1e-8);
        assert!((hypergeometric_tail(4, 5, 5, 10) - 26.0 / 252.0).abs() < 1e-8);
        assert!((hypergeometric_tail(0, 5, 5, 10) - 1.0).abs() < 1e-8);
        let exact: f64 = (2..=20).map(|factor| f64::from(factor).ln()).sum();
        assert!((ln_factorial(20) - exact).abs() < 1e-8);
        assert!(log_bayes_of_parts((20.0, 100.0), (0.0, 100.0)) > 5.0);
        assert!(log_bayes_of_parts((2.0, 100.0), (1.0, 100.0)) < 0.0);
    }
}

//! How sure a difference is.
//!
//! A difference between two windows has three parts: what chance does to a sample, what differs between any two hours
//! without anything being wrong (the *drift*), and what is wrong. The first is estimated from the samples, the second
//! from all places together, most of which are fine. What exceeds both speaks for a fault, and how loudly it does is a
//! Bayes factor: how much likelier the difference is if the place got slower than if it did not.

/// Numbers of slow and of normal traces, each with the number of its stratum.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    pub(crate) slow: Vec<(u32, f64)>,
    pub(crate) normal: Vec<(u32, f64)>,
}

/// A difference of means with its variance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Effect {
    pub(crate) difference: f64,
    pub(crate) variance: f64,
    /// How much the samples weigh: the harmonic sum of their sizes.
    pub(crate) weight: f64,
    /// The standard deviation of one sample.
    pub(crate) spread: f64,
    /// Degrees of freedom: how well the variance is known.
    pub(crate) freedom: f64,
    /// The variance of the difference if both sides are of one kind.
    pub(crate) null_variance: f64,
}

/// The spread that a side of few samples is taken to have: so many of its degrees of freedom come from both together.
const BORROWED_FREEDOM: f64 = 2.0;

impl Samples {
    /// The difference within strata, each weighted by how much it can tell (Mantel and Haenszel; van Elteren), the
    /// spread pooled over them. `None` where there are too few samples to know a spread.
    pub(crate) fn effect(&self) -> Option<Effect> {
        let mut strata: Vec<(Moments, Moments)> = vec![Default::default(); self.strata()];
        self.slow.iter().for_each(|(stratum, value)| strata[*stratum as usize].0.add(*value));
        self.normal.iter().for_each(|(stratum, value)| strata[*stratum as usize].1.add(*value));
        strata.retain(|(slow, normal)| slow.count > 0.0 && normal.count > 0.0);
        let sum = |of: fn(&(Moments, Moments)) -> f64| strata.iter().map(of).sum::<f64>();
        let (slow_freedom, normal_freedom) =
            (sum(|pair| pair.0.count) - strata.len() as f64, sum(|pair| pair.1.count) - strata.len() as f64);
        if slow_freedom + normal_freedom < 1.0 {
            return None;
        }
        let (slow_squares, normal_squares) = (sum(|pair| pair.0.squares), sum(|pair| pair.1.squares));
        let pooled = (slow_squares + normal_squares) / (slow_freedom + normal_freedom);
        let borrowed =
            |squares: f64, freedom: f64| (squares + BORROWED_FREEDOM * pooled) / (freedom + BORROWED_FREEDOM);
        let (slow_variance, normal_variance) =
            (borrowed(slow_squares, slow_freedom), borrowed(normal_squares, normal_freedom));
        let freedom = slow_freedom + normal_freedom;
        let between = sum(|(slow, normal)| {
            slow.count * normal.count / (slow.count + normal.count) * (slow.mean - normal.mean).powi(2)
        });
        let common = (slow_squares + normal_squares + between) / (freedom + strata.len() as f64);
        let mut effect = Effect { spread: pooled.sqrt(), freedom, ..Effect::default() };
        for (slow, normal) in &strata {
            let weight = slow.count * normal.count / (slow.count + normal.count);
            effect.weight += weight;
            effect.difference += weight * (slow.mean - normal.mean);
            effect.variance += weight * weight * (slow_variance / slow.count + normal_variance / normal.count);
            effect.null_variance += weight * weight * common * (1.0 / slow.count + 1.0 / normal.count);
        }
        effect.difference /= effect.weight;
        effect.variance /= effect.weight * effect.weight;
        effect.null_variance /= effect.weight * effect.weight;
        Some(effect)
    }

    fn strata(&self) -> usize {
        self.slow.iter().chain(&self.normal).map(|(stratum, _)| *stratum as usize + 1).max().unwrap_or(0)
    }

    /// How much likelier it is to lie above what most normal samples keep below, as a difference of log-odds. It sees
    /// what hits a part of requests only, which a mean of logarithms hardly does. `None` with too few normal samples.
    pub(crate) fn tail(&self, tail: Tail) -> Option<Effect> {
        let mut means = vec![Moments::default(); self.strata()];
        self.normal.iter().for_each(|(stratum, value)| means[*stratum as usize].add(*value));
        let beyond = |samples: &[(u32, f64)]| -> Vec<f64> {
            let means = samples.iter().map(|(stratum, value)| (means[*stratum as usize], value));
            means.filter(|(normal, _)| normal.count > 0.0).map(|(normal, value)| value - normal.mean).collect()
        };
        let (slow, mut normal) = (beyond(&self.slow), beyond(&self.normal));
        if (normal.len().min(slow.len()) as f64) < 2.0 / tail.part {
            return None;
        }
        let place = normal.len() - (normal.len() as f64 * tail.part) as usize;
        let limit = *normal.select_nth_unstable_by(place, f64::total_cmp).1;
        let count = |values: &[f64]| values.iter().filter(|value| **value >= limit).count() as f64;
        let (slow_above, normal_above) = (count(&slow), count(&normal));
        let (slow_below, normal_below) = (slow.len() as f64 - slow_above, normal.len() as f64 - normal_above);
        // Half a count more in each cell keeps what did not occur from being impossible (Haldane and Anscombe).
        let odds = |above: f64, below: f64| ((above + 0.5) / (below + 0.5)).ln();
        let variance = [slow_above, slow_below, normal_above, normal_below].map(|cell| 1.0 / (cell + 0.5)).iter().sum();
        let Effect { spread, freedom, .. } = self.effect()?;
        let (slow, normal) = (slow.len() as f64, normal.len() as f64);
        let difference = odds(slow_above, slow_below) - odds(normal_above, normal_below);
        Some(Effect {
            difference,
            variance,
            weight: slow * normal / (slow + normal),
            spread,
            freedom,
            null_variance: variance,
        })
    }
}

/// A part of normal samples, the highest ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    part: f64,
    /// By how much the log-odds of lying in it move when a normal distribution moves by one standard deviation: the
    /// density at its limit over `part * (1 - part)`.
    pub(crate) slope: f64,
}

/// What a fault that hits some requests shows in: the highest tenth, and the highest fiftieth.
pub(crate) const TAILS: [Tail; 2] = [Tail { part: 0.1, slope: 1.95 }, Tail { part: 0.02, slope: 2.47 }];

/// The logarithm of how much likelier this difference is if something got slower than if it did not: Student
/// distributions around zero, one as wide as chance and `drift` make it, the other wider by `fault`. What got faster
/// speaks against.
pub(crate) fn log_bayes(effect: Effect, drift: f64, fault: f64) -> f64 {
    let narrow = (effect.variance + drift * drift).max(1e-12);
    let wide = narrow + fault * fault;
    let squared = effect.difference * effect.difference;
    let student = |variance: f64| {
        -0.5 * variance.ln() - 0.5 * (effect.freedom + 1.0) * (squared / variance / effect.freedom).ln_1p()
    };
    if effect.difference < 0.0 {
        return 0.5 * (narrow / wide).ln() - 0.5 * (squared / narrow).min(9.0);
    }
    (student(wide) - student(narrow)).min(MOST_LOG_BAYES)
}

/// One place never says more than this, however small its spread: samples are few and not normal.
const MOST_LOG_BAYES: f64 = 20.0;

/// The drift: how far effects lie apart beyond chance, going by the inner half of them, so that up to half of all
/// places may be at fault. Two hours are never taken to be more alike than 5 %.
pub(crate) fn drift(effects: &[Effect]) -> f64 {
    // Half of a normal distribution lies within 0.6745 standard deviations.
    let too_wide = |drift: f64| {
        let inner = effects
            .iter()
            .filter(|effect| effect.difference.abs() <= 0.6745 * (effect.variance + drift * drift).sqrt());
        2 * inner.count() >= effects.len()
    };
    let (mut low, mut high) = (LEAST_DRIFT, 1.0);
    if too_wide(low) {
        return low;
    }
    for _ in 0..30 {
        let middle = 0.5 * (low + high);
        if too_wide(middle) { high = middle } else { low = middle }
    }
    high
}

const LEAST_DRIFT: f64 = 0.05;

/// Mean and squared deviations of numbers that arrive one by one (Welford).
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let from_old_mean = value - self.mean;
        self.mean += from_old_mean / self.count;
        self.squares += from_old_mean * (value - self.mean);
    }
}

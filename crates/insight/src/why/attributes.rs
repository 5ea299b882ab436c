//! For whom: the attributes that tell spans that show a cause from those that do not.
//!
//! A span is *hit* if it shows the cause more than 19 of 20 normal ones do. An attribute's *lift* is how many times more
//! often spans with it are hit than all spans; how likely that is by chance, Fisher's exact test says, corrected for as
//! many attributes as were tried (Bonferroni). And the attribute is held against the rest: without the spans that have
//! it, at most half of the excess of hits may be left.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use crate::statistics::hypergeometric_tail;
use crate::symbols::Symbols;

use super::causes::{Cause, FAULT};
use super::effect::{Samples, log_bayes};
use super::units::{Unit, Units};

/// An attribute, or a pair of them, that tells for whom a cause is.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// The attribute's key; of a pair, both joined by ` & `.
    pub key: String,
    /// Its value; of a pair, both joined by ` & `.
    pub value: String,
    /// How many times more often spans with it are hit than all spans.
    pub lift: f64,
    /// How likely this is by chance, corrected for all attributes tried.
    pub p_value: f64,
    /// The part of the excess that is gone without the spans that have it.
    pub explained: f64,
}

/// An attribute that separates, with what finds the spans that have it.
pub(crate) struct Separating {
    pub(crate) attribution: Attribution,
    /// Of how many it was chosen.
    tried: usize,
    /// Key and value as symbols; of a pair, both.
    pairs: Vec<Pair>,
}

/// Keys that say that a call failed or how long it took rather than for whom it was.
const SYMPTOMS: [&str; 8] = [
    "error.type",
    "http.response.status_code",
    "http.status_code",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
    "otel.status_code",
    "exception.type",
    "error",
];
/// A value that fewer spans have cannot be told from chance.
const LEAST_SPANS: usize = 5;
/// A key with more values names single requests.
const MOST_VALUES: usize = 1_000;
const MOST_P: f64 = 0.01;
const LEAST_LIFT: f64 = 1.2;
const LEAST_EXPLAINED: f64 = 0.5;
const MOST_FOUND: usize = 5;
/// Pairs are tried among so many of the best single attributes.
const PAIRED: usize = 8;

/// A key and a value, as symbols.
type Pair = (u32, u32);

/// The attributes that separate, best first; empty where none does. `since` is the first slow trace to look at.
pub(crate) fn attributes(units: &Units, symbols: &Symbols, since: Option<usize>) -> Vec<Separating> {
    let mut usual: Vec<f64> = units.normal.iter().map(|unit| unit.score).collect();
    usual.sort_unstable_by(f64::total_cmp);
    let Some(limit) = usual.get((usual.len() * 19 / 20).min(usual.len().saturating_sub(1))).copied() else {
        return Vec::new();
    };
    let first = units.slow.iter().position(|unit| since.is_none_or(|since| unit.trace == since));
    let looked_at = &units.slow[first.unwrap_or(0)..];
    let hit: Vec<bool> = looked_at.iter().map(|unit| unit.score > limit).collect();
    let (all, hits) = (hit.len(), hit.iter().filter(|hit| **hit).count());
    if hits == 0 || hits == all {
        return Vec::new();
    }
    let spans = spans_by_attribute(looked_at, units, symbols);
    let tried = spans.len().max(1);
    let normal_rate = usual.iter().filter(|score| **score > limit).count() as f64 / usual.len() as f64;
    let excess = (hits as f64 - normal_rate * all as f64).max(0.5);
    let judge = |pairs: Vec<Pair>, spans: Vec<usize>, tried: usize| -> Option<Found> {
        let with = spans.iter().filter(|span| hit[**span]).count();
        let lift = (with as f64 / spans.len() as f64) / (hits as f64 / all as f64);
        let p_value = (hypergeometric_tail(with, spans.len(), hits, all) * tried as f64).min(1.0);
        let rest = (hits - with) as f64 - normal_rate * (all - spans.len()) as f64;
        let explained = 1.0 - (rest / excess).clamp(0.0, 1.0);
        (p_value <= MOST_P && lift >= LEAST_LIFT).then_some(Found { pairs, spans, lift, p_value, explained })
    };
    let mut found: Vec<Found> = spans.into_iter().filter_map(|(pair, spans)| judge(vec![pair], spans, tried)).collect();
    let order = |left: &Found, right: &Found| left.order(right, symbols);
    found.sort_by(order);
    let pairs = pairs(&found, |pairs, spans| judge(pairs, spans, tried + PAIRED * PAIRED));
    found.extend(pairs);
    found.sort_by(order);
    found
        .into_iter()
        .filter(|found| found.explained >= LEAST_EXPLAINED)
        .take(MOST_FOUND)
        .map(|found| {
            let (key, value) = found.texts(symbols);
            let Found { pairs, lift, p_value, explained, .. } = found;
            Separating { attribution: Attribution { key, value, lift, p_value, explained }, tried, pairs }
        })
        .collect()
}

/// An attribute that separates, with the units that have it.
struct Found {
    /// One, or two that occur together.
    pairs: Vec<Pair>,
    spans: Vec<usize>,
    lift: f64,
    p_value: f64,
    explained: f64,
}

impl Found {
    fn order(&self, other: &Self, symbols: &Symbols) -> Ordering {
        let by_lift = || other.lift.total_cmp(&self.lift);
        let by_text = || self.texts(symbols).cmp(&other.texts(symbols));
        self.p_value.total_cmp(&other.p_value).then_with(by_lift).then_with(by_text)
    }

    /// Keys and values in words.
    fn texts(&self, symbols: &Symbols) -> (String, String) {
        let joined =
            |of: fn(&Pair) -> u32| self.pairs.iter().map(|pair| symbols.text(of(pair))).collect::<Vec<_>>().join(AND);
        (joined(|(key, _)| *key), joined(|(_, value)| *value))
    }
}

/// Pairs of the best attributes that say clearly more than the better of the two.
fn pairs(found: &[Found], judge: impl Fn(Vec<Pair>, Vec<usize>) -> Option<Found>) -> Vec<Found> {
    let mut pairs = Vec::new();
    for (number, left) in found.iter().take(PAIRED).enumerate() {
        let left_spans: HashSet<usize> = left.spans.iter().copied().collect();
        for right in found.iter().take(PAIRED).skip(number + 1) {
            let both: Vec<usize> = right.spans.iter().copied().filter(|span| left_spans.contains(span)).collect();
            if left.pairs[0].0 == right.pairs[0].0 || both.len() < LEAST_SPANS {
                continue;
            }
            let says_more = |both: &Found| {
                both.p_value < 1e-3 * left.p_value.min(right.p_value)
                    && both.lift > LEAST_LIFT * left.lift.max(right.lift)
            };
            pairs.extend(judge(vec![left.pairs[0], right.pairs[0]], both).filter(says_more));
        }
    }
    pairs
}

/// How much speaks for a cause if it is only for spans with an attribute: how they changed against normal ones that have
/// it as well.
pub(crate) fn strength(units: &Units, cause: &Cause, attribute: &Separating) -> f64 {
    let by_trace = |units: Vec<Unit>| -> Vec<(u32, f64)> {
        let of = |units: &[Unit]| (0, units.iter().map(|unit| unit.score).sum::<f64>() / units.len() as f64);
        units.chunk_by(|left, right| left.trace == right.trace).map(of).collect()
    };
    let samples = Samples {
        slow: by_trace(with(units, &units.slow, attribute)),
        normal: by_trace(with(units, &units.normal, attribute)),
    };
    let spread = units.spread.max(1e-3);
    samples.effect().map_or(f64::NEG_INFINITY, |effect| {
        log_bayes(effect, cause.drift / spread, FAULT / spread) + cause.prior - (attribute.tried as f64).ln()
    })
}

/// Those units of a side that have an attribute.
pub(crate) fn with(units: &Units, side: &[Unit], attribute: &Separating) -> Vec<Unit> {
    let has = |unit: &&Unit| attribute.pairs.iter().all(|pair| units.attributes(unit).contains(pair));
    side.iter().filter(has).copied().collect()
}

const AND: &str = " & ";

/// Which of some units have an attribute, by attribute; those that all or hardly any have are left out.
fn spans_by_attribute(some: &[Unit], units: &Units, symbols: &Symbols) -> HashMap<Pair, Vec<usize>> {
    let mut is_looked_at: HashMap<u32, bool> = HashMap::new();
    let mut spans: HashMap<u32, HashMap<u32, Vec<usize>>> = HashMap::new();
    for (number, unit) in some.iter().enumerate() {
        for (key, value) in units.attributes(unit) {
            let is_looked_at = is_looked_at.entry(*key).or_insert_with(|| {
                let key = symbols.text(*key);
                key != "service.name" && !SYMPTOMS.contains(&key)
            });
            if !*is_looked_at {
                continue;
            }
            let values = spans.entry(*key).or_default();
            if values.len() < MOST_VALUES {
                values.entry(*value).or_default().push(number);
            }
        }
    }
    // What all spans of one operation have and no other is another name for the operation.
    let mut named: HashMap<u32, usize> = HashMap::new();
    some.iter().for_each(|unit| *named.entry(unit.name).or_default() += 1);
    let is_a_name = |spans: &[usize]| {
        spans.first().is_some_and(|first| {
            let first = some[*first].name;
            named[&first] == spans.len() && spans.iter().all(|number| some[*number].name == first)
        })
    };
    spans
        .into_iter()
        .flat_map(|(key, values)| values.into_iter().map(move |(value, spans)| ((key, value), spans)))
        .filter(|(_, spans)| spans.len() >= LEAST_SPANS && spans.len() < some.len() && !is_a_name(spans))
        .collect()
}

//! For whom: the attributes that tell spans that show a cause from those that do not.
//!
//! A span is *hit* if it shows the cause more than 19 of 20 normal ones do. An attribute's *lift* is how many times more
//! often spans with it are hit than all spans; how likely that is by chance, Fisher's exact test says, corrected for as
//! many attributes as were tried (Bonferroni). And the attribute is held against the rest: without the spans that have
//! it, at most half of the excess of hits may be left.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

use tracewell_model::Trace;

use crate::statistics::hypergeometric_tail;

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
    /// Of how many it was chosen.
    pub(crate) tried: usize,
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

/// A key and a value.
type Pair = (String, String);

/// The attributes that separate, best first; empty where none does. `since` is the first slow trace to look at.
pub(crate) fn attributes(units: &Units, traces: &[&Trace], since: usize) -> Vec<Attribution> {
    let mut usual: Vec<f64> = units.normal.iter().map(|unit| unit.score).collect();
    usual.sort_unstable_by(f64::total_cmp);
    let Some(limit) = usual.get((usual.len() * 19 / 20).min(usual.len().saturating_sub(1))).copied() else {
        return Vec::new();
    };
    let looked_at: Vec<&Unit> = units.slow.iter().filter(|unit| unit.trace >= since).collect();
    let hit: Vec<bool> = looked_at.iter().map(|unit| unit.score > limit).collect();
    let (all, hits) = (hit.len(), hit.iter().filter(|hit| **hit).count());
    if hits == 0 || hits == all {
        return Vec::new();
    }
    let spans = spans_by_attribute(&looked_at, traces);
    let tried = spans.len().max(1);
    let normal_rate = usual.iter().filter(|score| **score > limit).count() as f64 / usual.len() as f64;
    let excess = (hits as f64 - normal_rate * all as f64).max(0.5);
    let judge = |pair: Pair, spans: Vec<usize>, tried: usize| -> Option<Found> {
        let with = spans.iter().filter(|span| hit[**span]).count();
        let lift = (with as f64 / spans.len() as f64) / (hits as f64 / all as f64);
        let p_value = (hypergeometric_tail(with, spans.len(), hits, all) * tried as f64).min(1.0);
        let rest = (hits - with) as f64 - normal_rate * (all - spans.len()) as f64;
        let explained = 1.0 - (rest / excess).clamp(0.0, 1.0);
        (p_value <= MOST_P && lift >= LEAST_LIFT).then_some(Found { pair, spans, lift, p_value, explained })
    };
    let mut found: Vec<Found> = spans.into_iter().filter_map(|(pair, spans)| judge(pair, spans, tried)).collect();
    found.sort_by(Found::order);
    let pairs = pairs(&found, |pair, spans| judge(pair, spans, tried + PAIRED * PAIRED));
    found.extend(pairs);
    found.sort_by(Found::order);
    found
        .into_iter()
        .filter(|found| found.explained >= LEAST_EXPLAINED)
        .take(MOST_FOUND)
        .map(|Found { pair: (key, value), lift, p_value, explained, .. }| Attribution {
            key,
            value,
            lift,
            p_value,
            explained,
            tried,
        })
        .collect()
}

/// An attribute that separates, with the units that have it.
struct Found {
    pair: Pair,
    spans: Vec<usize>,
    lift: f64,
    p_value: f64,
    explained: f64,
}

impl Found {
    fn order(&self, other: &Self) -> Ordering {
        let by_lift = || other.lift.total_cmp(&self.lift);
        self.p_value.total_cmp(&other.p_value).then_with(by_lift).then_with(|| self.pair.cmp(&other.pair))
    }
}

/// Pairs of the best attributes that say clearly more than the better of the two.
fn pairs(found: &[Found], judge: impl Fn(Pair, Vec<usize>) -> Option<Found>) -> Vec<Found> {
    let mut pairs = Vec::new();
    for (number, left) in found.iter().take(PAIRED).enumerate() {
        let left_spans: HashSet<usize> = left.spans.iter().copied().collect();
        for right in found.iter().take(PAIRED).skip(number + 1) {
            let both: Vec<usize> = right.spans.iter().copied().filter(|span| left_spans.contains(span)).collect();
            if left.pair.0 == right.pair.0 || both.len() < LEAST_SPANS {
                continue;
            }
            let joined = |left: &str, right: &str| format!("{left}{AND}{right}");
            let pair = (joined(&left.pair.0, &right.pair.0), joined(&left.pair.1, &right.pair.1));
            let says_more = |both: &Found| {
                both.p_value < 1e-3 * left.p_value.min(right.p_value)
                    && both.lift > LEAST_LIFT * left.lift.max(right.lift)
            };
            pairs.extend(judge(pair, both).filter(says_more));
        }
    }
    pairs
}

/// How much speaks for a cause if it is only for spans with an attribute: how they changed against normal ones that have
/// it as well.
pub(crate) fn strength(
    units: &Units,
    cause: &Cause,
    slow: &[&Trace],
    normal: &[&Trace],
    attribute: &Attribution,
) -> f64 {
    let by_trace = |units: Vec<Unit>| -> Vec<(u32, f64)> {
        let mut traces: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        for unit in units {
            let (sum, count) = traces.entry(unit.trace).or_default();
            *sum += unit.score;
            *count += 1.0;
        }
        traces.into_values().map(|(sum, count)| (0, sum / count)).collect()
    };
    let samples = Samples {
        slow: by_trace(with(&units.slow, slow, attribute)),
        normal: by_trace(with(&units.normal, normal, attribute)),
    };
    let spread = units.spread.max(1e-3);
    samples.effect().map_or(f64::NEG_INFINITY, |effect| {
        log_bayes(effect, cause.drift / spread, FAULT / spread) + cause.prior - (attribute.tried as f64).ln()
    })
}

/// The units that have an attribute.
pub(crate) fn with(units: &[Unit], traces: &[&Trace], attribute: &Attribution) -> Vec<Unit> {
    let wanted: Vec<(&str, &str)> = attribute.key.split(AND).zip(attribute.value.split(AND)).collect();
    let has = |unit: &&Unit| {
        let trace = traces[unit.trace];
        let span = trace.span(unit.row);
        let of_root = || trace.root().into_iter().flat_map(|root| root.attributes().iter());
        wanted.iter().all(|(key, value)| {
            let mut all = span.attributes().iter().chain(span.resource_attributes()).chain(of_root());
            all.find(|(other, _)| other == key).is_some_and(|(_, other)| other.to_string() == *value)
        })
    };
    units.iter().filter(has).copied().collect()
}

const AND: &str = " & ";

/// Which of the units have an attribute, by attribute; those that all or hardly any have are left out.
fn spans_by_attribute(units: &[&Unit], traces: &[&Trace]) -> HashMap<Pair, Vec<usize>> {
    let mut spans: HashMap<String, HashMap<String, Vec<usize>>> = HashMap::new();
    for (number, unit) in units.iter().enumerate() {
        let trace = traces[unit.trace];
        let span = trace.span(unit.row);
        let root = trace.root().filter(|root| root.row() != unit.row);
        let of_root = root.into_iter().flat_map(|root| root.attributes().iter());
        let mut seen: HashSet<&str> = HashSet::new();
        for (key, value) in span.attributes().iter().chain(span.resource_attributes()).chain(of_root) {
            if key == "service.name" || SYMPTOMS.contains(&key) || !seen.insert(key) {
                continue;
            }
            if !spans.contains_key(key) {
                spans.insert(key.to_owned(), HashMap::new());
            }
            let Some(values) = spans.get_mut(key) else { continue };
            if values.len() < MOST_VALUES {
                values.entry(value.to_string()).or_default().push(number);
            }
        }
    }
    spans
        .into_iter()
        .flat_map(|(key, values)| values.into_iter().map(move |(value, spans)| ((key.clone(), value), spans)))
        .filter(|(_, spans)| spans.len() >= LEAST_SPANS && spans.len() < units.len())
        .collect()
}

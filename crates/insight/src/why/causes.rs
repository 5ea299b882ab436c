//! What may be wrong, and how much speaks for it.
//!
//! Four things are looked at, each in a number that the other three do not change:
//!
//! | what            | the number                                             | a cause                              |
//! |-----------------|--------------------------------------------------------|--------------------------------------|
//! | slower          | own time of a call at a place                          | places that one thing would slow     |
//! | more often      | calls of a place for each call of its caller           | a caller and what it calls           |
//! | one by one      | how much of a place's children's time overlaps         | the place                            |
//! | failing         | spans that fail while none of their children does      | the place                            |
//!
//! Slower places are gathered by what would slow them together:
//!
//! ```text
//! network of S     all edges to and from S                 A ──▶ S ──▶ T
//! S itself         all of its own operations                     S
//! all of S         both, and what it waits for: a process without processor time delays all that it does
//! an edge          all calls from one service to another   A ──▶ S
//! a dependency     all calls of one service to one target        S ──▶ database
//! a single place   one operation
//! ```
//!
//! A cause slows most of its places ([`HIT`]) and leaves alone the others. For each way of gathering, the evidence of
//! its places is added up; those that did not get slower speak against it. The best takes its places, and the search goes
//! on with those that are left. Before any evidence, each way of gathering is as likely as the others, and so is each
//! service within one: there are many single places, so that each of them has to show more.

use std::collections::{BTreeMap, BTreeSet};

use crate::observe::calls_others;
use crate::place::Place;

use crate::statistics::log_bayes_of_parts;

use super::effect::{Effect, Samples, TAILS, drift, log_bayes};
use super::study::{Added, Study};
use super::FindingKind;

/// Something that may be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) kind: FindingKind,
    /// The service to look at.
    pub(crate) service: u32,
    pub(crate) operation: u32,
    /// Caller and callee, if it is between two services.
    pub(crate) edge: Option<(u32, u32)>,
    /// What shows it.
    pub(crate) signal: Signal,
    /// The places that it delays, sorted.
    pub(crate) places: Vec<u32>,
    /// Those of them that show it.
    pub(crate) slowed: Vec<u32>,
    /// The logarithm of how much likelier it is than that nothing is wrong, given how many there are to choose from.
    pub(crate) strength: f64,
    /// That number, as a logarithm below zero.
    pub(crate) prior: f64,
    /// By how much the logarithm of a duration drifts from one window to the other.
    pub(crate) drift: f64,
    pub(crate) slower_nanos: f64,
    pub(crate) more_often_nanos: f64,
    /// What it adds at least, beyond chance and drift.
    pub(crate) sure_nanos: f64,
}

/// Which number shows a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Slower,
    Calls { parent: u32, child: u32 },
    Fork { place: u32 },
    Errors { place: u32 },
}

impl Cause {
    /// What it surely adds, times how likely it is.
    fn expected_nanos(&self) -> f64 {
        self.sure_nanos.max(0.0) / (1.0 + (-self.strength).exp())
    }

    pub(crate) fn added_nanos(&self) -> f64 {
        self.slower_nanos + self.more_often_nanos
    }
}

/// The part of a cause's places that it delays, as far as is known beforehand.
const HIT: f64 = 0.8;
/// By what factor something at fault is slower, give or take, as a logarithm: a factor of e.
pub(crate) const FAULT: f64 = 1.0;
/// Ways of gathering and other things looked at; all are as likely beforehand.
const FAMILIES: f64 = 9.0;
/// How much has to speak for a service's own work being slow, so that it is not taken for its network.
const OWN: f64 = 2.0;
/// One-sided 95 %.
const SURE: f64 = 1.645;

/// All causes, the one that surely adds the most first.
pub(crate) fn find(study: &Study<'_>) -> Vec<Cause> {
    let durations = study.durations();
    let added = study.added();
    let mut calls = calls(study);
    calls.retain(|cause| cause.strength > 0.0 || cause.sure_nanos > 0.0);
    let claimed = below(study, calls.iter().filter(|cause| cause.strength > 0.0));
    let mut causes = slower(study, &durations, &added, &claimed);
    causes.extend(calls);
    causes.extend(forks(study));
    causes.extend(errors(study));
    merge(study, &mut causes);
    causes.sort_by(|left, right| {
        (right.expected_nanos().total_cmp(&left.expected_nanos()))
            .then(right.added_nanos().total_cmp(&left.added_nanos()))
            .then(left.places.cmp(&right.places))
    });
    causes
}

// --- slower ---------------------------------------------------------------------------------------------------------

/// What one thing would slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gathering {
    Network(u32),
    Own(u32),
    Service(u32),
    Edge(u32, u32),
    Dependency(u32, u32),
    Single(u32),
}

impl Gathering {
    fn family(self) -> usize {
        match self {
            Self::Network(_) => 0,
            Self::Own(_) => 1,
            Self::Service(_) => 2,
            Self::Edge(..) => 3,
            Self::Dependency(..) => 4,
            Self::Single(_) => 5,
        }
    }

    fn of(id: u32, place: Place) -> Vec<Self> {
        match place {
            Place::Own { service, .. } => vec![Self::Own(service), Self::Service(service), Self::Single(id)],
            Place::Waiting { .. } => vec![Self::Single(id)],
            Place::Edge { from, to, .. } => vec![
                Self::Network(from),
                Self::Network(to),
                Self::Service(from),
                Self::Service(to),
                Self::Edge(from, to),
                Self::Single(id),
            ],
            Place::External { service, target, operation } => {
                // Without a name for the target, calls of different names may go to different ones.
                let target = if target == 0 { operation } else { target };
                vec![Self::Dependency(service, target), Self::Service(service), Self::Single(id)]
            }
        }
    }
}

/// What is known of a place.
#[derive(Clone, Copy, Debug)]
struct Known {
    effect: Effect,
    evidence: f64,
}

fn slower(study: &Study<'_>, durations: &[Samples], added: &[Added], claimed: &BTreeSet<u32>) -> Vec<Cause> {
    let places = &study.observer.places;
    let effects: BTreeMap<u32, Effect> = (0..places.len() as u32)
        .filter_map(|id| Some((id, durations[id as usize].effect()?)))
        .collect();
    let drift = drift(&effects.values().copied().collect::<Vec<_>>());
    let shared = shared_drift(study, &effects, drift);
    let known: BTreeMap<u32, Known> = effects
        .into_iter()
        .map(|(id, effect)| {
            let shared = shared.get(&places.get(id).service()).copied().unwrap_or(0.0);
            let beyond = Effect { difference: effect.difference - shared, ..effect };
            (id, Known { effect, evidence: evidence(&durations[id as usize], beyond, shared, drift) })
        })
        .collect();

    let mut gatherings: BTreeMap<Gathering, BTreeSet<u32>> = BTreeMap::new();
    for id in known.keys() {
        for gathering in Gathering::of(*id, places.get(*id)) {
            gatherings.entry(gathering).or_default().insert(*id);
        }
    }
    let mut sizes = [0.0; 6];
    gatherings.keys().for_each(|gathering| sizes[gathering.family()] += 1.0);
    let prior = |gathering: &Gathering| -(FAMILIES * f64::max(sizes[gathering.family()], 1.0)).ln();

    let mut left: BTreeSet<u32> = known.keys().copied().collect();
    let mut causes = Vec::new();
    while !left.is_empty() {
        let strength = |gathering: &Gathering, members: &BTreeSet<u32>| {
            let of = |id: &u32| ((1.0 - HIT) + HIT * known[id].evidence.exp()).ln();
            members.intersection(&left).map(of).sum::<f64>() + prior(gathering)
        };
        let best = gatherings
            .iter()
            .filter(|(_, members)| !members.is_disjoint(&left))
            .map(|(gathering, members)| (*gathering, strength(gathering, members)))
            // Of equals the first, which is the wider: gatherings come in that order.
            .reduce(|best, next| if next.1 > best.1 + 1e-9 { next } else { best });
        // Even what is likelier not to be is listed, as long as its places speak for it rather than against it.
        let speaks = |(gathering, strength): &(Gathering, f64)| *strength > prior(gathering);
        let Some((gathering, strength)) = best.filter(speaks) else { break };
        let members: Vec<u32> = gatherings[&gathering].intersection(&left).copied().collect();
        left.retain(|id| !members.contains(id));
        let mut cause = slower_cause(study, gathering, members, strength, &known, drift, added, claimed);
        cause.prior = prior(&gathering);
        causes.push(cause);
    }
    causes.extend(rest(study, &left, &known, drift, added, claimed, &prior));
    causes
}

/// By how much all of a service is slower, as far as that may be drift: the middle of its places, at most the drift.
/// Its places do not drift one by one: what they share would otherwise count once for each.
fn shared_drift(study: &Study<'_>, effects: &BTreeMap<u32, Effect>, drift: f64) -> BTreeMap<u32, f64> {
    let mut services: BTreeMap<u32, Vec<(f64, f64)>> = BTreeMap::new();
    for (id, effect) in effects {
        let service = study.observer.places.get(*id).service();
        services.entry(service).or_default().push((effect.difference, effect.weight));
    }
    let middle = |mut effects: Vec<(f64, f64)>| {
        effects.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
        let half = 0.5 * effects.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut sum = 0.0;
        let middle = effects.iter().find(|(_, weight)| {
            sum += weight;
            sum >= half
        });
        middle.map_or(0.0, |(difference, _)| *difference).clamp(-drift, drift)
    };
    services.into_iter().map(|(service, effects)| (service, middle(effects))).collect()
}

/// How much speaks for a place having become slower: for all requests, for a tenth of them, or for few.
fn evidence(samples: &Samples, effect: Effect, shared: f64, drift: f64) -> f64 {
    let mut ways = vec![log_bayes(effect, drift, FAULT)];
    for tail in TAILS {
        if let Some(mut effect) = samples.tail(tail) {
            let slope = tail.slope / effect.spread.max(1e-6);
            effect.difference -= slope * shared.max(0.0);
            ways.push(log_bayes(effect, slope * drift, FAULT));
        }
    }
    // Any of them, and none is likelier beforehand.
    (ways.iter().map(|way| way.exp()).sum::<f64>() / ways.len() as f64).ln()
}

#[allow(clippy::too_many_arguments, reason = "all that is known about places")]
fn slower_cause(
    study: &Study<'_>,
    gathering: Gathering,
    members: Vec<u32>,
    strength: f64,
    known: &BTreeMap<u32, Known>,
    drift: f64,
    added: &[Added],
    claimed: &BTreeSet<u32>,
) -> Cause {
    let places = &study.observer.places;
    let of = |id: &u32| {
        let added = &added[*id as usize];
        let more = if claimed.contains(id) { 0.0 } else { added.more_often_nanos };
        (added.slower_nanos, more, added.slow_nanos)
    };
    let sum = |which: &dyn Fn((f64, f64, f64)) -> f64| members.iter().map(|id| which(of(id))).sum::<f64>();
    // The effects of its places together, each by how much it can tell.
    let (mut weight, mut difference, mut variance) = (0.0, 0.0, 0.0);
    for effect in members.iter().filter_map(|id| known.get(id)).map(|known| known.effect) {
        weight += effect.weight;
        difference += effect.weight * effect.difference;
        variance += effect.weight * effect.weight * effect.variance;
    }
    let (difference, variance) = (difference / weight.max(1e-9), variance / (weight * weight).max(1e-9));
    let sure = difference - SURE * (variance + drift * drift).sqrt();
    let main = members.iter().copied().max_by(|left, right| {
        let added = |id: &u32| of(id).0 + of(id).1;
        added(left).total_cmp(&added(right)).then(right.cmp(left))
    });
    let main = places.get(main.unwrap_or_default());
    // A service that is slow itself is at fault; if only what lies around it is slow, it is its network.
    let own_evidence: f64 = members
        .iter()
        .filter(|id| matches!(places.get(**id), Place::Own { .. }))
        .filter_map(|id| known.get(id))
        .map(|known| ((1.0 - HIT) + HIT * known.evidence.exp()).ln())
        .sum();
    let is_own = matches!(gathering, Gathering::Service(_)) && own_evidence > OWN;
    let shown = |id: &&u32| {
        !is_own || matches!(places.get(**id), Place::Own { .. })
    };
    let shown = members.iter().filter(shown).copied().max_by(|left, right| {
        let added = |id: &u32| of(id).0 + of(id).1;
        added(left).total_cmp(&added(right)).then(right.cmp(left))
    });
    let shown = shown.map_or(main, |id| places.get(id));
    let (kind, edge) = match shown {
        Place::Own { .. } => (FindingKind::SelfTime, None),
        Place::Waiting { .. } => (FindingKind::Waiting, None),
        Place::External { .. } => (FindingKind::External, None),
        Place::Edge { from, to, .. } => (FindingKind::Edge, Some((from, to))),
    };
    let service = match gathering {
        Gathering::Network(service) | Gathering::Own(service) | Gathering::Service(service) => service,
        Gathering::Edge(_, to) => to,
        Gathering::Dependency(service, _) => service,
        Gathering::Single(id) => match places.get(id) {
            Place::Edge { to, .. } => to,
            place => place.service(),
        },
    };
    let slow_nanos = sum(&|(_, _, slow)| slow);
    let slower_nanos = sum(&|(slower, _, _)| slower);
    // Two lower bounds, of which either may be the better: by the typical call, which outliers do not move; and by the
    // mean, which sees what hits only some requests.
    let compared = study.compare(|trace| trace.path_nanos(&members) as f64);
    let by_typical = slow_nanos * (1.0 - (-sure).exp());
    let by_mean = slower_nanos - SURE * (compared.difference.error() + drift * compared.normal_mean);
    Cause {
        kind,
        service,
        operation: shown.operation(),
        edge,
        signal: Signal::Slower,
        strength,
        prior: 0.0,
        drift,
        slower_nanos,
        more_often_nanos: sum(&|(_, more, _)| more),
        sure_nanos: by_typical.max(by_mean),
        slowed: members.iter().copied().filter(|id| known.get(id).is_some_and(|known| known.evidence > 0.0)).collect(),
        places: members,
    }
}

/// Places for which nothing speaks, gathered by service, edge and dependency: they complete the sum.
fn rest(
    study: &Study<'_>,
    left: &BTreeSet<u32>,
    known: &BTreeMap<u32, Known>,
    drift: f64,
    added: &[Added],
    claimed: &BTreeSet<u32>,
    prior: &dyn Fn(&Gathering) -> f64,
) -> Vec<Cause> {
    let places = &study.observer.places;
    let taken: BTreeSet<u32> = known.keys().copied().filter(|id| !left.contains(id)).collect();
    let mut groups: BTreeMap<Gathering, Vec<u32>> = BTreeMap::new();
    for id in (0..places.len() as u32).filter(|id| !taken.contains(id)) {
        let gathering = match places.get(id) {
            Place::Own { service, .. } => Gathering::Own(service),
            Place::Waiting { .. } => Gathering::Single(id),
            Place::Edge { from, to, .. } => Gathering::Edge(from, to),
            Place::External { service, target, operation } => {
                Gathering::Dependency(service, if target == 0 { operation } else { target })
            }
        };
        groups.entry(gathering).or_default().push(id);
    }
    groups
        .into_iter()
        .map(|(gathering, members)| {
            let of = |known: &Known| ((1.0 - HIT) + HIT * known.evidence.exp()).ln();
            let strength = members.iter().filter_map(|id| known.get(id)).map(of).sum::<f64>() + prior(&gathering);
            let mut cause = slower_cause(study, gathering, members, strength, known, drift, added, claimed);
            cause.prior = prior(&gathering);
            if cause.strength == 0.0 || !cause.sure_nanos.is_finite() {
                cause.sure_nanos = 0.0;
            }
            cause
        })
        .collect()
}

// --- more often -----------------------------------------------------------------------------------------------------

/// Calls for each call of the caller are compared by the logarithm of themselves and one. From hour to hour that differs
/// by so much.
const CALLS_DRIFT: f64 = 0.03;

fn calls(study: &Study<'_>) -> Vec<Cause> {
    let places = &study.observer.places;
    let mut links: BTreeSet<(u32, u32)> = BTreeSet::new();
    for (_, _, trace) in study.compared() {
        links.extend(trace.links.iter().map(|link| (link.parent, link.child)));
    }
    links.retain(|(parent, _)| calls_others(places.get(*parent)));
    let prior = -(FAMILIES * links.len() as f64).ln();
    let mut parents: BTreeMap<u32, Vec<(bool, u32, usize, f64)>> = BTreeMap::new();
    let traces: Vec<_> = study.compared().collect();
    for (number, (is_slow, stratum, trace)) in traces.iter().enumerate() {
        for visit in &trace.visits {
            parents.entry(visit.place).or_default().push((*is_slow, *stratum, number, f64::from(visit.spans)));
        }
    }
    let mut causes = Vec::new();
    for (parent, child) in links {
        let mut samples = Samples::default();
        let mut sums = [0.0; 4];
        for (is_slow, stratum, number, spans) in &parents[&parent] {
            let count = traces[*number].2.link(parent, child).map_or(0.0, |link| f64::from(link.spans));
            let side = if *is_slow { &mut samples.slow } else { &mut samples.normal };
            side.push((*stratum, count / spans));
            sums[if *is_slow { 0 } else { 2 }] += count;
            sums[if *is_slow { 1 } else { 3 }] += spans;
        }
        let Some(linear) = samples.effect() else { continue };
        let logarithms = |side: &[(u32, f64)]| side.iter().map(|(stratum, calls)| (*stratum, calls.ln_1p())).collect();
        let in_logarithms = Samples { slow: logarithms(&samples.slow), normal: logarithms(&samples.normal) };
        let Some(mut effect) = in_logarithms.effect() else { continue };
        // Counts vary as their mean does: if nothing changed, both sides vary as they do together. And what did not occur
        // may yet occur.
        effect.variance = effect.variance.max(effect.null_variance);
        effect.variance += [samples.slow.len(), samples.normal.len()].map(|count| (0.5 / count as f64).powi(2)).iter().sum::<f64>();
        let strength = log_bayes(effect, CALLS_DRIFT, FAULT) + prior;
        let is_new = sums[2] == 0.0;
        let callee = places.get(child);
        let (kind, edge) = match callee {
            _ if is_new => (FindingKind::NewCall, edge_of(callee)),
            _ => (FindingKind::MoreCalls, edge_of(callee)),
        };
        let nanos = |trace: &crate::observe::Observation| {
            trace.link(parent, child).map_or(0.0, |link| link.path_nanos as f64)
        };
        let compared = study.compare(nanos);
        let spans = |trace: &crate::observe::Observation| {
            trace.link(parent, child).map_or(0.0, |link| f64::from(link.spans))
        };
        let often = study.compare(spans);
        let a_call = |nanos: f64, spans: f64| (spans > 0.0).then(|| nanos / spans);
        let (slow, normal) =
            (a_call(compared.slow_mean, often.slow_mean), a_call(compared.normal_mean, often.normal_mean));
        let mean = 0.5 * (slow.or(normal).unwrap_or(0.0) + normal.or(slow).unwrap_or(0.0));
        let more = (often.slow_mean - often.normal_mean) * mean;
        let sure = 1.0 - SURE * linear.variance.sqrt() / linear.difference.max(1e-9);
        causes.push(Cause {
            kind,
            service: match callee {
                Place::Edge { to, .. } => to,
                place => place.service(),
            },
            operation: callee.operation(),
            edge,
            signal: Signal::Calls { parent, child },
            places: vec![child],
            slowed: vec![child],
            strength,
            prior,
            drift: 0.0,
            slower_nanos: 0.0,
            more_often_nanos: more,
            sure_nanos: if effect.difference > 0.0 { more * sure.max(0.0) } else { 0.0 },
        });
    }
    causes
}

fn edge_of(place: Place) -> Option<(u32, u32)> {
    match place {
        Place::Edge { from, to, .. } => Some((from, to)),
        _ => None,
    }
}

/// The places below calls that became more: that they are met more often is explained.
fn below<'a>(study: &Study<'_>, calls: impl Iterator<Item = &'a Cause>) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (_, _, trace) in study.compared() {
        for link in &trace.links {
            children.entry(link.parent).or_default().insert(link.child);
        }
    }
    let mut found: BTreeSet<u32> = BTreeSet::new();
    let mut open: Vec<u32> = calls.flat_map(|cause| cause.places.iter().copied()).collect();
    while let Some(place) = open.pop() {
        if found.insert(place) {
            open.extend(children.get(&place).into_iter().flatten());
        }
    }
    found
}

// --- one by one -----------------------------------------------------------------------------------------------------

/// The part of children's time that overlaps differs by so much from hour to hour.
const OVERLAP_DRIFT: f64 = 0.05;

fn forks(study: &Study<'_>) -> Vec<Cause> {
    let places: BTreeSet<u32> =
        study.compared().flat_map(|(_, _, trace)| trace.forks.iter().map(|fork| fork.place)).collect();
    let prior = -(FAMILIES * places.len() as f64).ln();
    let mut causes = Vec::new();
    for place in places {
        let fork = |trace: &crate::observe::Observation| {
            trace.forks.iter().find(|fork| fork.place == place && fork.possible_nanos > 0).copied()
        };
        let overlap = |trace: &crate::observe::Observation| {
            fork(trace).map(|fork| fork.saved_nanos as f64 / fork.possible_nanos as f64)
        };
        let Some(mut effect) = study.samples(overlap).effect() else { continue };
        effect.difference = -effect.difference;
        if effect.difference <= 0.0 {
            continue;
        }
        let strength = log_bayes(effect, OVERLAP_DRIFT, 0.5) + prior;
        let possible = study.compare(|trace| fork(trace).map_or(0.0, |fork| fork.possible_nanos as f64));
        let lost = effect.difference * possible.slow_mean;
        let sure = 1.0 - SURE * (effect.variance + OVERLAP_DRIFT * OVERLAP_DRIFT).sqrt() / effect.difference.max(1e-9);
        let what = study.observer.places.get(place);
        causes.push(Cause {
            kind: FindingKind::Serialized,
            service: what.service(),
            operation: what.operation(),
            edge: None,
            signal: Signal::Fork { place },
            places: vec![place],
            slowed: vec![place],
            strength,
            prior,
            drift: 0.0,
            slower_nanos: lost,
            more_often_nanos: 0.0,
            sure_nanos: lost * sure.max(0.0),
        });
    }
    causes
}

// --- failing --------------------------------------------------------------------------------------------------------

/// The part of calls that fails differs by so much from hour to hour.
const ERROR_DRIFT: f64 = 0.01;

fn errors(study: &Study<'_>) -> Vec<Cause> {
    let mut failing: BTreeSet<u32> = BTreeSet::new();
    for (_, _, trace) in study.compared() {
        failing.extend(trace.visits.iter().filter(|visit| visit.first_errors > 0).map(|visit| visit.place));
    }
    let prior = -(FAMILIES * failing.len() as f64).ln();
    let request_nanos = study.compare(|trace| trace.total_nanos as f64).normal_mean;
    let mut causes = Vec::new();
    for place in failing {
        let part = |trace: &crate::observe::Observation| {
            trace.visit(place).map(|visit| f64::from(visit.first_errors) / f64::from(visit.spans))
        };
        let samples = study.samples(part);
        let Some(mut effect) = samples.effect() else { continue };
        effect.variance += [samples.slow.len(), samples.normal.len()].map(|count| (0.5 / count as f64).powi(2)).iter().sum::<f64>();
        let count = |values: &[(u32, f64)]| (values.iter().map(|(_, part)| part).sum::<f64>(), values.len() as f64);
        // Both have to speak for it: the counts by themselves, and the difference beyond what is usual between hours.
        let strength = log_bayes(effect, ERROR_DRIFT, 0.3).min(log_bayes_of_parts(count(&samples.slow), count(&samples.normal))) + prior;
        if !strength.is_finite() {
            continue;
        }
        // A request that fails is lost whole; an error that somebody dealt with costs what it delays, which is counted
        // elsewhere.
        let failed = study.compare(|trace| {
            f64::from(trace.failed && trace.visit(place).is_some_and(|visit| visit.first_errors > 0))
        });
        let sure = 1.0 - SURE * (effect.variance + ERROR_DRIFT * ERROR_DRIFT).sqrt() / effect.difference.max(1e-9);
        let lost = (failed.slow_mean - failed.normal_mean).max(1e-6);
        let what = study.observer.places.get(place);
        causes.push(Cause {
            kind: FindingKind::Error,
            service: match what {
                Place::Edge { to, .. } => to,
                what => what.service(),
            },
            operation: what.operation(),
            edge: edge_of(what),
            signal: Signal::Errors { place },
            places: vec![place],
            slowed: vec![place],
            strength,
            prior,
            drift: 0.0,
            slower_nanos: 0.0,
            more_often_nanos: 0.0,
            sure_nanos: lost * request_nanos * sure.max(0.0),
        });
    }
    causes
}

// --- what belongs together ------------------------------------------------------------------------------------------

/// Joins what is one cause seen in two numbers: more calls of a callee that fails are retries, with the time that the
/// attempts take and the pauses between; a caller that fails while its callee does not, and waits for it longer, gave up.
fn merge(study: &Study<'_>, causes: &mut Vec<Cause>) {
    let places = &study.observer.places;
    let is_error = |cause: &&Cause| cause.kind == FindingKind::Error && cause.strength > 0.0;
    let errors: Vec<Cause> = causes.iter().filter(is_error).cloned().collect();
    for index in 0..causes.len() {
        let Signal::Calls { parent, child } = causes[index].signal else { continue };
        let Some(edge) = edge_of(places.get(child)) else { continue };
        let operation = places.get(child).operation();
        let is_of_this_call = |error: &Cause| match places.get(error.places[0]) {
            Place::Edge { from, to, operation: failing } => (from, to, failing) == (edge.0, edge.1, operation),
            Place::Own { service, operation: failing } => (service, failing) == (edge.1, operation),
            _ => false,
        };
        if causes[index].kind == FindingKind::MoreCalls && errors.iter().any(is_of_this_call) {
            causes[index].kind = FindingKind::Retries;
            absorb(study, causes, index, parent, edge, operation);
        }
    }
    for index in 0..causes.len() {
        let Signal::Errors { place } = causes[index].signal else { continue };
        if causes[index].strength <= 0.0 {
            continue;
        }
        let Some(edge) = edge_of(places.get(place)) else { continue };
        let operation = places.get(place).operation();
        let before = causes[index].slower_nanos;
        absorb(study, causes, index, place, edge, operation);
        if causes[index].slower_nanos > before {
            causes[index].kind = FindingKind::Timeout;
        }
    }
    causes.retain(|cause| cause.strength > f64::NEG_INFINITY);
}

/// Takes over slower causes that lie wholly at a call: the caller's operation, the way, the callee's operation.
fn absorb(study: &Study<'_>, causes: &mut [Cause], into: usize, caller: u32, edge: (u32, u32), operation: u32) {
    let places = &study.observer.places;
    let is_at_the_call = |place: &u32| {
        *place == caller
            || match places.get(*place) {
                Place::Edge { from, to, .. } => (from, to) == edge,
                Place::Own { service, operation: own } => (service, own) == (edge.1, operation),
                _ => false,
            }
    };
    for other in 0..causes.len() {
        let is_wholly = other != into
            && causes[other].signal == Signal::Slower
            && causes[other].sure_nanos > 0.0
            && !causes[other].slowed.is_empty()
            && causes[other].slowed.iter().all(is_at_the_call);
        if is_wholly {
            let taken = causes[other].clone();
            causes[other].strength = f64::NEG_INFINITY;
            causes[into].strength += taken.strength.max(0.0);
            causes[into].slower_nanos += taken.slower_nanos;
            causes[into].more_often_nanos += taken.more_often_nanos;
            causes[into].sure_nanos += taken.sure_nanos;
            causes[into].places.extend(taken.places);
            causes[into].places.sort_unstable();
            causes[into].places.dedup();
        }
    }
}

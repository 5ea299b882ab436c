//! Places that are slower, gathered by what would slow them together.

use std::collections::{BTreeMap, BTreeSet};

use crate::place::Place;
use crate::statistics::weighted_median;
use crate::why::FindingKind;
use crate::why::effect::{Effect, Samples, TAILS, drift, log_bayes};
use crate::why::study::{Added, Study};

use super::{Cause, FAMILIES, FAULT, SURE, Signal};

/// The part of a cause's places that it delays, as far as is known beforehand.
const HIT: f64 = 0.8;
/// How much has to speak for a service's own work being slow, so that it is not taken for its network.
const OWN: f64 = 2.0;

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

pub(super) fn causes(study: &Study, claimed: &BTreeSet<u32>) -> Vec<Cause> {
    let places = &study.observer.places;
    let added = &study.added();
    let durations = |id: u32| study.samples(study.durations(id));
    let effects: BTreeMap<u32, Effect> =
        (0..places.len() as u32).filter_map(|id| Some((id, durations(id).effect()?))).collect();
    let drift = drift(&effects.values().copied().collect::<Vec<_>>());
    let shared = shared_drift(study, &effects, drift);
    let known: BTreeMap<u32, Known> = effects
        .into_iter()
        .map(|(id, effect)| {
            let shared = shared.get(&places.get(id).service()).copied().unwrap_or(0.0);
            let beyond = Effect { difference: effect.difference - shared, ..effect };
            (id, Known { effect, evidence: evidence(&durations(id), beyond, shared, drift) })
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
fn shared_drift(study: &Study, effects: &BTreeMap<u32, Effect>, drift: f64) -> BTreeMap<u32, f64> {
    let mut services: BTreeMap<u32, Vec<(f64, f64)>> = BTreeMap::new();
    for (id, effect) in effects {
        let service = study.observer.places.get(*id).service();
        services.entry(service).or_default().push((effect.difference, effect.weight));
    }
    let shared = |effects| weighted_median(effects).clamp(-drift, drift);
    services.into_iter().map(|(service, effects)| (service, shared(effects))).collect()
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
    study: &Study,
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
    let shown = |id: &&u32| !is_own || matches!(places.get(**id), Place::Own { .. });
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
    let path_nanos = study.path_nanos(&members);
    let compared = study.compare(|row| path_nanos[row] as f64);
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
    study: &Study,
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

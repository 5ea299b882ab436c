//! Places that are met more often, or no longer, for each call of their caller.

use std::collections::{BTreeMap, BTreeSet};

use crate::observe::{Link, calls_others};
use crate::place::Place;
use crate::why::FindingKind;
use crate::why::effect::{Effect, Samples, drift, log_bayes};
use crate::why::study::Study;

use super::{Cause, FAMILIES, FAULT, SURE, Signal, edge_of};

/// Calls for each call of the caller are compared by the logarithm of themselves and one. From hour to hour that differs
/// by so much at least.
const LEAST_DRIFT: f64 = 0.03;

/// Another mix of requests within an entry operation changes what is called, with nothing wrong, so much more often than a
/// fault does.
const MIX: f64 = 20.0;

/// One caller and one callee, and how often.
struct Change {
    parent: u32,
    child: u32,
    /// Calls of slow and of normal traces, in all.
    slow_calls: f64,
    normal_calls: f64,
    /// For each call of the caller, as it is and in logarithms.
    linear: Effect,
    effect: Effect,
}

pub(super) fn causes(study: &Study) -> Vec<Cause> {
    let changes = changes(study);
    let prior = -(FAMILIES * MIX * changes.len() as f64).ln();
    // How often an operation that always makes the same calls makes them does not drift; others tell by how much.
    let varying: Vec<Effect> =
        changes.iter().map(|change| change.effect).filter(|effect| effect.spread > LEAST_DRIFT).collect();
    let drift = drift(&varying).max(LEAST_DRIFT);
    changes.iter().filter_map(|change| cause(study, change, drift, prior)).collect()
}

fn changes(study: &Study) -> Vec<Change> {
    let change = |(parent, child): (u32, u32)| {
        let (mut linear, mut logarithms) = (Samples::default(), Samples::default());
        let (mut slow_calls, mut normal_calls) = (0.0, 0.0);
        let mut links = study.observed.link(parent, child).peekable();
        for (row, visit) in study.observed.visits(parent) {
            let link = links.next_if(|(linked, _)| *linked == row);
            let Some((is_slow, stratum)) = study.compared(row) else { continue };
            let calls = link.map_or(0.0, |(_, link)| link.spans as f64);
            *(if is_slow { &mut slow_calls } else { &mut normal_calls }) += calls;
            let rate = calls / visit.spans as f64;
            for (samples, value) in [(&mut linear, rate), (&mut logarithms, rate.ln_1p())] {
                let side = if is_slow { &mut samples.slow } else { &mut samples.normal };
                side.push((stratum, value));
            }
        }
        let mut effect = logarithms.effect()?;
        // Counts vary as their mean does: if nothing changed, both sides vary as they do together. And what did not occur
        // may yet occur.
        let unseen = |samples: &[(u32, f64)]| (0.5 / samples.len() as f64).powi(2);
        effect.variance = effect.variance.max(effect.null_variance) + unseen(&linear.slow) + unseen(&linear.normal);
        Some(Change { parent, child, slow_calls, normal_calls, linear: linear.effect()?, effect })
    };
    let calls_others = |(parent, _): &(u32, u32)| calls_others(study.observer.places.get(*parent));
    links(study).into_iter().filter(calls_others).filter_map(change).collect()
}

/// Callers and what they call in traces that are compared, sorted.
fn links(study: &Study) -> Vec<(u32, u32)> {
    let mut links = study.observed.links();
    links.retain(|(parent, child)| study.observed.link(*parent, *child).any(|(row, _)| study.compared(row).is_some()));
    links
}

fn cause(study: &Study, change: &Change, drift: f64, prior: f64) -> Option<Cause> {
    let Change { parent, child, linear, .. } = *change;
    let is_gone = change.slow_calls == 0.0;
    let effect =
        if is_gone { Effect { difference: -change.effect.difference, ..change.effect } } else { change.effect };
    let evidence = log_bayes(effect, drift, FAULT);
    if effect.difference <= 0.0 || evidence <= 0.0 {
        return None;
    }
    let of = |which: fn(Link) -> f64| {
        let values = study.filled(study.observed.link(parent, child).map(|(row, link)| (row, which(link))));
        study.compare(|row| values[row])
    };
    let (nanos, calls) = (of(|link| link.path_nanos as f64), of(|link| link.spans as f64));
    let a_call = |nanos: f64, calls: f64| (calls > 0.0).then(|| nanos / calls);
    let (slow, normal) = (a_call(nanos.slow_mean, calls.slow_mean), a_call(nanos.normal_mean, calls.normal_mean));
    // Of calls that one side does not have at all, it is not known how long they would take there.
    let mean = 0.5 * (slow.or(normal).unwrap_or(0.0) + normal.or(slow).unwrap_or(0.0));
    let more = (calls.slow_mean - calls.normal_mean) * mean;
    let sure = 1.0 - SURE * linear.variance.max(linear.null_variance).sqrt() / linear.difference.abs().max(1e-9);
    let callee = study.observer.places.get(child);
    Some(Cause {
        kind: match (is_gone, change.normal_calls == 0.0) {
            (true, _) => FindingKind::MissingCall,
            (_, true) => FindingKind::NewCall,
            _ => FindingKind::MoreCalls,
        },
        service: match callee {
            Place::Edge { to, .. } => to,
            place => place.service(),
        },
        operation: callee.operation(),
        edge: edge_of(callee),
        signal: Signal::Calls { parent, child },
        places: vec![child],
        slowed: vec![child],
        strength: evidence + prior,
        prior,
        drift,
        slower_nanos: 0.0,
        more_often_nanos: more,
        // A call that is gone adds nothing, but something is wrong by as much as it took.
        sure_nanos: if is_gone { more.abs() } else { more } * sure.max(0.0),
    })
}

/// Takes calls that are gone out of the ranking where something in another call of the same caller explains it: a callee that
/// fails, or answers early, keeps its caller from going on.
pub(super) fn drop_consequences(study: &Study, causes: &mut [Cause]) {
    let children = children(study);
    let origins: Vec<u32> = causes
        .iter()
        .filter(|cause| cause.strength > 0.0 && cause.sure_nanos > 0.0)
        .filter_map(|cause| match cause.signal {
            Signal::Calls { parent, .. } if cause.kind == FindingKind::MissingCall => Some(parent),
            Signal::Errors { place } => Some(place),
            _ => None,
        })
        .collect();
    for cause in causes.iter_mut().filter(|cause| cause.kind == FindingKind::MissingCall) {
        let Signal::Calls { parent, child } = cause.signal else { continue };
        let others = children.get(&parent).into_iter().flatten().copied().filter(|other| *other != child);
        let elsewhere = reached(&children, others);
        if origins.iter().any(|origin| *origin != parent && elsewhere.contains(origin)) {
            cause.sure_nanos = 0.0;
        }
    }
}

fn children(study: &Study) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut children: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (parent, child) in links(study) {
        children.entry(parent).or_default().insert(child);
    }
    children
}

fn reached(children: &BTreeMap<u32, BTreeSet<u32>>, from: impl Iterator<Item = u32>) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = BTreeSet::new();
    let mut open: Vec<u32> = from.collect();
    while let Some(place) = open.pop() {
        if found.insert(place) {
            open.extend(children.get(&place).into_iter().flatten());
        }
    }
    found
}

/// The places below calls that became more: that they are met more often is explained.
pub(super) fn below<'a>(study: &Study, calls: impl Iterator<Item = &'a Cause>) -> BTreeSet<u32> {
    reached(&children(study), calls.flat_map(|cause| cause.places.iter().copied()))
}

//! Places gathered by what would slow them together.
//!
//! - A service's own work: when its processor is contended, all its operations are slower.
//! - A service waiting for one external target: a slow database slows every statement.
//! - Edges: a delay on a service's network slows every edge to and from it, a delay on one way only that one. Which it
//!   is shows in the edges that did *not* get slower. For each service, let `added` be the time added to all its edges
//!   and `calls` the calls over them. Assuming one delay a call common to the service's edges, the best such delay is
//!   `added / calls`, and it explains `added² / calls` of the sum of squares. The service that explains the most takes
//!   its edges; then the next, of the edges that are left. Where both ends explain the same, it is the callee.
//!
//! ```text
//! A ──+50──▶ S ──+50──▶ T      S explains (150)²/3 = 7500, A and T (50)²/2 = 1250 and less: look at S.
//!            S ──+50──▶ U
//! ```

use std::collections::{BTreeMap, HashSet};

use crate::place::{Place, Profile, Spent};

use super::FindingKind;
use super::strata::Strata;

/// Places that one cause would slow.
#[derive(Clone, Debug)]
pub(crate) struct Cause<'a> {
    pub(crate) kind: FindingKind,
    pub(crate) service: &'a str,
    /// The places with the nanoseconds a trace that each added, most first; never empty.
    pub(crate) places: Vec<(Place<'a>, f64)>,
    members: HashSet<Place<'a>>,
    /// Their sum.
    pub(crate) added_nanos: f64,
}

impl<'a> Cause<'a> {
    fn new(kind: FindingKind, service: &'a str, mut places: Vec<(Place<'a>, f64)>) -> Self {
        places.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        let added_nanos = places.iter().map(|(_, added)| added).sum();
        let members = places.iter().map(|(place, _)| *place).collect();
        Self { kind, service, places, members, added_nanos }
    }

    /// The place with most of the added time.
    pub(crate) fn main(&self) -> Place<'a> {
        self.places[0].0
    }

    /// The main place's operation.
    pub(crate) fn operation(&self) -> &'a str {
        match self.main() {
            Place::Own { operation, .. } | Place::Edge { operation, .. } | Place::External { operation, .. } => {
                operation
            }
        }
    }

    /// The time that a trace spent at the cause's places.
    pub(crate) fn nanos(&self, profile: &Profile<'a>) -> u64 {
        profile.places.iter().filter(|(place, _)| self.members.contains(place)).map(|(_, spent)| spent.nanos).sum()
    }
}

/// All causes, the one that added the most first. Every place belongs to exactly one.
pub(crate) fn find<'a>(strata: &Strata, slow: &[Profile<'a>], normal: &[Profile<'a>]) -> Vec<Cause<'a>> {
    let mut own: BTreeMap<&str, Vec<(Place<'a>, f64)>> = BTreeMap::new();
    let mut external: BTreeMap<(&str, &str), Vec<(Place<'a>, f64)>> = BTreeMap::new();
    let mut edges: Vec<EdgeAdded<'a>> = Vec::new();
    for (place, added) in added_by_place(strata, slow, normal) {
        match place {
            Place::Own { service, .. } => own.entry(service).or_default().push((place, added.nanos)),
            Place::External { service, target, operation } => {
                // Without a name for the target, calls of different names may go to different ones.
                let target = if target.is_empty() { operation } else { target };
                external.entry((service, target)).or_default().push((place, added.nanos));
            }
            Place::Edge { from, to, .. } => edges.push(EdgeAdded { from, to, place, added }),
        }
    }
    let mut causes = Vec::new();
    causes.extend(own.into_iter().map(|(service, places)| Cause::new(FindingKind::SelfTime, service, places)));
    causes
        .extend(external.into_iter().map(|((service, _), places)| Cause::new(FindingKind::External, service, places)));
    causes.extend(edge_causes(edges));
    causes.sort_by(|left, right| {
        right.added_nanos.total_cmp(&left.added_nanos).then_with(|| left.places[0].0.cmp(&right.places[0].0))
    });
    causes
}

/// What slow traces have more than normal ones, a trace.
#[derive(Clone, Copy, Debug, Default)]
struct Added {
    nanos: f64,
    /// Calls in a slow trace, on average.
    calls: f64,
}

fn added_by_place<'a>(strata: &Strata, slow: &[Profile<'a>], normal: &[Profile<'a>]) -> BTreeMap<Place<'a>, Added> {
    let mut all: BTreeMap<Place<'a>, Added> = BTreeMap::new();
    let mut add = |profile: &Profile<'a>, factor: f64, is_slow: bool| {
        for (place, Spent { nanos, spans }) in &profile.places {
            let added = all.entry(*place).or_default();
            added.nanos += factor * *nanos as f64;
            if is_slow {
                added.calls += factor * *spans as f64;
            }
        }
    };
    for stratum in &strata.strata {
        for row in &stratum.slow {
            add(&slow[*row], stratum.weight / stratum.slow.len() as f64, true);
        }
        for row in &stratum.normal {
            add(&normal[*row], -stratum.weight / stratum.normal.len() as f64, false);
        }
    }
    all
}

struct EdgeAdded<'a> {
    from: &'a str,
    to: &'a str,
    place: Place<'a>,
    added: Added,
}

fn edge_causes(mut edges: Vec<EdgeAdded<'_>>) -> Vec<Cause<'_>> {
    let mut causes = Vec::new();
    while !edges.is_empty() {
        // Added time, calls, and how much of the added time came in: services are told apart by the first two, and
        // where these are equal (both ends of a lonely edge) the callee is the one with more coming in.
        let mut services: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
        for edge in &edges {
            for service in [edge.from, edge.to] {
                let sums = services.entry(service).or_default();
                sums.0 += edge.added.nanos;
                sums.1 += edge.added.calls;
                if service == edge.to {
                    sums.2 += edge.added.nanos;
                }
            }
        }
        // Where an edge did not occur in slow traces at all it cannot have slowed them.
        let explained =
            |(added, calls, _): (f64, f64, f64)| if added > 0.0 { added * added / calls.max(1e-3) } else { 0.0 };
        let best = services.iter().max_by(|(_, left), (_, right)| {
            let close = (explained(**left) - explained(**right)).abs() <= 1e-9 * explained(**left).abs();
            if close { left.2.total_cmp(&right.2) } else { explained(**left).total_cmp(&explained(**right)) }
        });
        let Some((service, sums)) = best.map(|(service, sums)| (*service, *sums)) else { break };
        if explained(sums) == 0.0 {
            // What is left got faster: each edge for itself.
            causes.extend(
                edges
                    .drain(..)
                    .map(|edge| Cause::new(FindingKind::Edge, edge.to, vec![(edge.place, edge.added.nanos)])),
            );
            break;
        }
        let (taken, left): (Vec<_>, Vec<_>) =
            edges.into_iter().partition(|edge| edge.from == service || edge.to == service);
        edges = left;
        let places = taken.into_iter().map(|edge| (edge.place, edge.added.nanos)).collect();
        causes.push(Cause::new(FindingKind::Edge, service, places));
    }
    causes
}

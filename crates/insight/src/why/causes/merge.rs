//! What is one cause seen in two numbers.

use crate::place::Place;
use crate::why::FindingKind;
use crate::why::study::Study;

use super::{Cause, Signal, edge_of};

/// Joins what is one cause seen in two numbers: more calls of a callee that fails are retries, with the time that the
/// attempts take and the pauses between; a caller that fails while its callee does not, and waits for it longer, gave up.
pub(super) fn merge(study: &Study, causes: &mut Vec<Cause>) {
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
fn absorb(study: &Study, causes: &mut [Cause], into: usize, caller: u32, edge: (u32, u32), operation: u32) {
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

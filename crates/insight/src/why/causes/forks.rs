//! Places whose children no longer run at once.

use crate::observe::Fork;
use crate::why::FindingKind;
use crate::why::effect::log_bayes;
use crate::why::study::Study;

use super::{Cause, FAMILIES, SURE, Signal};

/// The part of children's time that overlaps differs by so much from hour to hour.
const OVERLAP_DRIFT: f64 = 0.05;

pub(super) fn causes(study: &Study) -> Vec<Cause> {
    let mut places = study.observed.forking();
    places.retain(|place| study.observed.forks(*place).any(|(row, _)| study.compared(row).is_some()));
    let prior = -(FAMILIES * places.len() as f64).ln();
    let mut causes = Vec::new();
    for place in places {
        let forks = || study.observed.forks(place).filter(|(_, fork)| fork.possible_nanos > 0);
        let overlap = |fork: Fork| fork.saved_nanos as f64 / fork.possible_nanos as f64;
        let samples = study.samples(forks().map(|(row, fork)| (row, overlap(fork))));
        let Some(mut effect) = samples.effect() else { continue };
        effect.difference = -effect.difference;
        let evidence = log_bayes(effect, OVERLAP_DRIFT, 0.5);
        if effect.difference <= 0.0 || evidence <= 0.0 {
            continue;
        }
        let strength = evidence + prior;
        let possible = study.filled(forks().map(|(row, fork)| (row, fork.possible_nanos as f64)));
        let possible = study.compare(|row| possible[row]);
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

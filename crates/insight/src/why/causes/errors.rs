//! Places where errors begin.

use crate::observe::Visit;
use crate::place::Place;
use crate::statistics::log_bayes_of_parts;
use crate::why::FindingKind;
use crate::why::effect::log_bayes;
use crate::why::study::Study;

use super::{Cause, FAMILIES, SURE, Signal, edge_of};

/// The part of calls that fails differs by so much from hour to hour.
const ERROR_DRIFT: f64 = 0.01;

pub(super) fn causes(study: &Study) -> Vec<Cause> {
    let fails = |place: &u32| {
        let mut visits = study.observed.visits(*place);
        visits.any(|(row, visit)| visit.first_errors > 0 && study.compared(row).is_some())
    };
    let failing: Vec<u32> = (0..study.observer.places.len() as u32).filter(fails).collect();
    let prior = -(FAMILIES * failing.len() as f64).ln();
    let traces = &study.observed.traces;
    let request_nanos = study.compare(|row| traces[row].total_nanos as f64).normal_mean;
    let mut causes = Vec::new();
    for place in failing {
        let part = |visit: Visit| visit.first_errors as f64 / visit.spans as f64;
        let samples = study.samples(study.observed.visits(place).map(|(row, visit)| (row, part(visit))));
        let Some(mut effect) = samples.effect() else { continue };
        effect.variance +=
            [samples.slow.len(), samples.normal.len()].map(|count| (0.5 / count as f64).powi(2)).iter().sum::<f64>();
        let count = |values: &[(u32, f64)]| (values.iter().map(|(_, part)| part).sum::<f64>(), values.len() as f64);
        // Both have to speak for it: the counts by themselves, and the difference beyond what is usual between hours.
        let strength = log_bayes(effect, ERROR_DRIFT, 0.3)
            .min(log_bayes_of_parts(count(&samples.slow), count(&samples.normal)))
            + prior;
        if !strength.is_finite() {
            continue;
        }
        // A request that fails is lost whole; an error that somebody dealt with costs what it delays, which is counted
        // elsewhere.
        let hit = study.observed.visits(place).filter(|(_, visit)| visit.first_errors > 0);
        let lost = study.filled(hit.map(|(row, _)| (row, f64::from(traces[row].failed))));
        let failed = study.compare(|row| lost[row]);
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

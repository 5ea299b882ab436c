//! Whether an answer is right.

use tracewell_insight::{Options, Why, why};
use tracewell_model::{SpanBatch, Trace};
use tracewell_sim::{FaultKind, Scenario, Truth, Windows};

/// How right an answer is.
#[derive(Clone, Copy, Debug, Default)]
#[allow(dead_code, reason = "the example shows all, the test some")]
pub(crate) struct Verdict {
    /// Something is called significant.
    pub(crate) significant: bool,
    /// The first finding names what is wrong and where.
    pub(crate) cause: bool,
    /// The first finding names the service, whatever it says is wrong with it.
    pub(crate) service: bool,
    /// One of the first three names what is wrong and where.
    pub(crate) cause_among_three: bool,
    /// For whom, if the fault is not for all.
    pub(crate) attribute: Option<bool>,
    /// How far off the onset is, as a part of the window; if one is given.
    pub(crate) onset: Option<f64>,
}

/// Runs a scenario and asks why.
pub(crate) fn run(scenario: &Scenario) -> (Windows, Why) {
    let windows = scenario.run();
    let traces = |batches: &[SpanBatch]| batches.iter().cloned().map(Trace::assemble).collect::<Vec<_>>();
    let answer = why(&traces(&windows.window), &traces(&windows.baseline), &Options::default());
    (windows, answer)
}

/// Holds an answer against what was planted.
pub(crate) fn judge(windows: &Windows, truth: &Truth, why: &Why) -> Verdict {
    let is_cause = |finding: &tracewell_insight::Finding| {
        truth.finding_kinds.contains(&finding.kind.as_str())
            && (truth.operations.is_empty() || truth.operations.contains(&finding.operation))
            && match &truth.edge {
                None => truth.service == finding.service,
                Some((from, to)) => finding.edge.as_ref().is_some_and(|edge| edge.from == *from && edge.to == *to),
            }
    };
    let names_service = |finding: &tracewell_insight::Finding| {
        finding.service == truth.service
            || finding.edge.as_ref().is_some_and(|edge| edge.from == truth.service || edge.to == truth.service)
    };
    let first = why.findings.first();
    let window = windows.window_time;
    let nanos = window.end_unix_nano - window.start_unix_nano;
    Verdict {
        significant: why.significant,
        cause: first.is_some_and(is_cause),
        service: first.is_some_and(names_service),
        cause_among_three: why.findings.iter().take(3).any(is_cause),
        attribute: (!truth.attributes.is_empty()).then(|| {
            let found = first.and_then(|finding| finding.attributes.first());
            found.is_some_and(|found| {
                truth.attributes.iter().any(|(key, value)| *key == found.key && *value == found.value)
            })
        }),
        onset: first
            .and_then(|finding| finding.since_unix_nano)
            .map(|since| since.abs_diff(truth.onset_unix_nano) as f64 / nanos as f64),
    }
}

/// A scenario of this kind with a place for the fault, counting on from a seed.
pub(crate) fn scenario(kind: FaultKind, seed: u64) -> Scenario {
    (0..100)
        .map(|round| Scenario::new(seed + 1_000 * round).fault(kind))
        .find(|scenario| scenario.clone().requests(100).run().truth.is_some())
        .unwrap_or_else(|| panic!("no mesh has a place for {}", kind.as_str()))
}

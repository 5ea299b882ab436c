//! `why` finds the faults that are planted here: a smaller table of what `cargo xtask eval sim` prints.

mod judge;

use judge::{judge, run, scenario};
use tracewell_insight::{Options, explain};
use tracewell_model::Trace;
use tracewell_sim::{FaultKind, Scenario};

/// Seeds that no constant was looked at with.
const SEEDS: [u64; 2] = [700, 701];

#[test]
fn nearly_every_fault_is_named_first_with_its_place() {
    let mut missed = Vec::new();
    let (mut faults, mut attributes, mut right_attributes, mut onsets, mut right_onsets) = (0, 0, 0, 0, 0);
    for kind in FaultKind::ALL {
        for seed in SEEDS {
            let (windows, why) = run(&scenario(*kind, seed));
            let truth = windows.truth.as_ref().unwrap();
            let verdict = judge(&windows, truth, &why);
            faults += 1;
            if !verdict.cause {
                missed.push(format!("{} {seed}: {truth:?}: {}", kind.as_str(), why.summary));
            }
            attributes += usize::from(verdict.attribute.is_some());
            right_attributes += usize::from(verdict.attribute == Some(true));
            onsets += usize::from(verdict.onset.is_some());
            right_onsets += usize::from(verdict.onset.is_some_and(|off| off <= 0.05));
        }
    }
    assert!(missed.len() * 20 <= faults, "{} of {faults}: {missed:#?}", missed.len());
    assert!(right_attributes * 10 >= attributes * 7, "{right_attributes} of {attributes} attributes");
    assert!(right_onsets * 10 >= onsets * 8, "{right_onsets} of {onsets} onsets");
}

#[test]
fn without_a_fault_nothing_is_significant() {
    let significant: Vec<String> = (0..20)
        .map(|seed| run(&Scenario::new(710 + seed)).1)
        .filter(|why| why.significant)
        .map(|why| why.summary)
        .collect();
    assert!(significant.is_empty(), "{significant:#?}");
}

#[test]
fn slow_requests_are_told_from_normal_ones_without_a_baseline() {
    // One tenant's requests take many times as long: two groups in one window.
    let windows = scenario(FaultKind::OneTenant, 720).severity(20.0).run();
    let traces: Vec<Trace> = windows.window.into_iter().map(Trace::assemble).collect();
    let why = explain(&traces, &Options::default());
    let truth = windows.truth.unwrap();
    assert!(why.significant, "{}", why.summary);
    assert_eq!(why.findings[0].service, truth.service, "{}", why.summary);
}

#[test]
fn the_same_scenario_gives_the_same_answer() {
    let answer = || run(&scenario(FaultKind::Lock, 730)).1;
    assert_eq!(answer(), answer());
}

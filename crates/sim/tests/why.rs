//! `why` finds the faults that are planted here: a smaller table of what `cargo xtask eval sim` prints.

mod judge;

use judge::{judge, run, scenario};
use tracewell_insight::{Options, Survey, Why, explain};
use tracewell_model::{NewSpan, SpanBatch, Trace};
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

/// The spans of some traces as a store gives them to a survey: any order, few attributes.
fn columns(traces: &[SpanBatch]) -> SpanBatch {
    let mut all = SpanBatch::new();
    for trace in traces.iter().rev() {
        // Rows out of order, and one of them twice.
        all.append(&trace.select((0..trace.len()).rev().chain([0])));
    }
    let mut columns = SpanBatch::new();
    for span in all.iter() {
        for (key, value) in span.attributes().iter().filter(|(key, _)| Survey::KEYS.contains(key)) {
            let (key, value) = (columns.intern(key), columns.add_value(&value.to_any_value()));
            columns.push_attribute(key, value);
        }
        let mut attributes = Vec::new();
        for (key, value) in span.resource_attributes() {
            attributes.push((columns.intern(key), columns.add_value(&value.to_any_value())));
        }
        let (resource, scope) = (columns.add_resource(&attributes, 0, ""), columns.add_scope("", "", &[], 0, ""));
        let name = columns.intern(span.name());
        columns.push_span(NewSpan {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            parent_span_id: span.parent_span_id(),
            start_unix_nano: span.start_unix_nano(),
            end_unix_nano: span.end_unix_nano(),
            name,
            kind: span.kind(),
            status_code: span.status_code(),
            ..NewSpan::new(resource, scope)
        });
    }
    columns
}

/// Asks why of columns, so many traces in a page, and of whole traces only where they are wanted.
fn ask_columns(mut survey: Survey, sides: [&[SpanBatch]; 2], traces_a_page: usize) -> Why {
    sides[0].chunks(traces_a_page).for_each(|page| survey.add(&columns(page)));
    survey.begin_baseline();
    sides[1].chunks(traces_a_page).for_each(|page| survey.add(&columns(page)));
    let mut inquiry = survey.compare(&Options::default());
    let wanted = inquiry.wanted();
    let whole = sides.into_iter().flatten().filter(|trace| wanted.contains(&trace.span(0).trace_id()));
    whole.for_each(|trace| inquiry.look(trace));
    inquiry.conclude()
}

#[test]
fn columns_say_what_whole_traces_say() {
    for kind in [FaultKind::OneVersion, FaultKind::RetryStorm, FaultKind::MadeSerial, FaultKind::SlowQuery] {
        let (windows, of_traces) = run(&scenario(kind, 740));
        let in_time = |traces: &[SpanBatch]| {
            let mut traces = traces.to_vec();
            traces.sort_by_cached_key(|trace| {
                (trace.spans().start_unix_nano.iter().min().copied(), trace.span(0).trace_id())
            });
            traces
        };
        let (slow, normal) = (in_time(&windows.window), in_time(&windows.baseline));
        // In the same order it is the same to the last digit.
        assert_eq!(ask_columns(Survey::default(), [&slow, &normal], 1), of_traces, "{}", kind.as_str());
        let in_pages = ask_columns(Survey::default(), [&slow, &normal], 100);
        let sentences = |why: &Why| why.findings.iter().map(|finding| finding.sentence.clone()).collect::<Vec<_>>();
        assert_eq!(
            (sentences(&in_pages), in_pages.caveats),
            (sentences(&of_traces), of_traces.caveats),
            "{}",
            kind.as_str()
        );
    }
}

#[test]
fn a_survey_of_too_much_keeps_a_part_of_both_sides_and_still_finds_the_fault() {
    let windows = scenario(FaultKind::OwnCpu, 750).sampling(0.4).run();
    let truth = windows.truth.as_ref().unwrap();
    let spans: usize = windows.window.iter().map(SpanBatch::len).sum();
    let mut survey = Survey::new(spans / 3, usize::MAX);
    survey.add(&columns(&windows.window));
    assert_eq!(survey.sampling().one_in(), 4);
    let kept = survey.len() as f64 / windows.window.len() as f64;
    assert!((0.15..0.35).contains(&kept), "{kept}");

    let why = ask_columns(Survey::new(spans / 3, usize::MAX), [&windows.window, &windows.baseline], 100);
    assert!(why.slow.traces.abs_diff(why.normal.traces) < why.slow.traces / 2, "{why:?}");
    assert_eq!(why.findings[0].service, truth.service, "{}", why.summary);
}

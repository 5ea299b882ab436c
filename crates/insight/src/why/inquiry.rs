//! From what is known of all traces to an answer, with a closer look at some of them.

use std::collections::{HashMap, HashSet};

use tracewell_model::{SpanBatch, Trace, TraceId};

use crate::observe::Observer;
use crate::outline::Outline;
use crate::statistics::median;
use crate::symbols::BatchNames;
use crate::wording;

use super::causes::{Cause, Signal};
use super::study::Study;
use super::units::{Seen, Units};
use super::{Edge, Finding, Group, Options, Why};
use super::{attributes, causes, onset};

/// How much likelier a cause has to be than none to be beyond chance, as a logarithm: 20 times.
const SIGNIFICANT: f64 = 3.0;
/// Of so many findings it is looked up since when and for whom they are.
const DETAILED: usize = 5;

/// What may be wrong is known; since when and for whom, single spans with their attributes have to say.
pub struct Inquiry {
    study: Study,
    options: Options,
    causes: Vec<Cause>,
    /// Those that are worth saying, the most first, some with the spans that show them.
    shown: Vec<(Cause, Option<Units>)>,
    /// The study needs its names meanwhile.
    reader: Observer,
    /// The traces that are wanted, by number.
    numbers: HashMap<TraceId, usize>,
    /// Slow ones were chosen for being slow: that they are is no finding.
    pub(crate) is_chosen_for_slowness: bool,
    pub(crate) caveats: Vec<String>,
}

impl Inquiry {
    pub(crate) fn new(study: Study, options: &Options) -> Self {
        let causes = causes::find(&study);
        let is_worth_saying = |cause: &&Cause| cause.added_nanos() >= 0.5 || cause.sure_nanos > 0.0;
        let shown = causes.iter().filter(is_worth_saying).take(options.max_findings).enumerate();
        let shown: Vec<(Cause, Option<Units>)> = shown
            .map(|(rank, cause)| {
                let is_detailed = cause.sure_nanos > 0.0 && rank < DETAILED;
                (cause.clone(), is_detailed.then(|| Units::of(&study, cause)))
            })
            .collect();
        let wanted = shown.iter().filter_map(|(_, units)| units.as_ref()).flat_map(Units::wanted);
        let numbers = wanted.map(|number| (study.observed.traces[number].trace_id, number)).collect();
        Self {
            reader: study.observer.clone(),
            study,
            options: options.clone(),
            causes,
            shown,
            numbers,
            is_chosen_for_slowness: false,
            caveats: Vec::new(),
        }
    }

    /// The traces that are to be looked at, whole and with all attributes, in the order of time.
    pub fn wanted(&self) -> Vec<TraceId> {
        let mut numbers: Vec<usize> = self.numbers.values().copied().collect();
        let traces = &self.study.observed.traces;
        numbers.sort_by_key(|number| (traces[*number].start_unix_nano, traces[*number].trace_id));
        numbers.into_iter().map(|number| traces[number].trace_id).collect()
    }

    /// Looks at traces, each of which must lie whole in the batch and come once; others than the wanted are passed over.
    pub fn look(&mut self, spans: &SpanBatch) {
        let mut names = BatchNames::new(spans);
        for rows in Trace::rows_by_trace(spans) {
            let Some(number) = self.numbers.get(&spans.spans().trace_id[rows[0]]) else { continue };
            let outlined = Outline::of_rows(spans, rows, &names.keys);
            let mut seen = Seen::new(*number, outlined, &mut names, &mut self.reader);
            for (cause, units) in &mut self.shown {
                if let Some(units) = units {
                    units.look(&self.study, cause, &mut seen);
                }
            }
        }
    }

    /// The answer.
    pub fn conclude(self) -> Why {
        let Self { study, options, causes, shown, reader, .. } = self;
        let total = study.compare(|row| study.observed.traces[row].total_nanos as f64);
        let mut why = Why {
            slow: group(&study, true),
            normal: group(&study, false),
            added_nanos: total.difference.mean.round() as i64,
            ..Why::default()
        };
        let enough = why.slow.traces.min(why.normal.traces) >= options.min_traces;
        let added_anywhere: f64 = causes.iter().map(|cause| cause.added_nanos().max(0.0)).sum();
        for (rank, (cause, units)) in (1..).zip(shown) {
            let is_error = matches!(cause.signal, Signal::Errors { .. });
            let mut finding = finding(&study, &cause, added_anywhere);
            finding.rank = rank;
            let (mut slow_order, normal_order) = examples(&study, &cause);
            let mut strength = cause.strength;
            if let Some(mut units) = units {
                units.put_in_order(&study);
                let mut since = onset::onset(&units.slow, &units.normal);
                let separating = attributes::attributes(&units, &reader.places.symbols, since);
                if let Some(first) = separating.first() {
                    strength = strength.max(attributes::strength(&units, &cause, first));
                    let with = attributes::with(&units, &units.slow, first);
                    let shown: HashSet<usize> = with.iter().map(|unit| unit.trace).collect();
                    slow_order.sort_by_key(|row| !shown.contains(row));
                    since = onset::onset(&with, &units.normal).or(since);
                }
                finding.attributes = separating.into_iter().map(|separating| separating.attribution).collect();
                finding.since_unix_nano = since.map(|row| study.observed.traces[row].start_unix_nano);
            }
            let matters = cause.sure_nanos >= options.min_change * total.normal_mean || is_error;
            let is_sure = enough && matters && cause.sure_nanos > 0.0 && strength >= SIGNIFICANT;
            finding.significant = is_sure && !self.is_chosen_for_slowness;
            let ids = |rows: Vec<usize>| -> Vec<TraceId> {
                rows.into_iter().take(options.max_examples).map(|row| study.observed.traces[row].trace_id).collect()
            };
            finding.examples = ids(slow_order);
            finding.normal_examples = ids(normal_order);
            finding.sentence = wording::sentence(&finding, &wording::Scope::of(&study, &cause));
            why.findings.push(finding);
        }
        why.significant = why.findings.iter().any(|finding| finding.significant);
        why.caveats = self.caveats;
        why.caveats.extend(caveats(&why, &causes, &study, enough, &options));
        why.summary = wording::summary(&why, enough);
        why
    }
}

fn finding(study: &Study, cause: &Cause, added_anywhere: f64) -> Finding {
    let text = |symbol: u32| study.observer.places.text(symbol).to_owned();
    let path_nanos = study.path_nanos(&cause.places);
    let compared = study.compare(|row| path_nanos[row] as f64);
    let added = cause.added_nanos();
    let half = compared.difference.half_width();
    Finding {
        rank: 0,
        kind: cause.kind,
        service: text(cause.service),
        operation: text(cause.operation),
        edge: cause.edge.map(|(from, to)| Edge { from: text(from), to: text(to) }),
        added_nanos: added.round() as i64,
        share: if added_anywhere > 0.0 { added.max(0.0) / added_anywhere } else { 0.0 },
        confidence: ((added - half).round() as i64, (added + half).round() as i64),
        slower_nanos: cause.slower_nanos.round() as i64,
        more_often_nanos: added.round() as i64 - cause.slower_nanos.round() as i64,
        slow_nanos: compared.slow_mean.round() as u64,
        normal_nanos: compared.normal_mean.round() as u64,
        significant: false,
        traces: study.passing(&cause.places).into_iter().filter(|row| study.is_slow(*row)).count(),
        attributes: Vec::new(),
        since_unix_nano: None,
        examples: Vec::new(),
        normal_examples: Vec::new(),
        sentence: String::new(),
    }
}

/// Slow traces that show a cause most, and ordinary normal traces to hold against the first.
fn examples(study: &Study, cause: &Cause) -> (Vec<usize>, Vec<usize>) {
    let traces = &study.observed.traces;
    let mut weights = vec![0; traces.len()];
    match cause.signal {
        Signal::Errors { place } => {
            study.observed.visits(place).for_each(|(row, visit)| weights[row] = visit.first_errors);
        }
        Signal::Calls { parent, child } => {
            study.observed.link(parent, child).for_each(|(row, link)| weights[row] = link.path_nanos + 1);
        }
        Signal::Slower | Signal::Fork { .. } => weights = study.path_nanos(&cause.places),
    }
    let all = study.strata.strata.iter().flat_map(|stratum| &stratum.slow).copied();
    let mut slow_rows: Vec<usize> = all.filter(|row| weights[*row] > 0).collect();
    slow_rows.sort_unstable_by_key(|row| (std::cmp::Reverse(weights[*row]), traces[*row].trace_id));
    let Some((_, stratum)) = slow_rows.first().and_then(|first| study.compared(*first)) else {
        return (Vec::new(), Vec::new());
    };

    let mut normal_rows = study.strata.strata[stratum as usize].normal.clone();
    let mut totals: Vec<u64> = normal_rows.iter().map(|row| traces[*row].total_nanos).collect();
    let typical = median(&mut totals);
    let passing: HashSet<usize> = study.passing(&cause.places).into_iter().collect();
    // One that passes the place as well shows more, side by side.
    normal_rows.sort_unstable_by_key(|row| {
        let trace = &traces[*row];
        (!passing.contains(row), trace.total_nanos.abs_diff(typical), trace.trace_id)
    });
    (slow_rows, normal_rows)
}

/// One side's traces as a whole.
fn group(study: &Study, side: bool) -> Group {
    let traces = || study.traces().filter(|(is_slow, _)| *is_slow == side).map(|(_, trace)| trace);
    let mut durations: Vec<u64> = traces().map(|trace| trace.total_nanos).collect();
    Group {
        traces: durations.len(),
        median_nanos: median(&mut durations),
        start_unix_nano: traces().map(|trace| trace.start_unix_nano).min().unwrap_or(0),
        end_unix_nano: traces().map(|trace| trace.end_unix_nano).max().unwrap_or(0),
    }
}

fn caveats(why: &Why, causes: &[Cause], study: &Study, enough: bool, options: &Options) -> Vec<String> {
    let mut caveats = Vec::new();
    if !enough && why.slow.traces.min(why.normal.traces) > 0 {
        caveats.push(format!(
            "Only {} and {}: too few to tell a cause from chance (at least {} of each are needed).",
            wording::count(why.slow.traces, "slow trace"),
            wording::count(why.normal.traces, "normal trace"),
            options.min_traces
        ));
    }
    if study.unmatched > 0 {
        caveats.push(format!(
            "{} left out: no normal trace enters by the same operation.",
            wording::were(study.unmatched, "slow trace")
        ));
    }
    let all = || study.traces().map(|(_, trace)| trace);
    let orphans = all().filter(|trace| trace.has_orphans).count();
    if orphans > 0 {
        caveats.push(format!(
            "{} more than one root: some of their spans lost their parent, and what those took is seen only as time of \
             the span that waited.",
            wording::have(orphans, "trace")
        ));
    }
    let skewed = all().filter(|trace| trace.skew_nanos > 0).count();
    if skewed > 0 {
        let most = all().map(|trace| trace.skew_nanos).max().unwrap_or(0);
        caveats.push(format!(
            "In {} clocks are apart by at least up to {}; callees were moved into their callers. How time between two \
             services divides into there and back is not known.",
            wording::count(skewed, "trace"),
            wording::duration(most)
        ));
    }
    let faster: f64 = causes.iter().map(|cause| cause.added_nanos().min(0.0)).sum();
    let slower: f64 = causes.iter().map(|cause| cause.added_nanos().max(0.0)).sum();
    if slower > 0.0 && -faster >= 0.1 * slower {
        caveats.push(format!(
            "Elsewhere requests got {} faster; shares are of the time that was added, not of the difference that remains.",
            wording::duration((-faster).round() as u64)
        ));
    }
    caveats
}

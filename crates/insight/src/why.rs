//! Where the added time of slow traces went.
//!
//! ```text
//! traces ──▶ observations: numbers by place            (observe.rs, place.rs)
//!        ──▶ strata: slow against normal, per entry    (strata.rs, study.rs)
//!        ──▶ causes: what may be wrong, how surely     (causes.rs, effect.rs)
//!        ──▶ units: the spans that show it             (units.rs)
//!        ──▶ since when, for whom                      (onset.rs, attributes.rs)
//!        ──▶ findings: ranked, worded                  (here, wording.rs)
//! ```

mod attributes;
pub(crate) mod causes;
mod effect;
mod onset;
mod strata;
pub(crate) mod study;
mod units;

use tracewell_model::{Trace, TraceId};

use crate::observe::{Observation, Observer, PlaceSet};
use crate::split::split_by_latency;
use crate::statistics::median;
use crate::wording;

pub use attributes::Attribution;
use causes::{Cause, Signal};
use study::Study;

/// What [`why`] goes by.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many findings to give at most.
    pub max_findings: usize,
    /// How many example traces to give on each side of a finding at most.
    pub max_examples: usize,
    /// Below how many traces on a side nothing is called significant.
    pub min_traces: usize,
    /// Below what part of the normal time an added time is not worth a person's attention, whatever its significance.
    pub min_change: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_findings: 10, max_examples: 3, min_traces: 5, min_change: 0.01 }
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Why {
    /// One sentence for a tired person.
    pub summary: String,
    /// Whether something is wrong beyond chance, by an amount that matters.
    pub significant: bool,
    /// The slow traces that were given.
    pub slow: Group,
    /// The normal traces that were given.
    pub normal: Group,
    /// Added nanoseconds a trace: the mean critical path of slow traces less that of normal traces of the same entry
    /// operations.
    pub added_nanos: i64,
    /// What may be wrong, the most first.
    pub findings: Vec<Finding>,
    /// What to keep in mind, for people.
    pub caveats: Vec<String>,
}

/// The traces on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub traces: usize,
    /// The median duration of their roots.
    pub median_nanos: u64,
    /// The earliest start.
    pub start_unix_nano: u64,
    /// The latest end.
    pub end_unix_nano: u64,
}

/// One thing that may be wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// From 1.
    pub rank: usize,
    /// What is wrong.
    pub kind: FindingKind,
    /// The service to look at: whose work it is; who waits; of an edge, the end whose other edges are slow as well, or
    /// else the callee.
    pub service: String,
    /// The operation with most of the added time; of an edge, the callee's.
    pub operation: String,
    /// Of what lies between two services: its ends. If a service has several slow edges, the one with most of the added
    /// time.
    pub edge: Option<Edge>,
    /// Added nanoseconds a trace.
    pub added_nanos: i64,
    /// The part of all time that was added anywhere, 0 to 1.
    pub share: f64,
    /// Where the added time lies with a probability of 95 %.
    pub confidence: (i64, i64),
    /// Added because each call takes longer.
    pub slower_nanos: i64,
    /// Added because there are more calls.
    pub more_often_nanos: i64,
    /// Nanoseconds a slow trace, on average.
    pub slow_nanos: u64,
    /// Nanoseconds a normal trace, on average, as if normal traces had the slow ones' mix of entry operations.
    pub normal_nanos: u64,
    /// Whether this is beyond chance.
    pub significant: bool,
    /// How many slow traces pass the place.
    pub traces: usize,
    /// For whom, if not for all.
    pub attributes: Vec<Attribution>,
    /// Since when, in Unix nanoseconds, if that can be told.
    pub since_unix_nano: Option<u64>,
    /// The slow traces that show it most.
    pub examples: Vec<TraceId>,
    /// Normal traces of the same entry operation as the first example, the most ordinary first.
    pub normal_examples: Vec<TraceId>,
    /// The finding in words.
    pub sentence: String,
}

macro_rules! finding_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FindingKind {
            $($(#[$doc])* $name,)+
        }

        impl FindingKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name that the API uses.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

finding_kinds! {
    /// A service's own work takes longer.
    SelfTime = "self_time",
    /// What lies between two services takes longer: network, queues, proxies.
    Edge = "edge",
    /// Something that records no spans takes longer: a database, a third party.
    External = "external",
    /// A service waits longer in itself: for a lock, a connection of a pool, its turn.
    Waiting = "waiting",
    /// An operation makes more calls than before.
    MoreCalls = "more_calls",
    /// An operation makes a call that it did not make before.
    NewCall = "new_call",
    /// An operation no longer makes a call that it made before.
    MissingCall = "missing_call",
    /// Calls fail and are made again.
    Retries = "retries",
    /// Callers give up waiting.
    Timeout = "timeout",
    /// What ran at once runs one by one.
    Serialized = "serialized",
    /// Errors begin here.
    Error = "error",
}

/// A way between two services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The caller.
    pub from: String,
    /// The callee.
    pub to: String,
}

/// Splits traces into slow and normal ([`split_by_latency`]) and says why the slow ones are slow.
pub fn explain(traces: Vec<Trace>, options: &Options) -> Why {
    let split = split_by_latency(traces);
    let mut why = why(&split.slow, &split.normal, options);
    if !split.two_groups {
        // Slow ones were chosen for being slow: that they are is no finding.
        why.significant = false;
        why.findings.iter_mut().for_each(|finding| finding.significant = false);
    }
    why.caveats.splice(0..0, split.caveats);
    why
}

/// How much likelier a cause has to be than none to be beyond chance, as a logarithm: 20 times.
const SIGNIFICANT: f64 = 3.0;
/// Of so many findings it is looked up since when and for whom they are.
const DETAILED: usize = 5;

/// Says what is wrong with slow traces, compared with normal ones.
///
/// The critical path of each trace is divided among places: services' own work, edges between services, external
/// dependencies. Slow traces are compared with normal traces of the same entry operation, each entry weighted by its
/// number of slow traces, so that a changed mix of requests is not taken for a slowdown. "Nothing is slower" is an
/// answer.
///
/// The same traces always give the same answer, in whatever order they are.
pub fn why(slow: &[Trace], normal: &[Trace], options: &Options) -> Why {
    let in_time = |traces: &'_ [Trace]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..traces.len()).filter(|number| !traces[*number].is_empty()).collect();
        order.sort_by_key(|number| (traces[*number].start_unix_nano(), traces[*number].trace_id()));
        order
    };
    let slow: Vec<&Trace> = in_time(slow).into_iter().map(|number| &slow[number]).collect();
    let normal: Vec<&Trace> = in_time(normal).into_iter().map(|number| &normal[number]).collect();
    let mut observer = Observer::default();
    let mut observe =
        |traces: &[&Trace]| -> Vec<Observation> { traces.iter().filter_map(|trace| observer.observe(trace)).collect() };
    let (slow_observed, normal_observed) = (observe(&slow), observe(&normal));
    // Looking at single spans again meets no new name; the study needs the names meanwhile.
    let mut reader = observer.clone();
    let study = Study::new(&observer, &slow_observed, &normal_observed);

    let total = study.compare(|trace| trace.total_nanos as f64);
    let mut why = Why {
        slow: group(&slow),
        normal: group(&normal),
        added_nanos: total.difference.mean.round() as i64,
        ..Why::default()
    };
    let enough = why.slow.traces.min(why.normal.traces) >= options.min_traces;
    let causes = causes::find(&study);
    let added_anywhere: f64 = causes.iter().map(|cause| cause.added_nanos().max(0.0)).sum();
    let is_worth_saying = |cause: &&Cause| cause.added_nanos() >= 0.5 || cause.sure_nanos > 0.0;
    for cause in causes.iter().filter(is_worth_saying).take(options.max_findings) {
        let is_error = matches!(cause.signal, Signal::Errors { .. });
        let mut finding = finding(&study, cause, added_anywhere);
        finding.rank = why.findings.len() + 1;
        let (mut slow_order, normal_order) = examples(&study, cause);
        let mut strength = cause.strength;
        if cause.sure_nanos > 0.0 && why.findings.len() < DETAILED {
            let units = units::units(&study, &mut reader, cause, &slow, &normal);
            let mut since = onset::onset(&units.slow, &units.normal);
            finding.attributes = attributes::attributes(&units, &slow, since.unwrap_or(0));
            if let Some(first) = finding.attributes.first() {
                strength = strength.max(attributes::strength(&units, cause, &slow, &normal, first));
                let with = attributes::with(&units.slow, &slow, first);
                let shown: Vec<usize> = with.iter().map(|unit| unit.trace).collect();
                slow_order.sort_by_key(|row| !shown.contains(row));
                since = onset::onset(&with, &units.normal).or(since);
            }
            finding.since_unix_nano = since.map(|trace| slow[trace].start_unix_nano());
        }
        let matters = cause.sure_nanos >= options.min_change * total.normal_mean || is_error;
        finding.significant = enough && matters && cause.sure_nanos > 0.0 && strength >= SIGNIFICANT;
        let ids = |traces: &[&Trace], rows: Vec<usize>| -> Vec<TraceId> {
            rows.into_iter().take(options.max_examples).map(|row| traces[row].trace_id()).collect()
        };
        finding.examples = ids(&slow, slow_order);
        finding.normal_examples = ids(&normal, normal_order);
        finding.sentence = wording::sentence(&finding, &wording::Scope::of(&study, cause));
        why.findings.push(finding);
    }
    why.significant = why.findings.iter().any(|finding| finding.significant);
    why.caveats = caveats(&why, &causes, &study, enough, options);
    why.summary = wording::summary(&why, enough);
    why
}

fn finding(study: &Study<'_>, cause: &Cause, added_anywhere: f64) -> Finding {
    let text = |symbol: u32| study.observer.places.text(symbol).to_owned();
    let set = PlaceSet::new(study.observer.places.len(), &cause.places);
    let compared = study.compare(|trace| trace.path_nanos(&set) as f64);
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
        traces: study.slow.iter().filter(|trace| passes(trace, cause)).count(),
        attributes: Vec::new(),
        since_unix_nano: None,
        examples: Vec::new(),
        normal_examples: Vec::new(),
        sentence: String::new(),
    }
}

fn passes(trace: &Observation, cause: &Cause) -> bool {
    cause.places.iter().any(|place| trace.visit(*place).is_some())
}

/// Rows of slow traces that show a cause most, and of ordinary normal traces to hold against the first.
fn examples(study: &Study<'_>, cause: &Cause) -> (Vec<usize>, Vec<usize>) {
    let set = PlaceSet::new(study.observer.places.len(), &cause.places);
    let weight = |trace: &Observation| match cause.signal {
        Signal::Errors { place } => trace.visit(place).map_or(0, |visit| u64::from(visit.first_errors)),
        Signal::Calls { parent, child } => trace.link(parent, child).map_or(0, |link| link.path_nanos + 1),
        _ => trace.path_nanos(&set),
    };
    let mut slow_rows: Vec<(usize, u64)> = study
        .strata
        .strata
        .iter()
        .flat_map(|stratum| &stratum.slow)
        .map(|row| (*row, weight(&study.slow[*row])))
        .filter(|(_, weight)| *weight > 0)
        .collect();
    slow_rows.sort_unstable_by_key(|(row, weight)| (std::cmp::Reverse(*weight), study.slow[*row].trace_id));
    let Some((first, _)) = slow_rows.first().copied() else { return (Vec::new(), Vec::new()) };

    let stratum = study.strata.strata.iter().find(|stratum| stratum.slow.contains(&first));
    let mut normal_rows = stratum.map(|stratum| stratum.normal.clone()).unwrap_or_default();
    let mut totals: Vec<u64> = normal_rows.iter().map(|row| study.normal[*row].total_nanos).collect();
    let typical = median(&mut totals);
    // One that passes the place as well shows more, side by side.
    normal_rows.sort_unstable_by_key(|row| {
        let trace = &study.normal[*row];
        (!passes(trace, cause), trace.total_nanos.abs_diff(typical), trace.trace_id)
    });
    (slow_rows.into_iter().map(|(row, _)| row).collect(), normal_rows)
}

fn group(traces: &[&Trace]) -> Group {
    let mut durations: Vec<u64> =
        traces.iter().filter_map(|trace| trace.root()).map(|root| root.duration_nanos()).collect();
    Group {
        traces: durations.len(),
        median_nanos: median(&mut durations),
        start_unix_nano: traces.iter().map(|trace| trace.start_unix_nano()).min().unwrap_or(0),
        end_unix_nano: traces.iter().map(|trace| trace.end_unix_nano()).max().unwrap_or(0),
    }
}

fn caveats(why: &Why, causes: &[Cause], study: &Study<'_>, enough: bool, options: &Options) -> Vec<String> {
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
    let all = || study.slow.iter().chain(study.normal);
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

#[cfg(test)]
mod tests;

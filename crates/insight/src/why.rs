//! Where the added time of slow traces went.
//!
//! ```text
//! traces ──▶ profile: critical path time by place      (place.rs)
//!        ──▶ strata: slow against normal, per entry    (strata.rs)
//!        ──▶ causes: places that one cause would slow  (causes.rs)
//!        ──▶ findings: ranked, tested, worded          (here, wording.rs)
//! ```

pub(crate) mod causes;
mod strata;

use tracewell_model::{Trace, TraceId};

use crate::place::{Place, Profile, profile};
use crate::split::split_by_latency;
use crate::statistics::{Difference, Moments, median};
use crate::wording;

use causes::Cause;
use strata::Strata;

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
        Self { max_findings: 10, max_examples: 3, min_traces: 5, min_change: 0.05 }
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Why {
    /// One sentence for a tired person.
    pub summary: String,
    /// Whether slow traces are slower beyond chance, by an amount that matters.
    pub significant: bool,
    /// The slow traces that were given.
    pub slow: Group,
    /// The normal traces that were given.
    pub normal: Group,
    /// Added nanoseconds a trace: the mean critical path of slow traces less that of normal traces of the same entry
    /// operations. It is the sum of what all places added, those that got faster (which are no findings) counted
    /// negative.
    pub added_nanos: i64,
    /// Where time was added, most first.
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

/// One place, or some places with one likely cause, to which time was added.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// From 1.
    pub rank: usize,
    /// What is slower.
    pub kind: FindingKind,
    /// The service to look at: whose work it is; who waits; of an edge, the end whose other edges are slow as well, or
    /// else the callee.
    pub service: String,
    /// The operation with most of the added time; of an edge, the callee's.
    pub operation: String,
    /// Of an edge: its ends. If a service has several slow edges, the one with most of the added time.
    pub edge: Option<Edge>,
    /// Added nanoseconds a trace.
    pub added_nanos: i64,
    /// The part of all time that was added anywhere, 0 to 1.
    pub share: f64,
    /// Nanoseconds a slow trace, on average.
    pub slow_nanos: u64,
    /// Nanoseconds a normal trace, on average, as if normal traces had the slow ones' mix of entry operations.
    pub normal_nanos: u64,
    /// Whether the added time is beyond chance.
    pub significant: bool,
    /// The slow traces that spent the most here.
    pub examples: Vec<TraceId>,
    /// Normal traces of the same entry operation as the first example, the most ordinary first.
    pub normal_examples: Vec<TraceId>,
    /// The finding in words.
    pub sentence: String,
}

/// What is slower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// A service's own work.
    SelfTime,
    /// What lies between two services.
    Edge,
    /// Something that records no spans.
    External,
}

impl FindingKind {
    /// The name that the API uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SelfTime => "self_time",
            Self::Edge => "edge",
            Self::External => "external",
        }
    }
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
    why.caveats.splice(0..0, split.caveats);
    why
}

/// Says where slow traces spent more time than normal ones.
///
/// The critical path of each trace is divided among places: services' own work, edges between services, external
/// dependencies. Slow traces are compared with normal traces of the same entry operation, each entry weighted by its
/// number of slow traces, so that a changed mix of requests is not taken for a slowdown. "Nothing is slower" is an
/// answer.
///
/// The same traces always give the same answer; their order decides only which of equal examples is given.
pub fn why(slow: &[Trace], normal: &[Trace], options: &Options) -> Why {
    let slow_profiles: Vec<_> = slow.iter().map(profile).collect();
    let normal_profiles: Vec<_> = normal.iter().map(profile).collect();
    let (strata, unmatched) = Strata::new(slow, normal);
    let total = strata.compare(&slow_profiles, &normal_profiles, &|profile| profile.total_nanos);
    let mut why = Why {
        slow: group(slow),
        normal: group(normal),
        added_nanos: total.difference.mean.round() as i64,
        ..Why::default()
    };
    let enough = why.slow.traces.min(why.normal.traces) >= options.min_traces;
    let matters = total.difference.mean >= options.min_change * total.normal_mean;
    why.significant = enough && matters && total.difference.is_significantly_positive();

    let causes = causes::find(&strata, &slow_profiles, &normal_profiles);
    let added_anywhere: f64 = causes.iter().map(|cause| cause.added_nanos.max(0.0)).sum();
    for cause in causes.iter().filter(|cause| cause.added_nanos >= 0.5).take(options.max_findings) {
        let compared = strata.compare(&slow_profiles, &normal_profiles, &|profile| cause.nanos(profile));
        let (examples, normal_examples) = examples(cause, slow, normal, &slow_profiles, &normal_profiles, &strata);
        let ids = |traces: &[Trace], rows: Vec<usize>| -> Vec<TraceId> {
            rows.into_iter().take(options.max_examples).map(|row| traces[row].trace_id()).collect()
        };
        let mut finding = Finding {
            rank: why.findings.len() + 1,
            kind: cause.kind,
            service: cause.service.to_owned(),
            operation: cause.operation().to_owned(),
            edge: match cause.main() {
                Place::Edge { from, to, .. } => Some(Edge { from: from.to_owned(), to: to.to_owned() }),
                _ => None,
            },
            added_nanos: compared.difference.mean.round() as i64,
            share: cause.added_nanos / added_anywhere,
            slow_nanos: compared.slow_mean.round() as u64,
            normal_nanos: compared.normal_mean.round() as u64,
            significant: enough && compared.difference.is_significantly_positive(),
            examples: ids(slow, examples),
            normal_examples: ids(normal, normal_examples),
            sentence: String::new(),
        };
        finding.sentence = wording::sentence(&finding, cause);
        why.findings.push(finding);
    }
    why.caveats = caveats(&why, &causes, enough, unmatched, slow, normal, options);
    why.summary = wording::summary(&why, causes.first(), enough);
    why
}

/// A comparison of one number a trace.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    difference: Difference,
    slow_mean: f64,
    normal_mean: f64,
}

impl Strata {
    fn compare<'a>(
        &self,
        slow: &[Profile<'a>],
        normal: &[Profile<'a>],
        value: &dyn Fn(&Profile<'a>) -> u64,
    ) -> Compared {
        let mut compared = Compared::default();
        for stratum in &self.strata {
            let slow = Moments::of(stratum.slow.iter().map(|row| value(&slow[*row]) as f64));
            let normal = Moments::of(stratum.normal.iter().map(|row| value(&normal[*row]) as f64));
            compared.difference.add_stratum(stratum.weight, slow, normal);
            compared.slow_mean += stratum.weight * slow.mean;
            compared.normal_mean += stratum.weight * normal.mean;
        }
        compared
    }
}

/// Rows of slow traces that spent the most at the cause, and of ordinary normal traces to hold against the first.
fn examples<'a>(
    cause: &Cause<'a>,
    slow: &[Trace],
    normal: &[Trace],
    slow_profiles: &[Profile<'a>],
    normal_profiles: &[Profile<'a>],
    strata: &Strata,
) -> (Vec<usize>, Vec<usize>) {
    let mut slow_rows: Vec<(usize, u64)> = strata
        .strata
        .iter()
        .flat_map(|stratum| &stratum.slow)
        .map(|row| (*row, cause.nanos(&slow_profiles[*row])))
        .filter(|(_, nanos)| *nanos > 0)
        .collect();
    slow_rows.sort_unstable_by_key(|(row, nanos)| (std::cmp::Reverse(*nanos), slow[*row].trace_id(), *row));
    let Some((first, _)) = slow_rows.first().copied() else { return (Vec::new(), Vec::new()) };

    let stratum = strata.strata.iter().find(|stratum| stratum.slow.contains(&first));
    let mut normal_rows = stratum.map(|stratum| stratum.normal.clone()).unwrap_or_default();
    let mut totals: Vec<u64> = normal_rows.iter().map(|row| normal_profiles[*row].total_nanos).collect();
    let typical = median(&mut totals);
    normal_rows.sort_unstable_by_key(|row| {
        (normal_profiles[*row].total_nanos.abs_diff(typical), normal[*row].trace_id(), *row)
    });
    (slow_rows.into_iter().map(|(row, _)| row).collect(), normal_rows)
}

fn group(traces: &[Trace]) -> Group {
    let mut durations: Vec<u64> =
        traces.iter().filter_map(|trace| trace.root()).map(|root| root.duration_nanos()).collect();
    let traces = || traces.iter().filter(|trace| !trace.is_empty());
    Group {
        traces: durations.len(),
        median_nanos: median(&mut durations),
        start_unix_nano: traces().map(Trace::start_unix_nano).min().unwrap_or(0),
        end_unix_nano: traces().map(Trace::end_unix_nano).max().unwrap_or(0),
    }
}

fn caveats(
    why: &Why,
    causes: &[Cause<'_>],
    enough: bool,
    unmatched: usize,
    slow: &[Trace],
    normal: &[Trace],
    options: &Options,
) -> Vec<String> {
    let mut caveats = Vec::new();
    if !enough && why.slow.traces.min(why.normal.traces) > 0 {
        caveats.push(format!(
            "Only {} and {}: too few to tell a cause from chance (at least {} of each are needed).",
            wording::count(why.slow.traces, "slow trace"),
            wording::count(why.normal.traces, "normal trace"),
            options.min_traces
        ));
    }
    if unmatched > 0 {
        caveats.push(format!(
            "{} left out: no normal trace enters by the same operation.",
            wording::were(unmatched, "slow trace")
        ));
    }
    let orphans = slow.iter().chain(normal).filter(|trace| trace.roots().len() > 1).count();
    if orphans > 0 {
        caveats.push(format!(
            "{} more than one root: some of their spans lost their parent, and what those took is seen only as time of \
             the span that waited.",
            wording::have(orphans, "trace")
        ));
    }
    let faster: f64 = causes.iter().map(|cause| cause.added_nanos.min(0.0)).sum();
    let slower: f64 = causes.iter().map(|cause| cause.added_nanos.max(0.0)).sum();
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

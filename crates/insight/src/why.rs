//! Where the added time of slow traces went.
//!
//! ```text
//! traces ──▶ observations: numbers by place            (survey.rs, observe.rs, place.rs)
//!        ──▶ strata: slow against normal, per entry    (strata.rs, study.rs)
//!        ──▶ causes: what may be wrong, how surely     (causes.rs, effect.rs)
//! some   ──▶ units: the spans that show it             (inquiry.rs, units.rs)
//!        ──▶ since when, for whom                      (onset.rs, attributes.rs)
//!        ──▶ findings: ranked, worded                  (inquiry.rs, wording.rs)
//! ```

mod attributes;
pub(crate) mod causes;
mod effect;
mod inquiry;
mod onset;
mod strata;
pub(crate) mod study;
pub(crate) mod units;

use std::collections::HashSet;

use tracewell_model::{Trace, TraceId};

use crate::survey::Survey;

pub use attributes::Attribution;
pub use inquiry::Inquiry;

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

/// Splits traces into slow and normal ones by their latency ([`Survey::split`]) and says why the slow ones are slow.
pub fn explain(traces: &[Trace], options: &Options) -> Why {
    let mut survey = Survey::default();
    in_time(traces).into_iter().for_each(|trace| survey.add_trace(trace));
    conclude(survey.split(options), [traces, &[]])
}

/// Says what is wrong with slow traces, compared with normal ones.
///
/// The critical path of each trace is divided among places: services' own work, edges between services, external
/// dependencies. Slow traces are compared with normal traces of the same entry operation, each entry weighted by its
/// number of slow traces, so that a changed mix of requests is not taken for a slowdown. "Nothing is slower" is an
/// answer.
///
/// The same traces always give the same answer, in whatever order they are.
pub fn why(slow: &[Trace], normal: &[Trace], options: &Options) -> Why {
    let mut survey = Survey::default();
    in_time(slow).into_iter().for_each(|trace| survey.add_trace(trace));
    survey.begin_baseline();
    in_time(normal).into_iter().for_each(|trace| survey.add_trace(trace));
    conclude(survey.compare(options), [slow, normal])
}

fn in_time(traces: &[Trace]) -> Vec<&Trace> {
    let mut order: Vec<&Trace> = traces.iter().collect();
    order.sort_by_key(|trace| (trace.start_unix_nano(), trace.trace_id()));
    order
}

fn conclude(mut inquiry: Inquiry, sides: [&[Trace]; 2]) -> Why {
    let wanted: HashSet<TraceId> = inquiry.wanted().into_iter().collect();
    for trace in sides.into_iter().flatten().filter(|trace| wanted.contains(&trace.trace_id())) {
        inquiry.look(trace.batch());
    }
    inquiry.conclude()
}

#[cfg(test)]
mod tests;

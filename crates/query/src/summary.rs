//! What a trace is about, in a few lines.

use std::cmp::Reverse;
use std::collections::HashMap;

use tracewell_model::{Trace, TraceId};

/// A trace in a list of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSummary {
    /// Its id.
    pub trace_id: TraceId,
    /// The service of the span that stands for the trace.
    pub root_service: String,
    /// The name of that span.
    pub root_operation: String,
    /// The earliest start of a span.
    pub start_unix_nano: u64,
    /// From there to the latest end.
    pub duration_nanos: u64,
    /// How many spans it has.
    pub spans: usize,
    /// How many of them failed.
    pub errors: usize,
    /// Its services, most spans first, then by name.
    pub services: Vec<ServiceCount>,
}

/// What one service did in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCount {
    /// The service.
    pub name: String,
    /// Its spans.
    pub spans: usize,
    /// Those that failed.
    pub errors: usize,
}

impl TraceSummary {
    /// The summary of a whole trace.
    pub fn of(trace: &Trace) -> Self {
        let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
        for span in trace.batch().iter() {
            let (spans, errors) = counts.entry(span.service()).or_default();
            *spans += 1;
            *errors += usize::from(span.is_error());
        }
        let mut services: Vec<ServiceCount> = counts
            .into_iter()
            .map(|(name, (spans, errors))| ServiceCount { name: name.to_owned(), spans, errors })
            .collect();
        services.sort_by(|left, right| (Reverse(left.spans), &left.name).cmp(&(Reverse(right.spans), &right.name)));
        let root = trace.root();
        Self {
            trace_id: trace.trace_id(),
            root_service: root.map_or_else(String::new, |root| root.service().to_owned()),
            root_operation: root.map_or_else(String::new, |root| root.name().to_owned()),
            start_unix_nano: trace.start_unix_nano(),
            duration_nanos: trace.duration_nanos(),
            spans: trace.len(),
            errors: services.iter().map(|service| service.errors).sum(),
            services,
        }
    }
}

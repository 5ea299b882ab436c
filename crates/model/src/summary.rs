//! What a trace is about, in a few lines.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::{SpanBatch, SpanRef, StatusCode, Trace, TraceId};

/// What a list of traces says of one.
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

impl ServiceCount {
    /// What each service did, in order, from its name with counts of spans and errors; a name may occur several times.
    pub fn by_service<'a>(counts: impl IntoIterator<Item = (&'a str, usize, usize)>) -> Vec<Self> {
        let mut by_service: HashMap<&str, (usize, usize)> = HashMap::new();
        for (service, spans, errors) in counts {
            let service = by_service.entry(service).or_default();
            service.0 += spans;
            service.1 += errors;
        }
        let mut services: Vec<Self> = by_service
            .into_iter()
            .map(|(name, (spans, errors))| Self { name: name.to_owned(), spans, errors })
            .collect();
        services.sort_by(|left, right| (Reverse(left.spans), &left.name).cmp(&(Reverse(right.spans), &right.name)));
        services
    }
}

impl TraceSummary {
    /// The summary of a whole trace.
    pub fn of(trace: &Trace) -> Self {
        let rows: Vec<usize> = (0..trace.len()).collect();
        Self::new(trace.batch(), &rows, trace.root())
    }

    /// The summary of the trace that some rows of a batch are: the same as that of the trace joined, without joining it
    /// where that makes no difference.
    pub fn of_rows(spans: &SpanBatch, rows: Vec<usize>) -> Self {
        let rows = Trace::in_order(spans, rows);
        match Trace::root_without_parent(spans, &rows) {
            Some(root) => Self::new(spans, &rows, Some(spans.span(root))),
            None => Self::of(&Trace::of_rows(spans, rows)),
        }
    }

    fn new(spans: &SpanBatch, rows: &[usize], root: Option<SpanRef<'_>>) -> Self {
        let columns = spans.spans();
        // Resources are few, and several may be of one service.
        let mut counts = vec![(0, 0); spans.resources().len()];
        let (mut start_unix_nano, mut end_unix_nano) = (u64::MAX, 0);
        for row in rows {
            let (own, errors) = &mut counts[columns.resource[*row].index()];
            *own += 1;
            *errors += usize::from(columns.status_code[*row] == StatusCode::Error);
            start_unix_nano = start_unix_nano.min(columns.start_unix_nano[*row]);
            end_unix_nano = end_unix_nano.max(columns.end_unix_nano[*row]);
        }
        let counts = spans.resources().iter().zip(counts).filter(|(_, (own, _))| *own > 0);
        let services = ServiceCount::by_service(
            counts.map(|(resource, (spans_of_it, errors))| (spans.string(resource.service), spans_of_it, errors)),
        );
        let start_unix_nano = if rows.is_empty() { 0 } else { start_unix_nano };
        Self {
            trace_id: rows.first().map_or_else(TraceId::default, |row| columns.trace_id[*row]),
            root_service: root.map_or_else(String::new, |root| root.service().to_owned()),
            root_operation: root.map_or_else(String::new, |root| root.name().to_owned()),
            start_unix_nano,
            duration_nanos: end_unix_nano.max(start_unix_nano) - start_unix_nano,
            spans: rows.len(),
            errors: services.iter().map(|service| service.errors).sum(),
            services,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewSpan, SpanId, SpanKind};

    /// Spans as senders get them wrong: sent twice, orphans, ids shared by client and server, cycles.
    fn spans(seed: u64) -> SpanBatch {
        let mut state = seed;
        let mut random = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % most
        };
        let mut batch = SpanBatch::new();
        let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
        for _ in 0..1 + random(8) {
            let start_unix_nano = random(5);
            let kind = [SpanKind::Server, SpanKind::Client, SpanKind::Internal][random(3) as usize];
            let name = batch.intern(["a", "b"][random(2) as usize]);
            batch.push_span(NewSpan {
                trace_id: TraceId::from_u128(1),
                span_id: SpanId::from_u64(1 + random(4)),
                parent_span_id: SpanId::from_u64(random(5)),
                start_unix_nano,
                end_unix_nano: start_unix_nano + random(3),
                kind,
                name,
                ..NewSpan::new(resource, scope)
            });
        }
        batch
    }

    #[test]
    fn a_summary_of_rows_is_that_of_the_trace() {
        for seed in 0..20_000 {
            let spans = spans(seed);
            let rows = (0..spans.len()).collect();
            let summary = TraceSummary::of_rows(&spans, rows);
            assert_eq!(summary, TraceSummary::of(&Trace::assemble(spans)), "seed {seed}");
        }
    }
}

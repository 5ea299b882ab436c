//! One trace in full, laid out as a waterfall shows it.

use serde::Serialize;
use tracewell_insight::{Leeway, Piece, PieceKind};
use tracewell_model::{EventRef, LinkRef, SpanBatch, SpanRef, Trace, TraceSummary};

use super::traces::ServiceView;
use super::values::{OtlpKeyValue, key_values};

/// All but the spans, which follow one by one.
#[derive(Serialize)]
struct HeadView<'a> {
    trace_id: String,
    root_service: String,
    root_operation: String,
    start_unix_nano: String,
    duration_nanos: u64,
    services: Vec<ServiceView>,
    notes: NotesView,
    resources: Vec<ResourceView<'a>>,
    scopes: Vec<ScopeView<'a>>,
    critical_path: Vec<PieceView>,
    total_spans: usize,
    complete: bool,
}

#[derive(Serialize)]
struct NotesView {
    duplicates: usize,
    self_parents: usize,
    cycles: usize,
    orphans: usize,
    negative_durations: usize,
}

#[derive(Serialize)]
struct ResourceView<'a> {
    service: &'a str,
    attributes: Vec<OtlpKeyValue<'a>>,
    dropped_attributes_count: u32,
    schema_url: &'a str,
}

#[derive(Serialize)]
struct ScopeView<'a> {
    name: &'a str,
    version: &'a str,
    attributes: Vec<OtlpKeyValue<'a>>,
    dropped_attributes_count: u32,
    schema_url: &'a str,
}

#[derive(Serialize)]
struct PieceView {
    span: usize,
    start_nanos: u64,
    duration_nanos: u64,
    kind: &'static str,
    remote: Option<usize>,
}

#[derive(Serialize)]
struct SpanView<'a> {
    span_id: String,
    parent_span_id: Option<String>,
    parent: Option<usize>,
    depth: usize,
    name: &'a str,
    service: &'a str,
    kind: &'static str,
    status: StatusView<'a>,
    start_nanos: u64,
    duration_nanos: u64,
    self_nanos: u64,
    critical_nanos: u64,
    drag_nanos: u64,
    slack_nanos: Option<u64>,
    resource: usize,
    scope: usize,
    trace_state: &'a str,
    flags: u32,
    attributes: Vec<OtlpKeyValue<'a>>,
    dropped_attributes_count: u32,
    events: Vec<EventView<'a>>,
    dropped_events_count: u32,
    links: Vec<LinkView<'a>>,
    dropped_links_count: u32,
}

#[derive(Serialize)]
struct StatusView<'a> {
    code: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct EventView<'a> {
    time_nanos: i64,
    name: &'a str,
    attributes: Vec<OtlpKeyValue<'a>>,
    dropped_attributes_count: u32,
}

#[derive(Serialize)]
struct LinkView<'a> {
    trace_id: String,
    span_id: String,
    trace_state: &'a str,
    flags: u32,
    attributes: Vec<OtlpKeyValue<'a>>,
    dropped_attributes_count: u32,
}

/// Lays out a trace, spans depth first, times as offsets from its start, and writes it as much at a time as is asked for.
pub(crate) struct Detail {
    trace: Trace,
    summary: TraceSummary,
    /// Whether all of the trace could be read.
    is_whole: bool,
    order: Vec<(usize, usize)>,
    /// Where each row stands in the order.
    places: Vec<usize>,
    path: Vec<Piece>,
    self_nanos: Vec<u64>,
    critical_nanos: Vec<u64>,
    leeway: Vec<Leeway>,
    /// The next span; `None` before the head is written.
    next: Option<usize>,
}

impl Detail {
    /// A trace, or the part of one that is shown, of which the summary says all. `is_whole` says that nothing of it could not
    /// be read.
    pub(crate) fn new(trace: Trace, summary: TraceSummary, is_whole: bool) -> Self {
        let order = trace.depth_first();
        let mut places = vec![0; trace.len()];
        for (place, (row, _)) in order.iter().enumerate() {
            places[*row] = place;
        }
        let path = tracewell_insight::critical_path(&trace);
        let mut critical_nanos: Vec<u64> = vec![0; trace.len()];
        for piece in &path {
            critical_nanos[piece.span] = critical_nanos[piece.span].saturating_add(piece.duration_nanos());
        }
        let self_nanos = tracewell_insight::self_time_nanos(&trace);
        let leeway = tracewell_insight::leeway(&trace);
        Self { trace, summary, is_whole, order, places, path, self_nanos, critical_nanos, leeway, next: None }
    }

    /// Appends what comes next until `out` has about `enough_bytes`; true when all is written.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, enough_bytes: usize) -> Result<bool, serde_json::Error> {
        let layout = Layout {
            trace: &self.trace,
            places: &self.places,
            self_nanos: &self.self_nanos,
            critical_nanos: &self.critical_nanos,
            leeway: &self.leeway,
        };
        let mut next = match self.next {
            Some(next) => next,
            None => {
                serde_json::to_writer(&mut *out, &self.head(&layout))?;
                // The object goes on.
                out.pop();
                out.extend_from_slice(b",\"spans\":[");
                0
            }
        };
        while let Some((row, depth)) = self.order.get(next) {
            if out.len() >= enough_bytes {
                self.next = Some(next);
                return Ok(false);
            }
            if next > 0 {
                out.push(b',');
            }
            serde_json::to_writer(&mut *out, &layout.span(*row, *depth))?;
            next += 1;
        }
        out.extend_from_slice(b"]}");
        self.next = Some(next);
        Ok(true)
    }

    fn head<'a>(&'a self, layout: &Layout<'a, '_>) -> HeadView<'a> {
        let (summary, notes) = (self.summary.clone(), self.trace.notes());
        HeadView {
            trace_id: summary.trace_id.to_string(),
            root_service: summary.root_service,
            root_operation: summary.root_operation,
            start_unix_nano: summary.start_unix_nano.to_string(),
            duration_nanos: summary.duration_nanos,
            services: summary.services.into_iter().map(ServiceView::from).collect(),
            notes: NotesView {
                duplicates: notes.duplicates,
                self_parents: notes.self_parents,
                cycles: notes.cycles,
                orphans: notes.orphans,
                negative_durations: notes.negative_durations,
            },
            resources: resources(self.trace.batch()),
            scopes: scopes(self.trace.batch()),
            critical_path: self.path.iter().map(|piece| layout.piece(piece)).collect(),
            total_spans: summary.spans,
            complete: self.is_whole && summary.spans == self.trace.len(),
        }
    }
}

fn resources(batch: &SpanBatch) -> Vec<ResourceView<'_>> {
    let view = |resource: &'_ tracewell_model::Resource| ResourceView {
        service: batch.string(resource.service),
        attributes: key_values(
            resource.attributes.iter().map(|(key, value)| (batch.string(*key), batch.value(*value))),
        ),
        dropped_attributes_count: resource.dropped_attributes_count,
        schema_url: batch.string(resource.schema_url),
    };
    batch.resources().iter().map(view).collect()
}

fn scopes(batch: &SpanBatch) -> Vec<ScopeView<'_>> {
    let view = |scope: &'_ tracewell_model::Scope| ScopeView {
        name: batch.string(scope.name),
        version: batch.string(scope.version),
        attributes: key_values(scope.attributes.iter().map(|(key, value)| (batch.string(*key), batch.value(*value)))),
        dropped_attributes_count: scope.dropped_attributes_count,
        schema_url: batch.string(scope.schema_url),
    };
    batch.scopes().iter().map(view).collect()
}

/// A trace with what is known of each of its rows.
struct Layout<'a, 'p> {
    trace: &'a Trace,
    /// Where it stands in the depth-first order.
    places: &'p [usize],
    self_nanos: &'p [u64],
    critical_nanos: &'p [u64],
    leeway: &'p [Leeway],
}

impl<'a> Layout<'a, '_> {
    fn piece(&self, piece: &Piece) -> PieceView {
        let (kind, remote) = match piece.kind {
            PieceKind::SelfTime => ("self_time", None),
            PieceKind::Edge { remote } => ("edge", Some(self.places[remote])),
            PieceKind::External => ("external", None),
        };
        PieceView {
            span: self.places[piece.span],
            start_nanos: piece.start_unix_nano - self.trace.start_unix_nano(),
            duration_nanos: piece.duration_nanos(),
            kind,
            remote,
        }
    }

    fn span(&self, row: usize, depth: usize) -> SpanView<'a> {
        let trace_start = self.trace.start_unix_nano();
        let span: SpanRef<'a> = self.trace.span(row);
        let columns = self.trace.batch().spans();
        let parent_span_id = span.parent_span_id();
        SpanView {
            span_id: span.span_id().to_string(),
            parent_span_id: (!parent_span_id.is_zero()).then(|| parent_span_id.to_string()),
            parent: self.trace.parent(row).map(|parent| self.places[parent]),
            depth,
            name: span.name(),
            service: span.service(),
            kind: span.kind().as_str(),
            status: StatusView { code: span.status_code().as_str(), message: span.status_message() },
            start_nanos: span.start_unix_nano() - trace_start,
            duration_nanos: span.duration_nanos(),
            self_nanos: self.self_nanos[row],
            critical_nanos: self.critical_nanos[row],
            drag_nanos: self.leeway[row].drag_nanos,
            // Nobody waits for who takes a message, however long it takes.
            slack_nanos: Some(self.leeway[row].slack_nanos).filter(|nanos| *nanos < u64::MAX),
            resource: columns.resource[row].index(),
            scope: columns.scope[row].index(),
            trace_state: span.trace_state(),
            flags: span.flags(),
            attributes: key_values(span.attributes().iter()),
            dropped_attributes_count: span.dropped_attributes_count(),
            events: span.events().map(|event| event_view(event, trace_start)).collect(),
            dropped_events_count: span.dropped_events_count(),
            links: span.links().map(link_view).collect(),
            dropped_links_count: span.dropped_links_count(),
        }
    }
}

fn event_view(event: EventRef<'_>, trace_start: u64) -> EventView<'_> {
    let offset = i128::from(event.time_unix_nano()) - i128::from(trace_start);
    EventView {
        time_nanos: offset.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64,
        name: event.name(),
        attributes: key_values(event.attributes().iter()),
        dropped_attributes_count: event.dropped_attributes_count(),
    }
}

fn link_view(link: LinkRef<'_>) -> LinkView<'_> {
    LinkView {
        trace_id: link.trace_id().to_string(),
        span_id: link.span_id().to_string(),
        trace_state: link.trace_state(),
        flags: link.flags(),
        attributes: key_values(link.attributes().iter()),
        dropped_attributes_count: link.dropped_attributes_count(),
    }
}

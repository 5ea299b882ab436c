//! Traces in a few lines.

use tracewell_model::{NewSpan, SpanBatch, SpanId, SpanKind, Trace, TraceId, Value};

use super::Piece;

/// Short names for span kinds.
pub(crate) mod kind {
    use super::SpanKind;
    pub(crate) const INTERNAL: SpanKind = SpanKind::Internal;
    pub(crate) const SERVER: SpanKind = SpanKind::Server;
    pub(crate) const CLIENT: SpanKind = SpanKind::Client;
    pub(crate) const PRODUCER: SpanKind = SpanKind::Producer;
    pub(crate) const CONSUMER: SpanKind = SpanKind::Consumer;
}

/// Builds one trace; span ids count from 1, and a parent of 0 means none.
pub(crate) struct TraceBuilder {
    batch: SpanBatch,
    trace_id: u128,
}

impl Default for TraceBuilder {
    fn default() -> Self {
        Self::new(1)
    }
}

impl TraceBuilder {
    pub(crate) fn new(trace_id: u128) -> Self {
        Self { batch: SpanBatch::new(), trace_id }
    }

    pub(crate) fn span(
        &mut self,
        parent: u64,
        service: &str,
        name: &str,
        kind: SpanKind,
        start_unix_nano: u64,
        end_unix_nano: u64,
    ) -> u64 {
        let key = self.batch.intern("service.name");
        let service = Value::Str(self.batch.intern(service));
        let resource = self.batch.add_resource(&[(key, service)], 0, "");
        let scope = self.batch.add_scope("", "", &[], 0, "");
        let name = self.batch.intern(name);
        let id = self.batch.len() as u64 + 1;
        self.batch.push_span(NewSpan {
            trace_id: TraceId::from_u128(self.trace_id),
            span_id: SpanId::from_u64(id),
            parent_span_id: SpanId::from_u64(parent),
            start_unix_nano,
            end_unix_nano,
            name,
            kind,
            ..NewSpan::new(resource, scope)
        });
        id
    }

    pub(crate) fn build(self) -> Trace {
        Trace::assemble(self.batch)
    }
}

/// A path as `name start-end` words.
pub(crate) fn describe(trace: &Trace, pieces: &[Piece]) -> Vec<String> {
    pieces
        .iter()
        .map(|piece| format!("{} {}-{}", trace.span(piece.span).name(), piece.start_unix_nano, piece.end_unix_nano))
        .collect()
}

/// Panics unless the pieces are disjoint, sorted, without holes, and cover the root.
pub(crate) fn assert_covers_root(trace: &Trace, pieces: &[Piece]) {
    let Some(root) = trace.root() else { return assert!(pieces.is_empty()) };
    let mut now = root.start_unix_nano();
    for piece in pieces {
        let span = trace.span(piece.span);
        assert_eq!(piece.start_unix_nano, now, "a hole or an overlap");
        assert!(piece.end_unix_nano > piece.start_unix_nano, "an empty piece");
        assert!(span.start_unix_nano() <= piece.start_unix_nano && piece.end_unix_nano <= span.end_unix_nano());
        if let super::PieceKind::Edge { remote } = piece.kind {
            assert_eq!(trace.parent(remote), Some(piece.span));
        }
        now = piece.end_unix_nano;
    }
    assert_eq!(now, root.end_unix_nano().max(root.start_unix_nano()), "the root's end is not reached");
}

//! Traces as Jaeger JSON.
//!
//! Answers are megabytes, so text is put together of pieces that are made once a batch: what a key, a resource or a scope
//! always looks like, and whether a string can be copied as it is.

use std::borrow::Borrow;
use std::collections::HashMap;

use tracewell_model::{
    LinkRef, ResourceId, ScopeId, SpanBatch, SpanId, SpanKind, SpanRef, StatusCode, StrId, Trace, TraceId, Value,
    ValueRef,
};

use super::tag;
use crate::json_text::{end_list, is_plain, put_escaped, put_number, put_span_id, put_text, put_trace_id};

/// What stands before the traces in the envelope of Jaeger's query API.
pub const ENVELOPE_START: &[u8] = b"{\"data\":[";
/// What stands behind the traces; then come the errors or `null`, and the closing brace.
pub const ENVELOPE_END: &[u8] = b"],\"total\":0,\"limit\":0,\"offset\":0,\"errors\":";

/// The largest integer up to which a double holds all of them, which is what JavaScript has for numbers.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

const CHILD_OF: &str = "CHILD_OF";
const FOLLOWS_FROM: &str = "FOLLOWS_FROM";
const WARNINGS: &[u8] = b",\"warnings\":[\"the span ends before it starts; its duration is shown as 0\"]}";

/// The envelope of Jaeger's query API with these traces in it.
pub fn encode_traces(traces: &[Trace]) -> Vec<u8> {
    let mut out = ENVELOPE_START.to_vec();
    for (number, trace) in traces.iter().enumerate() {
        let rows = (0..trace.len()).collect();
        // So much is never enough, so that one call writes all.
        TracesEncoder::new(trace.batch(), vec![rows], number > 0).write(&mut out, usize::MAX);
    }
    out.extend_from_slice(ENVELOPE_END);
    out.extend_from_slice(b"null}");
    out
}

/// Writes traces that lie in one batch, as much at a time as is asked for.
pub struct TracesEncoder<B> {
    batch: B,
    traces: std::vec::IntoIter<Vec<usize>>,
    /// The trace that is being written, and its next row.
    current: Option<(Vec<usize>, usize)>,
    pieces: Pieces,
    processes: Processes,
    follows: bool,
}

impl<B: Borrow<SpanBatch>> TracesEncoder<B> {
    /// Traces as rows of the batch in the order in which they are to be written; `follows` if other traces stand before
    /// them in the same list.
    pub fn new(batch: B, traces: Vec<Vec<usize>>, follows: bool) -> Self {
        let pieces = Pieces::new(batch.borrow());
        let processes = Processes::new(batch.borrow());
        Self { batch, traces: traces.into_iter(), current: None, pieces, processes, follows }
    }

    /// Appends what comes next until `out` has about `enough_bytes`; true when all is written.
    pub fn write(&mut self, out: &mut Vec<u8>, enough_bytes: usize) -> bool {
        let batch = self.batch.borrow();
        while out.len() < enough_bytes {
            let (rows, at) = match &mut self.current {
                Some(current) => current,
                None => {
                    let Some(rows) = self.traces.next() else { return true };
                    let id = rows.first().map_or(TraceId::ZERO, |row| batch.spans().trace_id[*row]);
                    out.extend_from_slice(if self.follows { b",{\"traceID\":\"" } else { b"{\"traceID\":\"" });
                    put_trace_id(out, id);
                    out.extend_from_slice(b"\",\"spans\":[");
                    self.follows = true;
                    self.processes.begin();
                    self.current.insert((rows, 0))
                }
            };
            while let Some(row) = rows.get(*at) {
                if out.len() >= enough_bytes {
                    return false;
                }
                if *at > 0 {
                    out.push(b',');
                }
                let process = self.processes.number(batch.spans().resource[*row]);
                put_span(out, batch.span(*row), process, &mut self.pieces);
                *at += 1;
            }
            out.extend_from_slice(b"],\"processes\":{");
            for (place, resource) in self.processes.named.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(b"\"p");
                put_number(out, place as u64 + 1);
                out.extend_from_slice(b"\":");
                let piece = self.pieces.resource(batch, *resource);
                out.extend_from_slice(self.pieces.bytes(piece));
            }
            out.extend_from_slice(b"},\"warnings\":null}");
            self.current = None;
        }
        self.current.is_none() && self.traces.as_slice().is_empty()
    }
}

/// Writes one trace whose spans come in several batches, as much at a time as is asked for. Its processes stand at the end
/// of the object, where they are all known.
pub struct TraceEncoder {
    /// Each process as it is written, by number.
    processes: HashMap<Box<[u8]>, u32>,
    bytes: usize,
    has_spans: bool,
}

/// Some spans of a trace, in the order in which they are written, and how far they were.
pub struct TracePart<B> {
    batch: B,
    rows: Vec<usize>,
    at: usize,
    pieces: Pieces,
    /// The number of each of the batch's resources, once it is known.
    numbers: Vec<u32>,
}

impl<B: Borrow<SpanBatch>> TracePart<B> {
    /// Rows of a batch.
    pub fn new(batch: B, rows: Vec<usize>) -> Self {
        let pieces = Pieces::new(batch.borrow());
        let numbers = vec![0; batch.borrow().resources().len()];
        Self { batch, rows, at: 0, pieces, numbers }
    }
}

impl TraceEncoder {
    /// Begins a trace; `follows` if other traces stand before it in the same list.
    pub fn begin(id: TraceId, follows: bool, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(if follows { b",{\"traceID\":\"" } else { b"{\"traceID\":\"" });
        put_trace_id(out, id);
        out.extend_from_slice(b"\",\"spans\":[");
        Self { processes: HashMap::new(), bytes: 0, has_spans: false }
    }

    /// Appends spans until `out` has about `enough_bytes`; true when all of the part is written.
    pub fn write<B: Borrow<SpanBatch>>(
        &mut self,
        part: &mut TracePart<B>,
        out: &mut Vec<u8>,
        enough_bytes: usize,
    ) -> bool {
        let batch = part.batch.borrow();
        while let Some(row) = part.rows.get(part.at) {
            if out.len() >= enough_bytes {
                return false;
            }
            let resource = batch.spans().resource[*row];
            if part.numbers[resource.index()] == 0 {
                let piece = part.pieces.resource(batch, resource);
                part.numbers[resource.index()] = self.number(part.pieces.bytes(piece));
            }
            if self.has_spans {
                out.push(b',');
            }
            put_span(out, batch.span(*row), part.numbers[resource.index()], &mut part.pieces);
            self.has_spans = true;
            part.at += 1;
        }
        true
    }

    /// Bytes of the processes, which are held until the end.
    pub fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Ends the trace.
    pub fn end(self, out: &mut Vec<u8>) {
        let mut processes: Vec<(Box<[u8]>, u32)> = self.processes.into_iter().collect();
        processes.sort_unstable_by_key(|(_, number)| *number);
        out.extend_from_slice(b"],\"processes\":{");
        for (text, number) in processes {
            if number > 1 {
                out.push(b',');
            }
            out.extend_from_slice(b"\"p");
            put_number(out, u64::from(number));
            out.extend_from_slice(b"\":");
            out.extend_from_slice(&text);
        }
        out.extend_from_slice(b"},\"warnings\":null}");
    }

    fn number(&mut self, process: &[u8]) -> u32 {
        if let Some(known) = self.processes.get(process) {
            return *known;
        }
        let number = self.processes.len() as u32 + 1;
        self.bytes += process.len() + 64;
        self.processes.insert(process.into(), number);
        number
    }
}

/// The resources of a trace in the order in which its spans name them.
struct Processes {
    named: Vec<ResourceId>,
    /// The number of each of the batch's resources, from 1 on; 0 for none yet.
    numbers: Vec<u32>,
}

impl Processes {
    fn new(batch: &SpanBatch) -> Self {
        Self { named: Vec::new(), numbers: vec![0; batch.resources().len()] }
    }

    fn begin(&mut self) {
        self.named.clear();
        self.numbers.fill(0);
    }

    #[inline]
    fn number(&mut self, resource: ResourceId) -> u32 {
        let number = &mut self.numbers[resource.index()];
        if *number == 0 {
            self.named.push(resource);
            *number = self.named.len() as u32;
        }
        *number
    }
}

/// A part of [`Pieces::text`]; empty until it is made, as no piece is.
type Piece = std::ops::Range<u32>;
const UNMADE: Piece = 0..0;

/// What is written more than once, each made when it is first asked for.
struct Pieces {
    text: Vec<u8>,
    /// For each string, how it looks as a key: up to the tag's type.
    keys: Vec<Piece>,
    /// For each string, whether it can be written as it is.
    plain: Vec<Plain>,
    resources: Vec<Piece>,
    /// The tags of each scope; of one that has no tags, a space.
    scopes: Vec<Piece>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    Unknown,
    Yes,
    No,
}

impl Pieces {
    fn new(batch: &SpanBatch) -> Self {
        let strings = batch.strings().len();
        Self {
            text: Vec::new(),
            keys: vec![UNMADE; strings],
            plain: vec![Plain::Unknown; strings],
            resources: vec![UNMADE; batch.resources().len()],
            scopes: vec![UNMADE; batch.scopes().len()],
        }
    }

    #[inline]
    fn bytes(&self, piece: Piece) -> &[u8] {
        &self.text[piece.start as usize..piece.end as usize]
    }

    fn make(&mut self, text: &[u8]) -> Piece {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(text);
        start..self.text.len() as u32
    }

    #[inline]
    fn put_key(&mut self, out: &mut Vec<u8>, batch: &SpanBatch, key: StrId) {
        let mut piece = self.keys[key.index()].clone();
        if piece.is_empty() {
            let mut text = Vec::new();
            put_key(&mut text, batch.string(key));
            piece = self.make(&text);
            self.keys[key.index()] = piece.clone();
        }
        out.extend_from_slice(self.bytes(piece));
    }

    /// Writes a string of the batch without its quotes.
    #[inline]
    fn put_string(&mut self, out: &mut Vec<u8>, batch: &SpanBatch, id: StrId) {
        let text = batch.string(id);
        let plain = &mut self.plain[id.index()];
        if *plain == Plain::Unknown {
            *plain = if is_plain(text) { Plain::Yes } else { Plain::No };
        }
        if *plain == Plain::Yes {
            out.extend_from_slice(text.as_bytes());
        } else {
            put_escaped(out, text);
        }
    }

    fn resource(&mut self, batch: &SpanBatch, id: ResourceId) -> Piece {
        let known = self.resources[id.index()].clone();
        if !known.is_empty() {
            return known;
        }
        let resource = &batch.resources()[id.index()];
        let mut text = b"{\"serviceName\":\"".to_vec();
        put_text(&mut text, batch.string(resource.service));
        text.extend_from_slice(b"\",\"tags\":[");
        for (key, value) in &resource.attributes {
            if batch.string(*key) != "service.name" {
                put_key(&mut text, batch.string(*key));
                put_value(&mut text, batch.value(*value));
            }
        }
        end_list(&mut text);
        text.push(b'}');
        let piece = self.make(&text);
        self.resources[id.index()] = piece.clone();
        piece
    }

    #[inline]
    fn scope(&mut self, batch: &SpanBatch, id: ScopeId) -> Piece {
        let known = self.scopes[id.index()].clone();
        if !known.is_empty() {
            return known;
        }
        let scope = &batch.scopes()[id.index()];
        let mut text = Vec::new();
        for (key, id) in [(tag::SCOPE_NAME, scope.name), (tag::SCOPE_VERSION, scope.version)] {
            put_text_tag(&mut text, key, batch.string(id));
        }
        if text.is_empty() {
            text.push(b' ');
        }
        let piece = self.make(&text);
        self.scopes[id.index()] = piece.clone();
        piece
    }
}

fn put_span(out: &mut Vec<u8>, span: SpanRef<'_>, process: u32, pieces: &mut Pieces) {
    let batch = span.batch();
    let columns = batch.spans();
    let row = span.row();
    out.extend_from_slice(b"{\"traceID\":\"");
    put_trace_id(out, span.trace_id());
    out.extend_from_slice(b"\",\"spanID\":\"");
    put_span_id(out, span.span_id());
    out.extend_from_slice(if span.flags() & 1 == 1 { b"\",\"flags\":1" } else { b"\",\"flags\":0" });
    out.extend_from_slice(b",\"operationName\":\"");
    pieces.put_string(out, batch, columns.name[row]);
    out.extend_from_slice(b"\",\"references\":[");
    if !span.parent_span_id().is_zero() {
        put_reference(out, CHILD_OF, span.trace_id(), span.parent_span_id());
    }
    for link in span.links() {
        put_reference(out, ref_type(link), link.trace_id(), link.span_id());
    }
    end_list(out);
    out.extend_from_slice(b",\"startTime\":");
    put_number(out, span.start_unix_nano() / 1_000);
    out.extend_from_slice(b",\"duration\":");
    put_number(out, span.duration_nanos() / 1_000);
    out.extend_from_slice(b",\"tags\":[");
    let attributes = span.attributes();
    for (key, value) in attributes.raw_keys().iter().zip(attributes.raw_values()) {
        put_tag(out, batch, pieces, *key, *value);
    }
    put_field_tags(out, span, pieces);
    end_list(out);
    out.extend_from_slice(b",\"logs\":[");
    for event in span.events() {
        out.extend_from_slice(b"{\"timestamp\":");
        put_number(out, event.time_unix_nano() / 1_000);
        out.extend_from_slice(b",\"fields\":[");
        put_key(out, tag::EVENT);
        put_value(out, ValueRef::Str(event.name()));
        let attributes = event.attributes();
        for (key, value) in attributes.raw_keys().iter().zip(attributes.raw_values()) {
            put_tag(out, batch, pieces, *key, *value);
        }
        end_list(out);
        out.extend_from_slice(b"},");
    }
    end_list(out);
    out.extend_from_slice(b",\"processID\":\"p");
    put_number(out, u64::from(process));
    out.push(b'"');
    let ends_before_it_starts = span.end_unix_nano() < span.start_unix_nano();
    out.extend_from_slice(if ends_before_it_starts { WARNINGS } else { b",\"warnings\":null}" });
}

/// The tags that stand for fields of a span.
fn put_field_tags(out: &mut Vec<u8>, span: SpanRef<'_>, pieces: &mut Pieces) {
    let batch = span.batch();
    if span.kind() != SpanKind::Unspecified {
        put_text_tag(out, tag::KIND, span.kind().as_str());
    }
    match span.status_code() {
        StatusCode::Unset => {}
        StatusCode::Ok => put_text_tag(out, tag::STATUS_CODE, "OK"),
        StatusCode::Error => {
            put_text_tag(out, tag::STATUS_CODE, "ERROR");
            put_key(out, tag::ERROR);
            put_value(out, ValueRef::Bool(true));
        }
    }
    put_text_tag(out, tag::STATUS_DESCRIPTION, span.status_message());
    let scope = pieces.scope(batch, batch.spans().scope[span.row()]);
    let scope = pieces.bytes(scope);
    if scope != b" " {
        out.extend_from_slice(scope);
    }
    put_text_tag(out, tag::TRACE_STATE, span.trace_state());
}

fn ref_type(link: LinkRef<'_>) -> &'static str {
    let is_child = |(key, value): (&str, ValueRef<'_>)| {
        key == tag::REF_TYPE && matches!(value, ValueRef::Str(text) if text == tag::CHILD_OF)
    };
    if link.attributes().iter().any(is_child) { CHILD_OF } else { FOLLOWS_FROM }
}

fn put_reference(out: &mut Vec<u8>, ref_type: &str, trace_id: TraceId, span_id: SpanId) {
    out.extend_from_slice(b"{\"refType\":\"");
    out.extend_from_slice(ref_type.as_bytes());
    out.extend_from_slice(b"\",\"traceID\":\"");
    put_trace_id(out, trace_id);
    out.extend_from_slice(b"\",\"spanID\":\"");
    put_span_id(out, span_id);
    out.extend_from_slice(b"\"},");
}

/// A tag of a text, unless that is empty.
fn put_text_tag(out: &mut Vec<u8>, key: &str, text: &str) {
    if !text.is_empty() {
        put_key(out, key);
        put_value(out, ValueRef::Str(text));
    }
}

#[inline]
fn put_tag(out: &mut Vec<u8>, batch: &SpanBatch, pieces: &mut Pieces, key: StrId, value: Value) {
    pieces.put_key(out, batch, key);
    if let Value::Str(id) = value {
        out.extend_from_slice(b"string\",\"value\":\"");
        pieces.put_string(out, batch, id);
        out.extend_from_slice(b"\"},");
    } else {
        put_value(out, batch.value(value));
    }
}

/// A tag up to its type, which [`put_value`] goes on with.
fn put_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b"{\"key\":\"");
    put_text(out, key);
    out.extend_from_slice(b"\",\"type\":\"");
}

/// A tag from its type on, with a comma behind it.
fn put_value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    let quoted = |out: &mut Vec<u8>, text: &str| {
        out.extend_from_slice(b"string\",\"value\":\"");
        put_text(out, text);
        out.extend_from_slice(b"\"},");
    };
    match value {
        ValueRef::Str(text) => quoted(out, text),
        ValueRef::Bool(true) => out.extend_from_slice(b"bool\",\"value\":true},"),
        ValueRef::Bool(false) => out.extend_from_slice(b"bool\",\"value\":false},"),
        ValueRef::Int(number) => {
            // A browser would round what is beyond; Jaeger writes that as a text, of this type all the same.
            let quote: &[u8] = if number.unsigned_abs() > MAX_SAFE_INTEGER { b"\"" } else { b"" };
            out.extend_from_slice(b"int64\",\"value\":");
            out.extend_from_slice(quote);
            if number < 0 {
                out.push(b'-');
            }
            put_number(out, number.unsigned_abs());
            out.extend_from_slice(quote);
            out.extend_from_slice(b"},");
        }
        ValueRef::Double(number) if number.is_finite() => {
            out.extend_from_slice(b"float64\",\"value\":");
            // A vector takes everything that is written to it.
            let _ = serde_json::to_writer(&mut *out, &number);
            out.extend_from_slice(b"},");
        }
        ValueRef::Bytes(bytes) => {
            out.extend_from_slice(b"binary\",\"value\":\"");
            out.extend_from_slice(crate::base64::encode(bytes).as_bytes());
            out.extend_from_slice(b"\"},");
        }
        ValueRef::Empty | ValueRef::Double(_) | ValueRef::Nested(_) => quoted(out, &value.to_string()),
    }
}

#[cfg(test)]
mod tests;

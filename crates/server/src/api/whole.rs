//! Answers with whole traces, made at the pace at which they are read.
//!
//! An answer runs on a thread of its own, and holds its place among the queries and its memory until the client has it
//! all, or is gone. Of the traces, what is read at once and the portions that wait for the client are in memory.

use std::collections::HashMap;
use std::future::Future;

use axum::body::Body;
use tokio::time::timeout;
use tracewell_model::{SpanBatch, Trace, TraceId, TraceSummary};
use tracewell_query::{Found, LargeTrace, PORTION_BYTES, QueryError, Search, SearchRequest, Whole};
use tracewell_store::{Projection, SpanStore};
use tracewell_wire::jaeger::{ENVELOPE_END, ENVELOPE_START, TraceEncoder, TracePart, TracesEncoder};
use tracewell_wire::otlp::{JSON_END, JSON_START, JsonEncoder, ProtobufEncoder};

use super::detail::Detail;
use super::error::ApiError;
use super::state::{ApiState, detached};
use super::stream::{Gone, Outlet, pipe};
use super::{jaeger, missing};
use crate::budget::Held;

/// Bytes that are handed to the connection at once: many spans, and less than a millisecond's work.
const PIECE_BYTES: usize = 256 * 1024;
/// A piece may end with a span that reaches over its edge.
const SPAN_BYTES: usize = 16 * 1024;

/// What an answer holds from the beginning: what is written, and what is read meanwhile.
const HELD_BYTES: usize = 2 * PORTION_BYTES;

/// What a large trace that is laid out may take; of more, fewer spans are shown.
const DETAIL_BYTES: usize = 64 << 20;

/// What is known of each span that is laid out, beside what it says.
const LAYOUT_BYTES: usize = 160;

/// Traces that are read at once where they are asked for by id.
const IDS_AT_ONCE: usize = 4;

/// Which traces an answer has.
pub(crate) enum Asked {
    /// One, without which there is no answer.
    One(TraceId),
    /// These, as far as they are there, in this order.
    Ids(Vec<TraceId>),
    /// Those that a search finds.
    Search(SearchRequest),
    /// Those that it finds on all its pages.
    Export(SearchRequest),
}

/// How they are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Jaeger's envelope.
    Jaeger,
    /// One `TracesData` object.
    OtlpJson,
    /// One `TracesData` message.
    OtlpProtobuf,
    /// A `TracesData` object for each trace, on a line of its own.
    JsonLines,
}

/// What is written.
enum Task {
    Traces(Box<Asked>, Form),
    /// One trace laid out, with at most this number of its spans, the first ones.
    Detail(TraceId, usize),
}

/// The body of an answer with these traces.
pub(crate) async fn answer(state: ApiState, asked: Asked, form: Form) -> Result<Body, ApiError> {
    stream(state, Task::Traces(Box::new(asked), form)).await
}

/// The body of an answer with one trace laid out, with at most `max_spans` of its spans, the first ones.
pub(crate) async fn detail_answer(state: ApiState, id: TraceId, max_spans: usize) -> Result<Body, ApiError> {
    stream(state, Task::Detail(id, max_spans)).await
}

async fn stream(state: ApiState, task: Task) -> Result<Body, ApiError> {
    let deadline = state.deadline();
    let place = state.place().await.map_err(ApiError::busy)?;
    let held = state.hold(HELD_BYTES, deadline).await.map_err(ApiError::busy)?;
    let (outlet, portions) = pipe(state.limits.query_timeout);
    tokio::spawn(detached(place, async move {
        let gone = outlet.gone();
        // On the heap: every future around one holds it twice, and moves it.
        let write = Box::pin(async move {
            let form = if let Task::Traces(_, form) = &task { *form } else { Form::OtlpJson };
            let mut writer = Writer { out: Vec::new(), outlet, held, form, follows: false };
            let done = match task {
                Task::Detail(id, max_spans) => Box::pin(writer.write_detail(&state, id, max_spans)).await,
                Task::Traces(asked, _) => {
                    let store = state.store.clone();
                    match Source::new(&*store, &state, *asked) {
                        Ok(source) => Box::pin(writer.write_all(source)).await,
                        Err(error) => Err(error.into()),
                    }
                }
            };
            match done {
                Ok(()) => writer.outlet.end(writer.out).await,
                Err(Cut::Gone) => {}
                Err(Cut::Failed(error)) => writer.outlet.fail(error).await,
            }
        });
        tokio::select! {
            biased;
            () = gone => {}
            () = write => {}
        }
    }));
    portions.body().await
}

struct Writer {
    out: Vec<u8>,
    outlet: Outlet,
    held: Held,
    form: Form,
    follows: bool,
}

/// Why an answer is not finished.
enum Cut {
    Gone,
    Failed(ApiError),
}

impl From<Gone> for Cut {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<ApiError> for Cut {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl Writer {
    async fn write_detail(&mut self, state: &ApiState, id: TraceId, max_spans: usize) -> Result<(), Cut> {
        let read = async {
            Ok(match tracewell_query::trace(&*state.store, &state.tenant, id).await? {
                None => {
                    check_absent(state, id, format!("there is no trace {id}"))?;
                    (Trace::assemble(SpanBatch::new()), missing::nothing_of(id))
                }
                Some(Whole::Small(trace)) => {
                    let summary = TraceSummary::of(&trace);
                    let is_short = trace.len() <= max_spans;
                    (if is_short { *trace } else { Trace::assemble(trace.batch().select(0..max_spans)) }, summary)
                }
                Some(Whole::Large(mut large)) => {
                    let summary = large.summary().await?;
                    let bytes = DETAIL_BYTES.min(state.budget.queries().limit_bytes() / 2);
                    self.reach(bytes)?;
                    let spans = large.first(Projection::All, max_spans, bytes / 4).await?;
                    self.reach(spans.size_bytes() * 2)?;
                    (Trace::assemble(spans), summary)
                }
            })
        };
        let (trace, summary) = within_time(state, read).await?;
        self.reach(trace.batch().size_bytes() + trace.len() * LAYOUT_BYTES)?;
        let mut detail = Detail::new(trace, summary, state.left_out.is_empty());
        let failed = |error: serde_json::Error| ApiError::internal(format!("write the trace as JSON: {error}"));
        while !detail.write(&mut self.out, PIECE_BYTES).map_err(failed)? {
            self.flush().await?;
        }
        Ok(())
    }

    async fn write_all(&mut self, mut source: Source<'_>) -> Result<(), Cut> {
        self.out.reserve(PIECE_BYTES + SPAN_BYTES);
        match self.form {
            Form::Jaeger => self.out.extend_from_slice(ENVELOPE_START),
            Form::OtlpJson => self.out.extend_from_slice(JSON_START),
            Form::OtlpProtobuf | Form::JsonLines => {}
        }
        let mut found = source.next().await?;
        while let Some(Found { spans, traces, large }) = found {
            if let Some(large) = large {
                self.write_large(*large, &source).await?;
                found = source.next().await?;
                continue;
            }
            self.reach(spans.size_bytes() + PORTION_BYTES)?;
            // The store reads the next traces while these are written.
            let (next, written) = tokio::join!(source.next(), self.write_small(spans, traces));
            written?;
            found = next?;
        }
        match self.form {
            Form::Jaeger => {
                self.out.extend_from_slice(ENVELOPE_END);
                // These are plain texts and numbers.
                let errors = serde_json::to_string(&source.errors()).unwrap_or_else(|_| "null".to_owned());
                self.out.extend_from_slice(errors.as_bytes());
                self.out.push(b'}');
            }
            Form::OtlpJson => self.out.extend_from_slice(JSON_END),
            Form::OtlpProtobuf | Form::JsonLines => {}
        }
        Ok(())
    }

    /// Holds `bytes` in all, no more and no less.
    fn reach(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.held.shrink_to(bytes);
        self.held.reach(bytes).map_err(|short| ApiError::busy(short.to_string()))
    }

    /// Hands what is written to the connection, and waits until it takes it.
    async fn flush(&mut self) -> Result<(), Gone> {
        let full = std::mem::replace(&mut self.out, Vec::with_capacity(PIECE_BYTES + SPAN_BYTES));
        self.outlet.send(full).await
    }

    async fn write_small(&mut self, spans: SpanBatch, traces: Vec<Vec<usize>>) -> Result<(), Cut> {
        if self.form == Form::Jaeger {
            let any = !traces.is_empty();
            let traces = traces.into_iter().map(|rows| Trace::in_order(&spans, rows)).collect();
            let mut encoder = TracesEncoder::new(spans, traces, self.follows);
            while !encoder.write(&mut self.out, PIECE_BYTES) {
                self.flush().await?;
            }
            self.follows |= any;
            return Ok(());
        }
        for rows in traces {
            self.write_otlp(&spans, Trace::in_order(&spans, rows)).await?;
            self.end_line();
        }
        Ok(())
    }

    async fn write_large(&mut self, mut trace: LargeTrace, source: &Source<'_>) -> Result<(), Cut> {
        let mut jaeger =
            (self.form == Form::Jaeger).then(|| TraceEncoder::begin(trace.trace_id(), self.follows, &mut self.out));
        while let Some((spans, rows)) = source.within_time(async { Ok(trace.next().await?) }).await? {
            match &mut jaeger {
                Some(encoder) => {
                    self.reach(spans.size_bytes() + encoder.held_bytes() + PORTION_BYTES)?;
                    let mut part = TracePart::new(spans, rows);
                    while !encoder.write(&mut part, &mut self.out, PIECE_BYTES) {
                        self.flush().await?;
                    }
                }
                None => {
                    self.reach(spans.size_bytes() + PORTION_BYTES)?;
                    self.write_otlp(&spans, rows).await?;
                }
            }
        }
        if let Some(encoder) = jaeger {
            encoder.end(&mut self.out);
            self.follows = true;
        }
        self.end_line();
        Ok(())
    }

    async fn write_otlp(&mut self, spans: &SpanBatch, rows: Vec<usize>) -> Result<(), Cut> {
        if self.form == Form::OtlpProtobuf {
            let mut encoder = ProtobufEncoder::new(spans, rows);
            while !encoder.write(&mut self.out, PIECE_BYTES) {
                self.flush().await?;
            }
            return Ok(());
        }
        if self.form == Form::JsonLines && !self.follows {
            self.out.extend_from_slice(JSON_START);
        }
        let any = !rows.is_empty();
        let mut encoder = JsonEncoder::new(spans, rows, self.follows);
        while !encoder.write(&mut self.out, PIECE_BYTES) {
            self.flush().await?;
        }
        self.follows |= any;
        Ok(())
    }

    /// Ends a trace that has a line of its own.
    fn end_line(&mut self) {
        if self.form == Form::JsonLines {
            self.out.extend_from_slice(JSON_END);
            self.out.push(b'\n');
            self.follows = false;
        }
    }
}

/// Where an answer's traces come from, some at a time.
struct Source<'a> {
    store: &'a dyn SpanStore,
    state: &'a ApiState,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Search { request: Box<SearchRequest>, search: Box<Search<'a>>, is_export: bool },
    Ids { ids: Vec<TraceId>, read: usize, at_once: usize, must_be_there: bool, missing: Vec<TraceId> },
}

impl<'a> Source<'a> {
    fn new(store: &'a dyn SpanStore, state: &'a ApiState, asked: Asked) -> Result<Self, ApiError> {
        let by_ids =
            |ids, must_be_there| Kind::Ids { ids, read: 0, at_once: IDS_AT_ONCE, must_be_there, missing: Vec::new() };
        let kind = match asked {
            Asked::One(id) => by_ids(vec![id], true),
            Asked::Ids(ids) => by_ids(ids, false),
            Asked::Search(request) => Self::search(store, request, false)?,
            Asked::Export(request) => Self::search(store, request, true)?,
        };
        Ok(Self { store, state, kind })
    }

    fn search(store: &'a dyn SpanStore, request: SearchRequest, is_export: bool) -> Result<Kind<'a>, ApiError> {
        let search = Box::new(Search::new(store, request.clone(), Projection::All)?);
        Ok(Kind::Search { request: Box::new(request), search, is_export })
    }

    async fn next(&mut self) -> Result<Option<Found>, ApiError> {
        let (store, state) = (self.store, self.state);
        let kind = &mut self.kind;
        within_time(state, async {
            match kind {
                Kind::Search { request, search, is_export } => loop {
                    let found = search.next().await?;
                    let next_page = search.next_page().filter(|_| *is_export);
                    if found.is_some() || next_page.is_none() {
                        break Ok(found);
                    }
                    request.cursor = next_page;
                    **search = Search::new(store, (**request).clone(), Projection::All)?;
                },
                Kind::Ids { ids, read, at_once, must_be_there, missing } => {
                    if *read == ids.len() {
                        return Ok(None);
                    }
                    loop {
                        let now = &ids[*read..ids.len().min(*read + *at_once)];
                        let found = by_ids(store, state, now).await?;
                        let Some((found, absent)) = found else {
                            // Each by itself, then: together they are too large.
                            *at_once = 1;
                            continue;
                        };
                        *read += now.len();
                        missing.extend(absent);
                        if let (true, Some(id)) = (*must_be_there, missing.first()) {
                            // As Jaeger says it, which its clients look for.
                            check_absent(state, *id, "trace not found".to_owned())?;
                        }
                        break Ok(Some(found));
                    }
                }
            }
        })
        .await
    }

    async fn within_time<T>(&self, reading: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
        within_time(self.state, reading).await
    }

    /// What is missing of an answer that is there.
    fn errors(&self) -> Option<Vec<jaeger::ErrorView>> {
        let missing: &[TraceId] = if let Kind::Ids { missing, .. } = &self.kind { missing } else { &[] };
        let missing = missing.iter().map(jaeger::ErrorView::of_missing);
        let errors: Vec<_> = missing.chain(jaeger::incomplete(&self.state.left_out)).collect();
        (!errors.is_empty()).then_some(errors)
    }
}

/// Traces that an export searches for at once; a page has no more.
pub(crate) const EXPORTED_AT_ONCE: usize = 1024;

/// Traces by id in the order of the ids, and which are not there; `None` if they are several and too large together.
async fn by_ids(
    store: &dyn SpanStore,
    state: &ApiState,
    ids: &[TraceId],
) -> Result<Option<(Found, Vec<TraceId>)>, ApiError> {
    let mut reader = store.open_traces(&state.tenant, ids).await.map_err(QueryError::from)?;
    let portion = reader.next(PORTION_BYTES).await.map_err(QueryError::from)?;
    if !portion.is_last {
        let [id] = ids else { return Ok(None) };
        let large = Some(Box::new(LargeTrace::new(reader, *id).await?));
        return Ok(Some((Found { large, ..Found::default() }, Vec::new())));
    }
    let spans = portion.spans;
    let rows = Trace::rows_by_trace(&spans).into_iter();
    let mut rows: HashMap<TraceId, Vec<usize>> = rows.map(|rows| (spans.spans().trace_id[rows[0]], rows)).collect();
    let missing = ids.iter().filter(|id| !rows.contains_key(id)).copied().collect();
    let traces = ids.iter().filter_map(|id| rows.remove(id)).collect();
    Ok(Some((Found { spans, traces, large: None }, missing)))
}

/// What is said of a trace of which nothing was found: that there is none, or that nobody knows. Who accepts answers from what
/// can be read gets one without it.
fn check_absent(state: &ApiState, id: TraceId, absent: String) -> Result<(), ApiError> {
    match &state.left_out {
        left_out if left_out.is_empty() => Err(ApiError::not_found(absent)),
        left_out if left_out.accepts_unavailable() => Ok(()),
        left_out => Err(missing::unknown(left_out, format!("whether there is a trace {id}"))),
    }
}

async fn within_time<T>(state: &ApiState, reading: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    match timeout(state.limits.query_timeout, reading).await {
        Ok(found) => found,
        Err(_) => Err(ApiError::busy(state.too_slow())),
    }
}

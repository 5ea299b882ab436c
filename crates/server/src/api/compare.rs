//! Two traces, or two sets of traces, side by side.

use std::mem::replace;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracewell_insight::{ComparedPath, ComparedSide, Comparer, Comparison, PathStats, Survey};
use tracewell_model::{SpanBatch, Trace, TraceId};
use tracewell_query::{LargeTrace, PORTION_BYTES, Search, SearchRequest};
use tracewell_store::Projection;

use super::error::ApiError;
use super::missing::{self, Asking};
use super::params::Params;
use super::state::ApiState;
use super::traces::blocking;

/// The two sides, as parameters, in the answer and in words.
const SIDES: [&str; 2] = ["a", "b"];

/// Ids that one side may name.
const MOST_IDS: usize = 100;
/// Traces of a search, unless asked otherwise, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// Spans of a side after which no further trace is read.
const MOST_SPANS: usize = 1_000_000;
/// Maximum bytes of spans that are read of one trace.
const LARGE_BYTES: usize = 32 << 20;
/// Call paths in an answer, each some 500 bytes.
const MOST_PATHS: usize = 20_000;

/// What is read of spans: what the correction of clocks and the critical path look at.
const PROJECTION: Projection = Projection::Outline(Survey::KEYS);

#[derive(Serialize)]
struct ComparisonView {
    summary: String,
    a: SideView,
    b: SideView,
    paths: Vec<PathView>,
    caveats: Vec<String>,
}

#[derive(Serialize)]
struct SideView {
    traces: usize,
    complete: bool,
    spans: usize,
    errors: usize,
    duration_nanos: f64,
    root_service: String,
    root_operation: String,
    start_unix_nano: String,
    end_unix_nano: String,
    examples: Vec<String>,
}

#[derive(Serialize)]
struct PathView {
    parent: Option<usize>,
    depth: usize,
    service: String,
    operation: String,
    kind: &'static str,
    presence: &'static str,
    a: StatsView,
    b: StatsView,
}

#[derive(Serialize)]
struct StatsView {
    calls: f64,
    duration_nanos: f64,
    self_nanos: f64,
    critical_nanos: f64,
    errors: f64,
    longest: Option<SpanView>,
}

#[derive(Serialize)]
struct SpanView {
    trace_id: String,
    span_id: String,
}

pub(crate) async fn compare(Asking(state): Asking, mut params: Params) -> Result<Response, ApiError> {
    let now = state.now_unix_nano();
    let mut wanted = Vec::with_capacity(SIDES.len());
    for name in SIDES {
        let text = params.text(name)?;
        let text = text.ok_or_else(|| {
            ApiError::invalid(name, "name a trace id, several with commas between, or conditions like service=cart")
        })?;
        wanted.push(Wanted::parse(&state, name, &text, now)?);
    }
    params.finish()?;

    // Each side's spans, and what the comparer keeps of them.
    let _held = state.hold(LARGE_BYTES, state.deadline()).await.map_err(ApiError::busy)?;
    let mut reading = Reading { state: &state, comparer: Comparer::new(MOST_PATHS), caveats: Vec::new() };
    let mut complete = [true; 2];
    for (side, wanted) in wanted.into_iter().enumerate() {
        complete[side] = reading.read(side, wanted).await?;
    }
    let Reading { comparer, mut caveats, .. } = reading;
    let body = blocking(move || {
        let Comparison { summary, sides, paths, caveats: more } = comparer.conclude();
        caveats.extend(more);
        let [a, b] = sides;
        let (a, b) = (SideView::of(a, complete[0]), SideView::of(b, complete[1]));
        let paths = paths.into_iter().map(PathView::from).collect();
        Json(ComparisonView { summary, a, b, paths, caveats }).into_response()
    });
    body.await
}

/// What a side consists of.
enum Wanted {
    Ids(Vec<TraceId>),
    Matching(Box<SearchRequest>),
}

impl Wanted {
    /// Ids with commas between; or, if there is a `=`, conditions as `/traces` takes them, with spaces between.
    fn parse(state: &ApiState, name: &str, text: &str, now_unix_nano: u64) -> Result<Self, ApiError> {
        let wrong = |message: String| ApiError::invalid(name, message);
        if !text.contains('=') {
            let mut ids: Vec<TraceId> = Vec::new();
            for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
                let id = word.parse().map_err(|error| wrong(format!("{word:?} is not a trace id: {error}")))?;
                if !ids.contains(&id) {
                    ids.push(id);
                }
                if ids.len() > MOST_IDS {
                    return Err(wrong(format!(
                        "more than {MOST_IDS} trace ids; conditions like service=cart take more"
                    )));
                }
            }
            return if ids.is_empty() { Err(wrong("there is no trace id".to_owned())) } else { Ok(Self::Ids(ids)) };
        }
        // A condition is to blame within the parameter.
        let inner = |error: ApiError| match error.field {
            Some(field) => wrong(format!("{field}: {}", error.message)),
            None => wrong(error.message),
        };
        let mut params = Params::of_words(text).map_err(wrong)?;
        let request = SearchRequest {
            tenant: state.tenant.clone(),
            conditions: params.conditions().map_err(inner)?,
            time: params.time_range(now_unix_nano).map_err(inner)?,
            limit: params.limit(DEFAULT_LIMIT, MAX_LIMIT).map_err(inner)?,
            cursor: None,
        };
        params.finish().map_err(inner)?;
        Ok(Self::Matching(Box::new(request)))
    }
}

struct Reading<'a> {
    state: &'a ApiState,
    comparer: Comparer,
    caveats: Vec<String>,
}

impl Reading<'_> {
    /// Takes in a side; says whether all of it.
    async fn read(&mut self, side: usize, wanted: Wanted) -> Result<bool, ApiError> {
        let store = &*self.state.store;
        let name = SIDES[side];
        let left_out = &self.state.left_out;
        let not_found = |message: String| match left_out.is_empty() {
            true => ApiError { field: Some(name.to_owned()), ..ApiError::not_found(message) },
            false => missing::unknown(left_out, format!("{name}: whether it is so that {message}")),
        };
        match wanted {
            Wanted::Ids(ids) => {
                let mut is_complete = true;
                for (place, id) in ids.iter().enumerate() {
                    if self.is_full(side) {
                        self.caveats.push(format!(
                            "Of {} only {place} of {} traces were looked at: they have more than {MOST_SPANS} spans.",
                            name.to_uppercase(),
                            ids.len()
                        ));
                        return Ok(false);
                    }
                    let mut reader = store.open_traces(&self.state.tenant, &[*id]).await?;
                    reader.restart(PROJECTION);
                    let portion = reader.next(PORTION_BYTES).await?;
                    if !portion.is_last {
                        let large = LargeTrace::new(reader, *id).await?;
                        is_complete &= self.add_large(side, large).await?;
                        continue;
                    }
                    let spans = portion.spans;
                    if spans.is_empty() {
                        return Err(not_found(format!("there is no trace {id}")));
                    }
                    let rows = (0..spans.len()).collect();
                    self.add(side, spans, vec![rows]).await?;
                }
                Ok(is_complete)
            }
            Wanted::Matching(request) => {
                let mut search = Search::new(store, *request, PROJECTION)?;
                let (mut is_complete, mut are_whole) = (true, true);
                while let Some(found) = search.next().await? {
                    match found.large {
                        Some(large) => are_whole &= self.add_large(side, *large).await?,
                        None => self.add(side, found.spans, found.traces).await?,
                    }
                    if self.is_full(side) {
                        is_complete = false;
                        break;
                    }
                }
                let traces = self.comparer.traces(side);
                if traces == 0 {
                    return Err(not_found("no trace meets these conditions".to_owned()));
                }
                is_complete &= search.next_page().is_none();
                if !is_complete {
                    self.caveats.push(format!(
                        "Of {} the newest {traces} traces were looked at; there are more.",
                        name.to_uppercase()
                    ));
                }
                Ok(is_complete && are_whole)
            }
        }
    }

    /// Takes in a trace that is too large to be read at once, as far as there is room; says whether all of it.
    async fn add_large(&mut self, side: usize, mut large: LargeTrace) -> Result<bool, ApiError> {
        let left = MOST_SPANS.saturating_sub(self.comparer.spans(side)).max(1);
        let spans = large.first(PROJECTION, left, LARGE_BYTES).await?;
        let (shown, all) = (spans.len(), large.spans());
        let rows = (0..spans.len()).collect();
        self.add(side, spans, vec![rows]).await?;
        if shown < all {
            let (name, id) = (SIDES[side].to_uppercase(), large.trace_id());
            self.caveats.push(format!("Of {name}, the first {shown} of {all} spans of trace {id} were looked at."));
        }
        Ok(shown == all)
    }

    fn is_full(&self, side: usize) -> bool {
        self.comparer.spans(side) >= MOST_SPANS
    }

    async fn add(&mut self, side: usize, spans: SpanBatch, traces: Vec<Vec<usize>>) -> Result<(), ApiError> {
        let mut comparer = replace(&mut self.comparer, Comparer::new(0));
        let adds = move || {
            traces.into_iter().for_each(|rows| comparer.add(side, &Trace::of_rows(&spans, rows)));
            comparer
        };
        self.comparer = blocking(adds).await?;
        Ok(())
    }
}

impl SideView {
    fn of(side: ComparedSide, complete: bool) -> Self {
        Self {
            traces: side.traces,
            complete,
            spans: side.spans,
            errors: side.errors,
            duration_nanos: side.duration_nanos,
            root_service: side.root_service,
            root_operation: side.root_operation,
            start_unix_nano: side.start_unix_nano.to_string(),
            end_unix_nano: side.end_unix_nano.to_string(),
            examples: side.examples.iter().map(TraceId::to_string).collect(),
        }
    }
}

impl From<ComparedPath> for PathView {
    fn from(path: ComparedPath) -> Self {
        let presence = match (path.is_new(), path.is_missing()) {
            (true, _) => "new",
            (false, true) => "missing",
            (false, false) => "both",
        };
        let [a, b] = path.sides.map(StatsView::from);
        let ComparedPath { parent, depth, service, operation, kind, .. } = path;
        Self { parent, depth, service, operation, kind: kind.as_str(), presence, a, b }
    }
}

impl From<PathStats> for StatsView {
    fn from(stats: PathStats) -> Self {
        let PathStats { calls, duration_nanos, self_nanos, critical_nanos, errors, longest } = stats;
        let longest = longest
            .map(|(trace_id, span_id)| SpanView { trace_id: trace_id.to_string(), span_id: span_id.to_string() });
        Self { calls, duration_nanos, self_nanos, critical_nanos, errors, longest }
    }
}

//! Where the added time of slow requests went.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracewell_insight::{Attribution, Edge, Finding, Group, Options, Why};
use tracewell_model::{TimeRange, TraceId};
use tracewell_query::Conditions;

use super::error::ApiError;
use super::missing::Asking;
use super::nothing::Nothing;
use super::params::{Params, range};
use super::reading::{READ_BYTES, Reading};
use super::state::ApiState;
use super::time::parse_moment;
use super::traces::blocking;
use crate::memory;

#[derive(Serialize)]
struct WhyView {
    summary: String,
    significant: bool,
    slow: GroupView,
    normal: GroupView,
    added_nanos: i64,
    findings: Vec<FindingView>,
    caveats: Vec<String>,
}

#[derive(Serialize)]
struct GroupView {
    traces: usize,
    median_nanos: u64,
    start_unix_nano: String,
    end_unix_nano: String,
}

#[derive(Serialize)]
struct FindingView {
    rank: usize,
    kind: &'static str,
    service: String,
    operation: String,
    edge: Option<EdgeView>,
    added_nanos: i64,
    share: f64,
    confidence: [i64; 2],
    slower_nanos: i64,
    more_often_nanos: i64,
    slow_nanos: u64,
    normal_nanos: u64,
    significant: bool,
    traces: usize,
    attributes: Vec<AttributeView>,
    since_unix_nano: Option<String>,
    examples: Vec<String>,
    normal_examples: Vec<String>,
    sentence: String,
}

#[derive(Serialize)]
struct EdgeView {
    from: String,
    to: String,
}

#[derive(Serialize)]
struct AttributeView {
    key: String,
    value: String,
    lift: f64,
    p_value: f64,
    explained: f64,
}

pub(crate) async fn why(Asking(state): Asking, mut params: Params) -> Result<Response, ApiError> {
    let now = state.now_unix_nano();
    let conditions =
        Conditions { service: params.text("service")?, operation: params.text("operation")?, ..Conditions::default() };
    let time = params.time_range(now)?;
    let baseline = baseline(&mut params, now)?;
    params.finish()?;

    // It keeps more than other queries do, so there is one at a time.
    let _turn = state.why.lock().await;
    let held = state.hold(READ_BYTES, state.deadline()).await.map_err(ApiError::busy)?;
    blocking(memory::give_back).await?;
    let mut reading = Reading::new(&state, conditions, held);
    reading.read(time).await?;
    // What is not there differs from nothing, and the answer is what to do about it.
    let nothing =
        if reading.survey.is_empty() { Some(nothing(&state, &reading.conditions, time, now).await?) } else { None };
    let mut caveats = Vec::new();
    let other_time = match baseline {
        _ if nothing.is_some() => None,
        Some(baseline) => Some(baseline),
        None if reading.survey.has_two_groups() => None,
        // Nothing in the time tells slow from normal: the time before may.
        None => Some(before(time, reading.survey.time())),
    };
    let mut is_compared = false;
    if let Some(other_time) = other_time {
        reading.survey.begin_baseline();
        reading.read(other_time).await?;
        is_compared = baseline.is_some() || reading.survey.len() >= Options::default().min_traces;
        if !is_compared {
            reading.survey.drop_baseline();
        } else if baseline.is_none() {
            caveats.push(AS_LONG_BEFORE.to_owned());
        }
    }
    caveats.extend(reading.sampled());
    let mut why = reading.answer(is_compared).await?;
    blocking(memory::give_back).await?;
    why.caveats.splice(0..0, caveats);
    why.summary = nothing.unwrap_or(why.summary);
    Ok(Json(WhyView::from(why)).into_response())
}

const AS_LONG_BEFORE: &str =
    "Latencies do not fall into a slow and a normal group; the time was compared with as long a time before it.";

/// What to say when no trace of the time meets the conditions.
async fn nothing(state: &ApiState, conditions: &Conditions, time: TimeRange, now: u64) -> Result<String, ApiError> {
    let stats = state.store.stats(&state.tenant).await?;
    let services = state.store.services(&state.tenant).await?.items;
    let (stats, services) = (&stats, &services);
    Ok(Nothing { conditions, time, now_unix_nano: now, stats, services, addresses: state.addresses }.sentence())
}

/// As long a time before as the spans that were found take, up to where the time begins.
fn before(time: TimeRange, found: Option<(u64, u64)>) -> TimeRange {
    let (start, end) = found.unwrap_or((time.start_unix_nano, time.end_unix_nano));
    let start = start.max(time.start_unix_nano);
    let length = end.min(time.end_unix_nano).saturating_sub(start);
    TimeRange::new(time.start_unix_nano.saturating_sub(length), time.start_unix_nano)
}

/// The time to compare with, if one is given: both ends or none.
fn baseline(params: &mut Params, now_unix_nano: u64) -> Result<Option<TimeRange>, ApiError> {
    let mut moment = |name: &str| params.parsed(name, |text| parse_moment(text, now_unix_nano));
    match (moment("baseline_start")?, moment("baseline_end")?) {
        (Some(start), Some(end)) => range("baseline_start", start, end).map(Some),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ApiError::invalid("baseline_end", "baseline_start needs baseline_end")),
        (None, Some(_)) => Err(ApiError::invalid("baseline_start", "baseline_end needs baseline_start")),
    }
}

impl From<Why> for WhyView {
    fn from(why: Why) -> Self {
        Self {
            summary: why.summary,
            significant: why.significant,
            slow: why.slow.into(),
            normal: why.normal.into(),
            added_nanos: why.added_nanos,
            findings: why.findings.into_iter().map(FindingView::from).collect(),
            caveats: why.caveats,
        }
    }
}

impl From<Group> for GroupView {
    fn from(group: Group) -> Self {
        Self {
            traces: group.traces,
            median_nanos: group.median_nanos,
            start_unix_nano: group.start_unix_nano.to_string(),
            end_unix_nano: group.end_unix_nano.to_string(),
        }
    }
}

impl From<Finding> for FindingView {
    fn from(finding: Finding) -> Self {
        let texts = |ids: Vec<TraceId>| ids.iter().map(TraceId::to_string).collect();
        Self {
            rank: finding.rank,
            kind: finding.kind.as_str(),
            service: finding.service,
            operation: finding.operation,
            edge: finding.edge.map(|Edge { from, to }| EdgeView { from, to }),
            added_nanos: finding.added_nanos,
            share: finding.share,
            confidence: [finding.confidence.0, finding.confidence.1],
            slower_nanos: finding.slower_nanos,
            more_often_nanos: finding.more_often_nanos,
            slow_nanos: finding.slow_nanos,
            normal_nanos: finding.normal_nanos,
            significant: finding.significant,
            traces: finding.traces,
            attributes: finding.attributes.into_iter().map(AttributeView::from).collect(),
            since_unix_nano: finding.since_unix_nano.map(|since| since.to_string()),
            examples: texts(finding.examples),
            normal_examples: texts(finding.normal_examples),
            sentence: finding.sentence,
        }
    }
}

impl From<Attribution> for AttributeView {
    fn from(attribute: Attribution) -> Self {
        let Attribution { key, value, lift, p_value, explained } = attribute;
        Self { key, value, lift, p_value, explained }
    }
}

//! Jaeger's query parameters.

use std::collections::BTreeMap;

use tracewell_model::{TimeRange, TraceId};
use tracewell_query::Conditions;

use crate::api::error::ApiError;
use crate::api::params::{Params, range};
use crate::api::time::parse_duration;

/// Traces in one answer, unless asked otherwise (Jaeger's default), and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// How far back is searched when nothing is said, as in Jaeger: two days for traces, one for dependencies.
const TRACES_LOOKBACK_NANOS: u64 = 2 * 86_400 * 1_000_000_000;
const DEPENDENCIES_LOOKBACK_NANOS: u64 = 86_400 * 1_000_000_000;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;

/// What `/api/traces` asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Traces {
    /// These, in this order.
    ByIds(Vec<TraceId>),
    /// Those that match.
    Search { conditions: Conditions, time: TimeRange, limit: usize },
}

pub(crate) fn parse_traces(mut params: Params, now_unix_nano: u64) -> Result<Traces, ApiError> {
    let ids = params.all("traceID");
    if !ids.is_empty() {
        if ids.len() > MAX_LIMIT {
            return Err(ApiError::invalid("traceID", format!("given {} times, at most {MAX_LIMIT}", ids.len())));
        }
        let parse = |id: &String| {
            id.parse().map_err(|error| ApiError::invalid("traceID", format!("{id:?} is not a trace id: {error}")))
        };
        return ids.iter().map(parse).collect::<Result<_, _>>().map(Traces::ByIds);
    }
    let mut conditions = Conditions {
        service: params.text("service")?,
        operation: params.text("operation")?,
        min_duration_nanos: params.parsed("minDuration", parse_duration)?,
        max_duration_nanos: params.parsed("maxDuration", parse_duration)?,
        ..Conditions::default()
    };
    // Jaeger says in tags what OpenTelemetry says in fields of its own; such a tag finds both.
    conditions.tags.extend(tags(&mut params)?);
    if let (Some(min), Some(max)) = (conditions.min_duration_nanos, conditions.max_duration_nanos)
        && max < min
    {
        return Err(ApiError::invalid("maxDuration", "'maxDuration' should be greater than 'minDuration'"));
    }
    let end = params.parsed("end", |text| unix(text, MICRO))?.unwrap_or(now_unix_nano);
    let start = params.parsed("start", |text| unix(text, MICRO))?;
    // Jaeger's UI sends both, with a lookback that may be the word "custom": only without a start is it looked at.
    let lookback =
        params.text("lookback")?.and_then(|text| parse_duration(&text).ok()).unwrap_or(TRACES_LOOKBACK_NANOS);
    let time = range("start", start.unwrap_or(end.saturating_sub(lookback)), end)?;
    let limit = params.parsed("limit", |text| match text.parse::<usize>() {
        Ok(limit) if limit > 0 => Ok(limit.min(MAX_LIMIT)),
        _ => Err(format!("{text:?} is not a number of traces")),
    })?;
    Ok(Traces::Search { conditions, time, limit: limit.unwrap_or(DEFAULT_LIMIT) })
}

/// The range, and the service that has to take part, if one is named.
pub(crate) fn dependencies_range(
    mut params: Params,
    now_unix_nano: u64,
) -> Result<(TimeRange, Option<String>), ApiError> {
    let end = params.parsed("endTs", |text| unix(text, MILLI))?.unwrap_or(now_unix_nano);
    let lookback = params.parsed("lookback", |text| unix(text, MILLI))?.unwrap_or(DEPENDENCIES_LOOKBACK_NANOS);
    Ok((TimeRange::new(end.saturating_sub(lookback), end), params.text("service")?))
}

/// Tags as `tag=key:value`, repeated, and as `tags={"key":"value"}`.
fn tags(params: &mut Params) -> Result<BTreeMap<String, String>, ApiError> {
    let mut out = BTreeMap::new();
    for tag in params.all("tag") {
        let (key, value) = tag
            .split_once(':')
            .ok_or_else(|| ApiError::invalid("tag", format!("expecting key:value, received {tag:?}")))?;
        out.insert(key.to_owned(), value.to_owned());
    }
    for tags in params.all("tags").iter().filter(|tags| !tags.is_empty()) {
        let tags: BTreeMap<String, serde_json::Value> = serde_json::from_str(tags)
            .map_err(|error| ApiError::invalid("tags", format!("expecting a JSON object: {error}")))?;
        for (key, value) in tags {
            let text = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
                _ => return Err(ApiError::invalid("tags", format!("the value of {key:?} is not a string"))),
            };
            out.insert(key, text);
        }
    }
    Ok(out)
}

fn unix(text: &str, unit_nanos: u64) -> Result<u64, String> {
    text.parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_nanos))
        .ok_or_else(|| format!("{text:?} is not a number of the right size"))
}

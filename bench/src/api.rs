//! The HTTP APIs through which stores are asked: Jaeger's, which most share, and Zipkin's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use tracewell_model::TraceId;

use crate::peer::{Kind, Running};

/// Traces that a search returns at most.
pub(crate) const LIMIT: usize = 20;

/// What a span must be like.
#[derive(Clone, Copy, Default)]
pub(crate) struct Condition<'a> {
    pub(crate) tag: Option<(&'a str, &'a str)>,
    pub(crate) min_duration: Option<Duration>,
}

/// What an answer took.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) time: Duration,
    pub(crate) bytes: usize,
}

/// A connection to one store.
pub(crate) struct Api<'a> {
    agent: ureq::Agent,
    store: &'a Running,
}

impl<'a> Api<'a> {
    pub(crate) fn new(store: &'a Running) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { agent, store }
    }

    /// How many spans of a trace there are.
    pub(crate) fn trace(&self, id: TraceId) -> Result<(Taken, usize)> {
        if self.store.kind == Kind::Zipkin {
            let (taken, spans) = self.get::<Vec<IgnoredAny>>(&format!("/trace/{id}"))?;
            return Ok((taken, spans.len()));
        }
        let (taken, answer) = self.get::<Answer>(&format!("/traces/{id}"))?;
        let spans = answer.data.iter().map(|trace| trace.spans.len()).sum::<usize>()
            + answer.batches.iter().flat_map(|resource| &resource.scopes).map(|scope| scope.spans.len()).sum::<usize>();
        Ok((taken, spans))
    }

    /// The newest traces with such a span of a service that starts between two moments, in nanoseconds.
    pub(crate) fn search(
        &self,
        service: &str,
        condition: Condition<'_>,
        start: u64,
        end: u64,
    ) -> Result<(Taken, BTreeSet<TraceId>)> {
        let slower = condition.min_duration;
        if self.store.kind == Kind::Zipkin {
            let (start, end) = (start / 1_000_000, end.div_ceil(1_000_000));
            let mut path = format!("/traces?serviceName={service}&endTs={end}&lookback={}&limit={LIMIT}", end - start);
            if let Some((key, value)) = condition.tag {
                path.push_str(&format!("&annotationQuery={key}={value}"));
            }
            if let Some(slower) = slower {
                path.push_str(&format!("&minDuration={}", slower.as_micros()));
            }
            let (taken, traces) = self.get::<Vec<Vec<ZipkinSpan>>>(&path)?;
            let ids = traces.iter().filter_map(|spans| spans.first()?.trace_id.parse().ok()).collect();
            return Ok((taken, ids));
        }
        let (start, end) = (start / 1_000, end.div_ceil(1_000));
        let mut path = format!("/traces?service={service}&start={start}&end={end}&limit={LIMIT}");
        if let Some((key, value)) = condition.tag {
            let tags = serde_json::to_string(&BTreeMap::from([(key, value)]))?;
            path.push_str("&tags=");
            path.push_str(&tags.replace('{', "%7B").replace('}', "%7D").replace('"', "%22"));
        }
        if let Some(slower) = slower {
            path.push_str(&format!("&minDuration={}us", slower.as_micros()));
        }
        let (taken, answer) = self.get::<Answer>(&path)?;
        Ok((taken, answer.data.iter().filter_map(|trace| trace.id.parse().ok()).collect()))
    }

    /// The same from Tracewell's own API, which tells a few lines of each trace: what its UI and its command line ask.
    pub(crate) fn list(
        &self,
        service: &str,
        condition: Condition<'_>,
        start: u64,
        end: u64,
    ) -> Result<(Taken, BTreeSet<TraceId>)> {
        let mut path = format!("/v1/traces?service={service}&start={start}&end={end}&limit={LIMIT}");
        if let Some((key, value)) = condition.tag {
            path.push_str(&format!("&tag={key}%3D{value}"));
        }
        if let Some(slower) = condition.min_duration {
            path.push_str(&format!("&min_duration={}ms", slower.as_millis()));
        }
        let (taken, answer) = self.get::<List>(&path)?;
        Ok((taken, answer.traces.iter().filter_map(|trace| trace.id.parse().ok()).collect()))
    }

    /// How many traces were looked at to say what is different from the middle on.
    pub(crate) fn why(&self, start: u64, middle: u64, end: u64) -> Result<(Taken, usize)> {
        let path = format!("/v1/why?start={middle}&end={end}&baseline_start={start}&baseline_end={middle}");
        let (taken, why) = self.get::<Why>(&path)?;
        Ok((taken, why.slow.traces + why.normal.traces))
    }

    /// Up to the last byte of the answer; reading it as JSON is not the store's time.
    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<(Taken, T)> {
        let url = format!("{}{path}", self.store.api);
        let begin = Instant::now();
        let mut response = self.agent.get(&url).call().with_context(|| format!("GET {url}"))?;
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        let taken = Taken { time: begin.elapsed(), bytes: body.len() };
        let answer = serde_json::from_slice(&body).with_context(|| {
            let beginning = String::from_utf8_lossy(&body[..body.len().min(1_000)]);
            format!("GET {url} answered {}: {beginning}", response.status())
        })?;
        Ok((taken, answer))
    }
}

/// What is looked at of an answer; the rest is passed over.
#[derive(Deserialize)]
struct Answer {
    /// Jaeger's shape.
    #[serde(default, deserialize_with = "null_is_empty")]
    data: Vec<Trace>,
    /// Tempo's shape.
    #[serde(default)]
    batches: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
struct Trace {
    #[serde(rename = "traceID")]
    id: String,
    spans: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct ResourceSpans {
    #[serde(rename = "scopeSpans", default)]
    scopes: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    #[serde(default)]
    spans: Vec<IgnoredAny>,
}

/// The list of Tracewell's own API.
#[derive(Deserialize)]
struct List {
    traces: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "trace_id")]
    id: String,
}

/// What `why` says, as far as it is looked at.
#[derive(Deserialize)]
struct Why {
    slow: Group,
    normal: Group,
}

#[derive(Deserialize)]
struct Group {
    traces: usize,
}

#[derive(Deserialize)]
struct ZipkinSpan {
    #[serde(rename = "traceId")]
    trace_id: String,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Trace>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

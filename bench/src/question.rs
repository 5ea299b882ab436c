//! The questions of a person who looks for something, timed and checked.
//!
//! They go through Jaeger's HTTP query API, which Tracewell, Jaeger and VictoriaTraces share.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use tracewell_model::TraceId;

use crate::peer::{Kind, Running};
use crate::workload::{Matches, Workload};

/// How often each question is asked.
const TIMES: usize = 100;
/// How often the one is asked that looks at everything.
const WHY_TIMES: usize = 5;
/// Traces that a search returns at most.
const LIMIT: usize = 20;

/// What was asked, how long answers took, and whether they were right.
pub(crate) struct Answers {
    pub(crate) question: &'static str,
    /// Sorted.
    pub(crate) times: Vec<Duration>,
    /// Answers that were not what they should be; the first as text.
    pub(crate) wrong: usize,
    pub(crate) example: Option<String>,
}

impl Answers {
    fn new(question: &'static str) -> Self {
        Self { question, times: Vec::new(), wrong: 0, example: None }
    }

    fn add(&mut self, time: Duration, checked: Result<(), String>) {
        self.times.push(time);
        if let Err(why) = checked {
            self.wrong += 1;
            self.example.get_or_insert(why);
        }
    }

    fn sorted(mut self) -> Self {
        self.times.sort_unstable();
        self
    }

    /// The time that this part of the answers took at most.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        self.times.get((part * last as f64).round() as usize).copied().unwrap_or_default()
    }
}

/// A connection to one store.
pub(crate) struct Asker<'a> {
    agent: ureq::Agent,
    store: &'a Running,
    workload: &'a Workload,
    random: fastrand::Rng,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(store: &'a Running, workload: &'a Workload) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { agent, store, workload, random: fastrand::Rng::with_seed(11) }
    }

    /// Every question that the store can be asked.
    pub(crate) fn all(&mut self) -> Result<Vec<Answers>> {
        let mut all = vec![self.traces(TIMES)?, self.largest(TIMES / 10)?];
        if self.store.kind.searches() {
            all.push(self.search("newest 20 of a service", "", |matches| &matches.any)?);
            let failed = r#"&tags={"http.response.status_code":"500"}"#;
            all.push(self.search("status 500", failed, |matches| &matches.failed)?);
            all.push(self.search("slower than 1 s", "&minDuration=1s", |matches| &matches.slow)?);
            all.push(self.needles()?);
        }
        if self.store.kind == Kind::Tracewell {
            all.push(self.why()?);
        }
        Ok(all)
    }

    /// Traces by id, drawn at random.
    pub(crate) fn traces(&mut self, times: usize) -> Result<Answers> {
        let mut ids: Vec<TraceId> = self.workload.traces.keys().copied().collect();
        ids.sort_unstable();
        let mut answers = Answers::new("trace by id");
        for _ in 0..times {
            let id = ids[self.random.usize(..ids.len())];
            let (time, checked) = self.trace(id)?;
            answers.add(time, checked);
        }
        Ok(answers.sorted())
    }

    pub(crate) fn largest(&mut self, times: usize) -> Result<Answers> {
        let mut answers = Answers::new("largest trace");
        for _ in 0..times {
            let (time, checked) = self.trace(self.workload.largest)?;
            answers.add(time, checked);
        }
        Ok(answers.sorted())
    }

    fn trace(&self, id: TraceId) -> Result<(Duration, Result<(), String>)> {
        let (time, answer) = self.get(&format!("/traces/{id}"))?;
        let spans = answer.data.iter().map(|trace| trace.spans.len()).sum::<usize>()
            + answer.batches.iter().flat_map(|resource| &resource.scopes).map(|scope| scope.spans.len()).sum::<usize>();
        let wanted = self.workload.traces[&id] as usize;
        let checked =
            if spans == wanted { Ok(()) } else { Err(format!("trace {id}: {spans} spans instead of {wanted}")) };
        Ok((time, checked))
    }

    /// The newest traces of a service with a further condition, within a window that ends anywhere.
    fn search(
        &mut self,
        question: &'static str,
        condition: &str,
        matching: impl Fn(&Matches) -> &BTreeSet<TraceId>,
    ) -> Result<Answers> {
        let (first, last) = (self.workload.first_start, self.workload.last_start);
        // Services of which there is something to find.
        let services: Vec<&String> =
            self.workload.services.iter().filter(|(_, all)| !matching(all).is_empty()).map(|(name, _)| name).collect();
        let mut answers = Answers::new(question);
        for round in 0..TIMES {
            let service = services[round % services.len()];
            // The first of each service is asked for the whole time, which has an exact answer.
            let whole = round < services.len();
            let end = if whole {
                last + 1_000
            } else {
                first + (last - first) / 4 + self.random.u64(..(last - first) / 4 * 3)
            };
            let (time, found) = self.find(service, condition, first, end)?;
            let wanted = matching(&self.workload.services[service]);
            let stray = found.iter().find(|id| !wanted.contains(id));
            let checked = match stray {
                Some(id) => Err(format!("{question} of {service}: {id} does not match")),
                None if whole && found.len() != wanted.len().min(LIMIT) => Err(format!(
                    "{question} of {service}: {} traces instead of {}",
                    found.len(),
                    wanted.len().min(LIMIT)
                )),
                None => Ok(()),
            };
            answers.add(time, checked);
        }
        Ok(answers.sorted())
    }

    /// A tag that one span has.
    fn needles(&mut self) -> Result<Answers> {
        let mut answers = Answers::new("one unique tag");
        for round in 0..TIMES.min(self.workload.needles.len()) {
            let (value, service, trace) = &self.workload.needles[round * self.workload.needles.len() / TIMES];
            let condition = format!(r#"&tags={{"request.id":"{value}"}}"#);
            let (time, found) =
                self.find(service, &condition, self.workload.first_start, self.workload.last_start + 1_000)?;
            let checked = if found == BTreeSet::from([*trace]) {
                Ok(())
            } else {
                Err(format!("request.id {value}: found {found:?}"))
            };
            answers.add(time, checked);
        }
        Ok(answers.sorted())
    }

    /// What the later half of the time has that the earlier has not: a question about every span, of which no part of
    /// the answer may be a sample.
    fn why(&self) -> Result<Answers> {
        let (first, end) = (self.workload.first_start, self.workload.last_start + 1);
        let middle = first + (end - first) / 2;
        let url =
            format!("{}/v1/why?start={middle}&end={end}&baseline_start={first}&baseline_end={middle}", self.store.api);
        let mut answers = Answers::new("why, over all spans");
        for _ in 0..WHY_TIMES {
            let (time, body) = self.body(&url)?;
            let why: Why = serde_json::from_slice(&body).with_context(|| format!("GET {url}"))?;
            let (found, all) = (why.slow.traces + why.normal.traces, self.workload.traces.len());
            let checked = if found == all { Ok(()) } else { Err(format!("why: {found} traces instead of {all}")) };
            answers.add(time, checked);
        }
        Ok(answers.sorted())
    }

    fn find(&self, service: &str, condition: &str, start: u64, end: u64) -> Result<(Duration, BTreeSet<TraceId>)> {
        let condition = condition.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let (start, end) = (start / 1_000, end.div_ceil(1_000));
        let (time, answer) =
            self.get(&format!("/traces?service={service}&start={start}&end={end}&limit={LIMIT}{condition}"))?;
        let ids = answer.data.iter().filter_map(|trace| trace.id.parse().ok()).collect();
        Ok((time, ids))
    }

    /// Up to the last byte of the answer; reading it as JSON is not the store's time.
    fn get(&self, path: &str) -> Result<(Duration, Answer)> {
        let url = format!("{}{path}", self.store.api);
        let (time, body) = self.body(&url)?;
        let answer = serde_json::from_slice(&body)
            .with_context(|| format!("GET {url} answered {}", String::from_utf8_lossy(&body)))?;
        Ok((time, answer))
    }

    fn body(&self, url: &str) -> Result<(Duration, Vec<u8>)> {
        let begin = Instant::now();
        let mut response = self.agent.get(url).call().with_context(|| format!("GET {url}"))?;
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        Ok((begin.elapsed(), body))
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

/// What is looked at of what `why` says.
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

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Trace>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

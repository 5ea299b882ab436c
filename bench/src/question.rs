//! The questions of a person who looks for something, timed and checked.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use tracewell_model::TraceId;

use crate::api::{Api, Condition, LIMIT, Taken};
use crate::peer::{Kind, Running};
use crate::workload::{Facts, Matches};

/// How often each question is asked.
const TIMES: usize = 100;
/// How often the one is asked that looks at everything.
const WHY_TIMES: usize = 5;
/// So many spans it has to look at without taking a sample.
const WHY_LOOKS_AT: usize = 20_000_000;

/// What the traces that a search finds are told as.
#[derive(Clone, Copy)]
enum Form {
    /// Every span of them.
    Whole,
    /// A few lines of each.
    List,
}

/// What one span of a trace must be like, and which traces have one.
type Search = (Condition<'static>, fn(&Matches) -> &BTreeSet<TraceId>);

const ANY: Search = (Condition { tag: None, min_duration: None }, |matches| &matches.any);
const FAILED: Search =
    (Condition { tag: Some(("http.response.status_code", "500")), min_duration: None }, |matches| &matches.failed);
const SLOW: Search = (Condition { tag: None, min_duration: Some(Duration::from_secs(1)) }, |matches| &matches.slow);

/// What was asked, how long answers took, and whether they were right.
pub(crate) struct Answers {
    pub(crate) question: &'static str,
    /// Sorted.
    pub(crate) times: Vec<Duration>,
    /// Bytes of each answer, sorted.
    pub(crate) bytes: Vec<usize>,
    /// CPU that the store used for all of them.
    pub(crate) cpu: Duration,
    /// What the bytes of the median answer, and of the 95th percentile, take by themselves.
    pub(crate) floor: [Duration; 2],
    /// Answers that were not what they should be; the first as text.
    pub(crate) wrong: usize,
    pub(crate) example: Option<String>,
}

impl Answers {
    fn new(question: &'static str) -> Self {
        Self {
            question,
            times: Vec::new(),
            bytes: Vec::new(),
            cpu: Duration::ZERO,
            floor: [Duration::ZERO; 2],
            wrong: 0,
            example: None,
        }
    }

    fn add(&mut self, taken: Taken, checked: Result<(), String>) {
        self.times.push(taken.time);
        self.bytes.push(taken.bytes);
        if let Err(why) = checked {
            self.wrong += 1;
            self.example.get_or_insert(why);
        }
    }

    fn sorted(mut self) -> Self {
        self.times.sort_unstable();
        self.bytes.sort_unstable();
        self
    }

    /// The time that this part of the answers took at most.
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        at(&self.times, part)
    }

    /// The bytes that this part of the answers had at most.
    pub(crate) fn bytes_quantile(&self, part: f64) -> usize {
        at(&self.bytes, part)
    }
}

fn at<T: Copy + Default>(sorted: &[T], part: f64) -> T {
    let last = sorted.len().saturating_sub(1);
    sorted.get((part * last as f64).round() as usize).copied().unwrap_or_default()
}

/// Whoever asks one store.
pub(crate) struct Asker<'a> {
    api: Api<'a>,
    store: &'a Running,
    facts: &'a Facts,
    random: fastrand::Rng,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(store: &'a Running, facts: &'a Facts) -> Self {
        Self { api: Api::new(store), store, facts, random: fastrand::Rng::with_seed(11) }
    }

    /// Every question that the store can be asked.
    pub(crate) fn all(&mut self) -> Result<Vec<Answers>> {
        let mut all = vec![self.timed(|asker| asker.traces(TIMES))?, self.timed(|asker| asker.largest(TIMES / 10))?];
        if self.store.kind.searches() {
            all.extend([
                self.timed(|asker| asker.search("newest 20 of a service", Form::Whole, ANY))?,
                self.timed(|asker| asker.search("status 500", Form::Whole, FAILED))?,
                self.timed(|asker| asker.search("slower than 1 s", Form::Whole, SLOW))?,
                self.timed(Self::needles)?,
            ]);
        }
        if self.store.kind == Kind::Tracewell {
            all.extend([
                self.timed(|asker| asker.search("newest 20 of a service, as a list", Form::List, ANY))?,
                self.timed(|asker| asker.search("status 500, as a list", Form::List, FAILED))?,
                self.timed(|asker| asker.search("slower than 1 s, as a list", Form::List, SLOW))?,
            ]);
            all.push(self.timed(|asker| asker.why())?);
        }
        Ok(all)
    }

    /// Answers with what they cost the store, which tells more than time where others share the machine.
    fn timed(&mut self, ask: impl FnOnce(&mut Self) -> Result<Answers>) -> Result<Answers> {
        let before = self.store.process.cpu()?;
        let answers = ask(self)?;
        Ok(Answers { cpu: self.store.process.cpu()? - before, ..answers })
    }

    /// Traces by id, drawn at random.
    pub(crate) fn traces(&mut self, times: usize) -> Result<Answers> {
        let mut ids: Vec<TraceId> = self.facts.traces.keys().copied().collect();
        ids.sort_unstable();
        let mut answers = Answers::new("trace by id");
        for _ in 0..times {
            let id = ids[self.random.usize(..ids.len())];
            let (taken, checked) = self.trace(id)?;
            answers.add(taken, checked);
        }
        Ok(answers.sorted())
    }

    pub(crate) fn largest(&mut self, times: usize) -> Result<Answers> {
        let mut answers = Answers::new("largest trace");
        for _ in 0..times {
            let (taken, checked) = self.trace(self.facts.largest)?;
            answers.add(taken, checked);
        }
        Ok(answers.sorted())
    }

    fn trace(&self, id: TraceId) -> Result<(Taken, Result<(), String>)> {
        let (taken, spans) = self.api.trace(id)?;
        let wanted = self.facts.traces[&id] as usize;
        let checked =
            if spans == wanted { Ok(()) } else { Err(format!("trace {id}: {spans} spans instead of {wanted}")) };
        Ok((taken, checked))
    }

    /// The newest traces of a service with a further condition, within a window that ends anywhere.
    fn search(&mut self, question: &'static str, form: Form, (condition, matching): Search) -> Result<Answers> {
        let (first, last) = (self.facts.first_start, self.facts.last_start);
        // Services of which there is something to find.
        let services: Vec<&String> =
            self.facts.services.iter().filter(|(_, all)| !matching(all).is_empty()).map(|(name, _)| name).collect();
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
            let (taken, found) = match form {
                Form::Whole => self.api.search(service, condition, first, end)?,
                Form::List => self.api.list(service, condition, first, end)?,
            };
            let wanted = matching(&self.facts.services[service]);
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
            answers.add(taken, checked);
        }
        Ok(answers.sorted())
    }

    /// A tag that one span has.
    fn needles(&mut self) -> Result<Answers> {
        let mut answers = Answers::new("one unique tag");
        for round in 0..TIMES.min(self.facts.needles.len()) {
            let (value, service, trace) = &self.facts.needles[round * self.facts.needles.len() / TIMES];
            let condition = Condition { tag: Some(("request.id", value)), ..Condition::default() };
            let (taken, found) =
                self.api.search(service, condition, self.facts.first_start, self.facts.last_start + 1_000)?;
            let checked = if found == BTreeSet::from([*trace]) {
                Ok(())
            } else {
                Err(format!("request.id {value}: found {found:?}"))
            };
            answers.add(taken, checked);
        }
        Ok(answers.sorted())
    }

    /// What the later half of the time has that the earlier has not: a question about every span. Of more than it can look
    /// at, it takes an even sample of one in two, four, ...
    fn why(&self) -> Result<Answers> {
        let (first, end) = (self.facts.first_start, self.facts.last_start + 1);
        let mut answers = Answers::new("why, over all spans");
        let all = self.facts.traces.len();
        let spans = self.facts.traces.values().map(|spans| *spans as usize).sum::<usize>();
        for _ in 0..WHY_TIMES {
            let (taken, found) = self.api.why(first, first + (end - first) / 2, end)?;
            let is_sample = |halvings: u32| (found << halvings).abs_diff(all) * 20 < all;
            let is_right = found == all || spans > WHY_LOOKS_AT && (1..6).any(is_sample);
            answers.add(taken, if is_right { Ok(()) } else { Err(format!("why: {found} traces instead of {all}")) });
        }
        Ok(answers.sorted())
    }
}

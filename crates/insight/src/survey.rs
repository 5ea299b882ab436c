//! Many traces, taken in a few at a time and kept as numbers.

use tracewell_model::{PENDING, SpanBatch, Trace, TraceId};

use crate::observe::{Observations, Observer};
use crate::outline::{KEYS, Outline};
use crate::split::{has_two_groups, split_by_latency};
use crate::symbols::BatchNames;
use crate::why::study::Study;
use crate::why::units::scattered;
use crate::why::{Inquiry, Options};

/// What is known of many traces after each of them was looked at once. It takes in columns or traces, in any portions,
/// and holds a dozen bytes a span.
///
/// ```text
/// survey ── add() of whole traces, without attributes but a few ──▶ compare() or split()
///                                                                      │
/// answer ◀── conclude() ── inquiry ◀── look() at those of wanted(), with all attributes
/// ```
#[derive(Clone, Debug)]
pub struct Survey {
    observer: Observer,
    observed: Observations,
    /// How many of the traces were added before the baseline's.
    window: Option<usize>,
    most_spans: usize,
    most_bytes: usize,
    thinned: Sampling,
}

/// Which part of all traces is kept: each of the same, whatever the order in which they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Of so many traces one, as a power of two.
    halvings: u32,
}

impl Sampling {
    /// Whether a trace is kept.
    pub fn takes(self, id: TraceId) -> bool {
        scattered(id).trailing_zeros() >= self.halvings
    }

    /// Of how many traces one is kept.
    pub fn one_in(self) -> u64 {
        1 << self.halvings.min(63)
    }
}

impl Default for Survey {
    fn default() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }
}

/// How many traces are added before the bytes held are counted again.
const COUNTED_EVERY: usize = 1024;

impl Survey {
    /// The span attributes that are looked at in every trace; all others only in some.
    pub const KEYS: &'static [&'static str] = &{
        // The one more tells which of two spans with one id is out of date.
        let mut keys = [PENDING; KEYS.len() + 1];
        keys.split_at_mut(KEYS.len()).0.copy_from_slice(&KEYS);
        keys
    };

    /// A survey of at most about so many spans in the window, and as many in the baseline, that holds at most about so many
    /// bytes. If there is more to know, it keeps every second trace, every fourth, and so on, evenly over the time.
    pub fn new(most_spans: usize, most_bytes: usize) -> Self {
        Self {
            observer: Observer::default(),
            observed: Observations::default(),
            window: None,
            most_spans,
            most_bytes,
            thinned: Sampling::default(),
        }
    }

    /// Adds traces, whole, whose spans may lie in any order. A trace that was added before must not come again.
    pub fn add(&mut self, spans: &SpanBatch) {
        let mut names = BatchNames::new(spans);
        let mut traces = Trace::rows_by_trace(spans);
        // The answer depends in its last digits on who comes first, which should not depend on where spans lie.
        traces.sort_unstable_by_key(|rows| spans.spans().trace_id[rows[0]]);
        for rows in traces {
            if self.thinned.takes(spans.spans().trace_id[rows[0]]) {
                let (outline, _) = Outline::of_rows(spans, rows, &names.keys);
                self.observer.observe(&outline, &mut names, &mut self.observed);
            }
        }
        self.keep_bound();
    }

    /// Adds one trace.
    pub fn add_trace(&mut self, trace: &Trace) {
        if !trace.is_empty() && self.thinned.takes(trace.trace_id()) {
            self.observer.observe(&Outline::of(trace), &mut BatchNames::new(trace.batch()), &mut self.observed);
            if self.observed.traces.len().is_multiple_of(COUNTED_EVERY) {
                self.keep_bound();
            }
        }
    }

    /// From here on, traces that are added are the baseline.
    pub fn begin_baseline(&mut self) {
        self.window = Some(self.observed.traces.len());
    }

    /// How many traces there are, those of the baseline if one has begun.
    pub fn len(&self) -> usize {
        self.observed.traces.len() - self.window.unwrap_or(0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the baseline back.
    pub fn drop_baseline(&mut self) {
        if let Some(window) = self.window.take() {
            let mut row = 0..;
            self.observed.retain(|_| row.next().is_some_and(|row| row < window));
        }
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.observed.size_bytes() + self.observer.size_bytes()
    }

    /// The earliest start and the latest end.
    pub fn time(&self) -> Option<(u64, u64)> {
        let traces = &self.observed.traces;
        let start = traces.iter().map(|trace| trace.start_unix_nano).min()?;
        Some((start, traces.iter().map(|trace| trace.end_unix_nano).max()?))
    }

    /// Which traces are kept if they are added: reading others is of no use.
    pub fn sampling(&self) -> Sampling {
        self.thinned
    }

    /// Whether the latencies of any entry operation fall into two clear groups.
    pub fn has_two_groups(&self) -> bool {
        has_two_groups(&self.observed.traces)
    }

    /// Compares the traces with those of the baseline.
    pub fn compare(self, options: &Options) -> Inquiry {
        Inquiry::new(self.study(), options)
    }

    pub(crate) fn study(self) -> Study {
        let window = self.window.unwrap_or(self.observed.traces.len());
        let sides = (0..self.observed.traces.len()).map(|row| Some(row < window)).collect();
        Study::new(self.observer, self.observed, sides)
    }

    /// Splits the traces into slow and normal ones by their latency, and compares these.
    pub fn split(self, options: &Options) -> Inquiry {
        let split = split_by_latency(&self.observed.traces);
        let mut inquiry = Inquiry::new(Study::new(self.observer, self.observed, split.sides), options);
        inquiry.is_chosen_for_slowness = !split.two_groups;
        inquiry.caveats = split.caveats;
        inquiry
    }

    /// Keeps no more traces than that about so many spans, of which it is known that they are coming, do not exceed the
    /// bound.
    pub fn expect_spans(&mut self, spans: u64) {
        while spans / self.thinned.one_in() > self.most_spans as u64 && self.thinned.halvings < u64::BITS {
            self.thin();
        }
    }

    /// Keeps every second one of the traces that it keeps, now and from here on: for whoever has no time to read them all.
    pub fn thin(&mut self) {
        if self.thinned.halvings == u64::BITS {
            return;
        }
        self.thinned.halvings += 1;
        let thinned = self.thinned;
        if let Some(window) = &mut self.window {
            *window = self.observed.traces[..*window].iter().filter(|trace| thinned.takes(trace.trace_id)).count();
        }
        self.observed.retain(|trace| thinned.takes(trace.trace_id));
    }

    /// How many spans the traces have, those of the baseline if one has begun.
    fn spans(&self) -> usize {
        self.observed.traces[self.window.unwrap_or(0)..].iter().map(|trace| trace.spans as usize).sum()
    }

    fn keep_bound(&mut self) {
        let exceeds = |survey: &Self| survey.size_bytes() > survey.most_bytes || survey.spans() > survey.most_spans;
        while exceeds(self) && self.thinned.halvings < u64::BITS {
            self.thin();
            if self.observer.size_bytes() > self.most_bytes / 4 {
                self.observer.forget_unused(&mut self.observed);
            }
        }
    }
}

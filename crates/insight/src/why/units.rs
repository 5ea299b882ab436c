//! The spans that show a cause, one by one, each with how much it shows.

use std::collections::{BTreeMap, HashMap, HashSet};

use tracewell_model::{StrId, TraceId, Value};

use crate::observe::{Observer, Rows};
use crate::outline::Outline;
use crate::symbols::BatchNames;

use super::causes::{Cause, Signal};
use super::study::Study;

/// One span where a cause shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit {
    /// The number of its trace.
    pub(crate) trace: usize,
    pub(crate) row: usize,
    /// How much: standard deviations above normal for what is slower, calls, the part that ran one by one, or 1 for an
    /// error and 0 for none.
    pub(crate) score: f64,
    /// The span's name as a symbol.
    pub(crate) name: u32,
    /// Where its attributes lie.
    attributes: (u32, u32),
}

/// More traces than this on a side add nothing to what is known of attributes.
const MOST_TRACES: usize = 1_000;
/// Nor do more spans of these traces, which bounds what is read when traces are large.
const MOST_SPANS: usize = 100_000;

/// The units of both sides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Units {
    pub(crate) slow: Vec<Unit>,
    pub(crate) normal: Vec<Unit>,
    /// What a standard deviation of a score is as a difference of logarithms of durations.
    pub(crate) spread: f64,
    /// Mean and standard deviation of normal times at each of the places.
    usual: HashMap<u32, (f64, f64)>,
    /// Keys and values as symbols, those of one unit after those of the one before.
    attributes: Vec<(u32, u32)>,
    /// The traces to be looked at.
    wanted: HashSet<usize>,
}

impl Unit {
    /// A span without attributes.
    #[cfg(test)]
    pub(crate) fn bare(trace: usize, score: f64) -> Self {
        Self { trace, row: 0, score, name: 0, attributes: (0, 0) }
    }
}

impl Units {
    /// Knows which traces to look at, and nothing of their spans yet.
    pub(crate) fn of(study: &Study, cause: &Cause) -> Self {
        let usual = usual(study, cause);
        let spreads: Vec<f64> = cause.places.iter().filter_map(|place| usual.get(place)).map(|usual| usual.1).collect();
        let spread = spreads.iter().sum::<f64>() / spreads.len().max(1) as f64;
        let passing = study.passing(&watched(cause));
        let mut wanted = HashSet::new();
        for side in [true, false] {
            let is_here = |row: &usize| study.compared(*row).is_some_and(|(is_slow, _)| is_slow == side);
            let mut rows: Vec<usize> = passing.iter().copied().filter(is_here).collect();
            // Of too many, an even sample: by what their ids are hashed to, so that one trace serves many causes.
            rows.sort_by_cached_key(|row| scattered(study.observed.traces[*row].trace_id));
            let mut spans = 0;
            wanted.extend(rows.into_iter().take(MOST_TRACES).take_while(|row| {
                spans += study.observed.traces[*row].spans as usize;
                spans <= MOST_SPANS
            }));
        }
        Self { spread, usual, wanted, ..Self::default() }
    }

    /// The traces to be looked at, in no particular order.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = usize> {
        self.wanted.iter().copied()
    }

    /// Takes the units of a trace, if it is wanted.
    pub(crate) fn look(&mut self, study: &Study, cause: &Cause, seen: &mut Seen<'_, '_>) {
        let (trace, rows) = (&seen.outline, &seen.rows);
        if !self.wanted.contains(&seen.trace) {
            return;
        }
        let Some((is_slow, _)) = study.compared(seen.trace) else { return };
        let mut scores: Vec<(usize, f64)> = Vec::new();
        for row in 0..trace.len() {
            let place = rows.places[row];
            match cause.signal {
                Signal::Slower => {
                    if let Some((mean, spread)) = self.usual.get(&place) {
                        scores.push((row, (study.log_nanos(rows.own_nanos[row] as f64) - mean) / spread));
                    }
                }
                Signal::Calls { parent, child } if place == parent => {
                    let calls = trace.children(row).filter(|other| rows.places[*other] == child).count();
                    scores.push((row, calls as f64));
                }
                Signal::Fork { place: fork } if place == fork => {
                    scores.extend(rows.overlap(trace, row).map(|overlap| (row, 1.0 - overlap)));
                }
                Signal::Errors { place: failing } if place == failing => {
                    scores.push((row, f64::from(rows.first_error[row])));
                }
                _ => {}
            }
        }
        for (row, score) in scores {
            let start = self.attributes.len() as u32;
            let name = seen.attributes(row, &mut self.attributes);
            let unit = Unit { trace: seen.trace, row, score, name, attributes: (start, self.attributes.len() as u32) };
            if is_slow { self.slow.push(unit) } else { self.normal.push(unit) }
        }
    }

    /// Puts the units in the order of time, whatever the order in which traces were looked at.
    pub(crate) fn put_in_order(&mut self, study: &Study) {
        let key = |unit: &Unit| {
            let trace = &study.observed.traces[unit.trace];
            (trace.start_unix_nano, trace.trace_id, unit.row)
        };
        self.slow.sort_by_key(key);
        self.normal.sort_by_key(key);
    }

    /// The attributes of a unit, its span's before its resource's and its root's, of those with one key only the first.
    pub(crate) fn attributes(&self, unit: &Unit) -> &[(u32, u32)] {
        &self.attributes[unit.attributes.0 as usize..unit.attributes.1 as usize]
    }
}

/// One whole trace, as all causes look at it.
pub(crate) struct Seen<'s, 'b> {
    /// Its number in the study.
    trace: usize,
    outline: Outline,
    rows: Rows,
    /// The rows of its spans in the batch.
    batch_rows: Vec<usize>,
    names: &'s mut BatchNames<'b>,
    observer: &'s mut Observer,
    of_root: Option<Vec<(u32, u32)>>,
    /// Keys that a unit has already, to leave out others with the same.
    known: HashSet<u32>,
}

impl<'s, 'b> Seen<'s, 'b> {
    pub(crate) fn new(
        trace: usize,
        (outline, batch_rows): (Outline, Vec<usize>),
        names: &'s mut BatchNames<'b>,
        observer: &'s mut Observer,
    ) -> Self {
        let rows = observer.rows(&outline, names);
        Self { trace, outline, rows, batch_rows, names, observer, of_root: None, known: HashSet::new() }
    }

    /// Adds the attributes of a span, its resource and the root to `out`; the span's name.
    fn attributes(&mut self, row: usize, out: &mut Vec<(u32, u32)>) -> u32 {
        let spans = self.names.spans;
        let root = self.outline.root().filter(|root| *root != row);
        if self.of_root.is_none() && root.is_some() {
            let of_root = root.map(|root| self.of_span(root)).unwrap_or_default();
            self.of_root = Some(of_root);
        }
        let mut all = self.of_span(row);
        let resource = &spans.resources()[spans.spans().resource[self.batch_rows[row]].index()];
        all.extend(resource.attributes.iter().map(|(key, value)| self.pair(*key, *value)));
        all.extend(self.of_root.iter().filter(|_| root.is_some()).flatten());
        self.known.clear();
        out.extend(all.into_iter().filter(|(key, _)| self.known.insert(*key)));
        self.names.symbol(self.outline.name[row], &mut self.observer.places.symbols)
    }

    fn of_span(&mut self, row: usize) -> Vec<(u32, u32)> {
        let attributes = self.names.spans.span(self.batch_rows[row]).attributes();
        let pairs = attributes.raw_keys().iter().zip(attributes.raw_values());
        pairs.map(|(key, value)| self.pair(*key, *value)).collect()
    }

    fn pair(&mut self, key: StrId, value: Value) -> (u32, u32) {
        let symbols = &mut self.observer.places.symbols;
        let value = match value {
            Value::Str(text) => self.names.symbol(text, symbols),
            other => symbols.intern(&self.names.spans.value(other).to_string()),
        };
        (self.names.symbol(key, symbols), value)
    }
}

/// The places whose spans are the units.
fn watched(cause: &Cause) -> Vec<u32> {
    match cause.signal {
        Signal::Slower => cause.places.clone(),
        Signal::Calls { parent, .. } => vec![parent],
        Signal::Fork { place } | Signal::Errors { place } => vec![place],
    }
}

/// Mean and standard deviation of normal times at each of the places.
fn usual(study: &Study, cause: &Cause) -> HashMap<u32, (f64, f64)> {
    let mut all: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for place in &cause.places {
        let normal = study.samples(study.durations(*place)).normal;
        if !normal.is_empty() {
            all.insert(*place, normal.into_iter().map(|(_, value)| value).collect());
        }
    }
    let of = |values: &Vec<f64>| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt().max(0.05))
    };
    all.iter().map(|(place, values)| (*place, of(values))).collect()
}

/// A number that is the same for the same trace and otherwise as good as random, however ids are made.
pub(crate) fn scattered(id: TraceId) -> u64 {
    let number = id.as_u128();
    let mix = |value: u64| {
        let value = (value ^ (value >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let value = (value ^ (value >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value ^ (value >> 32)
    };
    mix(mix(number as u64) ^ (number >> 64) as u64)
}

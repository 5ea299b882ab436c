//! What `why` reads: columns of all traces, then some traces whole.

use std::collections::{HashSet, VecDeque};
use std::mem::take;
use std::time::Duration;

use tokio::time::Instant;

use tracewell_insight::{Options, Survey, Why};
use tracewell_model::{SpanBatch, TimeRange, TraceId};
use tracewell_query::{Conditions, Portions, PortionsRequest, QueryError};
use tracewell_store::Projection;

use super::error::ApiError;
use super::state::ApiState;
use super::traces::blocking;
use crate::budget::Held;

/// Traces that are read whole at once.
const WHOLE_AT_ONCE: usize = 128;

/// Nor more bytes of them.
const MAX_GROUP_BYTES: usize = 16 << 20;

/// The part of a query's time in which the traces of the window have to be read, and as much again for the baseline's;
/// what is left is for the answer.
const TIME_TO_READ: f64 = 0.4;

/// A sample is not made smaller than this for want of time: it would tell nothing.
const FEWEST_TRACES: usize = 1_000;

/// Reads for one answer. While a portion is looked at, the next one is read.
pub(super) struct Reading<'a> {
    state: &'a ApiState,
    pub(super) conditions: Conditions,
    pub(super) survey: Survey,
    /// Traces of times that were read: one that reaches into another is not read twice.
    seen: HashSet<TraceId>,
    /// Traces that were left out because each alone would take too much memory.
    too_large: usize,
    /// The memory for what is read and what is kept of it.
    held: Held,
}

/// What is read at once: a portion that is being observed, and the next one.
pub(super) const READ_BYTES: usize = 16 << 20;

impl<'a> Reading<'a> {
    pub(super) fn new(state: &'a ApiState, conditions: Conditions, held: Held) -> Self {
        // What is left is for what is read, and for others.
        let bytes = state.limits.why_bytes.min(state.budget.queries().limit_bytes() / 4 * 3);
        let survey = Survey::new(state.limits.why_spans, bytes);
        Self { state, conditions, survey, seen: HashSet::new(), too_large: 0, held }
    }

    /// Takes in the traces of a time.
    pub(super) async fn read(&mut self, time: TimeRange) -> Result<(), ApiError> {
        let request = PortionsRequest {
            tenant: self.state.tenant.clone(),
            conditions: self.conditions.clone(),
            time,
            projection: Projection::Outline(Survey::KEYS),
        };
        let store = &*self.state.store;
        let mut portions = Portions::begin(store, request, take(&mut self.seen)).await?;
        if self.conditions == Conditions::default() {
            self.survey.expect_spans(portions.spans_expected());
        }
        let mut pace = Pace::new(Instant::now(), self.state.limits.query_timeout.mul_f64(TIME_TO_READ));
        let mut sampling = self.survey.sampling();
        let mut portion = portions.next(store, |id| sampling.takes(id)).await?;
        while let Some(spans) = portion {
            let mut survey = take(&mut self.survey);
            let looks = blocking(move || {
                survey.add(&spans);
                survey
            });
            let (survey, next) = tokio::join!(looks, portions.next(store, |id| sampling.takes(id)));
            (self.survey, portion) = (survey?, next?);
            let bytes = self.survey.size_bytes() + READ_BYTES;
            self.held.shrink_to(bytes);
            if self.held.reach(bytes).is_err() {
                // Others need the memory, too: a smaller sample is better than no answer.
                self.survey.thin();
            }
            if self.survey.len() > FEWEST_TRACES && pace.is_behind(Instant::now(), portions.progress()) {
                self.survey.thin();
                pace.restart(Instant::now(), portions.progress());
            }
            if self.survey.sampling() != sampling {
                sampling = self.survey.sampling();
                portions.retain(|id| sampling.takes(id));
            }
        }
        self.too_large += portions.too_large();
        self.seen = portions.into_seen();
        Ok(())
    }

    /// What to say if not all traces were looked at.
    pub(super) fn sampled(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        let one_in = self.survey.sampling().one_in();
        if one_in > 1 {
            caveats.push(format!(
                "There are more traces than can be looked at: one in {one_in} was, spread evenly over the time."
            ));
        }
        if self.too_large > 0 {
            caveats.push(format!("{} traces with very many spans were not looked at.", self.too_large));
        }
        caveats
    }

    /// The answer: compared with the baseline that was read, or split by latency.
    pub(super) async fn answer(self, is_compared: bool) -> Result<Why, ApiError> {
        let Self { state, survey, seen, .. } = self;
        drop(seen);
        let find_causes = move || {
            let options = Options::default();
            let inquiry = if is_compared { survey.compare(&options) } else { survey.split(&options) };
            (inquiry.wanted(), inquiry)
        };
        let (wanted, mut inquiry) = blocking(find_causes).await?;
        let mut wanted: VecDeque<TraceId> = wanted.into();
        let mut at_once = WHOLE_AT_ONCE;
        let mut group = next_group(state, &mut wanted, &mut at_once).await?;
        while let Some(spans) = group {
            let looks = blocking(move || {
                inquiry.look(&spans);
                inquiry
            });
            let (looked, next) = tokio::join!(looks, next_group(state, &mut wanted, &mut at_once));
            (inquiry, group) = (looked?, next?);
        }
        blocking(move || inquiry.conclude()).await
    }
}

/// The next traces with all that their spans say. One that is too large is passed over: what others say is enough.
async fn next_group(
    state: &ApiState,
    wanted: &mut VecDeque<TraceId>,
    at_once: &mut usize,
) -> Result<Option<SpanBatch>, ApiError> {
    while !wanted.is_empty() {
        let ids: Vec<TraceId> = wanted.drain(..(*at_once).min(wanted.len())).collect();
        let mut reader = state.store.open_traces(&state.tenant, &ids).await.map_err(QueryError::from)?;
        let portion = reader.next(MAX_GROUP_BYTES).await.map_err(QueryError::from)?;
        if portion.is_last {
            return Ok(Some(portion.spans));
        }
        if ids.len() > 1 {
            *at_once = ids.len().div_ceil(2);
            ids.into_iter().rev().for_each(|id| wanted.push_front(id));
        }
    }
    Ok(None)
}

/// Whether reading keeps up with the time that there is for it. Whoever does not reads a smaller sample, which is better than
/// no answer.
struct Pace {
    begin: Instant,
    left: Duration,
    /// How much had been read at the beginning, 0 to 1.
    progress: f64,
}

/// What of the time may pass before anything is read: the first portion takes longer than those after it.
const HEAD_START: f64 = 0.2;

impl Pace {
    fn new(begin: Instant, left: Duration) -> Self {
        Self { begin, left, progress: 0.0 }
    }

    fn is_behind(&self, now: Instant, progress: f64) -> bool {
        let read = (progress - self.progress) / (1.0 - self.progress).max(f64::EPSILON);
        now - self.begin > self.left.mul_f64(HEAD_START + (1.0 - HEAD_START) * read.clamp(0.0, 1.0))
    }

    /// Begins anew with what is left of the time and of what is to be read.
    fn restart(&mut self, now: Instant, progress: f64) {
        self.left = self.left.saturating_sub(now - self.begin);
        (self.begin, self.progress) = (now, progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_behind_when_more_of_the_time_has_passed_than_was_read() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut pace = Pace::new(begin, Duration::from_secs(10));
        assert!(!pace.is_behind(after(1), 0.0), "the first portion takes its time");
        assert!(pace.is_behind(after(3), 0.01));
        assert!(!pace.is_behind(after(5), 0.5));
        assert!(pace.is_behind(after(8), 0.5));
        assert!(!pace.is_behind(after(10), 1.0));
        // Of 2 s that are left for one half, 0.4 s are the head start.
        pace.restart(after(8), 0.5);
        assert!(!pace.is_behind(after(8), 0.5));
        assert!(pace.is_behind(after(9), 0.6));
        assert!(!pace.is_behind(after(9), 0.8));
        // With no time left, each portion halves what is read.
        pace.restart(after(12), 0.9);
        assert!(pace.is_behind(after(13), 0.95));
    }
}

//! What `why` reads: columns of all traces, then some traces whole.

use std::collections::HashSet;
use std::mem::take;

use tracewell_insight::{Options, Survey, Why};
use tracewell_model::{TimeRange, TraceId};
use tracewell_query::{Conditions, Portions, PortionsRequest, QueryError};
use tracewell_store::Projection;

use super::error::ApiError;
use super::state::ApiState;
use super::traces::blocking;

/// Traces that are read whole at once.
const WHOLE_AT_ONCE: usize = 128;

/// Reads for one answer. While a portion is looked at, the next one is read.
pub(super) struct Reading<'a> {
    state: &'a ApiState,
    conditions: Conditions,
    pub(super) survey: Survey,
    /// Traces of times that were read: one that reaches into another is not read twice.
    seen: HashSet<TraceId>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(state: &'a ApiState, conditions: Conditions) -> Self {
        let survey = Survey::new(state.limits.why_spans, state.limits.why_bytes);
        Self { state, conditions, survey, seen: HashSet::new() }
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
            if self.survey.sampling() != sampling {
                sampling = self.survey.sampling();
                portions.retain(|id| sampling.takes(id));
            }
        }
        self.seen = portions.into_seen();
        Ok(())
    }

    /// What to say if not all traces were looked at.
    pub(super) fn sampled(&self) -> Option<String> {
        let one_in = self.survey.sampling().one_in();
        (one_in > 1).then(|| {
            format!("There are more traces than can be looked at: one in {one_in} was, spread evenly over the time.")
        })
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
        let mut groups = wanted.chunks(WHOLE_AT_ONCE);
        let mut next_group = async || match groups.next() {
            Some(ids) => state.store.traces_with(&state.tenant, ids, Projection::All).await.map(Some),
            None => Ok(None),
        };
        let mut group = next_group().await.map_err(QueryError::from)?;
        while let Some(spans) = group {
            let looks = blocking(move || {
                inquiry.look(&spans);
                inquiry
            });
            let (looked, next) = tokio::join!(looks, next_group());
            (inquiry, group) = (looked?, next.map_err(QueryError::from)?);
        }
        blocking(move || inquiry.conclude()).await
    }
}

//! Samplers: which traces are recorded, decided when a span starts and before any tag is evaluated.

use crate::{Clock as _, SpanContext, SpanKind, SystemClock, TraceId};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Trace ids have so many random values, see [`SamplingInput::randomness`].
const WHOLE: u64 = 1 << 56;

/// What a sampler decides on.
#[derive(Debug)]
#[non_exhaustive]
pub struct SamplingInput<'a> {
    /// The parent; invalid for the first span of a trace.
    pub parent: &'a SpanContext,
    /// The trace that the span belongs to.
    pub trace_id: TraceId,
    /// The span's name.
    pub name: &'a str,
    /// The span's kind.
    pub kind: SpanKind,
}

impl<'a> SamplingInput<'a> {
    /// What a sampler of one's own may be asked in a test.
    #[must_use]
    pub fn new(parent: &'a SpanContext, trace_id: TraceId, name: &'a str, kind: SpanKind) -> Self {
        Self { parent, trace_id, name, kind }
    }

    /// 56 random bits that all processes of the trace see alike: `rv` of the trace state, or else of the trace id.
    #[must_use]
    pub fn randomness(&self) -> u64 {
        match self.parent.trace_state.is_empty() {
            true => self.trace_id.randomness(),
            false => self.parent.trace_state.ot_random().unwrap_or_else(|| self.trace_id.randomness()),
        }
    }
}

/// A sampler of the user's own, for [`Sampler::custom`]. One that panics records nothing.
pub trait Sample: Send + Sync + 'static {
    /// Whether to record the span.
    fn sample(&self, input: &SamplingInput<'_>) -> Decision;
}

/// Whether to record a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub(crate) is_sampled: bool,
    /// Spans whose randomness is less would not have been recorded: what the trace state tells as `ot=th:`.
    pub(crate) threshold: Option<u64>,
}

impl Decision {
    /// Whether it is to record the span.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// Not to record it.
    pub const DROP: Self = Self { is_sampled: false, threshold: None };
    /// To record it, with a probability that is not told.
    pub const RECORD: Self = Self { is_sampled: true, threshold: None };

    /// To record it when its randomness is in this share of all. The share travels in the trace state, so that
    /// whoever counts spans can tell how many each stands for.
    #[must_use]
    pub fn consistent(input: &SamplingInput<'_>, probability: f64) -> Self {
        Self::above(input, threshold(probability))
    }

    fn above(input: &SamplingInput<'_>, threshold: u64) -> Self {
        let is_sampled = input.randomness() >= threshold;
        Self { is_sampled, threshold: Some(threshold).filter(|_| is_sampled) }
    }
}

/// What is not a number counts as 0.
fn threshold(probability: f64) -> u64 {
    let probability = if probability.is_nan() { 0.0 } else { probability.clamp(0.0, 1.0) };
    ((1.0 - probability) * WHOLE as f64).round() as u64
}

/// Which spans are recorded.
#[derive(Clone)]
pub struct Sampler(Rule);

#[derive(Clone)]
enum Rule {
    Always,
    Never,
    /// Records trace ids whose randomness is at least this; up to and including 2^56.
    Probabilistic(u64),
    ParentBased(Arc<Rule>),
    RateLimited(Arc<RateLimit>),
    ByName(Arc<[(String, Rule)]>, Arc<Rule>),
    Custom(Arc<dyn Sample>),
}

impl Sampler {
    /// Records everything.
    #[must_use]
    pub const fn always() -> Self {
        Self(Rule::Always)
    }

    /// Records nothing; the context is still propagated.
    #[must_use]
    pub const fn never() -> Self {
        Self(Rule::Never)
    }

    /// Records this share of the traces, 0.0 to 1.0 (others are clamped; NaN is 0).
    ///
    /// Decided by the low 56 bits of the trace id against the threshold `(1 - ratio) * 2^56`, as W3C trace context
    /// level 2 and OpenTelemetry's consistent sampling define it: every process with at least this ratio decides alike.
    #[must_use]
    pub fn probabilistic(ratio: f64) -> Self {
        Self(Rule::Probabilistic(threshold(ratio)))
    }

    /// Records about so many traces a second: a share of them that is adapted every second, decided by trace id and told
    /// in the trace state as [`Sampler::probabilistic`] does, and never more than twice as many in a second. Put it into
    /// [`Sampler::parent_based`].
    #[must_use]
    pub fn rate_limited(traces_per_second: f64) -> Self {
        Self(Rule::RateLimited(Arc::new(RateLimit::new(traces_per_second))))
    }

    /// A sampler for each span name, such as `GET /health`, or beginning of names, such as `GET /admin/*`; the first that
    /// fits counts, and `otherwise` for all others. Under [`Sampler::parent_based`] the names are those of the first
    /// spans.
    ///
    /// ```
    /// # use tracewell::Sampler;
    /// let rules = [("GET /health", Sampler::never()), ("POST /orders*", Sampler::always())];
    /// let sampler = Sampler::parent_based(Sampler::by_name(rules, Sampler::probabilistic(0.1)));
    /// # let _ = sampler;
    /// ```
    #[must_use]
    pub fn by_name<N: Into<String>>(rules: impl IntoIterator<Item = (N, Self)>, otherwise: Self) -> Self {
        let rules = rules.into_iter().map(|(name, sampler)| (name.into(), sampler.0)).collect();
        Self(Rule::ByName(rules, Arc::new(otherwise.0)))
    }

    /// Does what the parent does; `root` decides on spans without one. The default is this over [`Sampler::always`].
    #[must_use]
    pub fn parent_based(root: Self) -> Self {
        Self(Rule::ParentBased(Arc::new(root.0)))
    }

    /// The user's own.
    #[must_use]
    pub fn custom(sampler: impl Sample) -> Self {
        Self(Rule::Custom(Arc::new(sampler)))
    }

    /// The sampler that OpenTelemetry's `OTEL_TRACES_SAMPLER` names, with the ratio of those that have one.
    pub(crate) fn named(name: &str, ratio: f64) -> Option<Self> {
        Some(match name {
            "always_on" => Self::always(),
            "always_off" => Self::never(),
            "traceidratio" => Self::probabilistic(ratio),
            "parentbased_always_on" => Self::parent_based(Self::always()),
            "parentbased_always_off" => Self::parent_based(Self::never()),
            "parentbased_traceidratio" => Self::parent_based(Self::probabilistic(ratio)),
            _ => return None,
        })
    }

    /// Whether to record the span.
    #[must_use]
    #[inline]
    pub fn sample(&self, input: &SamplingInput<'_>) -> Decision {
        self.0.sample(input)
    }
}

impl Rule {
    #[inline]
    fn sample(&self, input: &SamplingInput<'_>) -> Decision {
        match self {
            Self::Always => Decision::RECORD,
            Self::Never => Decision::DROP,
            Self::ParentBased(root) => {
                let flags = input.parent.flags;
                match input.parent.is_valid() && !flags.is_undecided() {
                    true if flags.is_sampled() => Decision::RECORD,
                    true => Decision::DROP,
                    false => root.sample_root(input),
                }
            }
            _ => self.sample_root(input),
        }
    }

    #[inline(never)]
    fn sample_root(&self, input: &SamplingInput<'_>) -> Decision {
        match self {
            Self::Probabilistic(threshold) => Decision::above(input, *threshold),
            Self::RateLimited(limit) => limit.sample(input, SystemClock.monotonic_nanos()),
            Self::ByName(rules, otherwise) => {
                let fits = |pattern: &str| match pattern.strip_suffix('*') {
                    Some(beginning) => input.name.starts_with(beginning),
                    None => input.name == pattern,
                };
                rules.iter().find(|(name, _)| fits(name)).map_or(&**otherwise, |(_, rule)| rule).sample(input)
            }
            Self::Custom(sampler) => sampler.sample(input),
            Self::Always | Self::Never | Self::ParentBased(_) => self.sample(input),
        }
    }
}

/// Takes the share that would have kept to the limit lately, and a bucket of tokens when that is too much.
struct RateLimit {
    per_second: f64,
    state: Mutex<RateState>,
}

#[derive(Clone, Copy)]
struct RateState {
    second_began_nanos: u64,
    seen: f64,
    threshold: u64,
    tokens: f64,
    tokens_at_nanos: u64,
}

impl RateLimit {
    fn new(per_second: f64) -> Self {
        let per_second = if per_second.is_finite() { per_second.max(0.0) } else { 0.0 };
        let tokens = per_second.max(1.0);
        let state = RateState { second_began_nanos: 0, seen: 0.0, threshold: 0, tokens, tokens_at_nanos: 0 };
        Self { per_second, state: Mutex::new(state) }
    }

    fn sample(&self, input: &SamplingInput<'_>, now_nanos: u64) -> Decision {
        if self.per_second == 0.0 {
            return Decision::DROP;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now_nanos.saturating_sub(state.second_began_nanos) as f64 / 1e9;
        if elapsed >= 1.0 {
            // After a quiet time the share is that of the quiet time, and the tokens keep the limit.
            let rate = state.seen / elapsed;
            state.threshold = threshold(self.per_second / rate.max(f64::MIN_POSITIVE));
            (state.seen, state.second_began_nanos) = (0.0, now_nanos);
        }
        state.seen += 1.0;
        let since_tokens = now_nanos.saturating_sub(state.tokens_at_nanos) as f64 / 1e9;
        state.tokens = (state.tokens + since_tokens * self.per_second).min(self.per_second.max(1.0));
        state.tokens_at_nanos = now_nanos;
        let decision = Decision::above(input, state.threshold);
        if !decision.is_sampled || state.tokens < 1.0 {
            return Decision::DROP;
        }
        state.tokens -= 1.0;
        decision
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::parent_based(Self::always())
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Never => f.write_str("never"),
            Self::Probabilistic(threshold) => {
                write!(f, "probabilistic({})", 1.0 - *threshold as f64 / WHOLE as f64)
            }
            Self::ParentBased(root) => write!(f, "parent_based({root:?})"),
            Self::RateLimited(limit) => write!(f, "rate_limited({})", limit.per_second),
            Self::ByName(rules, otherwise) => {
                f.debug_map().entries(rules.iter().map(|(name, rule)| (name, rule))).entry(&"*", otherwise).finish()
            }
            Self::Custom(_) => f.write_str("custom"),
        }
    }
}

#[cfg(test)]
mod tests;

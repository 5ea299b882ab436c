//! Samplers: which traces are recorded, decided when a span starts and before any tag is evaluated.

use crate::{SpanContext, SpanKind, TraceId};
use std::fmt;
use std::sync::Arc;

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

/// A sampler of the user's own, for [`Sampler::custom`].
pub trait Sample: Send + Sync + 'static {
    /// Whether to record the span.
    fn sample(&self, input: &SamplingInput<'_>) -> bool;
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
        const WHOLE: f64 = (1_u64 << 56) as f64;
        let ratio = if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) };
        Self(Rule::Probabilistic(((1.0 - ratio) * WHOLE).round() as u64))
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

    /// The sampler that OpenTelemetry's `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` name.
    pub(crate) fn from_names(name: &str, argument: Option<&str>) -> Result<Self, &'static str> {
        let ratio = || match argument.map(str::trim).filter(|argument| !argument.is_empty()) {
            None => Ok(1.0),
            Some(text) => text
                .parse::<f64>()
                .ok()
                .filter(|ratio| (0.0..=1.0).contains(ratio))
                .ok_or("OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1"),
        };
        Ok(match name.trim() {
            "always_on" => Self::always(),
            "always_off" => Self::never(),
            "traceidratio" => Self::probabilistic(ratio()?),
            "parentbased_always_on" => Self::parent_based(Self::always()),
            "parentbased_always_off" => Self::parent_based(Self::never()),
            "parentbased_traceidratio" => Self::parent_based(Self::probabilistic(ratio()?)),
            _ => {
                return Err(
                    "OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, or parentbased_ and one",
                );
            }
        })
    }

    /// Whether to record the span.
    #[must_use]
    pub fn sample(&self, input: &SamplingInput<'_>) -> bool {
        self.0.sample(input)
    }
}

impl Rule {
    fn sample(&self, input: &SamplingInput<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Probabilistic(threshold) => input.trace_id.randomness() >= *threshold,
            Self::ParentBased(_) if input.parent.is_valid() && !input.parent.flags.is_undecided() => {
                input.parent.is_sampled()
            }
            Self::ParentBased(root) => root.sample(input),
            Self::Custom(sampler) => sampler.sample(input),
        }
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
                write!(f, "probabilistic({})", 1.0 - *threshold as f64 / (1_u64 << 56) as f64)
            }
            Self::ParentBased(root) => write!(f, "parent_based({root:?})"),
            Self::Custom(_) => f.write_str("custom"),
        }
    }
}

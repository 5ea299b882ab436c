//! What identifies a span to the other processes of its trace.

use crate::{SpanId, TraceId};
use std::sync::Arc;

/// The identity of a span: what `traceparent` and `tracestate` carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace; invalid (zero) when there is no span.
    pub trace_id: TraceId,
    /// The span; invalid (zero) when there is no span.
    pub span_id: SpanId,
    /// W3C trace flags.
    pub flags: TraceFlags,
    /// Whether it came from another process.
    pub is_remote: bool,
    /// What other vendors' tracers along the way want carried.
    pub trace_state: TraceState,
}

impl SpanContext {
    pub(crate) const EMPTY: Self = Self {
        trace_id: TraceId::from_bytes([0; 16]),
        span_id: SpanId::from_bytes([0; 8]),
        flags: TraceFlags(0),
        is_remote: false,
        trace_state: TraceState(None),
    };

    /// One that another library tells of.
    #[must_use]
    pub const fn new(
        trace_id: TraceId,
        span_id: SpanId,
        flags: TraceFlags,
        is_remote: bool,
        trace_state: TraceState,
    ) -> Self {
        Self { trace_id, span_id, flags, is_remote, trace_state }
    }

    /// Whether there is a span at all.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.trace_id.is_valid() && self.span_id.is_valid()
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags.is_sampled()
    }
}

/// W3C trace flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// The trace is recorded.
    pub const SAMPLED: Self = Self(1);
    /// The low 56 bits of the trace id are random (trace context level 2).
    pub const RANDOM: Self = Self(2);

    /// Not sent: the caller has left it open whether the trace is recorded.
    const UNDECIDED: u8 = 0x80;

    /// The flags that this byte has set and the specification defines; the others are cleared, as it demands.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte & (Self::SAMPLED.0 | Self::RANDOM.0))
    }

    /// As a byte.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self.0 & !Self::UNDECIDED
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED.0 != 0
    }

    /// The same with the sampled flag set or cleared.
    #[must_use]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        let others = self.to_byte() & !Self::SAMPLED.0;
        Self(if sampled { others | Self::SAMPLED.0 } else { others })
    }

    pub(crate) const fn undecided(self) -> Self {
        Self(self.0 | Self::UNDECIDED)
    }

    pub(crate) const fn is_undecided(self) -> bool {
        self.0 & Self::UNDECIDED != 0
    }

    pub(crate) const fn random() -> Self {
        Self::RANDOM
    }
}

/// A checked `tracestate`: at most 32 members, at most 512 bytes; cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceState(Option<Arc<Box<str>>>);

impl TraceState {
    const MAX_MEMBERS: usize = 32;
    /// The specification obliges carriers to 512 bytes; beyond them whole members may be left out from the end.
    const MAX_BYTES: usize = 512;

    /// Reads a header's value. Nothing is kept of one that is invalid, as the specification demands; of one that is
    /// too long, the members that fit are.
    #[must_use]
    pub fn parse(header: &str) -> Self {
        let mut kept = String::new();
        let mut members = 0;
        let mut keys: Vec<&str> = Vec::new();
        for member in header.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            members += 1;
            let Some((key, value)) = member.split_once('=') else { return Self::default() };
            if members > Self::MAX_MEMBERS || !is_key(key) || !is_value(value) || keys.contains(&key) {
                return Self::default();
            }
            keys.push(key);
            let separator = usize::from(!kept.is_empty());
            if kept.len() + separator + member.len() <= Self::MAX_BYTES {
                if separator == 1 {
                    kept.push(',');
                }
                kept.push_str(member);
            }
        }
        if kept.is_empty() { Self::default() } else { Self(Some(Arc::new(kept.into()))) }
    }

    /// The header's value; empty when there is nothing.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", |state| state)
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The value of a vendor's key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.as_str().split(',').filter_map(|member| member.split_once('=')).find(|(k, _)| *k == key).map(|(_, v)| v)
    }
}

/// OpenTelemetry's own member, `ot`: `th`, the threshold of the sampling that the trace has come through, and `rv`, its
/// randomness when that is not the trace id's.
impl TraceState {
    /// The sampling's threshold: of all possible traces, those whose randomness is at least this were recorded. `None` when
    /// nobody has told. A span stands for `2^56 / (2^56 - threshold)` spans.
    #[must_use]
    pub fn sampling_threshold(&self) -> Option<u64> {
        let digits = self.ot("th")?;
        let valid = (1..=14).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        // Trailing zeros are left out.
        valid.then(|| u64::from_str_radix(digits, 16).ok())?.map(|value| value << (4 * (14 - digits.len())))
    }

    pub(crate) fn ot_random(&self) -> Option<u64> {
        let digits = self.ot("rv")?;
        let valid = digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        valid.then(|| u64::from_str_radix(digits, 16).ok())?
    }

    fn ot(&self, key: &str) -> Option<&str> {
        self.get("ot")?.split(';').filter_map(|part| part.split_once(':')).find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// The same with this threshold, or with none. Whoever changes a member puts it first.
    pub(crate) fn with_sampling_threshold(&self, threshold: Option<u64>) -> Self {
        let others = self.get("ot").into_iter().flat_map(|ot| ot.split(';')).filter(|part| !part.starts_with("th:"));
        let mut ot: Vec<std::borrow::Cow<'_, str>> = others.map(Into::into).collect();
        if let Some(threshold) = threshold {
            let digits = format!("{threshold:014x}");
            let significant = digits.trim_end_matches('0');
            ot.insert(0, format!("th:{}", if significant.is_empty() { "0" } else { significant }).into());
        }
        let mut members: Vec<String> = Vec::new();
        if !ot.is_empty() {
            members.push(format!("ot={}", ot.join(";")));
        }
        let kept = self.as_str().split(',').filter(|member| !member.is_empty() && !member.starts_with("ot="));
        members.extend(kept.map(str::to_owned));
        members.truncate(Self::MAX_MEMBERS);
        Self::parse(&members.join(","))
    }
}

/// Level 2's grammar, which contains level 1's but for nothing that is in use: a lower-case letter or digit first,
/// then also `_ - * / @`.
fn is_key(key: &str) -> bool {
    let first = key.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let rest = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte));
    first && rest && key.len() <= 256
}

/// Printable ASCII without `,` and `=`, not ending in a space.
fn is_value(value: &str) -> bool {
    let printable = value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=');
    !value.is_empty() && value.len() <= 256 && printable && !value.ends_with(' ')
}

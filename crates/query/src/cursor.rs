//! Where the next page of a search begins.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use tracewell_model::{SpanId, TimeRange, TraceId};
use tracewell_store::{Predicate, ScanPosition};

/// A trace's place among the results: its newest matching span's start, newest first, then its id.
pub(crate) type Place = (Reverse<u64>, TraceId);

/// Where a page ended, for the page after it. Opaque to clients: a text to give back.
///
/// It carries the time range of the first page, so that "the last hour" is the same hour on every page, and a
/// fingerprint of the conditions, so that it is not used with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) start_unix_nano: u64,
    pub(crate) trace_id: TraceId,
    pub(crate) time: TimeRange,
    pub(crate) fingerprint: u64,
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that a search returned")]
pub struct ParseCursorError;

impl Cursor {
    pub(crate) fn place(&self) -> Place {
        (Reverse(self.start_unix_nano), self.trace_id)
    }

    /// After every row of the trace at that start.
    pub(crate) fn position(&self) -> ScanPosition {
        ScanPosition {
            start_unix_nano: self.start_unix_nano,
            trace_id: self.trace_id,
            span_id: SpanId::from_u64(u64::MAX),
        }
    }
}

/// FNV-1a over the predicates' debug form: equal for equal conditions in every process of one version, which is all
/// that a cursor has to outlive.
pub(crate) fn fingerprint(predicates: &[Predicate]) -> u64 {
    let text = format!("{predicates:?}");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start_unix_nano, trace_id, time, fingerprint } = self;
        let (from, to) = (time.start_unix_nano, time.end_unix_nano);
        write!(f, "{start_unix_nano:016x}{trace_id}{from:016x}{to:016x}{fingerprint:016x}")
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        if text.len() != 96 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseCursorError);
        }
        let number = |place: usize| u64::from_str_radix(&text[place..place + 16], 16).map_err(|_| ParseCursorError);
        let trace_id = u128::from_str_radix(&text[16..48], 16).map_err(|_| ParseCursorError)?;
        Ok(Self {
            start_unix_nano: number(0)?,
            trace_id: TraceId::from_u128(trace_id),
            time: TimeRange::new(number(48)?, number(64)?),
            fingerprint: number(80)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text_and_other_texts_are_refused() {
        let cursor = Cursor {
            start_unix_nano: u64::MAX,
            trace_id: TraceId::from_u128(0xabc),
            time: TimeRange::new(5, 1 << 63),
            fingerprint: 7,
        };
        let text = cursor.to_string();
        assert_eq!(text.parse(), Ok(cursor));
        for wrong in ["", "abc", &text[1..], &text.replace('7', "g"), &"é".repeat(48)] {
            assert_eq!(wrong.parse::<Cursor>(), Err(ParseCursorError), "{wrong}");
        }
    }
}

//! Trace and span ids.

use std::fmt;
use std::str::FromStr;

/// A W3C trace id: 16 bytes, not all zero for a valid trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 16]);

/// A W3C span id: 8 bytes. All zero means "none", which is what a root span has for a parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 8]);

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseIdError {
    /// Nothing was given.
    Empty,
    /// More hexadecimal digits than the id has.
    TooLong {
        /// How many digits an id has at most.
        most: usize,
        /// How many were given.
        got: usize,
    },
    /// A character that is no hexadecimal digit.
    NotHex {
        /// The first such character.
        character: char,
    },
    /// All digits are zero: not a valid id in W3C trace context.
    Zero,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "an id needs at least one hexadecimal digit"),
            Self::TooLong { most, got } => write!(f, "an id has at most {most} hexadecimal digits, this has {got}"),
            Self::NotHex { character } => write!(f, "{character:?} is not a hexadecimal digit"),
            Self::Zero => write!(f, "an id of zeros is not valid"),
        }
    }
}

impl std::error::Error for ParseIdError {}

impl TraceId {
    /// The all-zero id, which no valid span carries.
    pub const ZERO: Self = Self([0; 16]);

    /// An id from its bytes, in network order.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// An id from bytes of unknown length; `None` unless there are 16.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// An id from a number; the most significant byte comes first.
    pub const fn from_u128(number: u128) -> Self {
        Self(number.to_be_bytes())
    }

    /// The id as a number.
    pub const fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// The bytes, in network order.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether this is the all-zero id.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl SpanId {
    /// The all-zero id: no span.
    pub const ZERO: Self = Self([0; 8]);

    /// An id from its bytes, in network order.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// An id from bytes of unknown length; `None` unless there are 8.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// An id from a number; the most significant byte comes first.
    pub const fn from_u64(number: u64) -> Self {
        Self(number.to_be_bytes())
    }

    /// The id as a number.
    pub const fn as_u64(self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// The bytes, in network order.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Whether this is the all-zero id.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

/// Reads up to `2 * N` hexadecimal digits of either case as a number, leading zeros optional.
///
/// People paste ids from logs, URLs and other tools: 64-bit ids of older systems, upper case, zeros stripped.
fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    if text.is_empty() {
        return Err(ParseIdError::Empty);
    }
    if let Some(character) = text.chars().find(|c| !c.is_ascii_hexdigit()) {
        return Err(ParseIdError::NotHex { character });
    }
    let digits = text.trim_start_matches('0').as_bytes();
    if digits.len() > 2 * N {
        return Err(ParseIdError::TooLong { most: 2 * N, got: text.len() });
    }
    if digits.is_empty() {
        return Err(ParseIdError::Zero);
    }
    let mut bytes = [0; N];
    for (place, digit) in digits.iter().rev().enumerate() {
        let nibble = (*digit as char).to_digit(16).unwrap_or(0) as u8;
        bytes[N - 1 - place / 2] |= nibble << (4 * (place % 2));
    }
    Ok(bytes)
}

impl FromStr for TraceId {
    type Err = ParseIdError;

    /// Accepts 1 to 32 hexadecimal digits of either case; missing leading zeros are understood.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text).map(Self)
    }
}

impl FromStr for SpanId {
    type Err = ParseIdError;

    /// Accepts 1 to 16 hexadecimal digits of either case; missing leading zeros are understood.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for TraceId {
    /// 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.as_u128())
    }
}

impl fmt::Display for SpanId {
    /// 16 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.as_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_read_short_long_and_in_any_case() {
        let id = TraceId::from_u128(0xabc);
        for text in ["abc", "ABC", "0abc", "00000000000000000000000000000abc", "0000000000000ABC"] {
            assert_eq!(text.parse(), Ok(id), "{text}");
        }
        assert_eq!(id.to_string(), "00000000000000000000000000000abc");
        let long: TraceId = "f000000000000000000000000000000e".parse().unwrap();
        assert_eq!(long.as_u128(), 0xf000_0000_0000_0000_0000_0000_0000_000e);
    }

    #[test]
    fn what_is_no_id_says_why() {
        assert_eq!("".parse::<TraceId>(), Err(ParseIdError::Empty));
        assert_eq!("0".parse::<TraceId>(), Err(ParseIdError::Zero));
        assert_eq!("xyz".parse::<TraceId>(), Err(ParseIdError::NotHex { character: 'x' }));
        assert_eq!("é".parse::<SpanId>(), Err(ParseIdError::NotHex { character: 'é' }));
        assert_eq!("1".repeat(33).parse::<TraceId>(), Err(ParseIdError::TooLong { most: 32, got: 33 }));
    }
}

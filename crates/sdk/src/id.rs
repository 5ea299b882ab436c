//! Trace and span ids, and the generator of random ones.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// The 16-byte id that all spans of one trace share. Zero is invalid and is the default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TraceId(u128);

/// The 8-byte id of one span. Zero is invalid and is the default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SpanId(u64);

impl TraceId {
    /// A random, valid id.
    #[must_use]
    pub fn random() -> Self {
        Self((u128::from(random_u64()) << 64) | u128::from(random_nonzero_u64()))
    }

    /// The id whose big-endian bytes these are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The id, big-endian, as it is exported.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Parses exactly 32 lower-case hexadecimal digits; zero is not an id.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let bytes: &[u8; 32] = hex.as_bytes().try_into().ok()?;
        let high = parse_hex_u64(&bytes[..16])?;
        let low = parse_hex_u64(&bytes[16..])?;
        Some(Self((u128::from(high) << 64) | u128::from(low))).filter(|id| id.is_valid())
    }

    /// Whether the id is not zero.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }

    /// The 56 bits that W3C trace context level 2 promises to be random, which probabilistic samplers decide on.
    #[must_use]
    pub const fn randomness(self) -> u64 {
        (self.0 as u64) & 0x00ff_ffff_ffff_ffff
    }
}

impl SpanId {
    /// A random, valid id.
    #[must_use]
    pub fn random() -> Self {
        Self(random_nonzero_u64())
    }

    /// The id whose big-endian bytes these are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    /// The id, big-endian, as it is exported.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Parses exactly 16 lower-case hexadecimal digits; zero is not an id.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 16 {
            return None;
        }
        parse_hex_u64(hex.as_bytes()).map(Self).filter(|id| id.is_valid())
    }

    /// Whether the id is not zero.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// Lower-case hexadecimal only: W3C trace context forbids upper case.
pub(crate) fn parse_hex_u64(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((value << 4) | u64::from(nibble))
    })
}

/// The next output of this thread's xoshiro256++ (Blackman and Vigna, 2019). Its 256 bits of state, seeded from the
/// operating system's randomness, keep the streams of many threads and processes apart; ids need no secrecy.
pub(crate) fn random_u64() -> u64 {
    thread_local! {
        static STATE: Cell<[u64; 4]> = Cell::new(seed());
    }
    // While the thread's locals are being destroyed a fresh seed serves as well.
    STATE
        .try_with(|cell| {
            let mut s = cell.get();
            let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
            let t = s[1] << 17;
            s[2] ^= s[0];
            s[3] ^= s[1];
            s[1] ^= s[2];
            s[0] ^= s[3];
            s[2] ^= t;
            s[3] = s[3].rotate_left(45);
            cell.set(s);
            result
        })
        .unwrap_or_else(|_| seed()[0])
}

fn random_nonzero_u64() -> u64 {
    loop {
        let value = random_u64();
        if value != 0 {
            return value;
        }
    }
}

/// `RandomState` is keyed by the operating system, so hashes of known values under it are unpredictable; the process
/// id keeps the streams of forks apart that happen before first use.
fn seed() -> [u64; 4] {
    let state = RandomState::new();
    let process = std::process::id();
    [1_u8, 2, 3, 4].map(|n| state.hash_one((n, process)) | u64::from(n == 1))
}

//! Trace and span ids, and the generator of random ones.

use crate::fork;
use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// The 16-byte id that all spans of one trace share. Zero is invalid and is the default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TraceId {
    /// Not one number of 128 bits: its alignment would make every context larger.
    high: u64,
    low: u64,
}

/// The 8-byte id of one span. Zero is invalid and is the default.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SpanId(u64);

impl TraceId {
    /// A random, valid id.
    #[must_use]
    pub fn random() -> Self {
        Self { high: random_u64(), low: random_nonzero_u64() }
    }

    /// The id whose big-endian bytes these are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let value = u128::from_be_bytes(bytes);
        Self { high: (value >> 64) as u64, low: value as u64 }
    }

    /// The id, big-endian, as it is exported.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        ((self.high as u128) << 64 | self.low as u128).to_be_bytes()
    }

    /// Parses exactly 32 lower-case hexadecimal digits; zero is not an id.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        parse_hex(hex.as_bytes()).map(Self::from_bytes).filter(|id| id.is_valid())
    }

    /// Parses 1 to 32 hexadecimal digits of either case, as other formats than W3C's have them.
    pub(crate) fn from_short_hex(hex: &str) -> Option<Self> {
        let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u128::from_str_radix(hex, 16).ok().filter(|_| digits && hex.len() <= 32)?;
        Some(Self::from_bytes(id.to_be_bytes())).filter(|id| id.is_valid())
    }

    /// Whether the id is not zero.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.high | self.low != 0
    }

    /// The 56 bits that W3C trace context level 2 promises to be random, which probabilistic samplers decide on.
    #[must_use]
    pub const fn randomness(self) -> u64 {
        self.low & 0x00ff_ffff_ffff_ffff
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
        parse_hex(hex.as_bytes()).map(Self::from_bytes).filter(|id| id.is_valid())
    }

    /// Parses 1 to 16 hexadecimal digits of either case, as other formats than W3C's have them.
    pub(crate) fn from_short_hex(hex: &str) -> Option<Self> {
        let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(hex, 16).ok().filter(|_| digits && hex.len() <= 16).map(Self).filter(|id| id.is_valid())
    }

    /// Whether the id is not zero.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 != 0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
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

/// The value of a lower-case digit, 0xff of anything else: W3C trace context forbids upper case.
const NIBBLES: [u8; 256] = {
    let mut table = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        table[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    table
};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Exactly so many bytes of two lower-case hexadecimal digits each.
#[inline]
pub(crate) fn parse_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    let mut wrong = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = high << 4 | low;
    }
    (wrong < 16).then_some(bytes)
}

/// Writes the bytes as two lower-case digits each.
#[inline]
pub(crate) fn write_hex(bytes: &[u8], out: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// The next output of this thread's xoshiro256++ (Blackman and Vigna, 2019). Its 256 bits of state, seeded from the
/// operating system's randomness, keep the streams of many threads and processes apart; ids need no secrecy.
pub(crate) fn random_u64() -> u64 {
    thread_local! {
        static STATE: Cell<[u64; 4]> = Cell::new(seed());
        /// The forks until it was seeded: a child that went on with it would make its parent's ids. Beside the state and not
        /// in it: together they are copied in pieces of another size than they were written in, and the processor waits.
        static FORKS: Cell<u32> = const { Cell::new(0) };
    }
    let forks = fork::count();
    if FORKS.get() != forks {
        FORKS.set(forks);
        let _ = STATE.try_with(|state| state.set(seed()));
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

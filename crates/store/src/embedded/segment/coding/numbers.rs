//! Columns of numbers.
//!
//! Most numbers of spans are times, durations and sizes: spread over many magnitudes, random within one. So a number is
//! divided into its magnitude (how many bits it has, one of 65, which compresses well) and the bits below its highest,
//! which do not compress and are packed as they are. This is within a tenth of a bit of what their distribution allows.

use super::bytes::{Damaged, Input, Zstd, get_bytes, put_bytes, put_varint};
use super::runs::Runs;

const SAME: u8 = 0;
const FEW: u8 = 1;
const MAGNITUDES: u8 = 2;

/// So many distinct numbers are listed and then named by a byte each.
const MOST_FEW: usize = 256;

/// Clocks that tick in microseconds or milliseconds leave numbers that are divisible by these.
const DIVISORS: [u64; 2] = [1_000_000, 1_000];

/// Appends numbers; their count is known to the reader.
pub(in crate::embedded::segment) fn put_numbers(zstd: &mut Zstd, numbers: &[u64], out: &mut Vec<u8>) {
    let Some(first) = numbers.first() else { return };
    if numbers.iter().all(|number| number == first) {
        out.push(SAME);
        put_varint(out, *first);
        return;
    }
    if let Some((few, names)) = few(numbers) {
        out.push(FEW);
        put_varint(out, few.len() as u64);
        few.iter().for_each(|number| put_varint(out, *number));
        put_bytes(zstd, &names, out);
        return;
    }
    let divisor = DIVISORS.into_iter().find(|divisor| numbers.iter().all(|number| number % divisor == 0)).unwrap_or(1);
    out.push(MAGNITUDES);
    put_varint(out, divisor);
    let mut magnitudes = Vec::with_capacity(numbers.len());
    let mut bits = BitWriter::with_capacity(numbers.len() * 4);
    for number in numbers {
        let number = if divisor == 1 { *number } else { number / divisor };
        let magnitude = 64 - number.leading_zeros();
        magnitudes.push(magnitude as u8);
        if magnitude > 1 {
            bits.put(number & !(1 << (magnitude - 1)), magnitude - 1);
        }
    }
    put_bytes(zstd, &magnitudes, out);
    let bits = bits.finish();
    put_varint(out, bits.len() as u64);
    out.extend_from_slice(&bits);
}

/// Reads what [`put_numbers`] wrote, of so many numbers those that are wanted.
pub(in crate::embedded::segment) fn get_numbers(
    zstd: &mut Zstd,
    input: &mut Input<'_>,
    count: usize,
    wanted: &Runs,
) -> Result<Vec<u64>, Damaged> {
    wanted.check(count)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    match input.byte()? {
        SAME => Ok(vec![input.varint()?; wanted.len()]),
        FEW => {
            let mut few = [0; MOST_FEW];
            let listed = input.size(MOST_FEW)?;
            for number in &mut few[..listed] {
                *number = input.varint()?;
            }
            let names = get_bytes(zstd, input, count)?;
            if names.len() != count {
                return Err(Damaged("a column has another length"));
            }
            let mut out = Vec::with_capacity(wanted.len());
            for run in wanted.iter() {
                let names = &names[run];
                if names.iter().any(|name| usize::from(*name) >= listed) {
                    return Err(Damaged("a number is not listed"));
                }
                out.extend(names.iter().map(|name| few[usize::from(*name)]));
            }
            Ok(out)
        }
        MAGNITUDES => {
            let divisor = input.varint()?;
            let magnitudes = get_bytes(zstd, input, count)?;
            if magnitudes.len() != count {
                return Err(Damaged("a column has another length"));
            }
            let mut bits = BitReader::new(input.slice()?);
            let mut out = Vec::with_capacity(wanted.len());
            let mut at = 0;
            for run in wanted.iter() {
                let passed = magnitudes[at..run.start].iter().map(|magnitude| u32::from(magnitude.saturating_sub(1)));
                bits.pass(passed.sum::<u32>() as usize);
                at = run.end;
                for magnitude in &magnitudes[run] {
                    let number = match *magnitude {
                        0 => 0,
                        1 => 1,
                        magnitude @ 2..=64 => bits.get(u32::from(magnitude) - 1) | 1 << (magnitude - 1),
                        _ => return Err(Damaged("a number has more than 64 bits")),
                    };
                    out.push(number.wrapping_mul(divisor));
                }
            }
            if bits.overran { Err(Damaged("a column is cut off")) } else { Ok(out) }
        }
        _ => Err(Damaged("a column of numbers has an unknown tag")),
    }
}

/// Appends numbers below 2^32 that name something, such as places in a dictionary: one run of bytes for each eight bits.
pub(in crate::embedded::segment) fn put_codes(zstd: &mut Zstd, codes: &[u32], out: &mut Vec<u8>) {
    let most = codes.iter().copied().max().unwrap_or(0);
    let planes = (32 - most.leading_zeros()).div_ceil(8).max(1);
    out.push(planes as u8);
    let mut plane_bytes = Vec::with_capacity(codes.len());
    for plane in 0..planes {
        plane_bytes.clear();
        plane_bytes.extend(codes.iter().map(|code| (code >> (8 * plane)) as u8));
        put_bytes(zstd, &plane_bytes, out);
    }
}

/// Reads what [`put_codes`] wrote, of so many codes those that are wanted.
pub(in crate::embedded::segment) fn get_codes(
    zstd: &mut Zstd,
    input: &mut Input<'_>,
    count: usize,
    wanted: &Runs,
) -> Result<Vec<u32>, Damaged> {
    wanted.check(count)?;
    let planes = input.byte()?;
    if !(1..=4).contains(&planes) {
        return Err(Damaged("a code has more than four bytes"));
    }
    let mut codes = vec![0u32; wanted.len()];
    for plane in 0..u32::from(planes) {
        let bytes = get_bytes(zstd, input, count)?;
        if bytes.len() != count {
            return Err(Damaged("a column has another length"));
        }
        let mut rest = codes.as_mut_slice();
        for run in wanted.iter() {
            let (codes, behind) = rest.split_at_mut(run.len());
            for (code, byte) in codes.iter_mut().zip(&bytes[run]) {
                *code |= u32::from(*byte) << (8 * plane);
            }
            rest = behind;
        }
    }
    Ok(codes)
}

/// The distinct numbers in the order in which they occur, and the place in it of each number; `None` if there are many.
fn few(numbers: &[u64]) -> Option<(Vec<u64>, Vec<u8>)> {
    const SLOTS: usize = 1024;
    const FREE: u16 = u16::MAX;
    // Few of few numbers are better off as they are.
    let most = MOST_FEW.min(numbers.len() / 4);
    let mut slots = [FREE; SLOTS];
    let mut few: Vec<u64> = Vec::new();
    let mut names = Vec::with_capacity(numbers.len());
    for number in numbers {
        let mut slot = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize;
        let name = loop {
            match slots[slot] {
                FREE if few.len() >= most => return None,
                FREE => {
                    slots[slot] = few.len() as u16;
                    few.push(*number);
                    break few.len() - 1;
                }
                place if few[usize::from(place)] == *number => break usize::from(place),
                _ => slot = (slot + 1) % SLOTS,
            }
        };
        names.push(name as u8);
    }
    Some((few, names))
}

/// Bits, the lowest of a byte first.
struct BitWriter {
    bytes: Vec<u8>,
    pending: u64,
    used: u32,
}

impl BitWriter {
    fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), pending: 0, used: 0 }
    }

    /// Appends the lowest `count` bits of a number that has no others; `count` is at most 63.
    #[inline]
    fn put(&mut self, number: u64, count: u32) {
        self.pending |= number << self.used;
        let used = self.used + count;
        if used >= 64 {
            self.bytes.extend_from_slice(&self.pending.to_le_bytes());
            // What did not fit; all of it when the word was empty is not possible with at most 63 bits.
            self.pending = if self.used == 0 { 0 } else { number >> (64 - self.used) };
            self.used = used - 64;
        } else {
            self.used = used;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let left = self.used.div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.pending.to_le_bytes()[..left]);
        self.bytes
    }
}

struct BitReader<'a> {
    rest: &'a [u8],
    pending: u64,
    have: u32,
    overran: bool,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, pending: 0, have: 0, overran: false }
    }

    /// The next `count` bits, 1 to 63; zeros behind the end.
    #[inline]
    fn get(&mut self, count: u32) -> u64 {
        let mask = (1u64 << count) - 1;
        if self.have >= count {
            let number = self.pending & mask;
            self.pending >>= count;
            self.have -= count;
            return number;
        }
        let word = self.next_word();
        let have = self.have;
        let number = (self.pending | word << have) & mask;
        let taken = count - have;
        // Fewer than 64 bits were taken of the new word, as `have` is less than `count`, which is less than 64.
        self.pending = word >> taken;
        self.have = 64 - taken;
        number
    }

    /// Goes on behind the next `count` bits.
    fn pass(&mut self, count: usize) {
        let Some(beyond) = count.checked_sub(self.have as usize) else {
            self.pending >>= count;
            self.have -= count as u32;
            return;
        };
        (self.pending, self.have) = (0, 0);
        self.rest = self.rest.get(beyond / 64 * 8..).unwrap_or_default();
        if beyond % 64 > 0 {
            self.get((beyond % 64) as u32);
        }
    }

    #[inline]
    fn next_word(&mut self) -> u64 {
        if let Some((word, rest)) = self.rest.split_first_chunk() {
            self.rest = rest;
            return u64::from_le_bytes(*word);
        }
        self.overran |= self.rest.is_empty();
        let mut word = [0; 8];
        word[..self.rest.len()].copy_from_slice(self.rest);
        self.rest = &[];
        u64::from_le_bytes(word)
    }
}

//! Which values occur in which part of a segment, so that a search for a rare one reads almost nothing.
//!
//! Each group of blocks has a Bloom filter of its attributes' keys and values. The filters of a segment have one size and
//! lie across: line *n* of every group, then line *n + 1* of every group. A value asks for one line, so one read of
//! (groups x 64 bytes) answers for a whole segment, however many rows it has.

use super::hash;

/// Blocks that share a filter.
pub(super) const GROUP_BLOCKS: usize = 4;
const LINE_BYTES: usize = 64;
const LINE_BITS: u64 = LINE_BYTES as u64 * 8;
/// Twelve bits a value, six of them set by each: of values that are not there, one in two hundred seems to be.
const BITS_PER_VALUE: usize = 12;
const PROBES: u32 = 6;

/// The hash of a value of a key, whatever part of a span it stands in.
pub(super) fn of_text(key: u64, text: &[u8]) -> u64 {
    hash::of_bytes(key, text)
}

/// The hash of an integer.
pub(super) fn of_int(key: u64, value: i64) -> u64 {
    hash::of_number(key ^ 0x1d, value as u64)
}

/// What a key's values are hashed with.
pub(super) fn of_key(key: &str) -> u64 {
    hash::of_bytes(0x6b65_7973, key.as_bytes())
}

/// Collects hashes, a group after the other.
#[derive(Default)]
pub(super) struct FilterBuilder {
    groups: Vec<Vec<u64>>,
    current: Vec<u64>,
}

impl FilterBuilder {
    #[inline]
    pub(super) fn add(&mut self, hash: u64) {
        self.current.push(hash);
    }

    /// Ends a group.
    pub(super) fn end_group(&mut self) {
        self.current.sort_unstable();
        self.current.dedup();
        self.groups.push(self.current.as_slice().to_vec());
        self.current.clear();
    }

    /// The number of lines of a group, and all lines.
    pub(super) fn finish(self) -> (u64, Vec<u8>) {
        let most = self.groups.iter().map(Vec::len).max().unwrap_or(0);
        let lines = (most * BITS_PER_VALUE).div_ceil(LINE_BITS as usize).max(1);
        let mut bytes = vec![0; lines * self.groups.len() * LINE_BYTES];
        for (group, hashes) in self.groups.iter().enumerate() {
            for hash in hashes {
                let start = (line(*hash, lines as u64) as usize * self.groups.len() + group) * LINE_BYTES;
                for bit in bits(*hash) {
                    bytes[start + (bit / 8) as usize] |= 1 << (bit % 8);
                }
            }
        }
        (lines as u64, bytes)
    }
}

fn line(hash: u64, lines: u64) -> u64 {
    ((u128::from(hash) * u128::from(lines)) >> 64) as u64
}

/// The line is chosen by the hash's high bits, the bits in it by the low 54.
fn bits(hash: u64) -> impl Iterator<Item = u64> {
    (0..PROBES).map(move |probe| hash >> (9 * probe) & (LINE_BITS - 1))
}

/// Where in the filter the lines for a hash lie, one for each group: offset and length.
pub(super) fn lines_of(hash: u64, lines: u64, groups: usize) -> (u64, usize) {
    (line(hash, lines) * (groups * LINE_BYTES) as u64, groups * LINE_BYTES)
}

/// Which groups may hold the value, given its lines.
pub(super) fn groups_with(hash: u64, lines: &[u8]) -> impl Iterator<Item = bool> {
    lines.chunks_exact(LINE_BYTES).map(move |line| bits(hash).all(|bit| line[(bit / 8) as usize] & 1 << (bit % 8) != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_its_group_and_rarely_in_others() {
        let value = |group: u64, number: u64| of_text(of_key("id"), format!("{group}-{number}").as_bytes());
        let mut builder = FilterBuilder::default();
        for group in 0..5 {
            (0..1000 + group * 100).for_each(|number| builder.add(value(group, number)));
            builder.end_group();
        }
        let (lines, bytes) = builder.finish();
        let groups_of = |hash: u64| {
            let (offset, length) = lines_of(hash, lines, 5);
            groups_with(hash, &bytes[offset as usize..offset as usize + length]).collect::<Vec<bool>>()
        };
        let mut wrong = 0;
        for group in 0..5 {
            for number in 0..1000 {
                let found = groups_of(value(group, number));
                assert!(found[group as usize]);
                wrong += found.iter().filter(|found| **found).count() - 1;
            }
        }
        assert!(wrong < 20_000 / 40, "{wrong} of 20000 were found where they are not");
    }
}

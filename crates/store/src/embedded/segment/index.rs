//! Where a trace's rows are: a list of (hash of the trace id, block), sorted by hash, found through a small table of
//! places that is held in memory.

use tracewell_model::TraceId;

use super::coding::{Damaged, Input, put_varint};
use super::hash;

/// The upper 40 bits of the hash and the block: enough to be wrong once in a million times, which costs a block's read.
pub(super) const ENTRY_BYTES: usize = 8;
const BLOCK_BITS: u32 = 24;
/// Entries that one place of the table stands for, about.
const ENTRIES_PER_PLACE: usize = 64;

pub(super) fn hash_of(trace_id: TraceId) -> u64 {
    hash::of_bytes(0, trace_id.as_bytes()) >> BLOCK_BITS << BLOCK_BITS
}

/// The hash of an entry, as [`hash_of`] has it.
pub(super) fn hash_of_entry(entry: u64) -> u64 {
    entry >> BLOCK_BITS << BLOCK_BITS
}

/// Collects the traces of each block.
#[derive(Default)]
pub(super) struct IndexBuilder {
    entries: Vec<u64>,
}

/// The part of an index that is held in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct IndexPlaces {
    /// The hash's upper bits that name a place.
    bits: u32,
    /// The number of entries before each place, and at last of all.
    before: Vec<u32>,
}

impl IndexBuilder {
    pub(super) fn add(&mut self, trace_id: TraceId, block: usize) {
        self.entries.push(hash_of(trace_id) | block as u64 & ((1 << BLOCK_BITS) - 1));
    }

    /// The entries, and the table of places.
    pub(super) fn finish(mut self) -> (Vec<u8>, IndexPlaces) {
        self.entries.sort_unstable();
        self.entries.dedup();
        let bits = (self.entries.len() / ENTRIES_PER_PLACE).max(1).ilog2();
        let place = |entry: u64| if bits == 0 { 0 } else { (entry >> (64 - bits)) as usize };
        let mut before = vec![0u32; (1 << bits) + 1];
        self.entries.iter().for_each(|entry| before[place(*entry) + 1] += 1);
        for place in 1..before.len() {
            before[place] += before[place - 1];
        }
        let bytes = self.entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        (bytes, IndexPlaces { bits, before })
    }
}

impl IndexPlaces {
    /// The entries among which those of a hash are: first and behind the last.
    pub(super) fn range(&self, hash: u64) -> (usize, usize) {
        let place = if self.bits == 0 { 0 } else { (hash >> (64 - self.bits)) as usize };
        match self.before.get(place..place + 2) {
            Some([first, end]) => (*first as usize, *end as usize),
            _ => (0, 0),
        }
    }

    pub(super) fn entries(&self) -> usize {
        self.before.last().map_or(0, |entries| *entries as usize)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.bits as u8);
        self.before.windows(2).for_each(|pair| put_varint(out, u64::from(pair[1] - pair[0])));
    }

    pub(super) fn get(input: &mut Input<'_>) -> Result<Self, Damaged> {
        let bits = u32::from(input.byte()?);
        if bits > 32 {
            return Err(Damaged("an index has too many places"));
        }
        let mut before = vec![0u32];
        let mut total = 0u32;
        for _ in 0..1u64 << bits {
            let entries = u32::try_from(input.varint()?).ok();
            total = entries.and_then(|entries| total.checked_add(entries)).ok_or(Damaged("an index is too large"))?;
            before.push(total);
        }
        Ok(Self { bits, before })
    }
}

/// The blocks of a hash, among some entries.
pub(super) fn blocks_of(hash: u64, entries: &[u8]) -> impl Iterator<Item = usize> {
    entries
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| entry.try_into().map_or(0, u64::from_le_bytes))
        .filter(move |entry| entry >> BLOCK_BITS == hash >> BLOCK_BITS)
        .map(|entry| (entry & ((1 << BLOCK_BITS) - 1)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_is_found_in_its_blocks_and_no_other() {
        let mut builder = IndexBuilder::default();
        let id = |number: u128| TraceId::from_u128(number + 1);
        for number in 0..10_000u128 {
            builder.add(id(number), number as usize / 50);
            if number % 100 == 0 {
                builder.add(id(number), number as usize / 50 + 1);
            }
        }
        let (bytes, places) = builder.finish();
        let mut written = Vec::new();
        places.put(&mut written);
        let places = IndexPlaces::get(&mut Input(&written)).unwrap();
        assert_eq!(places.entries() * ENTRY_BYTES, bytes.len());
        for number in 0..10_100u128 {
            let hash = hash_of(id(number));
            let (first, end) = places.range(hash);
            let found: Vec<usize> = blocks_of(hash, &bytes[first * ENTRY_BYTES..end * ENTRY_BYTES]).collect();
            let block = number as usize / 50;
            let expected = if number >= 10_000 {
                vec![]
            } else if number % 100 == 0 {
                vec![block, block + 1]
            } else {
                vec![block]
            };
            assert_eq!(found, expected, "{number}");
        }
    }
}

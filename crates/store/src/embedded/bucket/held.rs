//! Which pieces of segments the cache holds, and which of them goes next.
//!
//! The least used goes first. But without a segment's footer it is not opened, and without its index and its table no trace
//! in it is found: these hold a few of its bytes, and are kept while rows go, which may be many.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// A segment's number and the place of a piece in it.
pub(super) type Key = (u64, u64);

/// How much a piece matters: 0 is that of rows, and of what is not known yet.
type Rank = usize;

#[derive(Default)]
pub(super) struct Held {
    pieces: BTreeMap<Key, Piece>,
    /// The pieces by how much they matter and by when they were used last.
    by_use: BTreeMap<(Rank, u64), Key>,
    /// Of each segment, the pieces that matter, those that do most last. They may overlap.
    preferred: HashMap<u64, Vec<Range<u64>>>,
    uses: u64,
    bytes: u64,
    preferred_bytes: u64,
}

struct Piece {
    file_bytes: u64,
    rank: Rank,
    used: u64,
}

impl Held {
    /// What an earlier process left. Where its segments have what matters is known when they are opened; until then the
    /// pieces that are farther from the end of what is held of a segment go first.
    pub(super) fn found(mut pieces: Vec<(Key, u64)>) -> Self {
        let mut last = HashMap::new();
        for ((number, piece), _) in &pieces {
            let last = last.entry(*number).or_insert(0);
            *last = (*piece).max(*last);
        }
        pieces.sort_unstable_by_key(|((number, piece), _)| (Reverse(last[number] - piece), *number));
        let mut held = Self::default();
        for (key, file_bytes) in pieces {
            held.add(key, file_bytes);
        }
        held
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.pieces.contains_key(&key)
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.pieces.keys().copied().collect()
    }

    pub(super) fn keys_of(&self, number: u64) -> Vec<Key> {
        self.pieces.range((number, 0)..=(number, u64::MAX)).map(|(key, _)| *key).collect()
    }

    /// Says which pieces of a segment matter, those that do most last.
    pub(super) fn prefer(&mut self, number: u64, parts: Vec<Range<u64>>) {
        self.preferred.insert(number, parts);
        for key in self.keys_of(number) {
            if let Some(Piece { file_bytes, used, .. }) = self.take(key) {
                self.insert(key, file_bytes, used);
            }
        }
    }

    /// Forgets which pieces of a segment matter, or of all.
    pub(super) fn prefer_none(&mut self, number: Option<u64>) {
        match number {
            Some(number) => drop(self.preferred.remove(&number)),
            None => self.preferred.clear(),
        }
    }

    pub(super) fn add(&mut self, key: Key, file_bytes: u64) {
        self.uses += 1;
        self.insert(key, file_bytes, self.uses);
    }

    pub(super) fn remove(&mut self, key: Key) -> bool {
        self.take(key).is_some()
    }

    /// Notes that a piece is used; false if it is not held.
    pub(super) fn touch(&mut self, key: Key) -> bool {
        let Some(piece) = self.take(key) else { return false };
        self.add(key, piece.file_bytes);
        true
    }

    /// The piece that is missed least: the least used of rows, as long as there are any and what matters more takes no more
    /// than so many bytes. Beyond that the least used of both, and of what matters, what does least.
    pub(super) fn next_to_go(&self, most_preferred_bytes: u64) -> Option<Key> {
        let rows = self.by_use.range(..(1, 0)).next();
        let preferred = self.by_use.range((1, 0)..).next();
        let next = match (rows, preferred) {
            (Some(rows), Some(preferred)) => {
                let is_older = preferred.0.1 < rows.0.1;
                if is_older && self.preferred_bytes > most_preferred_bytes { preferred } else { rows }
            }
            (rows, preferred) => rows.or(preferred)?,
        };
        Some(*next.1)
    }

    fn rank(&self, (number, piece): Key) -> Rank {
        let parts = self.preferred.get(&number);
        parts.and_then(|parts| parts.iter().rposition(|part| part.contains(&piece))).map_or(0, |place| place + 1)
    }

    fn insert(&mut self, key: Key, file_bytes: u64, used: u64) {
        let rank = self.rank(key);
        self.by_use.insert((rank, used), key);
        self.pieces.insert(key, Piece { file_bytes, rank, used });
        self.bytes += file_bytes;
        if rank > 0 {
            self.preferred_bytes += file_bytes;
        }
    }

    fn take(&mut self, key: Key) -> Option<Piece> {
        let piece = self.pieces.remove(&key)?;
        self.by_use.remove(&(piece.rank, piece.used));
        self.bytes -= piece.file_bytes;
        if piece.rank > 0 {
            self.preferred_bytes -= piece.file_bytes;
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A segment of ten pieces: rows, two of a filter, two of an index, a footer in the last, which begins in the one before.
    fn segment(held: &mut Held, number: u64) {
        for piece in 0..10 {
            held.add((number, piece), 1);
        }
        held.prefer(number, vec![7..9, 5..8, 8..10]);
    }

    /// What goes, one after the other.
    fn going(mut held: Held, most_preferred_bytes: u64) -> Vec<Key> {
        let mut gone = Vec::new();
        while let Some(key) = held.next_to_go(most_preferred_bytes) {
            assert!(held.remove(key));
            gone.push(key);
        }
        assert_eq!((held.len(), held.bytes(), held.preferred_bytes), (0, 0, 0));
        gone
    }

    #[test]
    fn rows_go_first_then_filters_then_indexes_then_footers() {
        let mut held = Held::default();
        segment(&mut held, 1);
        segment(&mut held, 2);
        held.touch((1, 3));
        held.touch((1, 6));
        held.touch((2, 0));
        let gone = going(held, 20);
        let rows = [(1, 0), (1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 3), (2, 4), (1, 3), (2, 0)];
        assert_eq!(gone[..10], rows, "the least used first");
        assert_eq!(
            gone[10..16],
            [(1, 5), (1, 7), (2, 5), (2, 6), (2, 7), (1, 6)],
            "a piece is what matters most in it"
        );
        assert_eq!(gone[16..], [(1, 8), (1, 9), (2, 8), (2, 9)], "without a footer the rest is of no use");
    }

    #[test]
    fn rows_have_their_share_if_what_finds_them_is_too_much() {
        let mut held = Held::default();
        (1..=4).for_each(|number| segment(&mut held, number));
        for row in 0..5 {
            held.touch((4, row));
        }
        let gone = going(held, 8);
        assert_eq!(gone.iter().filter(|(_, piece)| *piece < 5).count(), 20);
        let first_kept_row = gone.iter().position(|key| *key == (4, 0)).unwrap();
        let went: Vec<&Key> = gone[..first_kept_row].iter().filter(|(_, piece)| *piece >= 5).collect();
        assert_eq!(went.len(), 12, "so many that the rest is within the bound: {went:?}");
        assert!(went.iter().all(|(_, piece)| (5..8).contains(piece)), "no footer: {went:?}");
    }

    #[test]
    fn what_an_earlier_process_left_goes_from_the_front_of_segments() {
        let pieces = |number: u64, held: Range<u64>| held.map(move |piece| ((number, piece), 1));
        let gone = going(Held::found(pieces(1, 0..4).chain(pieces(2, 8..10)).collect()), 0);
        assert_eq!(gone, [(1, 0), (1, 1), (1, 2), (2, 8), (1, 3), (2, 9)]);
    }

    #[test]
    fn of_a_segment_that_is_forgotten_nothing_is_known() {
        let mut held = Held::default();
        segment(&mut held, 1);
        held.keys_of(1).into_iter().for_each(|key| assert!(held.remove(key)));
        held.prefer_none(Some(1));
        held.add((1, 9), 1);
        held.add((1, 0), 1);
        assert_eq!(going(held, 0), [(1, 9), (1, 0)]);
    }
}

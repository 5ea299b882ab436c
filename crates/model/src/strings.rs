//! Interned strings: each distinct string of a batch is held once and named by a number.

use std::hash::{BuildHasher, Hasher};
use std::str::Utf8Error;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Names a string in the [`StringTable`] that made it. Number 0 is the empty string in every table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StrId(pub(crate) u32);

impl StrId {
    /// The empty string.
    pub const EMPTY: Self = Self(0);

    /// The place in the table, for arrays that run parallel to it.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The distinct strings of one batch, in one allocation.
///
/// The hasher is seeded at random per table, so that a sender cannot choose strings that collide.
#[derive(Clone, Debug)]
pub struct StringTable {
    text: String,
    /// Where each string ends in `text`; it begins where the one before ends.
    ends: Vec<u32>,
    places: HashTable<u32>,
    hasher: RandomState,
}

impl Default for StringTable {
    fn default() -> Self {
        Self { text: String::new(), ends: vec![0], places: HashTable::new(), hasher: RandomState::default() }
    }
}

impl StringTable {
    /// The number of the string, which is added if it is new.
    ///
    /// # Panics
    /// When the strings together exceed 4 GiB. Receivers and stores bound a batch far below that.
    pub fn intern(&mut self, string: &str) -> StrId {
        let hash = self.hash(string.as_bytes());
        match self.find_hashed(string.as_bytes(), hash) {
            Some(known) => known,
            None => self.add(string, hash),
        }
    }

    /// The same for bytes that may be no UTF-8. Bytes that are in the table already are known to be, and are not looked
    /// at again.
    ///
    /// # Errors
    /// When the bytes are new and no UTF-8.
    pub fn intern_bytes(&mut self, bytes: &[u8]) -> Result<StrId, Utf8Error> {
        let hash = self.hash(bytes);
        match self.find_hashed(bytes, hash) {
            Some(known) => Ok(known),
            None => std::str::from_utf8(bytes).map(|string| self.add(string, hash)),
        }
    }

    /// Makes room for more strings, of so many bytes together: without it, each is hashed again whenever the table grows.
    pub fn reserve(&mut self, strings: usize, bytes: usize) {
        self.text.reserve(bytes);
        self.ends.reserve(strings);
        let mut places = std::mem::take(&mut self.places);
        places.reserve(strings, |place| self.hash(slice(&self.text, &self.ends, *place).as_bytes()));
        self.places = places;
    }

    /// The number of a string that is already in the table.
    pub fn find(&self, string: &str) -> Option<StrId> {
        self.find_hashed(string.as_bytes(), self.hash(string.as_bytes()))
    }

    #[inline]
    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    #[inline]
    fn find_hashed(&self, bytes: &[u8], hash: u64) -> Option<StrId> {
        if bytes.is_empty() {
            return Some(StrId::EMPTY);
        }
        let (text, ends) = (self.text.as_bytes(), self.ends.as_slice());
        let is_it = |place: &u32| {
            let place = *place as usize;
            let start = if place == 0 { 0 } else { ends[place - 1] as usize };
            &text[start..ends[place] as usize] == bytes
        };
        self.places.find(hash, is_it).map(|place| StrId(*place))
    }

    fn add(&mut self, string: &str, hash: u64) -> StrId {
        let place = self.ends.len() as u32;
        self.text.push_str(string);
        self.ends.push(u32::try_from(self.text.len()).expect("a batch holds less than 4 GiB of strings"));
        let mut places = std::mem::take(&mut self.places);
        places.insert_unique(hash, place, |place| self.hash(slice(&self.text, &self.ends, *place).as_bytes()));
        self.places = places;
        StrId(place)
    }

    /// The string with this number.
    ///
    /// # Panics
    /// When the number is another table's and too large for this one.
    pub fn get(&self, id: StrId) -> &str {
        slice(&self.text, &self.ends, id.0)
    }

    /// How many distinct strings there are, the empty one included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether only the empty string is there.
    pub fn is_empty(&self) -> bool {
        self.ends.len() == 1
    }

    /// All strings in the order of their numbers, the empty one first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (StrId, &str)> {
        (0..self.ends.len() as u32).map(|place| (StrId(place), slice(&self.text, &self.ends, place)))
    }

    /// Bytes of all strings together.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes allocated, for budgets.
    pub fn size_bytes(&self) -> usize {
        self.allocations().into_iter().map(|(_, capacity)| capacity).sum()
    }

    /// Bytes used and allocated, of each allocation.
    pub(crate) fn allocations(&self) -> [(usize, usize); 3] {
        [
            (self.text.len(), self.text.capacity()),
            (self.ends.len() * 4, self.ends.capacity() * 4),
            places_allocation(&self.places),
        ]
    }
}

/// Bytes used and allocated of a table of numbers. A bucket is a number and a byte of its hash; some always stay free.
pub(crate) fn places_allocation(places: &HashTable<u32>) -> (usize, usize) {
    let free = (places.capacity() - places.len()) * (size_of::<u32>() + 1);
    let allocated = places.allocation_size();
    (allocated.saturating_sub(free), allocated)
}

fn slice<'a>(text: &'a str, ends: &[u32], place: u32) -> &'a str {
    let place = place as usize;
    let start = if place == 0 { 0 } else { ends[place - 1] as usize };
    &text[start..ends[place] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_get_equal_numbers() {
        let mut table = StringTable::default();
        let first = table.intern("GET /");
        let other = table.intern("POST /");
        assert_eq!(table.intern("GET /"), first);
        assert_ne!(first, other);
        assert_eq!(table.get(other), "POST /");
        assert_eq!(table.intern(""), StrId::EMPTY);
        assert_eq!(table.get(StrId::EMPTY), "");
        assert_eq!(table.find("none"), None);
        assert_eq!(table.iter().map(|(_, s)| s).collect::<Vec<_>>(), ["", "GET /", "POST /"]);
    }

    #[test]
    fn many_strings_survive_growth() {
        let mut table = StringTable::default();
        let ids: Vec<_> = (0..10_000).map(|i| table.intern(&i.to_string())).collect();
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(table.get(*id), i.to_string());
        }
    }
}

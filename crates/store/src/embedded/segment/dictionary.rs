//! The dictionary of a column: each distinct text once, named by a number.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::coding::Texts;

#[derive(Default)]
pub(super) struct Dictionary {
    pub(super) texts: Texts,
    places: HashTable<u32>,
    hasher: RandomState,
}

impl Dictionary {
    /// The number of a text, which is added if it is new.
    pub(super) fn code(&mut self, text: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(text);
        if let Some(code) = self.places.find(hash, |code| self.texts.get(*code as usize) == text) {
            return *code;
        }
        let code = self.texts.len() as u32;
        self.texts.push(text);
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.places.insert_unique(hash, code, |code| hasher.hash_one(texts.get(*code as usize)));
        code
    }
}

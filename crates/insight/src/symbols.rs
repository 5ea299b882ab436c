//! Strings as small numbers, the same over all traces.

use std::collections::HashMap;

use tracewell_model::{SpanBatch, StrId};

use crate::outline::Keys;

/// Strings by number. 0 is the empty string.
#[derive(Clone, Debug)]
pub(crate) struct Symbols {
    ids: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    texts: Vec<Box<str>>,
}

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Self { ids: HashMap::default(), texts: Vec::new() };
        symbols.intern("");
        symbols
    }
}

impl Symbols {
    /// The number of a string, which is added if it is new.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.texts.len() as u32;
        self.texts.push(text.into());
        self.ids.insert(text.into(), id);
        id
    }

    /// The number of a string, if it has one.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// The string with this number.
    pub(crate) fn text(&self, id: u32) -> &str {
        &self.texts[id as usize]
    }
}

/// The strings of one batch as symbols, each looked up once.
pub(crate) struct BatchNames<'a> {
    pub(crate) spans: &'a SpanBatch,
    pub(crate) keys: Keys,
    known: Vec<Option<u32>>,
}

impl<'a> BatchNames<'a> {
    pub(crate) fn new(spans: &'a SpanBatch) -> Self {
        Self { spans, keys: Keys::of(spans), known: vec![None; spans.strings().len()] }
    }

    /// The symbol of a string of the batch.
    pub(crate) fn symbol(&mut self, id: StrId, symbols: &mut Symbols) -> u32 {
        *self.known[id.index()].get_or_insert_with(|| symbols.intern(self.spans.string(id)))
    }
}

//! Strings as small numbers, the same over all traces.

use std::borrow::Cow;
use std::collections::HashMap;

use tracewell_model::{SpanBatch, StrId};

use crate::outline::Keys;

/// Strings by number. 0 is the empty string.
#[derive(Clone, Debug)]
pub(crate) struct Symbols {
    ids: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    texts: Vec<Box<str>>,
    bytes: usize,
}

/// A string of more bytes is told from others by its beginning, its length and its hash, and shown so.
const MAX_TEXT_BYTES: usize = 512;

/// What a string takes beside its text, twice, about.
const ENTRY_BYTES: usize = 80;

fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT_BYTES {
        return Cow::Borrowed(text);
    }
    // FNV-1a: the same in every process, as what is shown of a name has to be.
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let end = (0..=MAX_TEXT_BYTES - 64).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let begin = &text[..end];
    Cow::Owned(format!("{begin}... ({} bytes, {hash:016x})", text.len()))
}

impl Default for Symbols {
    fn default() -> Self {
        let mut symbols = Self { ids: HashMap::default(), texts: Vec::new(), bytes: 0 };
        symbols.intern("");
        symbols
    }
}

impl Symbols {
    /// The number of a string, which is added if it is new.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        let text = &*shortened(text);
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.texts.len() as u32;
        self.texts.push(text.into());
        self.ids.insert(text.into(), id);
        self.bytes += 2 * text.len() + ENTRY_BYTES;
        id
    }

    /// Bytes held, about.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// The number of a string, if it has one.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.ids.get(&*shortened(text)).copied()
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

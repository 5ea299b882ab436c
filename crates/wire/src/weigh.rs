//! What a JSON document takes as a tree of values, counted before the tree is made.
//!
//! For what is small, or read seldom: it is read twice.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::DecodeError;
use crate::json::Json;
use crate::meter::Meter;

/// A list has room for twice its items.
const VALUE_BYTES: usize = 2 * size_of::<Json<'_>>();
const ENTRY_BYTES: usize = 2 * size_of::<(Cow<'_, str>, Json<'_>)>();
/// An object's first entry has room for three more beside it.
const NODE_BYTES: usize = 2 * ENTRY_BYTES;
/// What the allocator adds to a text.
const TEXT_BYTES: usize = 16;
/// It is told whenever so much was added.
const TOLD_BYTES: usize = 64 * 1024;

/// Tells the meter what the tree takes while that is added up, and returns it. An error of the syntax is left to who makes
/// the tree.
pub(crate) fn weigh(body: &[u8], meter: &mut dyn Meter) -> Result<usize, DecodeError> {
    let mut tell = |bytes: usize| meter.reach(bytes);
    let mut scales = Scales::new(body.len(), &mut tell);
    let _ = Weigh(&mut scales).deserialize(&mut serde_json::Deserializer::from_slice(body));
    scales.over.map_or(Ok(scales.bytes), Err)
}

/// Where it is added up.
pub(crate) struct Scales<'m> {
    pub(crate) bytes: usize,
    told_bytes: usize,
    tell: &'m mut dyn FnMut(usize) -> Result<(), DecodeError>,
    /// What was said of it, if it is too much.
    pub(crate) over: Option<DecodeError>,
}

impl<'m> Scales<'m> {
    /// For a text of so many bytes: a string with an escape in it is put together beside the tree.
    pub(crate) fn new(text_bytes: usize, tell: &'m mut dyn FnMut(usize) -> Result<(), DecodeError>) -> Self {
        Self { bytes: text_bytes, told_bytes: 0, tell, over: None }
    }

    /// A value that is no text.
    pub(crate) fn value<E: Error>(&mut self) -> Result<(), E> {
        self.add(VALUE_BYTES)
    }

    /// An entry of an object, the first of which makes a node.
    pub(crate) fn entry<E: Error>(&mut self, is_first: bool, name_bytes: usize) -> Result<(), E> {
        self.add(ENTRY_BYTES + TEXT_BYTES + name_bytes + if is_first { NODE_BYTES } else { 0 })
    }

    fn add<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.bytes += bytes;
        if self.bytes >= self.told_bytes + TOLD_BYTES {
            self.told_bytes = self.bytes;
            if let Err(over) = (self.tell)(self.bytes) {
                self.over = Some(over);
                return Err(E::custom("over a limit"));
            }
        }
        Ok(())
    }
}

/// Adds a value and all in it.
pub(crate) struct Weigh<'w, 'm>(pub(crate) &'w mut Scales<'m>);

impl<'a> DeserializeSeed<'a> for Weigh<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Weigh<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.add(VALUE_BYTES)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.0.add(VALUE_BYTES)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.0.add(VALUE_BYTES)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.0.add(VALUE_BYTES)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.0.add(VALUE_BYTES)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.add(VALUE_BYTES + TEXT_BYTES + text.len())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut items: S) -> Result<(), S::Error> {
        self.0.add(VALUE_BYTES)?;
        while items.next_element_seed(Weigh(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        self.0.value()?;
        let mut is_first = true;
        // The key adds its own length.
        while map.next_key_seed(Weigh(self.0))?.is_some() {
            self.0.entry(std::mem::take(&mut is_first), 0)?;
            map.next_value_seed(Weigh(self.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Most(usize, usize);

    impl Meter for Most {
        fn reach(&mut self, bytes: usize) -> Result<(), DecodeError> {
            self.1 = bytes;
            if bytes > self.0 { Err(DecodeError::Busy("full".to_owned())) } else { Ok(()) }
        }
    }

    #[test]
    fn a_tree_that_would_be_too_large_is_ended_on_the_way() {
        for item in ["0", "{}", "[]", "\"\"", "null", "{\"a\":0}"] {
            let body = format!("[{item}{}]", format!(",{item}").repeat(1_000_000));
            let mut most = Most(8 << 20, 0);
            assert_eq!(weigh(body.as_bytes(), &mut most), Err(DecodeError::Busy("full".to_owned())), "{item}");
            assert!(most.1 < 9 << 20, "it went on to {} bytes", most.1);
        }
        weigh(b"[{\"a\": [1, 2, \"x\"]}]", &mut Most(64 << 10, 0)).unwrap();
        weigh(b"no JSON", &mut Most(0, 0)).unwrap();
    }
}

//! Reading JSON as it comes: objects by their fields, lists by their items, nothing kept that nobody asked for.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Longer names of fields are nobody's.
const MAX_NAME_BYTES: usize = 64;

/// What stood where an object or a list was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// What was expected; it was read.
    Expected,
    /// `null`, which is the same as absent.
    Null,
    /// Something else, which was passed over.
    Other,
}

/// Takes the fields of an object.
pub(super) trait Object<'a> {
    /// Takes a field's value, or passes over it.
    fn field<M: MapAccess<'a>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error>;
}

/// Takes the items of a list.
pub(super) trait Items<'a> {
    /// Takes the next item; `None` at the end.
    fn item<S: SeqAccess<'a>>(&mut self, items: &mut S) -> Result<Option<()>, S::Error>;
}

/// Reads an object, or says what else is there.
pub(super) struct ReadObject<'r, T>(pub(super) &'r mut T);

/// Reads a list, or says what else is there.
pub(super) struct ReadList<'r, T>(pub(super) &'r mut T);

pub(super) fn pass_over<'a, M: MapAccess<'a>>(map: &mut M) -> Result<(), M::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// The name of a field. It is read as it is written: nothing that is sent can be so long that it is a matter of memory.
struct Name<'a>(Cow<'a, str>);

impl<'a> Deserialize<'a> for Name<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default();
        Ok(Self(if !text.contains('\\') {
            Cow::Borrowed(text)
        } else if text.len() <= MAX_NAME_BYTES {
            Cow::Owned(serde_json::from_str(raw).map_err(D::Error::custom)?)
        } else {
            Cow::Borrowed("")
        }))
    }
}

/// What every value but the expected one is.
macro_rules! other_shapes {
    () => {
        type Value = Shape;

        fn visit_unit<E: Error>(self) -> Result<Shape, E> {
            Ok(Shape::Null)
        }

        fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
            Ok(Shape::Other)
        }

        fn visit_i64<E: Error>(self, _: i64) -> Result<Shape, E> {
            Ok(Shape::Other)
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<Shape, E> {
            Ok(Shape::Other)
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<Shape, E> {
            Ok(Shape::Other)
        }

        fn visit_str<E: Error>(self, _: &str) -> Result<Shape, E> {
            Ok(Shape::Other)
        }
    };
}

impl<'a, T: Object<'a>> DeserializeSeed<'a> for ReadObject<'_, T> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, T: Object<'a>> Visitor<'a> for ReadObject<'_, T> {
    other_shapes!();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Shape, M::Error> {
        while let Some(Name(name)) = map.next_key()? {
            self.0.field(&name, &mut map)?;
        }
        Ok(Shape::Expected)
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut items: S) -> Result<Shape, S::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Shape::Other)
    }
}

impl<'a, T: Items<'a>> DeserializeSeed<'a> for ReadList<'_, T> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, T: Items<'a>> Visitor<'a> for ReadList<'_, T> {
    other_shapes!();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut items: S) -> Result<Shape, S::Error> {
        while self.0.item(&mut items)?.is_some() {}
        Ok(Shape::Expected)
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Shape, M::Error> {
        while map.next_entry::<Name<'a>, IgnoredAny>()?.is_some() {}
        Ok(Shape::Other)
    }
}

//! A JSON document as a tree that borrows what it can from the text.
//!
//! In `serde_json::Value` every name and text is an allocation, and every object a map: half of the time that reading a span
//! from JSON takes. Objects here are lists, since a span has some twenty fields, each asked for once.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Json<'a> {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    /// Above what an `Int` can be.
    UInt(u64),
    Double(f64),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Object<'a>),
}

/// The entries of an object as they are written. Of a name that is there twice the last entry counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Json<'a> {
    /// The value of an object under a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'a>> {
        let Self::Object(Object(entries)) = self else { return None };
        entries.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }
}

impl<'a> Object<'a> {
    /// All entries, the last one first: those that count before those of the same name that do not.
    pub(crate) fn last_first(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().rev().map(|(name, value)| (&**name, value))
    }

    /// The entries that count, in the order in which they are written.
    pub(crate) fn entries(&self) -> Vec<(&str, &Json<'a>)> {
        let mut names = HashSet::with_capacity(self.0.len());
        let mut entries: Vec<_> = self.0.iter().rev().filter(|(name, _)| names.insert(&**name)).collect();
        entries.reverse();
        entries.into_iter().map(|(name, value)| (&**name, value)).collect()
    }
}

/// As JSON.
impl fmt::Display for Json<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::UInt(number) => serializer.serialize_u64(*number),
            Self::Double(number) => serializer.serialize_f64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(object) => {
                let entries = object.entries();
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (name, value) in entries {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadJson)
    }
}

/// A name, borrowed if it has no escape in it.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ReadName)
    }
}

struct ReadName;

impl<'de> Visitor<'de> for ReadName {
    type Value = Name<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(text.to_owned())))
    }
}

struct ReadJson;

impl<'de> Visitor<'de> for ReadJson {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(i64::try_from(number).map_or(Json::UInt(number), Json::Int))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Json::Double(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<Json<'de>, S::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Json<'de>, M::Error> {
        let mut entries = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            entries.push((name, map.next_value()?));
        }
        Ok(Json::Object(Object(entries)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_what_it_says_to_serde_json() {
        for text in [
            "null",
            "true",
            "-1",
            "9223372036854775808",
            "18446744073709551616",
            "1.0",
            "1e3",
            "\"a\\u00e9\\n\"",
            "[1,[],{}]",
            "{\"a\":{\"b\":[null,\"x\"]},\"c\\t\":2.5}",
        ] {
            let json: Json<'_> = serde_json::from_str(text).unwrap();
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(json.to_string(), value.to_string(), "{text}");
        }
        assert!(serde_json::from_str::<Json<'_>>("[1,]").is_err());
        let deep = "[".repeat(200);
        assert!(serde_json::from_str::<Json<'_>>(&deep).unwrap_err().to_string().contains("recursion"));
    }

    #[test]
    fn of_a_name_that_is_there_twice_the_last_counts() {
        let json: Json<'_> = serde_json::from_str("{\"a\":1,\"b\":2,\"a\":3}").unwrap();
        assert_eq!(json.get("a"), Some(&Json::Int(3)));
        assert_eq!(json.get("c"), None);
        assert_eq!(json.to_string(), "{\"b\":2,\"a\":3}");
    }

    #[test]
    fn texts_without_escapes_are_borrowed() {
        let json: Json<'_> = serde_json::from_str("{\"a\":[\"b\",\"\\n\"]}").unwrap();
        let Json::Object(Object(entries)) = &json else { panic!("{json}") };
        let (name, Json::Array(items)) = &entries[0] else { panic!("{json}") };
        assert!(matches!(name, Cow::Borrowed(_)));
        assert!(matches!(&items[..], [Json::String(Cow::Borrowed("b")), Json::String(Cow::Owned(_))]));
    }
}

//! Attribute values in OTLP's JSON mapping: 64-bit integers as strings, bytes in base64.

use serde::ser::{Serialize, SerializeMap, Serializer};
use tracewell_model::{AnyValue, KeyValue, ValueRef};

/// A value to serialize as OTLP's `AnyValue`.
pub(crate) struct OtlpValue<'a>(pub(crate) ValueRef<'a>);

/// An attribute to serialize as OTLP's `KeyValue`.
#[derive(serde::Serialize)]
pub(crate) struct OtlpKeyValue<'a> {
    key: &'a str,
    value: OtlpValue<'a>,
}

/// Attributes in the sender's order.
pub(crate) fn key_values<'a>(attributes: impl Iterator<Item = (&'a str, ValueRef<'a>)>) -> Vec<OtlpKeyValue<'a>> {
    attributes.map(|(key, value)| OtlpKeyValue { key, value: OtlpValue(value) }).collect()
}

impl Serialize for OtlpValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            ValueRef::Empty => one(serializer, None::<(&str, ())>),
            ValueRef::Str(text) => one(serializer, Some(("stringValue", text))),
            ValueRef::Bool(value) => one(serializer, Some(("boolValue", value))),
            ValueRef::Int(value) => one(serializer, Some(("intValue", value.to_string()))),
            ValueRef::Double(value) => one(serializer, Some(("doubleValue", Double(value)))),
            ValueRef::Bytes(bytes) => one(serializer, Some(("bytesValue", base64(bytes)))),
            ValueRef::Nested(_) => Owned(&self.0.to_any_value()).serialize(serializer),
        }
    }
}

/// A value inside an array or a key-value list.
struct Owned<'a>(&'a AnyValue);

impl Serialize for Owned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Values<T> {
            values: Vec<T>,
        }
        #[derive(serde::Serialize)]
        struct Pair<'a> {
            key: &'a str,
            value: Owned<'a>,
        }
        match self.0 {
            AnyValue::Empty => OtlpValue(ValueRef::Empty).serialize(serializer),
            AnyValue::Str(text) => OtlpValue(ValueRef::Str(text)).serialize(serializer),
            AnyValue::Bool(value) => OtlpValue(ValueRef::Bool(*value)).serialize(serializer),
            AnyValue::Int(value) => OtlpValue(ValueRef::Int(*value)).serialize(serializer),
            AnyValue::Double(value) => OtlpValue(ValueRef::Double(*value)).serialize(serializer),
            AnyValue::Bytes(bytes) => OtlpValue(ValueRef::Bytes(bytes)).serialize(serializer),
            AnyValue::Array(values) => {
                let values = values.iter().map(Owned).collect();
                one(serializer, Some(("arrayValue", Values { values })))
            }
            AnyValue::KeyValues(pairs) => {
                let values = pairs.iter().map(|KeyValue { key, value }| Pair { key, value: Owned(value) }).collect();
                one(serializer, Some(("kvlistValue", Values { values })))
            }
        }
    }
}

/// Protobuf's JSON has words for what JSON's numbers cannot say.
struct Double(f64);

impl Serialize for Double {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            number if number.is_finite() => serializer.serialize_f64(number),
            number if number.is_nan() => serializer.serialize_str("NaN"),
            number if number > 0.0 => serializer.serialize_str("Infinity"),
            _ => serializer.serialize_str("-Infinity"),
        }
    }
}

fn one<S: Serializer, T: Serialize>(serializer: S, entry: Option<(&str, T)>) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(usize::from(entry.is_some())))?;
    if let Some((key, value)) = entry {
        map.serialize_entry(key, &value)?;
    }
    map.end()
}

/// Standard base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().enumerate().fold(0u32, |group, (place, byte)| group | u32::from(*byte) << (16 - 8 * place));
        for place in 0..4 {
            let digit = ALPHABET[(group >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn every_type_of_value_has_its_own_name() {
        let nested = AnyValue::KeyValues(vec![KeyValue {
            key: "list".into(),
            value: AnyValue::Array(vec![AnyValue::Int(i64::MIN), AnyValue::Empty, AnyValue::Bool(true)]),
        }])
        .encode();
        for (value, json) in [
            (ValueRef::Empty, "{}"),
            (ValueRef::Str("a\"b"), r#"{"stringValue":"a\"b"}"#),
            (ValueRef::Bool(false), r#"{"boolValue":false}"#),
            (ValueRef::Int(i64::MAX), r#"{"intValue":"9223372036854775807"}"#),
            (ValueRef::Double(0.5), r#"{"doubleValue":0.5}"#),
            (ValueRef::Double(f64::NEG_INFINITY), r#"{"doubleValue":"-Infinity"}"#),
            (ValueRef::Bytes(&[1, 2]), r#"{"bytesValue":"AQI="}"#),
            (
                ValueRef::Nested(&nested),
                r#"{"kvlistValue":{"values":[{"key":"list","value":{"arrayValue":{"values":[{"intValue":"-9223372036854775808"},{},{"boolValue":true}]}}}]}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&OtlpValue(value)).unwrap(), json);
        }
    }
}

//! Attribute values, in three forms: [`Value`] inside a batch, [`ValueRef`] when read, [`AnyValue`] when owned.
//!
//! Arrays and key-value lists are rare, so a batch holds each of them as one blob: the protobuf encoding of OTLP's
//! `AnyValue` (opentelemetry/proto/common/v1/common.proto), which every value can be expanded from.

use std::fmt;

use crate::StrId;

/// How many arrays and key-value lists may lie inside one another. Deeper values are refused by the receivers.
pub const MAX_VALUE_DEPTH: usize = 32;

/// Names a blob in the batch that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub(crate) u32);

/// A value inside a batch; what it points to lies in the batch's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value {
    /// An attribute with a key and no value, which OTLP allows.
    #[default]
    Empty,
    /// A string.
    Str(StrId),
    /// A boolean.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A 64-bit float.
    Double(f64),
    /// Bytes.
    Bytes(BlobId),
    /// An array or a key-value list: a protobuf-encoded `AnyValue`.
    Nested(BlobId),
}

/// A value as it is read from a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// No value.
    Empty,
    /// A string.
    Str(&'a str),
    /// A boolean.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A 64-bit float.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An array or a key-value list, as a protobuf-encoded `AnyValue`; see [`ValueRef::to_any_value`].
    Nested(&'a [u8]),
}

/// A value that owns all it says.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum AnyValue {
    /// No value.
    #[default]
    Empty,
    /// A string.
    Str(String),
    /// A boolean.
    Bool(bool),
    /// A 64-bit signed integer.
    Int(i64),
    /// A 64-bit float.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An array.
    Array(Vec<AnyValue>),
    /// A list of keys with values, in the sender's order.
    KeyValues(Vec<KeyValue>),
}

/// A key with its value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value.
    pub value: AnyValue,
}

/// Why bytes are not an encoded `AnyValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeValueError {
    /// The bytes end in the middle of a field, or a length points past them.
    Truncated,
    /// A field has a wire type that its number does not allow, or a string is not UTF-8.
    Malformed,
    /// Deeper than [`MAX_VALUE_DEPTH`].
    TooDeep,
}

impl fmt::Display for DecodeValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "the value is cut off"),
            Self::Malformed => write!(f, "the value is malformed"),
            Self::TooDeep => write!(f, "the value is nested deeper than {MAX_VALUE_DEPTH} levels"),
        }
    }
}

impl std::error::Error for DecodeValueError {}

impl ValueRef<'_> {
    /// The value on its own. A nested value that does not decode, which no receiver lets in, becomes its bytes.
    pub fn to_any_value(self) -> AnyValue {
        match self {
            Self::Empty => AnyValue::Empty,
            Self::Str(text) => AnyValue::Str(text.to_owned()),
            Self::Bool(value) => AnyValue::Bool(value),
            Self::Int(value) => AnyValue::Int(value),
            Self::Double(value) => AnyValue::Double(value),
            Self::Bytes(bytes) => AnyValue::Bytes(bytes.to_vec()),
            Self::Nested(bytes) => AnyValue::decode(bytes).unwrap_or_else(|_| AnyValue::Bytes(bytes.to_vec())),
        }
    }
}

impl fmt::Display for ValueRef<'_> {
    /// The text that people see and that untyped queries compare with: a string as it is, numbers in decimal, bytes in
    /// hexadecimal, nested values as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Str(text) => f.write_str(text),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::Bytes(bytes) => write_hex(f, bytes),
            Self::Nested(_) => write_json(f, &self.to_any_value()),
        }
    }
}

impl fmt::Display for AnyValue {
    /// As for [`ValueRef`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => Ok(()),
            Self::Str(text) => f.write_str(text),
            Self::Bytes(bytes) => write_hex(f, bytes),
            other => write_json(f, other),
        }
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn write_json(f: &mut fmt::Formatter<'_>, value: &AnyValue) -> fmt::Result {
    match value {
        AnyValue::Empty => f.write_str("null"),
        AnyValue::Str(text) => write_json_string(f, text),
        AnyValue::Bool(value) => write!(f, "{value}"),
        AnyValue::Int(value) => write!(f, "{value}"),
        AnyValue::Double(value) if value.is_finite() => write!(f, "{value}"),
        AnyValue::Double(value) => write!(f, "\"{value}\""),
        AnyValue::Bytes(bytes) => {
            f.write_str("\"")?;
            write_hex(f, bytes)?;
            f.write_str("\"")
        }
        AnyValue::Array(values) => {
            f.write_str("[")?;
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    f.write_str(",")?;
                }
                write_json(f, value)?;
            }
            f.write_str("]")
        }
        AnyValue::KeyValues(pairs) => {
            f.write_str("{")?;
            for (place, pair) in pairs.iter().enumerate() {
                if place > 0 {
                    f.write_str(",")?;
                }
                write_json_string(f, &pair.key)?;
                f.write_str(":")?;
                write_json(f, &pair.value)?;
            }
            f.write_str("}")
        }
    }
}

fn write_json_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for character in text.chars() {
        match character {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            control if (control as u32) < 0x20 => write!(f, "\\u{:04x}", control as u32)?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}

// Field numbers of opentelemetry.proto.common.v1.AnyValue.
const STRING: u64 = 1;
const BOOL: u64 = 2;
const INT: u64 = 3;
const DOUBLE: u64 = 4;
const ARRAY: u64 = 5;
const KEY_VALUES: u64 = 6;
const BYTES: u64 = 7;

// Protobuf wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

impl AnyValue {
    /// The protobuf encoding as OTLP's `AnyValue` message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::Str(text) => put_bytes(out, STRING, text.as_bytes()),
            Self::Bool(value) => {
                put_varint(out, BOOL << 3 | VARINT);
                put_varint(out, u64::from(*value));
            }
            Self::Int(value) => {
                put_varint(out, INT << 3 | VARINT);
                put_varint(out, *value as u64);
            }
            Self::Double(value) => {
                put_varint(out, DOUBLE << 3 | FIXED64);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Self::Bytes(bytes) => put_bytes(out, BYTES, bytes),
            Self::Array(values) => {
                let mut inner = Vec::new();
                for value in values {
                    put_bytes(&mut inner, 1, &value.encode());
                }
                put_bytes(out, ARRAY, &inner);
            }
            Self::KeyValues(pairs) => {
                let mut inner = Vec::new();
                for pair in pairs {
                    let mut message = Vec::new();
                    put_bytes(&mut message, 1, pair.key.as_bytes());
                    put_bytes(&mut message, 2, &pair.value.encode());
                    put_bytes(&mut inner, 1, &message);
                }
                put_bytes(out, KEY_VALUES, &inner);
            }
        }
    }

    /// Reads an encoded `AnyValue` of at most [`MAX_VALUE_DEPTH`] levels. Unknown fields are passed over; of several
    /// alternatives the last one counts, as protobuf's `oneof` has it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeValueError> {
        Self::decode_at(bytes, MAX_VALUE_DEPTH)
    }

    /// Whether these bytes encode an array or a key-value list, after a look at all of them: an error is what
    /// [`decode`](Self::decode) would say. Takes no memory, however many elements there are.
    pub fn check_encoded(bytes: &[u8]) -> Result<bool, DecodeValueError> {
        Self::check_at(bytes, MAX_VALUE_DEPTH)
    }

    fn check_at(bytes: &[u8], levels_left: usize) -> Result<bool, DecodeValueError> {
        let mut is_nested = false;
        for field in Fields(bytes) {
            match field? {
                (STRING, Payload::Bytes(bytes)) => {
                    std::str::from_utf8(bytes).map_err(|_| DecodeValueError::Malformed)?;
                    is_nested = false;
                }
                (BOOL | INT, Payload::Number(_)) | (DOUBLE, Payload::Fixed64(_)) | (BYTES, Payload::Bytes(_)) => {
                    is_nested = false;
                }
                (ARRAY, Payload::Bytes(bytes)) => {
                    let levels_left = levels_left.checked_sub(1).ok_or(DecodeValueError::TooDeep)?;
                    for field in Fields(bytes) {
                        if let (1, Payload::Bytes(bytes)) = field? {
                            Self::check_at(bytes, levels_left)?;
                        }
                    }
                    is_nested = true;
                }
                (KEY_VALUES, Payload::Bytes(bytes)) => {
                    let levels_left = levels_left.checked_sub(1).ok_or(DecodeValueError::TooDeep)?;
                    for field in Fields(bytes) {
                        if let (1, Payload::Bytes(pair)) = field? {
                            for field in Fields(pair) {
                                match field? {
                                    (1, Payload::Bytes(key)) => {
                                        std::str::from_utf8(key).map_err(|_| DecodeValueError::Malformed)?;
                                    }
                                    (2, Payload::Bytes(value)) => {
                                        Self::check_at(value, levels_left)?;
                                    }
                                    _ => {}
                                }
                            }
                        }
                    }
                    is_nested = true;
                }
                (STRING..=BYTES, _) => return Err(DecodeValueError::Malformed),
                _ => {}
            }
        }
        Ok(is_nested)
    }

    fn decode_at(bytes: &[u8], levels_left: usize) -> Result<Self, DecodeValueError> {
        let mut value = Self::Empty;
        for field in Fields(bytes) {
            value = match field? {
                (STRING, Payload::Bytes(bytes)) => Self::Str(text(bytes)?),
                (BOOL, Payload::Number(number)) => Self::Bool(number != 0),
                (INT, Payload::Number(number)) => Self::Int(number as i64),
                (DOUBLE, Payload::Fixed64(bits)) => Self::Double(f64::from_bits(bits)),
                (BYTES, Payload::Bytes(bytes)) => Self::Bytes(bytes.to_vec()),
                (ARRAY, Payload::Bytes(bytes)) => {
                    let levels_left = levels_left.checked_sub(1).ok_or(DecodeValueError::TooDeep)?;
                    let mut values = Vec::new();
                    for field in Fields(bytes) {
                        if let (1, Payload::Bytes(bytes)) = field? {
                            values.push(Self::decode_at(bytes, levels_left)?);
                        }
                    }
                    Self::Array(values)
                }
                (KEY_VALUES, Payload::Bytes(bytes)) => {
                    let levels_left = levels_left.checked_sub(1).ok_or(DecodeValueError::TooDeep)?;
                    let mut pairs = Vec::new();
                    for field in Fields(bytes) {
                        if let (1, Payload::Bytes(bytes)) = field? {
                            pairs.push(KeyValue::decode_at(bytes, levels_left)?);
                        }
                    }
                    Self::KeyValues(pairs)
                }
                (STRING..=BYTES, _) => return Err(DecodeValueError::Malformed),
                _ => value,
            };
        }
        Ok(value)
    }
}

impl KeyValue {
    fn decode_at(bytes: &[u8], levels_left: usize) -> Result<Self, DecodeValueError> {
        let mut pair = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Payload::Bytes(bytes)) => pair.key = text(bytes)?,
                (2, Payload::Bytes(bytes)) => pair.value = AnyValue::decode_at(bytes, levels_left)?,
                _ => {}
            }
        }
        Ok(pair)
    }
}

fn text(bytes: &[u8]) -> Result<String, DecodeValueError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeValueError::Malformed)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | LENGTH);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

enum Payload<'a> {
    Number(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message, in the order they were written.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, DecodeValueError> {
        let mut number = 0;
        for place in 0..10 {
            let (byte, rest) = self.0.split_first().ok_or(DecodeValueError::Truncated)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeValueError::Malformed)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeValueError> {
        let length = usize::try_from(length).map_err(|_| DecodeValueError::Truncated)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(DecodeValueError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u64, Payload<'a>), DecodeValueError> {
        let tag = self.varint()?;
        let payload = match tag & 7 {
            VARINT => Payload::Number(self.varint()?),
            FIXED64 => {
                let mut bits = [0; 8];
                bits.copy_from_slice(self.take(8)?);
                Payload::Fixed64(u64::from_le_bytes(bits))
            }
            LENGTH => {
                let length = self.varint()?;
                Payload::Bytes(self.take(length)?)
            }
            FIXED32 => {
                self.take(4)?;
                Payload::Fixed32
            }
            _ => return Err(DecodeValueError::Malformed),
        };
        Ok((tag >> 3, payload))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Payload<'a>), DecodeValueError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> AnyValue {
        AnyValue::KeyValues(vec![
            KeyValue { key: "text".into(), value: AnyValue::Str("a \"b\"\n".into()) },
            KeyValue { key: "min".into(), value: AnyValue::Int(i64::MIN) },
            KeyValue { key: "pi".into(), value: AnyValue::Double(3.25) },
            KeyValue { key: "yes".into(), value: AnyValue::Bool(true) },
            KeyValue { key: "raw".into(), value: AnyValue::Bytes(vec![0, 255]) },
            KeyValue {
                key: "list".into(),
                value: AnyValue::Array(vec![AnyValue::Empty, AnyValue::Str(String::new())]),
            },
        ])
    }

    #[test]
    fn a_nested_value_comes_back_unchanged() {
        assert_eq!(AnyValue::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn a_look_at_encoded_bytes_says_what_decoding_says() {
        let encoded = sample().encode();
        assert_eq!(AnyValue::check_encoded(&encoded), Ok(true));
        assert_eq!(AnyValue::check_encoded(&AnyValue::Int(1).encode()), Ok(false));
        for place in 0..encoded.len() {
            for bit in 0..8 {
                let mut bytes = encoded.clone();
                bytes[place] ^= 1 << bit;
                let decoded = AnyValue::decode(&bytes);
                let is_nested = decoded.map(|value| matches!(value, AnyValue::Array(_) | AnyValue::KeyValues(_)));
                assert_eq!(AnyValue::check_encoded(&bytes), is_nested, "bit {bit} of byte {place}");
            }
        }
    }

    #[test]
    fn a_nested_value_reads_as_json() {
        assert_eq!(
            sample().to_string(),
            r#"{"text":"a \"b\"\n","min":-9223372036854775808,"pi":3.25,"yes":true,"raw":"00ff","list":[null,""]}"#
        );
    }

    #[test]
    fn cut_off_bytes_are_an_error_at_every_length() {
        let bytes = sample().encode();
        for length in 1..bytes.len() {
            assert!(AnyValue::decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_value_that_is_too_deep_is_refused() {
        let nest = |levels| (0..levels).fold(AnyValue::Int(1), |inner, _| AnyValue::Array(vec![inner]));
        assert!(AnyValue::decode(&nest(MAX_VALUE_DEPTH).encode()).is_ok());
        assert_eq!(AnyValue::decode(&nest(MAX_VALUE_DEPTH + 1).encode()), Err(DecodeValueError::TooDeep));
    }
}

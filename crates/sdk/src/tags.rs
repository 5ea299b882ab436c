//! Tags, kept as they will be sent.
//!
//! A tag is written as its OTLP bytes when it is set, into a buffer that is used again by later spans. So text is copied
//! once and nothing is allocated for it, nothing of a span has to be freed by another thread, and exporting is copying.

use crate::limits::Limits;
use crate::proto::{Field, fields, message, read_varint, set_length, varint};
use crate::value::truncated;
use crate::{Key, Value};
use std::borrow::Cow;

/// The attributes of a message that has them in field `FIELD`.
#[derive(Debug, Default)]
pub(crate) struct Tags<const FIELD: u8> {
    pub(crate) bytes: Vec<u8>,
    count: u32,
    pub(crate) dropped: u32,
}

/// Of a `Span`.
pub(crate) type SpanTags = Tags<9>;
/// Of a `Span.Event`.
pub(crate) type EventTagList = Tags<EVENT_TAGS>;
const EVENT_TAGS: u8 = 3;

impl<const FIELD: u8> Tags<FIELD> {
    const HEAD: u8 = FIELD << 3 | 2;

    /// Sets a tag. An empty key is not a tag: OpenTelemetry leaves such ones out.
    #[inline]
    pub(crate) fn set(&mut self, limits: &Limits, key: &str, value: impl TagValue) {
        let begin = self.bytes.len();
        let earlier = if begin == 0 { None } else { self.find(key) };
        let max_tags = if FIELD == EVENT_TAGS { limits.event_tags } else { limits.tags };
        if key.is_empty() || (earlier.is_none() && self.count as usize >= max_tags) {
            self.dropped = self.dropped.saturating_add(u32::from(!key.is_empty()));
            return;
        }
        let out = &mut self.bytes;
        out.extend_from_slice(&[Self::HEAD, 0, 0x0a]);
        varint(out, key.len() as u64);
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&[0x12, 0]);
        let value_at = out.len();
        value.write(&mut ValueWriter { out, max_chars: limits.value_chars });
        if out.len() == value_at {
            // An absent value is no tag.
            out.truncate(begin);
            return;
        }
        set_length(out, value_at - 1);
        set_length(out, begin + 1);
        match earlier {
            None => self.count += 1,
            Some((from, to)) => {
                let new = self.bytes.split_off(begin);
                self.bytes.splice(from..to, new);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.dropped = 0;
    }

    /// Where the tag of that key lies.
    fn find(&self, key: &str) -> Option<(usize, usize)> {
        let mut at = 0;
        while let Some(mut rest) = self.bytes.get(at + 1..) {
            let length = read_varint(&mut rest)? as usize;
            let end = self.bytes.len() - rest.len() + length;
            // Field 1 of the tag, its key.
            let mut tag = rest.get(1..length)?;
            let key_length = read_varint(&mut tag)? as usize;
            if key_length == key.len() && tag.get(..key_length)? == key.as_bytes() {
                return Some((at, end));
            }
            at = end;
        }
        None
    }
}

/// Something that a tag can be set to: text, integers, floats, booleans, lists of them, [`Value`], pointers to these, and
/// `Option` of these, of which `None` sets no tag.
///
/// Texts are copied once, to where they are sent from. For a type that is only printable use [`display`] or [`debug`].
/// OTLP has signed integers of 64 bits: an integer that does not fit is recorded as its text.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a value that a tag can have",
    label = "write `tracewell::display(..)` or `tracewell::debug(..)` around it",
    note = "texts, numbers, booleans, lists of them, and `Option`s and references of these are such values",
    note = "for a type that implements `Display` write `tracewell::display(value)`, for one with `Debug` `tracewell::debug(value)`"
)]
pub trait TagValue: sealed::Sealed {
    /// Writes the value, or nothing when there is none.
    #[doc(hidden)]
    fn write(&self, out: &mut ValueWriter<'_>);

    /// Whether it is an integer that OTLP has no type for, which is written as its text.
    #[doc(hidden)]
    fn is_large(&self) -> bool {
        false
    }

    /// Writes an integer as its text.
    #[doc(hidden)]
    fn write_text(&self, out: &mut ValueWriter<'_>) {
        self.write(out);
    }
}

/// What lists can be of.
#[diagnostic::on_unimplemented(
    message = "a list of `{Self}` is not a value that a tag can have",
    note = "lists are of texts, numbers or booleans; others are printed: `tracewell::debug(list)`"
)]
pub trait Scalar: TagValue {}

/// The value's text, for types that can be printed but are not tag values. In a closure of
/// [`crate::SpanBuilder::tag_with`] it is printed only when the span is sampled.
pub fn display(value: impl std::fmt::Display) -> Value {
    Value::String(value.to_string().into())
}

/// The value's debug text, as [`display`].
pub fn debug(value: impl std::fmt::Debug) -> Value {
    Value::String(format!("{value:?}").into())
}

/// Writes an `AnyValue`. Members of a `oneof` are written also when they are zero or empty: that is what tells them from
/// no value.
#[derive(Debug)]
pub struct ValueWriter<'a> {
    out: &'a mut Vec<u8>,
    max_chars: usize,
}

impl<'a> ValueWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, max_chars: usize::MAX }
    }

    #[inline]
    fn text(&mut self, text: &str) {
        let text = truncated(text, self.max_chars);
        self.out.push(0x0a);
        varint(self.out, text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    #[inline]
    fn boolean(&mut self, value: bool) {
        self.out.extend_from_slice(&[0x10, u8::from(value)]);
    }

    #[inline]
    fn integer(&mut self, value: i64) {
        self.out.push(0x18);
        // Negative numbers are their two's complement, as protobuf has it.
        varint(self.out, value as u64);
    }

    #[inline]
    fn double(&mut self, value: f64) {
        self.out.push(0x21);
        self.out.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    fn list(&mut self, values: &[impl TagValue]) {
        let max_chars = self.max_chars;
        // Lists are of one type: an element that is only a text makes texts of all.
        let are_texts = values.iter().any(TagValue::is_large);
        message(self.out, 5, |out| {
            for value in values {
                message(out, 1, |out| {
                    let mut writer = ValueWriter { out, max_chars };
                    if are_texts { value.write_text(&mut writer) } else { value.write(&mut writer) }
                });
            }
        });
    }
}

impl TagValue for Value {
    fn write(&self, out: &mut ValueWriter<'_>) {
        match self {
            Self::String(value) => out.text(value),
            Self::I64(value) => out.integer(*value),
            Self::F64(value) => out.double(*value),
            Self::Bool(value) => out.boolean(*value),
            Self::Strings(values) => out.list(values),
            Self::I64s(values) => out.list(values),
            Self::F64s(values) => out.list(values),
            Self::Bools(values) => out.list(values),
        }
    }
}

macro_rules! scalars {
    ($($type:ty => |$value:ident, $out:ident| $write:expr),* $(,)?) => {
        $(
            impl TagValue for $type {
                #[inline]
                fn write(&self, $out: &mut ValueWriter<'_>) {
                    let $value = self;
                    $write
                }
            }
            impl Scalar for $type {}
            impl sealed::Sealed for $type {}
        )*
    };
}

scalars! {
    str => |v, out| out.text(v),
    String => |v, out| out.text(v),
    Cow<'_, str> => |v, out| out.text(v),
    bool => |v, out| out.boolean(*v),
    i64 => |v, out| out.integer(*v),
    i32 => |v, out| out.integer((*v).into()),
    i16 => |v, out| out.integer((*v).into()),
    i8 => |v, out| out.integer((*v).into()),
    u8 => |v, out| out.integer((*v).into()),
    u16 => |v, out| out.integer((*v).into()),
    u32 => |v, out| out.integer((*v).into()),
    isize => |v, out| out.integer(*v as i64),
    char => |v, out| out.text(v.encode_utf8(&mut [0; 4])),
    f64 => |v, out| out.double(*v),
    f32 => |v, out| out.double((*v).into()),
}

/// Integers that may be larger than OTLP's: such ones are texts, for two ids must not become one.
macro_rules! large_integers {
    ($($type:ty),*) => {
        $(
            impl TagValue for $type {
                #[inline]
                fn write(&self, out: &mut ValueWriter<'_>) {
                    match i64::try_from(*self) {
                        Ok(value) => out.integer(value),
                        Err(_) => self.write_text(out),
                    }
                }

                fn is_large(&self) -> bool {
                    i64::try_from(*self).is_err()
                }

                #[cold]
                fn write_text(&self, out: &mut ValueWriter<'_>) {
                    out.text(&self.to_string());
                }
            }
            impl Scalar for $type {}
            impl sealed::Sealed for $type {}
        )*
    };
}

large_integers!(u64, usize, u128, i128);

macro_rules! pointers {
    ($($pointer:ty),*) => {
        $(
            impl<T: TagValue + ?Sized> TagValue for $pointer {
                #[inline]
                fn write(&self, out: &mut ValueWriter<'_>) {
                    (**self).write(out);
                }

                fn is_large(&self) -> bool {
                    (**self).is_large()
                }

                fn write_text(&self, out: &mut ValueWriter<'_>) {
                    (**self).write_text(out);
                }
            }
            impl<T: sealed::Sealed + ?Sized> sealed::Sealed for $pointer {}
            impl<T: Scalar + ?Sized> Scalar for $pointer {}
        )*
    };
}

pointers!(&T, &mut T, Box<T>, std::rc::Rc<T>, std::sync::Arc<T>);

impl<T: TagValue> TagValue for Option<T> {
    #[inline]
    fn write(&self, out: &mut ValueWriter<'_>) {
        if let Some(value) = self {
            value.write(out);
        }
    }
}

impl<T: Scalar> TagValue for [T] {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.list(self);
    }
}

impl<T: Scalar> TagValue for Vec<T> {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.list(self);
    }
}

impl<T: Scalar, const N: usize> TagValue for [T; N] {
    fn write(&self, out: &mut ValueWriter<'_>) {
        out.list(self);
    }
}

mod sealed {
    /// Values are written under a span's lock, so they must not run a user's code.
    pub trait Sealed {}
    impl Sealed for crate::Value {}
    impl<T: Sealed> Sealed for Option<T> {}
    impl<T: Sealed> Sealed for [T] {}
    impl<T: Sealed> Sealed for Vec<T> {}
    impl<T: Sealed, const N: usize> Sealed for [T; N] {}
}

/// Reads a tag back, for exporters that want more than bytes.
pub(crate) fn decode(tag: &[u8]) -> (Key, Value) {
    let (mut key, mut value) = (String::new(), Value::from_static(""));
    for field in fields(tag) {
        match field {
            (1, Field::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
            (2, Field::Bytes(any)) => value = decode_value(any),
            _ => {}
        }
    }
    (key.into(), value)
}

fn decode_value(any: &[u8]) -> Value {
    match fields(any).next() {
        Some((1, Field::Bytes(text))) => Value::String(String::from_utf8_lossy(text).into_owned().into()),
        Some((2, Field::Varint(value))) => Value::Bool(value != 0),
        Some((3, Field::Varint(value))) => Value::I64(value as i64),
        Some((4, Field::Fixed64(bits))) => Value::F64(f64::from_bits(bits)),
        Some((5, Field::Bytes(list))) => decode_list(list),
        _ => Value::from_static(""),
    }
}

/// Lists are of one type each; an empty one is as well of texts.
fn decode_list(list: &[u8]) -> Value {
    let mut values = fields(list).filter_map(|(_, field)| match field {
        Field::Bytes(any) => Some(decode_value(any)),
        _ => None,
    });
    match values.next() {
        Some(Value::I64(first)) => {
            Value::I64s(std::iter::once(first).chain(values.filter_map(|v| v.as_i64())).collect())
        }
        Some(Value::F64(first)) => {
            Value::F64s(std::iter::once(first).chain(values.filter_map(|v| v.as_f64())).collect())
        }
        Some(Value::Bool(first)) => {
            Value::Bools(std::iter::once(first).chain(values.filter_map(|v| v.as_bool())).collect())
        }
        Some(Value::String(first)) => {
            let others = values.filter_map(|value| match value {
                Value::String(text) => Some(text),
                _ => None,
            });
            Value::Strings(std::iter::once(first).chain(others).collect())
        }
        _ => Value::Strings(Vec::new()),
    }
}

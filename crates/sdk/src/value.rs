//! Typed values of tags.

use std::borrow::Cow;
use std::fmt;

/// The key of a tag, or the name of a span or event: free when it is a literal.
pub type Key = Cow<'static, str>;

/// A typed tag value. Made by `From` from strings, integers, floats, booleans, and vectors of them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Text.
    String(Cow<'static, str>),
    /// A signed integer.
    I64(i64),
    /// A floating-point number.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// Several texts.
    Strings(Vec<Cow<'static, str>>),
    /// Several integers.
    I64s(Vec<i64>),
    /// Several floating-point numbers.
    F64s(Vec<f64>),
    /// Several booleans.
    Bools(Vec<bool>),
}

impl Value {
    /// A literal, kept without a copy (`From<&str>` has to copy what it is given).
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self::String(Cow::Borrowed(text))
    }

    /// The text, when the value is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, when the value is one.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::I64(value) = self { Some(*value) } else { None }
    }

    /// The floating-point number, when the value is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::F64(value) = self { Some(*value) } else { None }
    }

    /// The boolean, when the value is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }
}

/// Texts in quotes, lists in brackets.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(value) => write!(f, "{value:?}"),
            Self::I64(value) => value.fmt(f),
            Self::F64(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Strings(values) => f.debug_list().entries(values).finish(),
            Self::I64s(values) => f.debug_list().entries(values).finish(),
            Self::F64s(values) => f.debug_list().entries(values).finish(),
            Self::Bools(values) => f.debug_list().entries(values).finish(),
        }
    }
}

/// The text cut to a number of characters.
#[inline]
pub(crate) fn truncated(text: &str, max_chars: usize) -> &str {
    // A character is at least a byte.
    if text.len() <= max_chars {
        return text;
    }
    text.char_indices().nth(max_chars).map_or(text, |(end, _)| &text[..end])
}

/// An integer that OTLP has no type for, as a number where it fits and else as text: two ids must not become one.
fn large<N: TryInto<i64> + fmt::Display + Copy>(value: N) -> Value {
    value.try_into().map_or_else(|_| Value::String(value.to_string().into()), Value::I64)
}

macro_rules! from {
    ($($source:ty => |$value:ident| $make:expr),* $(,)?) => {
        $(impl From<$source> for Value {
            fn from($value: $source) -> Self {
                $make
            }
        })*
    };
}

from! {
    &str => |v| Self::String(Cow::Owned(v.to_owned())),
    String => |v| Self::String(Cow::Owned(v)),
    &String => |v| Self::String(Cow::Owned(v.clone())),
    Cow<'static, str> => |v| Self::String(v),
    bool => |v| Self::Bool(v),
    i64 => |v| Self::I64(v),
    i32 => |v| Self::I64(v.into()),
    i16 => |v| Self::I64(v.into()),
    i8 => |v| Self::I64(v.into()),
    u8 => |v| Self::I64(v.into()),
    u16 => |v| Self::I64(v.into()),
    u32 => |v| Self::I64(v.into()),
    u64 => |v| large(v),
    usize => |v| large(v),
    u128 => |v| large(v),
    i128 => |v| large(v),
    char => |v| Self::String(v.to_string().into()),
    isize => |v| Self::I64(v as i64),
    f64 => |v| Self::F64(v),
    f32 => |v| Self::F64(v.into()),
    Vec<String> => |v| Self::Strings(v.into_iter().map(Cow::Owned).collect()),
    &[&str] => |v| Self::Strings(v.iter().map(|text| Cow::Owned((*text).to_owned())).collect()),
    Vec<&str> => |v| Self::Strings(v.into_iter().map(|text| Cow::Owned(text.to_owned())).collect()),
    Vec<i64> => |v| Self::I64s(v),
    &[i64] => |v| Self::I64s(v.to_vec()),
    Vec<f64> => |v| Self::F64s(v),
    &[f64] => |v| Self::F64s(v.to_vec()),
    Vec<bool> => |v| Self::Bools(v),
    &[bool] => |v| Self::Bools(v.to_vec()),
}

impl<const N: usize> From<[&str; N]> for Value {
    fn from(values: [&str; N]) -> Self {
        values.as_slice().into()
    }
}

impl<const N: usize> From<[i64; N]> for Value {
    fn from(values: [i64; N]) -> Self {
        Self::I64s(values.to_vec())
    }
}

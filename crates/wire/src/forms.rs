//! The forms in which JSON says one thing: rules that every JSON decoder here follows, field by field (ADR 3).
//!
//! - `null`, an empty text and an absent field are the same.
//! - A number may be a number or a text, with a fraction or an exponent. `true` is 1 and `false` is 0.
//! - A number out of range is the nearest in range, and what is no number at all is 0; both are flaws.
//! - A boolean may be `true`, `"true"`, 1 or `"1"`.
//! - A text may be a number or a boolean, which is then its text.
//! - An enum is a number or a name, with or without its prefix, in any case.
//! - Only what makes a span useless refuses it: ids that are none, a start that is none. All else loses itself.

use std::borrow::Cow;

use tracewell_model::{AnyValue, ParseIdError, SpanId, TraceId};

use crate::base64;
use crate::json::Json;
use crate::report::Report;

/// A value that is no object and no list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above what an `Int` can be.
    UInt(u64),
    Double(f64),
    Text(Cow<'a, str>),
    /// An object or a list.
    Other,
}

impl<'a> From<&'a Json<'a>> for Scalar<'a> {
    fn from(value: &'a Json<'a>) -> Self {
        match value {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::String(text) => Self::Text(Cow::Borrowed(text)),
            Json::Int(number) => Self::Int(*number),
            Json::UInt(number) => Self::UInt(*number),
            Json::Double(number) => Self::Double(*number),
            Json::Array(_) | Json::Object(_) => Self::Other,
        }
    }
}

impl<'a> From<Option<&'a Json<'a>>> for Scalar<'a> {
    fn from(value: Option<&'a Json<'a>>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// What a field says, and what was wrong with the way it says it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Read<T> {
    pub(crate) value: T,
    pub(crate) flaw: Option<&'static str>,
}

impl<T> Read<T> {
    const fn good(value: T) -> Self {
        Self { value, flaw: None }
    }

    const fn flawed(value: T, flaw: &'static str) -> Self {
        Self { value, flaw: Some(flaw) }
    }

    /// The value; a flaw is reported under the field's name.
    pub(crate) fn or_note(self, report: &mut Report, field: &str) -> T {
        if let Some(flaw) = self.flaw {
            report.note(format!("{field}: {flaw}"), 1);
        }
        self.value
    }

    /// The value, or why the span that it is of cannot be kept.
    pub(crate) fn or_refuse(self, field: &str) -> Result<T, String> {
        match self.flaw {
            None => Ok(self.value),
            Some(flaw) => Err(format!("{field}: {flaw}")),
        }
    }

    fn map<U>(self, map: impl FnOnce(T) -> U) -> Read<U> {
        Read { value: map(self.value), flaw: self.flaw }
    }
}

const NO_NUMBER: &str = "not a number, read as 0";
const NEGATIVE: &str = "negative, read as 0";
const TOO_LARGE: &str = "too large, read as the largest number";
const NO_TEXT: &str = "not a string, left out";
const NO_LIST: &str = "not a list, left out";
const NO_OBJECT: &str = "not an object, left out";
const NO_BOOL: &str = "neither true nor false, read as false";
const NO_NAME: &str = "an unknown name or number, read as unset";
const WRONG_ID: &str = "not an id, left out";

impl Read<u64> {
    /// The number, if it is one: without a start, a span is nowhere.
    pub(crate) fn number_or_refuse(self, report: &mut Report, field: &str) -> Result<u64, String> {
        if self.flaw == Some(NO_NUMBER) {
            return Err(format!("{field}: not a number"));
        }
        Ok(self.or_note(report, field))
    }

    /// The number, or this one if it is none.
    pub(crate) fn number_or(self, other: u64, report: &mut Report, field: &str) -> u64 {
        if self.flaw == Some(NO_NUMBER) {
            report.note(format!("{field}: not a number, left out"), 1);
            return other;
        }
        self.or_note(report, field)
    }
}

/// A field under the first of its names that is there; `null` is absent.
pub(crate) fn get<'a>(message: &'a Json<'a>, names: &[&str]) -> Option<&'a Json<'a>> {
    names.iter().find_map(|name| message.get(name).filter(|value| !value.is_null()))
}

/// The members of a list that are there.
pub(crate) fn list<'a>(value: Option<&'a Json<'a>>) -> Read<&'a [Json<'a>]> {
    match value {
        None | Some(Json::Null) => Read::good(&[]),
        Some(Json::Array(items)) => Read::good(items),
        Some(Json::String(text)) if text.is_empty() => Read::good(&[]),
        Some(_) => Read::flawed(&[], NO_LIST),
    }
}

/// The members of a list that are objects; `null` is none, and what else is no object is noted and left out.
pub(crate) fn objects<'a>(value: Option<&'a Json<'a>>, report: &mut Report, field: &str) -> Vec<&'a Json<'a>> {
    let items = list(value).or_note(report, field);
    let mut objects = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Json::Object(_) => objects.push(item),
            Json::Null => {}
            _ => report.note(format!("{field}: {NO_OBJECT}"), 1),
        }
    }
    objects
}

/// A text.
pub(crate) fn text<'a>(value: impl Into<Scalar<'a>>) -> Read<Cow<'a, str>> {
    match value.into() {
        Scalar::Null => Read::good(Cow::Borrowed("")),
        Scalar::Text(text) => Read::good(text),
        Scalar::Bool(value) => Read::good(Cow::Owned(value.to_string())),
        Scalar::Int(value) => Read::good(Cow::Owned(value.to_string())),
        Scalar::UInt(value) => Read::good(Cow::Owned(value.to_string())),
        Scalar::Double(value) => Read::good(Cow::Owned(value.to_string())),
        Scalar::Other => Read::flawed(Cow::Borrowed(""), NO_TEXT),
    }
}

/// A boolean.
pub(crate) fn boolean<'a>(value: impl Into<Scalar<'a>>) -> Read<bool> {
    let known = match value.into() {
        Scalar::Null => Some(false),
        Scalar::Bool(value) => Some(value),
        Scalar::Int(number @ 0..=1) => Some(number == 1),
        Scalar::Double(number) if number == 0.0 || number == 1.0 => Some(number == 1.0),
        Scalar::Text(text) => match text.trim() {
            "" => Some(false),
            word if word.eq_ignore_ascii_case("true") => Some(true),
            word if word.eq_ignore_ascii_case("false") => Some(false),
            word => word.parse::<f64>().ok().filter(|number| [0.0, 1.0].contains(number)).map(|number| number == 1.0),
        },
        _ => None,
    };
    known.map_or(Read::flawed(false, NO_BOOL), Read::good)
}

/// A number without a sign; a fraction is cut off.
pub(crate) fn unsigned<'a>(value: impl Into<Scalar<'a>>) -> Read<u64> {
    scaled(value.into(), 1)
}

/// A number of microseconds, perhaps with a fraction, in nanoseconds.
pub(crate) fn nanos_of_micros<'a>(value: impl Into<Scalar<'a>>) -> Read<u64> {
    scaled(value.into(), 1_000)
}

/// A number of 32 bits without a sign: a count, or flags.
pub(crate) fn count<'a>(value: impl Into<Scalar<'a>>) -> Read<u32> {
    let Read { value, flaw } = unsigned(value);
    match u32::try_from(value) {
        Ok(value) => Read { value, flaw },
        Err(_) => Read::flawed(u32::MAX, TOO_LARGE),
    }
}

/// A number times `scale`, of which the part below 1 is cut off.
fn scaled(value: Scalar<'_>, scale: u32) -> Read<u64> {
    match value {
        Scalar::Null | Scalar::Bool(false) => Read::good(0),
        Scalar::Bool(true) => Read::good(u64::from(scale)),
        Scalar::Int(number) => match u128::try_from(number) {
            Ok(whole) => times(whole, scale, 0),
            Err(_) => Read::flawed(0, NEGATIVE),
        },
        Scalar::UInt(number) => times(u128::from(number), scale, 0),
        Scalar::Double(number) => scaled_double(number, scale),
        Scalar::Text(text) => scaled_text(text.trim(), scale),
        Scalar::Other => Read::flawed(0, NO_NUMBER),
    }
}

fn scaled_text(text: &str, scale: u32) -> Read<u64> {
    if text.is_empty() {
        return Read::good(0);
    }
    // A double would round what a text says exactly.
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = fraction.bytes().all(|digit| digit.is_ascii_digit());
    if let (Ok(whole), true) = (whole.parse::<u128>(), is_plain) {
        let part = format!("0.{fraction}").parse::<f64>().unwrap_or(0.0) * f64::from(scale);
        return times(whole, scale, part as u64);
    }
    match text.parse::<f64>() {
        Ok(double) => scaled_double(double, scale),
        Err(_) if text.eq_ignore_ascii_case("true") => Read::good(u64::from(scale)),
        Err(_) if text.eq_ignore_ascii_case("false") => Read::good(0),
        Err(_) => Read::flawed(0, NO_NUMBER),
    }
}

fn times(whole: u128, scale: u32, part: u64) -> Read<u64> {
    match u64::try_from(whole.saturating_mul(u128::from(scale)).saturating_add(u128::from(part))) {
        Ok(number) => Read::good(number),
        Err(_) => Read::flawed(u64::MAX, TOO_LARGE),
    }
}

fn scaled_double(double: f64, scale: u32) -> Read<u64> {
    const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
    if double.is_nan() {
        return Read::flawed(0, NO_NUMBER);
    }
    if double <= -1.0 {
        return Read::flawed(0, NEGATIVE);
    }
    if double * f64::from(scale) >= TWO_TO_64 {
        return Read::flawed(u64::MAX, TOO_LARGE);
    }
    // Apart, since their sum has more digits than a double.
    let (whole, fraction) = (double.trunc(), double.fract());
    times(whole.max(0.0) as u128, scale, (fraction.max(0.0) * f64::from(scale)).round() as u64)
}

/// A whole number with a sign, if it is one of 64 bits.
pub(crate) fn int<'a>(value: impl Into<Scalar<'a>>) -> Option<i64> {
    let whole = |number: f64| {
        let fits = number.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&number);
        fits.then_some(number as i64)
    };
    match value.into() {
        Scalar::Text(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().ok()?))
        }
        Scalar::Bool(value) => Some(i64::from(value)),
        Scalar::Int(value) => Some(value),
        Scalar::Double(value) => whole(value),
        Scalar::Null | Scalar::UInt(_) | Scalar::Other => None,
    }
}

/// A number with a fraction; protobuf's JSON has words for what is no finite number.
pub(crate) fn double<'a>(value: impl Into<Scalar<'a>>) -> Option<f64> {
    match value.into() {
        Scalar::Int(number) => Some(number as f64),
        Scalar::UInt(number) => Some(number as f64),
        Scalar::Double(number) => Some(number),
        Scalar::Text(text) => text.trim().parse().ok(),
        Scalar::Bool(value) => Some(f64::from(u8::from(value))),
        Scalar::Null | Scalar::Other => None,
    }
}

/// An attribute's value by the type that JSON has for it.
pub(crate) fn bare_value<'a>(value: impl Into<Scalar<'a>>) -> AnyValue {
    match value.into() {
        Scalar::Null | Scalar::Other => AnyValue::Empty,
        Scalar::Bool(value) => AnyValue::Bool(value),
        Scalar::Int(value) => AnyValue::Int(value),
        Scalar::UInt(value) => AnyValue::Double(value as f64),
        Scalar::Double(value) => AnyValue::Double(value),
        Scalar::Text(text) => AnyValue::Str(text.into_owned()),
    }
}

/// An attribute's value that ought to be a whole number: else the number that it is, else its text.
pub(crate) fn int_value<'a>(value: impl Into<Scalar<'a>>) -> Read<AnyValue> {
    let value = value.into();
    if let Some(whole) = int(value.clone()) {
        return Read::good(AnyValue::Int(whole));
    }
    match double(value.clone()) {
        Some(number) => Read::flawed(AnyValue::Double(number), "not an integer of 64 bits, kept as a double"),
        None => else_text(value, "not a number, kept as text"),
    }
}

/// An attribute's value that ought to be a number, else its text.
pub(crate) fn double_value<'a>(value: impl Into<Scalar<'a>>) -> Read<AnyValue> {
    let value = value.into();
    match double(value.clone()) {
        Some(number) => Read::good(AnyValue::Double(number)),
        None => else_text(value, "not a number, kept as text"),
    }
}

/// An attribute's value that ought to be a boolean, else its text.
pub(crate) fn bool_value<'a>(value: impl Into<Scalar<'a>>) -> Read<AnyValue> {
    let value = value.into();
    match (&value, boolean(value.clone())) {
        (Scalar::Text(text), _) if text.trim().is_empty() => Read::good(AnyValue::Empty),
        (_, Read { value, flaw: None }) => Read::good(AnyValue::Bool(value)),
        _ => else_text(value, "neither true nor false, kept as text"),
    }
}

/// An attribute's value that ought to be bytes in base64, else its text.
pub(crate) fn bytes_value<'a>(value: impl Into<Scalar<'a>>) -> Read<AnyValue> {
    let value = value.into();
    match &value {
        Scalar::Text(text) => match base64::decode(text) {
            Some(bytes) => Read::good(AnyValue::Bytes(bytes)),
            None => else_text(value, "not base64, kept as text"),
        },
        _ => else_text(value, "not base64, kept as text"),
    }
}

/// An attribute's value that ought to be a text.
pub(crate) fn text_value<'a>(value: impl Into<Scalar<'a>>) -> Read<AnyValue> {
    match value.into() {
        Scalar::Null => Read::good(AnyValue::Empty),
        value => text(value).map(|text| AnyValue::Str(text.into_owned())),
    }
}

/// The value as text; an empty text is none.
fn else_text(value: Scalar<'_>, flaw: &'static str) -> Read<AnyValue> {
    match value {
        Scalar::Null => Read::good(AnyValue::Empty),
        Scalar::Text(text) if text.trim().is_empty() => Read::good(AnyValue::Empty),
        Scalar::Other => Read::flawed(AnyValue::Empty, "an object or a list, left out"),
        other => Read { flaw: Some(flaw), ..text_value(other) },
    }
}

/// An enum by its number, or by its name with or without `prefix`, in any case.
pub(crate) fn enumerated<'a, T: Copy + Default + std::str::FromStr>(
    value: impl Into<Scalar<'a>>,
    prefix: &str,
    from_number: impl Fn(i64) -> Option<T>,
) -> Read<T> {
    let known = match value.into() {
        Scalar::Null => return Read::good(T::default()),
        Scalar::Text(text) => {
            let text = text.trim();
            if text.is_empty() {
                return Read::good(T::default());
            }
            let start = text.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix));
            let name = start.map_or(text, |_| &text[prefix.len()..]);
            name.parse().ok().or_else(|| from_number(int(Scalar::Text(Cow::Borrowed(text)))?))
        }
        other => int(other).and_then(from_number),
    };
    known.map_or(Read::flawed(T::default(), NO_NAME), Read::good)
}

/// Bytes in hexadecimal, in either case, or in base64, which their lengths tell apart; empty is all zeros.
fn id_bytes<const N: usize>(value: Scalar<'_>) -> Read<[u8; N]> {
    let zero = [0; N];
    let text = match value {
        Scalar::Null => return Read::good(zero),
        Scalar::Text(text) => text,
        _ => return Read::flawed(zero, WRONG_ID),
    };
    let text = text.trim();
    if text.is_empty() {
        return Read::good(zero);
    }
    let text = text.strip_prefix("0x").unwrap_or(text);
    if text.len() == 2 * N {
        let mut bytes = zero;
        for (place, digit) in text.bytes().enumerate() {
            let Some(nibble) = (digit as char).to_digit(16) else { return Read::flawed(zero, "not hexadecimal") };
            bytes[place / 2] = bytes[place / 2] << 4 | nibble as u8;
        }
        return Read::good(bytes);
    }
    let in_base64 = text.len() == N.div_ceil(3) * 4 || text.len() == (4 * N).div_ceil(3);
    match in_base64.then(|| base64::decode(text)).flatten().and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => Read::good(bytes),
        None => Read::flawed(zero, if N == 16 { "not 32 hexadecimal digits" } else { "not 16 hexadecimal digits" }),
    }
}

/// The id of a trace as OTLP writes it: all of its digits.
pub(crate) fn trace_id<'a>(value: impl Into<Scalar<'a>>) -> Read<TraceId> {
    id_bytes(value.into()).map(TraceId::from_bytes)
}

/// The id of a span as OTLP writes it: all of its digits.
pub(crate) fn span_id<'a>(value: impl Into<Scalar<'a>>) -> Read<SpanId> {
    id_bytes(value.into()).map(SpanId::from_bytes)
}

/// The id of a trace as Jaeger and Zipkin write it: without its leading zeros, if the writer likes.
pub(crate) fn short_trace_id<'a>(value: impl Into<Scalar<'a>>) -> Read<TraceId> {
    short_id(value.into(), TraceId::ZERO)
}

/// The id of a span as Jaeger and Zipkin write it.
pub(crate) fn short_span_id<'a>(value: impl Into<Scalar<'a>>) -> Read<SpanId> {
    short_id(value.into(), SpanId::ZERO)
}

fn short_id<T: std::str::FromStr<Err = ParseIdError>>(value: Scalar<'_>, zero: T) -> Read<T> {
    let text = match value {
        Scalar::Null => return Read::good(zero),
        Scalar::Text(text) => text,
        _ => return Read::flawed(zero, WRONG_ID),
    };
    let text = text.trim();
    match text.strip_prefix("0x").unwrap_or(text).parse() {
        Ok(id) => Read::good(id),
        Err(ParseIdError::Empty | ParseIdError::Zero) => Read::good(zero),
        Err(ParseIdError::TooLong { .. }) => Read::flawed(zero, "too many hexadecimal digits"),
        Err(ParseIdError::NotHex { .. }) => Read::flawed(zero, "not hexadecimal"),
    }
}

#[cfg(test)]
mod tests;

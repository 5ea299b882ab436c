//! What a scan filters by.

use std::cmp::Ordering;

use tracewell_model::{SpanRef, ValueRef};

/// A condition on one span. A span passes if the field exists and compares as asked; of an attribute that occurs more
/// than once, one passing value is enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    /// What is looked at.
    pub field: Field,
    /// How it is compared.
    pub op: Op,
    /// With what.
    pub value: Literal,
}

/// A property of a span.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The service name.
    Service,
    /// The span name.
    Name,
    /// The kind, compared as its lower-case name.
    Kind,
    /// The status code, compared as its lower-case name.
    Status,
    /// The status message.
    StatusMessage,
    /// The W3C trace state.
    TraceState,
    /// The name of the instrumentation scope.
    ScopeName,
    /// The version of the instrumentation scope.
    ScopeVersion,
    /// The name of an event.
    EventName,
    /// End minus start in nanoseconds, 0 if negative; compared as an integer.
    DurationNanos,
    /// An attribute.
    Attribute(AttributeScope, String),
}

/// Where an attribute stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttributeScope {
    /// On the span, its resource, its scope or one of its events.
    Any,
    /// On the span.
    Span,
    /// On the resource.
    Resource,
    /// On the instrumentation scope.
    Scope,
    /// On an event.
    Event,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Equal.
    Eq,
    /// The field exists and is not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// The field exists; the literal is ignored.
    Exists,
}

/// What to compare with.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A value of any type whose text (`ValueRef`'s `Display`) is this, which is how tags of untyped queries are meant:
    /// `http.status_code=500` finds the string and the integer. A double is also found by any other text of the same
    /// number, and bytes by their base64, since answers show these. With `<` and the like, numbers compare as numbers.
    Text(String),
    /// A string only.
    Str(String),
    /// An integer, or a double of the same value.
    Int(i64),
    /// A double, or an integer of the same value.
    Double(f64),
    /// A boolean.
    Bool(bool),
}

impl Predicate {
    /// Whether a span passes: what the words above mean, one span at a time. Stores that evaluate columns at once are
    /// checked against this.
    pub fn matches(&self, span: SpanRef<'_>) -> bool {
        let passes = |value| self.op.passes(value, &self.value);
        match &self.field {
            Field::Service => passes(ValueRef::Str(span.service())),
            Field::Name => passes(ValueRef::Str(span.name())),
            Field::Kind => passes(ValueRef::Str(span.kind().as_str())),
            Field::Status => passes(ValueRef::Str(span.status_code().as_str())),
            Field::StatusMessage => passes(ValueRef::Str(span.status_message())),
            Field::TraceState => passes(ValueRef::Str(span.trace_state())),
            Field::ScopeName => passes(ValueRef::Str(span.batch().string(span.scope().name))),
            Field::ScopeVersion => passes(ValueRef::Str(span.batch().string(span.scope().version))),
            Field::EventName => span.events().any(|event| passes(ValueRef::Str(event.name()))),
            Field::DurationNanos => passes(ValueRef::Int(i64::try_from(span.duration_nanos()).unwrap_or(i64::MAX))),
            Field::Attribute(scope, wanted) => {
                let is = |part| *scope == AttributeScope::Any || *scope == part;
                let hit = |(key, value): (&str, _)| key == wanted && passes(value);
                (is(AttributeScope::Span) && span.attributes().iter().any(hit))
                    || (is(AttributeScope::Resource) && span.resource_attributes().any(hit))
                    || (is(AttributeScope::Scope) && span.scope_attributes().any(hit))
                    || (is(AttributeScope::Event) && span.events().any(|event| event.attributes().iter().any(hit)))
            }
        }
    }
}

impl Op {
    /// Whether an existing value compares with the literal as asked.
    pub fn passes(self, value: ValueRef<'_>, literal: &Literal) -> bool {
        match self {
            Self::Exists => true,
            Self::Eq => equal(value, literal),
            Self::Ne => !equal(value, literal),
            Self::Lt => order(value, literal).is_some_and(Ordering::is_lt),
            Self::Le => order(value, literal).is_some_and(Ordering::is_le),
            Self::Gt => order(value, literal).is_some_and(Ordering::is_gt),
            Self::Ge => order(value, literal).is_some_and(Ordering::is_ge),
        }
    }
}

fn equal(value: ValueRef<'_>, literal: &Literal) -> bool {
    match (value, literal) {
        (ValueRef::Str(text), Literal::Text(wanted)) => text == wanted,
        // JSON has its own ways to write these.
        (ValueRef::Double(number), Literal::Text(wanted)) => {
            let is_nan = number.is_nan() && wanted.eq_ignore_ascii_case("nan");
            is_nan || wanted.parse::<f64>().is_ok_and(|wanted| wanted == number)
        }
        (ValueRef::Bytes(bytes), Literal::Text(wanted)) => {
            value.to_string() == *wanted || is_base64_of(wanted.as_bytes(), bytes)
        }
        (other, Literal::Text(wanted)) => other.to_string() == *wanted,
        _ => order(value, literal) == Some(Ordering::Equal),
    }
}

/// Whether a text is these bytes in base64, with its padding or without.
fn is_base64_of(text: &[u8], bytes: &[u8]) -> bool {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_ascii_end().iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    if digits != (bytes.len() * 4).div_ceil(3) || text.len() > digits + 2 {
        return false;
    }
    bytes.chunks(3).zip(text[..digits].chunks(4)).all(|(three, four)| {
        let byte = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        four.iter().enumerate().all(|(place, digit)| *digit == ALPHABET[(group >> (18 - 6 * place)) as usize & 63])
    })
}

/// How a value lies to the literal; `None` when they are of types that have no order between them.
fn order(value: ValueRef<'_>, literal: &Literal) -> Option<Ordering> {
    match (value, literal) {
        (ValueRef::Str(text), Literal::Str(wanted) | Literal::Text(wanted)) => Some(text.cmp(wanted.as_str())),
        (ValueRef::Int(value), Literal::Int(wanted)) => Some(value.cmp(wanted)),
        (ValueRef::Int(value), Literal::Double(wanted)) => order_int_double(value, *wanted),
        (ValueRef::Double(value), Literal::Int(wanted)) => order_int_double(*wanted, value).map(Ordering::reverse),
        (ValueRef::Double(value), Literal::Double(wanted)) => value.partial_cmp(wanted),
        (ValueRef::Bool(value), Literal::Bool(wanted)) => Some(value.cmp(wanted)),
        (ValueRef::Int(_) | ValueRef::Double(_), Literal::Text(wanted)) => {
            let wanted = wanted.parse().map(Literal::Int).or_else(|_| wanted.parse().map(Literal::Double)).ok()?;
            order(value, &wanted)
        }
        _ => None,
    }
}

/// Exact for every pair: a cast of a large integer to a double would call neighbours equal.
fn order_int_double(int: i64, double: f64) -> Option<Ordering> {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        None
    } else if double >= TWO_TO_63 {
        Some(Ordering::Less)
    } else if double < -TWO_TO_63 {
        Some(Ordering::Greater)
    } else {
        let whole = double.trunc();
        Some(int.cmp(&(whole as i64)).then(0.0f64.partial_cmp(&(double - whole))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_finds_every_type_and_a_typed_literal_only_its_own() {
        let text = |text: &str| Literal::Text(text.into());
        assert!(Op::Eq.passes(ValueRef::Int(500), &text("500")));
        assert!(Op::Eq.passes(ValueRef::Str("500"), &text("500")));
        assert!(Op::Eq.passes(ValueRef::Bool(true), &text("true")));
        assert!(!Op::Eq.passes(ValueRef::Int(500), &Literal::Str("500".into())));
        assert!(!Op::Eq.passes(ValueRef::Str("500"), &Literal::Int(500)));
        assert!(Op::Ne.passes(ValueRef::Str("500"), &Literal::Int(500)), "it exists and is not equal");
        assert!(Op::Eq.passes(ValueRef::Double(2.0), &Literal::Int(2)));
        assert!(!Op::Eq.passes(ValueRef::Double(2.5), &Literal::Int(2)));
    }

    #[test]
    fn a_value_is_found_by_every_text_that_answers_show_of_it() {
        let finds = |value, text: &str| Op::Eq.passes(value, &Literal::Text(text.into()));
        for text in ["2", "2.0", "2e0"] {
            assert!(finds(ValueRef::Double(2.0), text), "{text}");
        }
        for text in ["1000000000000000000000", "1e21", "1e+21"] {
            assert!(finds(ValueRef::Double(1e21), text), "{text}");
        }
        for text in ["inf", "Infinity", "+Inf"] {
            assert!(finds(ValueRef::Double(f64::INFINITY), text), "{text}");
            assert!(!finds(ValueRef::Double(f64::NEG_INFINITY), text), "{text}");
        }
        assert!(finds(ValueRef::Double(f64::NEG_INFINITY), "-Infinity"));
        assert!(finds(ValueRef::Double(f64::NAN), "NaN") && !finds(ValueRef::Double(0.0), "NaN"));
        for text in ["01ff02", "Af8C"] {
            assert!(finds(ValueRef::Bytes(&[1, 0xff, 2]), text), "{text}");
        }
        assert!(finds(ValueRef::Bytes(&[1]), "AQ==") && finds(ValueRef::Bytes(&[1]), "AQ"));
        assert!(!finds(ValueRef::Bytes(&[1]), "AQ===") && !finds(ValueRef::Bytes(&[1, 2]), "AQ=="));
        assert!(finds(ValueRef::Bytes(&[]), "") && !finds(ValueRef::Bytes(&[]), "AQ"));
    }

    #[test]
    fn numbers_compare_as_numbers() {
        let text = |text: &str| Literal::Text(text.into());
        assert!(Op::Lt.passes(ValueRef::Int(9), &text("10")));
        assert!(Op::Gt.passes(ValueRef::Double(9.5), &text("9")));
        assert!(!Op::Lt.passes(ValueRef::Int(9), &text("ten")));
        assert!(Op::Gt.passes(ValueRef::Str("9"), &text("10")), "strings compare as strings");
        assert!(Op::Lt.passes(ValueRef::Int(i64::MAX), &Literal::Double(9.3e18)));
        assert!(Op::Gt.passes(ValueRef::Int(-2), &Literal::Double(-2.5)));
        assert!(!Op::Le.passes(ValueRef::Int(1), &Literal::Double(f64::NAN)));
        assert!(Op::Gt.passes(ValueRef::Int(9_007_199_254_740_993), &Literal::Double(9_007_199_254_740_992.0)));
    }
}

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
    /// `http.status_code=500` finds the string and the integer. With `<` and the like, numbers compare as numbers.
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
        (other, Literal::Text(wanted)) => other.to_string() == *wanted,
        _ => order(value, literal) == Some(Ordering::Equal),
    }
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

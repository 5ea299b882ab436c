//! What a scan filters by.

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

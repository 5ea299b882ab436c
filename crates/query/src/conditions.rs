//! What a span must be like.

use tracewell_model::{SpanKind, SpanRef, StatusCode};
use tracewell_store::{AttributeScope, Field, Literal, Op, Predicate};

/// Conditions on one span; all that are given must hold. The default asks for nothing and every span meets it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// The service's name.
    pub service: Option<String>,
    /// The span's name.
    pub operation: Option<String>,
    /// The span's kind.
    pub kind: Option<SpanKind>,
    /// How the span ended.
    pub status: Option<StatusCode>,
    /// The shortest duration, itself included.
    pub min_duration_nanos: Option<u64>,
    /// The longest duration, itself included.
    pub max_duration_nanos: Option<u64>,
    /// Attributes of the span, its resource, its scope or one of its events, with their values as text.
    pub tags: Vec<(String, String)>,
}

impl Conditions {
    /// The same conditions as a store understands them.
    pub fn predicates(&self) -> Vec<Predicate> {
        let text = |field, text: &str| Predicate { field, op: Op::Eq, value: Literal::Str(text.to_owned()) };
        let duration = |op, nanos: u64| Predicate {
            field: Field::DurationNanos,
            op,
            value: Literal::Int(i64::try_from(nanos).unwrap_or(i64::MAX)),
        };
        let mut out = Vec::new();
        out.extend(self.service.as_deref().map(|service| text(Field::Service, service)));
        out.extend(self.operation.as_deref().map(|operation| text(Field::Name, operation)));
        out.extend(self.kind.map(|kind| text(Field::Kind, kind.as_str())));
        out.extend(self.status.map(|status| text(Field::Status, status.as_str())));
        out.extend(self.min_duration_nanos.map(|nanos| duration(Op::Ge, nanos)));
        out.extend(self.max_duration_nanos.map(|nanos| duration(Op::Le, nanos)));
        out.extend(self.tags.iter().map(|(key, value)| Predicate {
            field: Field::Attribute(AttributeScope::Any, key.clone()),
            op: Op::Eq,
            value: Literal::Text(value.clone()),
        }));
        out
    }
}

/// Whether a span meets every predicate.
pub(crate) fn all_match(predicates: &[Predicate], span: SpanRef<'_>) -> bool {
    predicates.iter().all(|predicate| predicate.matches(span))
}

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
    /// The same conditions as a store understands them: lists of predicates, of which a span has to meet one whole list.
    ///
    /// Mostly there is one. There are more where a tag stands for a field of the span, or for an attribute of that name:
    /// answers show `error=true` for both, and what an answer shows is also found.
    pub fn alternatives(&self) -> Vec<Vec<Predicate>> {
        let mut out = vec![self.fixed()];
        for (key, value) in &self.tags {
            let attribute = Predicate {
                field: Field::Attribute(AttributeScope::Any, key.clone()),
                op: Op::Eq,
                value: Literal::Text(value.clone()),
            };
            let field = shown_field(key, value).filter(|_| out.len() < MAX_ALTERNATIVES);
            let choices: Vec<Predicate> = field.into_iter().chain([attribute]).collect();
            out = out
                .iter()
                .flat_map(|before| {
                    choices.iter().map(move |choice| [&before[..], std::slice::from_ref(choice)].concat())
                })
                .collect();
        }
        out
    }

    /// The conditions that are no tags.
    fn fixed(&self) -> Vec<Predicate> {
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
        out
    }
}

/// Each tag for a field doubles the lists; beyond this many they are looked for among attributes only.
const MAX_ALTERNATIVES: usize = 16;

/// The field of a span that Jaeger's answers show as this tag.
fn shown_field(key: &str, value: &str) -> Option<Predicate> {
    let field = |field, text: &str| Predicate { field, op: Op::Eq, value: Literal::Str(text.to_owned()) };
    Some(match key {
        "error" if value == "true" => field(Field::Status, StatusCode::Error.as_str()),
        "otel.status_code" => match value.parse::<StatusCode>().ok()? {
            StatusCode::Unset => return None,
            status => field(Field::Status, status.as_str()),
        },
        "span.kind" => match value.parse::<SpanKind>().ok()? {
            SpanKind::Unspecified => return None,
            kind => field(Field::Kind, kind.as_str()),
        },
        _ if value.is_empty() => return None,
        "otel.status_description" => field(Field::StatusMessage, value),
        "otel.scope.name" => field(Field::ScopeName, value),
        "otel.scope.version" => field(Field::ScopeVersion, value),
        "w3c.tracestate" => field(Field::TraceState, value),
        "event" => field(Field::EventName, value),
        _ => return None,
    })
}

/// Whether a span meets one list of predicates whole.
pub(crate) fn any_match(alternatives: &[Vec<Predicate>], span: SpanRef<'_>) -> bool {
    alternatives.iter().any(|predicates| predicates.iter().all(|predicate| predicate.matches(span)))
}

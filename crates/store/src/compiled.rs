//! Predicates made ready for one batch: strings are compared as the batch's numbers, and what spans share is looked at
//! once. Says the same as [`Predicate::matches`], which it is tested against.

use tracewell_model::{SpanBatch, StrId, Value, ValueRef};

use crate::{AttributeScope, Field, Literal, Op, Predicate};

/// All predicates of a scan.
pub(crate) struct Compiled<'a>(Vec<One<'a>>);

struct One<'a> {
    predicate: &'a Predicate,
    /// The batch's number of an attribute's key.
    key: Option<StrId>,
    /// The batch's number of a text that must be equal; `None` if the batch has no such text.
    text: Option<StrId>,
    /// Whether each resource, and each scope, passes by itself.
    resources: Vec<bool>,
    scopes: Vec<bool>,
}

impl<'a> Compiled<'a> {
    /// `None` when no row of the batch can match.
    pub(crate) fn new(predicates: &'a [Predicate], batch: &SpanBatch) -> Option<Self> {
        predicates.iter().map(|predicate| One::new(predicate, batch)).collect::<Option<Vec<_>>>().map(Self)
    }

    pub(crate) fn matches(&self, batch: &SpanBatch, row: usize) -> bool {
        self.0.iter().all(|one| one.matches(batch, row))
    }
}

impl<'a> One<'a> {
    fn new(predicate: &'a Predicate, batch: &SpanBatch) -> Option<Self> {
        let passes = |value: ValueRef<'_>| predicate.op.passes(value, &predicate.value);
        let text = match (&predicate.value, predicate.op) {
            (Literal::Str(text) | Literal::Text(text), Op::Eq) => batch.strings().find(text),
            _ => None,
        };
        let mut one = Self { predicate, key: None, text, resources: Vec::new(), scopes: Vec::new() };
        match &predicate.field {
            Field::Service => {
                let resources = batch.resources().iter();
                one.resources = resources.map(|r| passes(ValueRef::Str(batch.string(r.service)))).collect();
                one.resources.contains(&true).then_some(one)
            }
            Field::Name | Field::StatusMessage | Field::TraceState if predicate.op == Op::Eq => {
                text.is_some().then_some(one)
            }
            Field::ScopeName | Field::ScopeVersion => {
                let is_name = predicate.field == Field::ScopeName;
                let scopes = batch.scopes().iter().map(|scope| if is_name { scope.name } else { scope.version });
                one.scopes = scopes.map(|text| passes(ValueRef::Str(batch.string(text)))).collect();
                one.scopes.contains(&true).then_some(one)
            }
            Field::Attribute(scope, key) => {
                one.key = Some(batch.strings().find(key)?);
                let is = |part| *scope == AttributeScope::Any || *scope == part;
                let any = |attributes: &[(StrId, Value)]| {
                    attributes.iter().any(|(known, value)| Some(*known) == one.key && passes(batch.value(*value)))
                };
                let shared = |part: AttributeScope, of: Vec<&[(StrId, Value)]>| -> Vec<bool> {
                    of.into_iter().map(|attributes| is(part) && any(attributes)).collect()
                };
                let resources = batch.resources().iter().map(|r| r.attributes.as_slice()).collect();
                let resources = shared(AttributeScope::Resource, resources);
                let scopes = batch.scopes().iter().map(|s| s.attributes.as_slice()).collect();
                let scopes = shared(AttributeScope::Scope, scopes);
                Some(Self { resources, scopes, ..one })
            }
            _ => Some(one),
        }
    }

    /// Whether a value passes; equal strings are told by their numbers.
    #[inline]
    fn passes(&self, batch: &SpanBatch, value: Value) -> bool {
        match (self.predicate.op, value) {
            (Op::Eq, Value::Str(id)) => self.text == Some(id),
            _ => self.predicate.op.passes(batch.value(value), &self.predicate.value),
        }
    }

    fn matches(&self, batch: &SpanBatch, row: usize) -> bool {
        let spans = batch.spans();
        match &self.predicate.field {
            Field::Service => self.resources[spans.resource[row].index()],
            Field::Name => self.passes(batch, Value::Str(spans.name[row])),
            Field::StatusMessage => self.passes(batch, Value::Str(spans.status_message[row])),
            Field::TraceState => self.passes(batch, Value::Str(spans.trace_state[row])),
            Field::ScopeName | Field::ScopeVersion => self.scopes[spans.scope[row].index()],
            Field::EventName => batch
                .span(row)
                .events()
                .any(|event| self.predicate.op.passes(ValueRef::Str(event.name()), &self.predicate.value)),
            Field::Kind | Field::Status | Field::DurationNanos => self.predicate.matches(batch.span(row)),
            Field::Attribute(scope, _) => {
                if self.resources[spans.resource[row].index()] || self.scopes[spans.scope[row].index()] {
                    return true;
                }
                let Some(key) = self.key else { return false };
                let is = |part| *scope == AttributeScope::Any || *scope == part;
                let span = batch.span(row);
                let hit = |attributes: tracewell_model::Attributes<'_>| {
                    let pairs = attributes.raw_keys().iter().zip(attributes.raw_values());
                    pairs.into_iter().any(|(known, value)| *known == key && self.passes(batch, *value))
                };
                (is(AttributeScope::Span) && hit(span.attributes()))
                    || (is(AttributeScope::Event) && span.events().any(|event| hit(event.attributes())))
            }
        }
    }
}

//! The span of OpenTelemetry's API.

use crate::{to_opentelemetry, to_tracewell};
use opentelemetry::trace::{SpanContext, Status};
use opentelemetry::{Array, KeyValue, Value};
use std::borrow::Cow;
use std::time::SystemTime;
use tracewell::Span;

/// A Tracewell span behind OpenTelemetry's methods.
#[derive(Debug)]
pub struct BridgeSpan {
    /// `None` once ended.
    span: Option<Span>,
    context: SpanContext,
}

impl BridgeSpan {
    pub(crate) fn new(span: Span) -> Self {
        Self { context: to_opentelemetry(span.span_context()), span: Some(span) }
    }

    pub(crate) fn attribute(&self, attribute: KeyValue) {
        if let Some(span) = &self.span {
            span.tag_with(attribute.key.as_str(), || value(&attribute.value));
        }
    }
}

impl opentelemetry::trace::Span for BridgeSpan {
    /// The time is taken as now: Tracewell's events happen when they are told.
    fn add_event_with_timestamp<T: Into<Cow<'static, str>>>(
        &mut self,
        name: T,
        _time: SystemTime,
        attributes: Vec<KeyValue>,
    ) {
        if let Some(span) = &self.span {
            span.event_with(name.into(), |event| {
                for attribute in &attributes {
                    event.tag(attribute.key.as_str(), value(&attribute.value));
                }
            });
        }
    }

    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        self.span.as_ref().is_some_and(Span::is_recording)
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.attribute(attribute);
    }

    fn set_status(&mut self, status: Status) {
        if let Some(span) = &self.span {
            span.status(match status {
                Status::Unset => tracewell::Status::Unset,
                Status::Ok => tracewell::Status::Ok,
                Status::Error { description } => tracewell::Status::Error(description),
            });
        }
    }

    fn update_name<T: Into<Cow<'static, str>>>(&mut self, name: T) {
        if let Some(span) = &self.span {
            span.rename(name.into());
        }
    }

    fn add_link(&mut self, other: SpanContext, _attributes: Vec<KeyValue>) {
        if let Some(span) = &self.span {
            span.link(&to_tracewell(&other));
        }
    }

    fn end_with_timestamp(&mut self, end: SystemTime) {
        if let Some(span) = self.span.take() {
            span.end_at(end);
        }
    }
}

fn value(value: &Value) -> tracewell::Value {
    let texts = |values: &[opentelemetry::StringValue]| {
        tracewell::Value::from(values.iter().map(|value| value.as_str().to_owned()).collect::<Vec<_>>())
    };
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::String(value) => value.as_str().into(),
        Value::Array(Array::Bool(values)) => values.clone().into(),
        Value::Array(Array::I64(values)) => values.clone().into(),
        Value::Array(Array::F64(values)) => values.clone().into(),
        Value::Array(Array::String(values)) => texts(values),
        // Kinds that a later version of the API may bring.
        other => other.to_string().into(),
    }
}

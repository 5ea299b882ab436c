//! Their types and ours.

use opentelemetry::{Array, trace};
use tracewell::{SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState, Value};

pub(crate) fn from_theirs(span: &trace::SpanContext) -> SpanContext {
    SpanContext {
        trace_id: TraceId::from_bytes(span.trace_id().to_bytes()),
        span_id: SpanId::from_bytes(span.span_id().to_bytes()),
        flags: TraceFlags::from_byte(span.trace_flags().to_u8()),
        is_remote: span.is_remote(),
        trace_state: TraceState::parse(&span.trace_state().header()),
    }
}

pub(crate) fn to_theirs(span: &SpanContext) -> trace::SpanContext {
    trace::SpanContext::new(
        opentelemetry::TraceId::from_bytes(span.trace_id.to_bytes()),
        opentelemetry::SpanId::from_bytes(span.span_id.to_bytes()),
        opentelemetry::TraceFlags::new(span.flags.to_byte()),
        span.is_remote,
        span.trace_state.as_str().parse().unwrap_or_default(),
    )
}

pub(crate) fn kind(kind: Option<&trace::SpanKind>) -> SpanKind {
    match kind {
        Some(trace::SpanKind::Server) => SpanKind::Server,
        Some(trace::SpanKind::Client) => SpanKind::Client,
        Some(trace::SpanKind::Producer) => SpanKind::Producer,
        Some(trace::SpanKind::Consumer) => SpanKind::Consumer,
        _ => SpanKind::Internal,
    }
}

pub(crate) fn value(value: opentelemetry::Value) -> Value {
    match value {
        opentelemetry::Value::Bool(value) => value.into(),
        opentelemetry::Value::I64(value) => value.into(),
        opentelemetry::Value::F64(value) => value.into(),
        opentelemetry::Value::String(value) => String::from(value).into(),
        opentelemetry::Value::Array(Array::Bool(values)) => Value::Bools(values),
        opentelemetry::Value::Array(Array::I64(values)) => Value::I64s(values),
        opentelemetry::Value::Array(Array::F64(values)) => Value::F64s(values),
        opentelemetry::Value::Array(Array::String(values)) => {
            Value::Strings(values.into_iter().map(|value| String::from(value).into()).collect())
        }
        other => other.to_string().into(),
    }
}

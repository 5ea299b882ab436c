//! The same spans as Zipkin takes them: it has no door for OTLP.

use anyhow::Result;
use serde_json::{Map, Value, json};
use tracewell_model::{SpanBatch, SpanKind, SpanRef};
use tracewell_wire::{Format, Limits};

/// A request in OTLP as one in Zipkin's JSON, version 2.
pub(crate) fn from_otlp(body: &[u8]) -> Result<Vec<u8>> {
    let batch: SpanBatch = tracewell_wire::decode(Format::OtlpProtobuf, body, &Limits::default())?.batch;
    Ok(serde_json::to_vec(&batch.iter().map(span).collect::<Vec<_>>())?)
}

fn span(span: SpanRef<'_>) -> Value {
    let kind = match span.kind() {
        SpanKind::Client => Some("CLIENT"),
        SpanKind::Server => Some("SERVER"),
        SpanKind::Producer => Some("PRODUCER"),
        SpanKind::Consumer => Some("CONSUMER"),
        _ => None,
    };
    let mut tags: Map<String, Value> =
        span.attributes().iter().map(|(key, value)| (key.to_owned(), value.to_string().into())).collect();
    if span.is_error() {
        tags.insert("error".to_owned(), span.status_message().into());
    }
    let annotations: Vec<Value> = span
        .events()
        .map(|event| json!({"timestamp": event.time_unix_nano() / 1_000, "value": event.name()}))
        .collect();
    let mut made = json!({
        "traceId": span.trace_id().to_string(),
        "id": span.span_id().to_string(),
        "name": span.name(),
        "timestamp": span.start_unix_nano() / 1_000,
        // Zero would mean that it is unknown.
        "duration": (span.duration_nanos() / 1_000).max(1),
        "localEndpoint": {"serviceName": span.service()},
        "tags": tags,
        "annotations": annotations,
    });
    if let Some(kind) = kind {
        made["kind"] = kind.into();
    }
    if !span.parent_span_id().is_zero() {
        made["parentId"] = span.parent_span_id().to_string().into();
    }
    made
}

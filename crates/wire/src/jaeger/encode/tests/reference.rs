//! The same as serde writes it: plain, slow, and what the fast way is held to.

use std::collections::HashMap;

use serde::Serialize;
use serde::ser::Serializer;
use tracewell_model::{LinkRef, ResourceId, SpanKind, SpanRef, StatusCode, Trace, ValueRef};

use super::super::tag;

/// The envelope of Jaeger's query API with these traces in it.
pub(super) fn encode_traces(traces: &[Trace]) -> Vec<u8> {
    let envelope = Envelope {
        data: traces.iter().map(TraceJson::new).collect(),
        total: 0,
        limit: 0,
        offset: 0,
        errors: None::<()>,
    };
    // Only map keys that are no strings, or a failing writer, could make this fail; there are neither.
    serde_json::to_vec(&envelope).unwrap_or_default()
}

#[derive(Serialize)]
struct Envelope<'a> {
    data: Vec<TraceJson<'a>>,
    total: u32,
    limit: u32,
    offset: u32,
    errors: Option<()>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TraceJson<'a> {
    #[serde(rename = "traceID")]
    trace_id: String,
    spans: Vec<SpanJson<'a>>,
    processes: HashMap<String, ProcessJson<'a>>,
    warnings: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'a> {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    flags: u32,
    operation_name: &'a str,
    references: Vec<ReferenceJson>,
    start_time: u64,
    duration: u64,
    tags: Vec<Tag<'a>>,
    logs: Vec<LogJson<'a>>,
    #[serde(rename = "processID")]
    process_id: String,
    warnings: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferenceJson {
    ref_type: &'static str,
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Serialize)]
struct LogJson<'a> {
    timestamp: u64,
    fields: Vec<Tag<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessJson<'a> {
    service_name: &'a str,
    tags: Vec<Tag<'a>>,
}

struct Tag<'a>(&'a str, ValueRef<'a>);

impl Serialize for Tag<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a, V> {
            key: &'a str,
            r#type: &'static str,
            value: V,
        }
        let key = self.0;
        match self.1 {
            ValueRef::Str(value) => Written { key, r#type: "string", value }.serialize(serializer),
            ValueRef::Bool(value) => Written { key, r#type: "bool", value }.serialize(serializer),
            // Readers in JavaScript would round it.
            ValueRef::Int(value) if value.unsigned_abs() >= 1 << 53 => {
                Written { key, r#type: "int64", value: value.to_string() }.serialize(serializer)
            }
            ValueRef::Int(value) => Written { key, r#type: "int64", value }.serialize(serializer),
            ValueRef::Double(value) if value.is_finite() => {
                Written { key, r#type: "float64", value }.serialize(serializer)
            }
            ValueRef::Bytes(bytes) => {
                Written { key, r#type: "binary", value: crate::base64::encode(bytes) }.serialize(serializer)
            }
            other => Written { key, r#type: "string", value: other.to_string() }.serialize(serializer),
        }
    }
}

impl<'a> TraceJson<'a> {
    fn new(trace: &'a Trace) -> Self {
        let batch = trace.batch();
        let mut processes = HashMap::new();
        let mut names: HashMap<ResourceId, String> = HashMap::new();
        let spans = batch
            .iter()
            .map(|span| {
                let id = batch.spans().resource[span.row()];
                let next = names.len() + 1;
                let process_id = names.entry(id).or_insert_with(|| {
                    let name = format!("p{next}");
                    let tags = span.resource_attributes().filter(|(key, _)| *key != "service.name");
                    let tags = tags.map(|(key, value)| Tag(key, value)).collect();
                    processes.insert(name.clone(), ProcessJson { service_name: span.service(), tags });
                    name
                });
                SpanJson::new(span, process_id.clone())
            })
            .collect();
        Self { trace_id: trace.trace_id().to_string(), spans, processes, warnings: None }
    }
}

fn ref_type(link: LinkRef<'_>) -> &'static str {
    let is_child = |(key, value): (&str, ValueRef<'_>)| {
        key == tag::REF_TYPE && matches!(value, ValueRef::Str(text) if text == tag::CHILD_OF)
    };
    if link.attributes().iter().any(is_child) { "CHILD_OF" } else { "FOLLOWS_FROM" }
}

impl<'a> SpanJson<'a> {
    fn new(span: SpanRef<'a>, process_id: String) -> Self {
        let mut references = Vec::new();
        if !span.parent_span_id().is_zero() {
            references.push(ReferenceJson {
                ref_type: "CHILD_OF",
                trace_id: span.trace_id().to_string(),
                span_id: span.parent_span_id().to_string(),
            });
        }
        references.extend(span.links().map(|link| ReferenceJson {
            ref_type: ref_type(link),
            trace_id: link.trace_id().to_string(),
            span_id: link.span_id().to_string(),
        }));
        let warning = span.end_unix_nano() < span.start_unix_nano();
        Self {
            trace_id: span.trace_id().to_string(),
            span_id: span.span_id().to_string(),
            flags: span.flags() & 1,
            operation_name: span.name(),
            references,
            start_time: span.start_unix_nano() / 1_000,
            duration: span.duration_nanos() / 1_000,
            tags: tags(span),
            logs: span
                .events()
                .map(|event| LogJson {
                    timestamp: event.time_unix_nano() / 1_000,
                    fields: std::iter::once(Tag(tag::EVENT, ValueRef::Str(event.name())))
                        .chain(event.attributes().iter().map(|(key, value)| Tag(key, value)))
                        .collect(),
                })
                .collect(),
            process_id,
            warnings: warning.then(|| vec!["the span ends before it starts; its duration is shown as 0".to_owned()]),
        }
    }
}

fn tags(span: SpanRef<'_>) -> Vec<Tag<'_>> {
    let batch = span.batch();
    let mut tags: Vec<Tag<'_>> = span.attributes().iter().map(|(key, value)| Tag(key, value)).collect();
    let mut say = |key, text: &'static str| tags.push(Tag(key, ValueRef::Str(text)));
    match span.kind() {
        SpanKind::Unspecified => {}
        kind => say(tag::KIND, kind.as_str()),
    }
    match span.status_code() {
        StatusCode::Unset => {}
        StatusCode::Ok => say(tag::STATUS_CODE, "OK"),
        StatusCode::Error => {
            say(tag::STATUS_CODE, "ERROR");
            tags.push(Tag(tag::ERROR, ValueRef::Bool(true)));
        }
    }
    for (key, text) in [
        (tag::STATUS_DESCRIPTION, span.status_message()),
        (tag::SCOPE_NAME, batch.string(span.scope().name)),
        (tag::SCOPE_VERSION, batch.string(span.scope().version)),
        (tag::TRACE_STATE, span.trace_state()),
    ] {
        if !text.is_empty() {
            tags.push(Tag(key, ValueRef::Str(text)));
        }
    }
    tags
}

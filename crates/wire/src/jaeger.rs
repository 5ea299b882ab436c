//! Jaeger's JSON, as its query API gives it and its UI downloads it: `{"data": [{"traceID", "spans", "processes"}]}`.
//!
//! Jaeger knows fewer things than OTLP, so some travel as tags, by OpenTelemetry's rules for Jaeger: `span.kind`,
//! `otel.status_code`, `otel.status_description`, `error`, `otel.scope.name`, `otel.scope.version`, `w3c.tracestate`.
//! Times are microseconds: what Jaeger's clients send loses nothing, and what is written here loses the nanoseconds.

mod decode;
mod encode;

pub(crate) use decode::decode;
pub use encode::{ENVELOPE_END, ENVELOPE_START, TraceEncoder, TracePart, TracesEncoder, encode_traces};

/// Tags that stand for fields of a span.
pub(crate) mod tag {
    pub(crate) const KIND: &str = "span.kind";
    pub(crate) const ERROR: &str = "error";
    pub(crate) const STATUS_CODE: &str = "otel.status_code";
    pub(crate) const STATUS_DESCRIPTION: &str = "otel.status_description";
    pub(crate) const SCOPE_NAME: &str = "otel.scope.name";
    pub(crate) const SCOPE_VERSION: &str = "otel.scope.version";
    pub(crate) const LIBRARY_NAME: &str = "otel.library.name";
    pub(crate) const LIBRARY_VERSION: &str = "otel.library.version";
    pub(crate) const TRACE_STATE: &str = "w3c.tracestate";
    /// The attribute of a link that says which kind of reference it is: `child_of` or `follows_from`.
    pub(crate) const REF_TYPE: &str = "opentracing.ref_type";
    pub(crate) const CHILD_OF: &str = "child_of";
    /// The log field that names an event.
    pub(crate) const EVENT: &str = "event";
}

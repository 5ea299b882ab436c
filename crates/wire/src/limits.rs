//! What a request may hold.

/// Bounds on one request, each of which an operator can set. A span over a bound is rejected, not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Spans in a request; more refuse the request.
    pub spans_per_request: u32,
    /// Attributes of a span, event, link, scope or resource.
    pub attributes_per_span: u32,
    /// Bytes of an attribute's key, or of its value (encoded, if nested).
    pub attribute_bytes: u32,
    /// Events of a span.
    pub events_per_span: u32,
    /// Links of a span.
    pub links_per_span: u32,
    /// Bytes of a span's name, status message or trace state, each.
    pub name_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            spans_per_request: 1_000_000,
            attributes_per_span: 1024,
            attribute_bytes: 256 * 1024,
            events_per_span: 10_000,
            links_per_span: 10_000,
            name_bytes: 64 * 1024,
        }
    }
}

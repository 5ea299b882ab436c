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

/// One of [`Limits`], under the name that operators know it by.
#[derive(Clone, Copy)]
pub(crate) struct Bound {
    most: u32,
    name: &'static str,
}

impl Limits {
    pub(crate) fn attributes(&self) -> Bound {
        Bound { most: self.attributes_per_span, name: "--attributes-per-span" }
    }

    pub(crate) fn events(&self) -> Bound {
        Bound { most: self.events_per_span, name: "--events-per-span" }
    }

    pub(crate) fn links(&self) -> Bound {
        Bound { most: self.links_per_span, name: "--links-per-span" }
    }

    pub(crate) fn attribute(&self) -> Bound {
        Bound { most: self.attribute_bytes, name: "--attribute-size" }
    }

    pub(crate) fn name(&self) -> Bound {
        Bound { most: self.name_bytes, name: "--name-size" }
    }
}

impl Bound {
    /// The reason why `count` items of a field are too many.
    #[inline]
    pub(crate) fn check_count(self, count: usize, field: &str) -> Result<(), String> {
        if count <= self.most as usize { Ok(()) } else { Err(self.reason(field, "more than", "")) }
    }

    /// The reason why a field of `bytes` bytes is too long.
    #[inline]
    pub(crate) fn check_bytes(self, bytes: usize, field: &str) -> Result<(), String> {
        if bytes <= self.most as usize { Ok(()) } else { Err(self.reason(field, "longer than", " bytes")) }
    }

    #[cold]
    fn reason(self, field: &str, over: &str, unit: &str) -> String {
        format!("{field}: {over} {}{unit} (limit {})", self.most, self.name)
    }
}

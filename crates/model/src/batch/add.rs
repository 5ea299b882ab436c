//! How spans, and what they share, come into a batch.

use std::hash::BuildHasher;

use super::{NewSpan, Resource, ResourceId, Scope, ScopeId, SpanBatch, SpanColumns};
use crate::{AnyValue, BlobId, SpanId, StrId, TraceId, UNKNOWN_SERVICE, Value};

impl SpanBatch {
    /// The number of a string in this batch, which is added if it is new.
    pub fn intern(&mut self, string: &str) -> StrId {
        self.strings.intern(string)
    }

    /// The number of a string that may be no UTF-8, which is then an error.
    pub fn intern_bytes(&mut self, bytes: &[u8]) -> Result<StrId, std::str::Utf8Error> {
        self.strings.intern_bytes(bytes)
    }

    /// Keeps bytes for a [`Value::Bytes`] or, if they encode an array or key-value list, a [`Value::Nested`].
    pub fn add_blob(&mut self, bytes: &[u8]) -> BlobId {
        self.blobs.extend_from_slice(bytes);
        self.blob_ends.push(u32::try_from(self.blobs.len()).expect("a batch holds less than 4 GiB of blobs"));
        BlobId(self.blob_ends.len() as u32 - 1)
    }

    /// A value of this batch from an owned one.
    pub fn add_value(&mut self, value: &AnyValue) -> Value {
        match value {
            AnyValue::Empty => Value::Empty,
            AnyValue::Str(text) => Value::Str(self.intern(text)),
            AnyValue::Bool(value) => Value::Bool(*value),
            AnyValue::Int(value) => Value::Int(*value),
            AnyValue::Double(value) => Value::Double(*value),
            AnyValue::Bytes(bytes) => Value::Bytes(self.add_blob(bytes)),
            nested @ (AnyValue::Array(_) | AnyValue::KeyValues(_)) => Value::Nested(self.add_blob(&nested.encode())),
        }
    }

    /// The number of a resource, which is added unless an equal one is there. `service.name` is looked up here.
    pub fn add_resource(
        &mut self,
        attributes: &[(StrId, Value)],
        dropped_attributes_count: u32,
        schema_url: &str,
    ) -> ResourceId {
        let schema_url = self.intern(schema_url);
        let service = attributes
            .iter()
            .find_map(|(key, value)| match value {
                Value::Str(service) if *service != StrId::EMPTY && self.string(*key) == "service.name" => {
                    Some(*service)
                }
                _ => None,
            })
            .unwrap_or_else(|| self.intern(UNKNOWN_SERVICE));
        let resource = Resource { attributes: attributes.to_vec(), dropped_attributes_count, schema_url, service };
        let hash_of = |resource: &Resource, batch: &Self| {
            batch.hasher.hash_one((
                batch.hash_attributes(&resource.attributes),
                resource.dropped_attributes_count,
                resource.schema_url,
            ))
        };
        let hash = hash_of(&resource, self);
        let found = self.resource_places.find(hash, |place| {
            let other = &self.resources[*place as usize];
            other.dropped_attributes_count == dropped_attributes_count
                && other.schema_url == schema_url
                && self.equal_attributes(&other.attributes, attributes)
        });
        if let Some(place) = found {
            return ResourceId(*place);
        }
        let place = self.resources.len() as u32;
        self.shared_attributes += resource.attributes.len();
        self.resources.push(resource);
        let mut places = std::mem::take(&mut self.resource_places);
        places.insert_unique(hash, place, |place| hash_of(&self.resources[*place as usize], self));
        self.resource_places = places;
        ResourceId(place)
    }

    /// The number of a scope, which is added unless an equal one is there.
    pub fn add_scope(
        &mut self,
        name: &str,
        version: &str,
        attributes: &[(StrId, Value)],
        dropped_attributes_count: u32,
        schema_url: &str,
    ) -> ScopeId {
        let scope = Scope {
            name: self.intern(name),
            version: self.intern(version),
            attributes: attributes.to_vec(),
            dropped_attributes_count,
            schema_url: self.intern(schema_url),
        };
        let hash_of = |scope: &Scope, batch: &Self| {
            batch.hasher.hash_one((
                scope.name,
                scope.version,
                batch.hash_attributes(&scope.attributes),
                scope.dropped_attributes_count,
                scope.schema_url,
            ))
        };
        let hash = hash_of(&scope, self);
        let found = self.scope_places.find(hash, |place| {
            let other = &self.scopes[*place as usize];
            (other.name, other.version, other.dropped_attributes_count, other.schema_url)
                == (scope.name, scope.version, scope.dropped_attributes_count, scope.schema_url)
                && self.equal_attributes(&other.attributes, attributes)
        });
        if let Some(place) = found {
            return ScopeId(*place);
        }
        let place = self.scopes.len() as u32;
        self.shared_attributes += scope.attributes.len();
        self.scopes.push(scope);
        let mut places = std::mem::take(&mut self.scope_places);
        places.insert_unique(hash, place, |place| hash_of(&self.scopes[*place as usize], self));
        self.scope_places = places;
        ScopeId(place)
    }

    /// Adds an attribute to the span that the next [`push_span`](Self::push_span) closes.
    pub fn push_attribute(&mut self, key: StrId, value: Value) {
        self.span_attributes.key.push(key);
        self.span_attributes.value.push(value);
    }

    /// Adds attributes to the span that the next [`push_span`](Self::push_span) closes and returns the place of the first,
    /// for [`set_attribute`](Self::set_attribute).
    ///
    /// # Panics
    /// Unless there are as many values as keys.
    pub fn push_attributes(&mut self, keys: &[StrId], values: &[Value]) -> usize {
        assert_eq!(keys.len(), values.len(), "attributes are keys with values");
        let first = self.span_attributes.key.len();
        self.span_attributes.key.extend_from_slice(keys);
        self.span_attributes.value.extend_from_slice(values);
        first
    }

    /// Gives another value to an attribute that [`push_attributes`](Self::push_attributes) added.
    pub fn set_attribute(&mut self, place: usize, value: Value) {
        self.span_attributes.value[place] = value;
    }

    /// Adds an attribute to the event that the next [`push_event`](Self::push_event) closes.
    pub fn push_event_attribute(&mut self, key: StrId, value: Value) {
        self.event_attributes.key.push(key);
        self.event_attributes.value.push(value);
    }

    /// Adds an attribute to the link that the next [`push_link`](Self::push_link) closes.
    pub fn push_link_attribute(&mut self, key: StrId, value: Value) {
        self.link_attributes.key.push(key);
        self.link_attributes.value.push(value);
    }

    /// Adds an event, with the event attributes pushed before it, to the span that is being built.
    pub fn push_event(&mut self, time_unix_nano: u64, name: StrId, dropped_attributes_count: u32) {
        self.events.time_unix_nano.push(time_unix_nano);
        self.events.name.push(name);
        self.events.dropped_attributes_count.push(dropped_attributes_count);
        self.events.attributes_end.push(self.event_attributes.key.len() as u32);
    }

    /// Adds a link, with the link attributes pushed before it, to the span that is being built.
    pub fn push_link(
        &mut self,
        trace_id: TraceId,
        span_id: SpanId,
        trace_state: StrId,
        flags: u32,
        dropped_attributes_count: u32,
    ) {
        self.links.trace_id.push(trace_id);
        self.links.span_id.push(span_id);
        self.links.trace_state.push(trace_state);
        self.links.flags.push(flags);
        self.links.dropped_attributes_count.push(dropped_attributes_count);
        self.links.attributes_end.push(self.link_attributes.key.len() as u32);
    }

    /// Lets a span start at another time. With `whole`, its end and its events move with it, as far as times reach;
    /// otherwise they stay where they are.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn move_span(&mut self, row: usize, start_unix_nano: u64, whole: bool) {
        let before = std::mem::replace(&mut self.spans.start_unix_nano[row], start_unix_nano);
        if whole {
            let moved = |time: u64| {
                let time = i128::from(time) - i128::from(before) + i128::from(start_unix_nano);
                time.clamp(0, i128::from(u64::MAX)) as u64
            };
            let end = &mut self.spans.end_unix_nano[row];
            *end = moved(*end);
            let events = self.event_range(row);
            self.events.time_unix_nano[events].iter_mut().for_each(|time| *time = moved(*time));
        }
    }

    /// Makes room for more attributes of spans.
    pub fn reserve_attributes(&mut self, attributes: usize) {
        self.span_attributes.key.reserve(attributes);
        self.span_attributes.value.reserve(attributes);
    }

    /// Makes room for more strings, of so many bytes together.
    pub fn reserve_strings(&mut self, strings: usize, bytes: usize) {
        self.strings.reserve(strings, bytes);
    }

    /// Makes room for more spans, which saves moving what is there while they are added.
    pub fn reserve_spans(&mut self, spans: usize) {
        let SpanColumns {
            trace_id,
            span_id,
            parent_span_id,
            start_unix_nano,
            end_unix_nano,
            name,
            kind,
            status_code,
            status_message,
            trace_state,
            flags,
            dropped_attributes_count,
            dropped_events_count,
            dropped_links_count,
            resource,
            scope,
            attributes_end,
            events_end,
            links_end,
        } = &mut self.spans;
        trace_id.reserve(spans);
        span_id.reserve(spans);
        parent_span_id.reserve(spans);
        start_unix_nano.reserve(spans);
        end_unix_nano.reserve(spans);
        name.reserve(spans);
        kind.reserve(spans);
        status_code.reserve(spans);
        status_message.reserve(spans);
        trace_state.reserve(spans);
        flags.reserve(spans);
        dropped_attributes_count.reserve(spans);
        dropped_events_count.reserve(spans);
        dropped_links_count.reserve(spans);
        resource.reserve(spans);
        scope.reserve(spans);
        attributes_end.reserve(spans);
        events_end.reserve(spans);
        links_end.reserve(spans);
    }

    /// Adds a span, with the attributes, events and links pushed since the span before, and returns its row.
    pub fn push_span(&mut self, span: NewSpan) -> usize {
        let row = self.len();
        self.spans.trace_id.push(span.trace_id);
        self.spans.span_id.push(span.span_id);
        self.spans.parent_span_id.push(span.parent_span_id);
        self.spans.start_unix_nano.push(span.start_unix_nano);
        self.spans.end_unix_nano.push(span.end_unix_nano);
        self.spans.name.push(span.name);
        self.spans.kind.push(span.kind);
        self.spans.status_code.push(span.status_code);
        self.spans.status_message.push(span.status_message);
        self.spans.trace_state.push(span.trace_state);
        self.spans.flags.push(span.flags);
        self.spans.dropped_attributes_count.push(span.dropped_attributes_count);
        self.spans.dropped_events_count.push(span.dropped_events_count);
        self.spans.dropped_links_count.push(span.dropped_links_count);
        self.spans.resource.push(span.resource);
        self.spans.scope.push(span.scope);
        self.spans.attributes_end.push(self.span_attributes.key.len() as u32);
        self.spans.events_end.push(self.events.name.len() as u32);
        self.spans.links_end.push(self.links.flags.len() as u32);
        row
    }

    /// Takes back the attributes, events and links pushed since the last [`push_span`](Self::push_span).
    pub fn abandon_span(&mut self) {
        self.abandon_attributes();
        self.abandon_events();
        self.abandon_links();
    }

    /// Takes back the attributes of the span that is being built.
    pub fn abandon_attributes(&mut self) {
        let attributes = self.spans.attributes_end.last().map_or(0, |end| *end as usize);
        self.span_attributes.key.truncate(attributes);
        self.span_attributes.value.truncate(attributes);
    }

    /// Takes back the events of the span that is being built, and the attributes of one that is.
    pub fn abandon_events(&mut self) {
        let events = self.spans.events_end.last().map_or(0, |end| *end as usize);
        self.events.time_unix_nano.truncate(events);
        self.events.name.truncate(events);
        self.events.dropped_attributes_count.truncate(events);
        self.events.attributes_end.truncate(events);
        self.abandon_event_attributes();
    }

    /// Takes back the attributes of the event that is being built.
    pub fn abandon_event_attributes(&mut self) {
        let attributes = self.events.attributes_end.last().map_or(0, |end| *end as usize);
        self.event_attributes.key.truncate(attributes);
        self.event_attributes.value.truncate(attributes);
    }

    /// Takes back the links of the span that is being built, and the attributes of one that is.
    pub fn abandon_links(&mut self) {
        let links = self.spans.links_end.last().map_or(0, |end| *end as usize);
        self.links.trace_id.truncate(links);
        self.links.span_id.truncate(links);
        self.links.trace_state.truncate(links);
        self.links.flags.truncate(links);
        self.links.dropped_attributes_count.truncate(links);
        self.links.attributes_end.truncate(links);
        self.abandon_link_attributes();
    }

    /// Takes back the attributes of the link that is being built.
    pub fn abandon_link_attributes(&mut self) {
        let attributes = self.links.attributes_end.last().map_or(0, |end| *end as usize);
        self.link_attributes.key.truncate(attributes);
        self.link_attributes.value.truncate(attributes);
    }

    /// Appends every span of another batch.
    pub fn append(&mut self, other: &SpanBatch) {
        let mut copier = crate::BatchCopier::new(other);
        for row in 0..other.len() {
            copier.copy_span(row, self);
        }
    }

    /// A batch of the given rows, in the given order.
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> SpanBatch {
        let mut out = SpanBatch::new();
        let mut copier = crate::BatchCopier::new(self);
        for row in rows {
            copier.copy_span(row, &mut out);
        }
        out
    }

    /// Blobs are not interned, so equality of values has to look at what they say; doubles are equal when their bits are.
    fn equal_values(&self, left: Value, right: Value) -> bool {
        match (left, right) {
            (Value::Double(left), Value::Double(right)) => left.to_bits() == right.to_bits(),
            (Value::Bytes(left), Value::Bytes(right)) | (Value::Nested(left), Value::Nested(right)) => {
                self.blob(left) == self.blob(right)
            }
            _ => left == right,
        }
    }

    fn equal_attributes(&self, left: &[(StrId, Value)], right: &[(StrId, Value)]) -> bool {
        left.len() == right.len()
            && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && self.equal_values(left.1, right.1))
    }

    fn hash_attributes(&self, attributes: &[(StrId, Value)]) -> u64 {
        attributes.iter().fold(attributes.len() as u64, |hash, (key, value)| match *value {
            Value::Empty => self.hasher.hash_one((hash, key, 0u8)),
            Value::Str(id) => self.hasher.hash_one((hash, key, 1u8, id)),
            Value::Bool(value) => self.hasher.hash_one((hash, key, 2u8, value)),
            Value::Int(value) => self.hasher.hash_one((hash, key, 3u8, value)),
            Value::Double(value) => self.hasher.hash_one((hash, key, 4u8, value.to_bits())),
            Value::Bytes(id) => self.hasher.hash_one((hash, key, 5u8, self.blob(id))),
            Value::Nested(id) => self.hasher.hash_one((hash, key, 6u8, self.blob(id))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ValueRef;

    #[test]
    fn equal_resources_and_scopes_are_held_once() {
        let mut batch = SpanBatch::new();
        let key = batch.intern("host.id");
        let first = Value::Bytes(batch.add_blob(b"one"));
        let again = Value::Bytes(batch.add_blob(b"one"));
        let other = Value::Bytes(batch.add_blob(b"two"));
        let resource = batch.add_resource(&[(key, first)], 0, "");
        assert_eq!(batch.add_resource(&[(key, again)], 0, ""), resource);
        assert_ne!(batch.add_resource(&[(key, other)], 0, ""), resource);
        assert_ne!(batch.add_resource(&[(key, first)], 1, ""), resource);
        assert_eq!(batch.string(batch.resources()[0].service), UNKNOWN_SERVICE);
        let scope = batch.add_scope("lib", "1", &[], 0, "");
        assert_eq!(batch.add_scope("lib", "1", &[], 0, ""), scope);
        assert_ne!(batch.add_scope("lib", "2", &[], 0, ""), scope);
    }

    #[test]
    fn an_abandoned_span_leaves_nothing_behind() {
        let mut batch = SpanBatch::new();
        let (resource, scope) = (batch.add_resource(&[], 0, ""), batch.add_scope("", "", &[], 0, ""));
        let key = batch.intern("key");
        batch.push_attribute(key, Value::Int(1));
        batch.push_event_attribute(key, Value::Int(2));
        batch.push_event(1, key, 0);
        batch.push_link_attribute(key, Value::Int(3));
        batch.push_link(TraceId::ZERO, SpanId::ZERO, StrId::EMPTY, 0, 0);
        batch.push_event_attribute(key, Value::Int(4));
        batch.abandon_span();
        batch.push_attribute(key, Value::Int(5));
        batch.push_span(NewSpan::new(resource, scope));
        let span = batch.span(0);
        assert_eq!(span.attributes().iter().collect::<Vec<_>>(), [("key", ValueRef::Int(5))]);
        assert_eq!(span.events().count() + span.links().count(), 0);
        assert_eq!(batch.event_attributes().key.len() + batch.link_attributes().key.len(), 0);
    }
}

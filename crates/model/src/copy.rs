//! Rows from one batch to another.

use crate::{NewSpan, ResourceId, ScopeId, SpanBatch, StrId, Value};

/// Copies spans of one batch into another, translating strings, resources and scopes once each.
///
/// A copier remembers what it translated, so all its copies must go to the same batch.
pub struct BatchCopier<'a> {
    from: &'a SpanBatch,
    strings: Vec<Option<StrId>>,
    resources: Vec<Option<ResourceId>>,
    scopes: Vec<Option<ScopeId>>,
}

impl<'a> BatchCopier<'a> {
    /// A copier of this batch's spans.
    pub fn new(from: &'a SpanBatch) -> Self {
        Self {
            from,
            strings: vec![None; from.strings().len()],
            resources: vec![None; from.resources().len()],
            scopes: vec![None; from.scopes().len()],
        }
    }

    /// Copies one span, with all it says, and returns its row in the other batch.
    pub fn copy_span(&mut self, row: usize, to: &mut SpanBatch) -> usize {
        let from = self.from;
        for place in from.attribute_range(row) {
            let key = self.string(from.span_attributes().key[place], to);
            let value = self.value(from.span_attributes().value[place], to);
            to.push_attribute(key, value);
        }
        for event in from.event_range(row) {
            for place in from.event_attribute_range(event) {
                let key = self.string(from.event_attributes().key[place], to);
                let value = self.value(from.event_attributes().value[place], to);
                to.push_event_attribute(key, value);
            }
            let events = from.events();
            let name = self.string(events.name[event], to);
            to.push_event(events.time_unix_nano[event], name, events.dropped_attributes_count[event]);
        }
        for link in from.link_range(row) {
            for place in from.link_attribute_range(link) {
                let key = self.string(from.link_attributes().key[place], to);
                let value = self.value(from.link_attributes().value[place], to);
                to.push_link_attribute(key, value);
            }
            let links = from.links();
            let trace_state = self.string(links.trace_state[link], to);
            to.push_link(
                links.trace_id[link],
                links.span_id[link],
                trace_state,
                links.flags[link],
                links.dropped_attributes_count[link],
            );
        }
        let span = self.fixed(row, to);
        to.push_span(span)
    }

    /// The fixed part of a span, without its attributes, events and links, as the other batch holds it.
    pub fn fixed(&mut self, row: usize, to: &mut SpanBatch) -> NewSpan {
        let spans = self.from.spans();
        NewSpan {
            trace_id: spans.trace_id[row],
            span_id: spans.span_id[row],
            parent_span_id: spans.parent_span_id[row],
            start_unix_nano: spans.start_unix_nano[row],
            end_unix_nano: spans.end_unix_nano[row],
            name: self.string(spans.name[row], to),
            kind: spans.kind[row],
            status_code: spans.status_code[row],
            status_message: self.string(spans.status_message[row], to),
            trace_state: self.string(spans.trace_state[row], to),
            flags: spans.flags[row],
            dropped_attributes_count: spans.dropped_attributes_count[row],
            dropped_events_count: spans.dropped_events_count[row],
            dropped_links_count: spans.dropped_links_count[row],
            resource: self.resource(spans.resource[row], to),
            scope: self.scope(spans.scope[row], to),
        }
    }

    /// The other batch's number of a string.
    pub fn string(&mut self, id: StrId, to: &mut SpanBatch) -> StrId {
        *self.strings[id.index()].get_or_insert_with(|| to.intern(self.from.string(id)))
    }

    /// A value as the other batch holds it.
    pub fn value(&mut self, value: Value, to: &mut SpanBatch) -> Value {
        match value {
            Value::Str(id) => Value::Str(self.string(id, to)),
            Value::Bytes(id) => Value::Bytes(to.add_blob(self.from.blob(id))),
            Value::Nested(id) => Value::Nested(to.add_blob(self.from.blob(id))),
            plain @ (Value::Empty | Value::Bool(_) | Value::Int(_) | Value::Double(_)) => plain,
        }
    }

    fn attributes(&mut self, attributes: &[(StrId, Value)], to: &mut SpanBatch) -> Vec<(StrId, Value)> {
        attributes.iter().map(|(key, value)| (self.string(*key, to), self.value(*value, to))).collect()
    }

    /// The other batch's number of a resource.
    pub fn resource(&mut self, id: ResourceId, to: &mut SpanBatch) -> ResourceId {
        if let Some(known) = self.resources[id.index()] {
            return known;
        }
        let resource = &self.from.resources()[id.index()];
        let attributes = self.attributes(&resource.attributes, to);
        let schema_url = self.from.string(resource.schema_url);
        let new = to.add_resource(&attributes, resource.dropped_attributes_count, schema_url);
        self.resources[id.index()] = Some(new);
        new
    }

    /// The other batch's number of a scope.
    pub fn scope(&mut self, id: ScopeId, to: &mut SpanBatch) -> ScopeId {
        if let Some(known) = self.scopes[id.index()] {
            return known;
        }
        let from = self.from;
        let scope = &from.scopes()[id.index()];
        let attributes = self.attributes(&scope.attributes, to);
        let new = to.add_scope(
            from.string(scope.name),
            from.string(scope.version),
            &attributes,
            scope.dropped_attributes_count,
            from.string(scope.schema_url),
        );
        self.scopes[id.index()] = Some(new);
        new
    }
}

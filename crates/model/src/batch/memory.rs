//! What a batch takes of memory: what its tables and columns have allocated, full or not.

use super::{AttributeColumns, EventColumns, LinkColumns, Resource, Scope, SpanBatch, SpanColumns};
use crate::strings::places_allocation;
use crate::{StrId, Value};

/// Adds up allocations, now or as they could be once more was pushed.
struct Sum {
    bytes: usize,
    /// Bytes of content that may be added anywhere.
    added: usize,
}

impl Sum {
    /// A list that doubles when it is full: if what is added could fill it, it is taken to have doubled.
    #[inline]
    fn list<T>(&mut self, list: &Vec<T>) {
        self.room(list.len() * size_of::<T>(), list.capacity() * size_of::<T>());
    }

    #[inline]
    fn room(&mut self, used: usize, capacity: usize) {
        self.bytes += if capacity - used < self.added { 2 * capacity } else { capacity };
    }
}

impl SpanBatch {
    /// Bytes allocated, for budgets.
    pub fn size_bytes(&self) -> usize {
        self.allocated_bytes_after(0)
    }

    /// The most that can be allocated once `added` bytes more of content were pushed, in whichever columns: lists double
    /// when they are full, so it is what there is, those lists again that could become full, and twice what is added.
    pub fn allocated_bytes_after(&self, added: usize) -> usize {
        let Self {
            strings,
            blobs,
            blob_ends,
            resources,
            resource_places,
            scopes,
            scope_places,
            hasher: _,
            shared_attributes,
            spans,
            span_attributes,
            events,
            event_attributes,
            links,
            link_attributes,
        } = self;
        let mut sum = Sum { bytes: 2 * added, added };
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
        } = spans;
        sum.list(trace_id);
        sum.list(span_id);
        sum.list(parent_span_id);
        sum.list(start_unix_nano);
        sum.list(end_unix_nano);
        sum.list(name);
        sum.list(kind);
        sum.list(status_code);
        sum.list(status_message);
        sum.list(trace_state);
        sum.list(flags);
        sum.list(dropped_attributes_count);
        sum.list(dropped_events_count);
        sum.list(dropped_links_count);
        sum.list(resource);
        sum.list(scope);
        sum.list(attributes_end);
        sum.list(events_end);
        sum.list(links_end);
        for AttributeColumns { key, value } in [span_attributes, event_attributes, link_attributes] {
            sum.list(key);
            sum.list(value);
        }
        let EventColumns { time_unix_nano, name, dropped_attributes_count, attributes_end } = events;
        sum.list(time_unix_nano);
        sum.list(name);
        sum.list(dropped_attributes_count);
        sum.list(attributes_end);
        let LinkColumns { trace_id, span_id, trace_state, flags, dropped_attributes_count, attributes_end } = links;
        sum.list(trace_id);
        sum.list(span_id);
        sum.list(trace_state);
        sum.list(flags);
        sum.list(dropped_attributes_count);
        sum.list(attributes_end);
        sum.list(blobs);
        sum.list(blob_ends);
        sum.list::<Resource>(resources);
        sum.list::<Scope>(scopes);
        let places = [places_allocation(resource_places), places_allocation(scope_places)];
        for (used, capacity) in strings.allocations().into_iter().chain(places) {
            sum.room(used, capacity);
        }
        // Copied exactly, one list for each resource and scope.
        sum.bytes + shared_attributes * size_of::<(StrId, Value)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NewSpan, SpanId, TraceId};

    #[test]
    fn what_is_pushed_never_takes_more_than_was_said() {
        let mut batch = SpanBatch::new();
        for round in 0..2_000u32 {
            let bound = batch.allocated_bytes_after(2_048);
            let (key, value) = (batch.intern(&format!("key {round}")), Value::Int(1));
            let resource = batch.add_resource(&[(key, value)], 0, "");
            let scope = batch.add_scope(&format!("scope {round}"), "", &[(key, value)], 0, "");
            batch.add_blob(&[0; 50]);
            for _ in 0..10 {
                batch.push_attribute(key, value);
                batch.push_event_attribute(key, value);
                batch.push_event(1, key, 0);
                batch.push_link(TraceId::ZERO, SpanId::ZERO, key, 0, 0);
            }
            batch.push_span(NewSpan::new(resource, scope));
            let taken = batch.size_bytes();
            assert!(taken <= bound, "round {round}: {taken} bytes, and at most {bound} were foretold");
        }
        let least = 2_000 * (119 + 10 * (20 + 20 + 20 + 40) + 50);
        assert!((least..3 * least).contains(&batch.size_bytes()), "{} for {least}", batch.size_bytes());
    }
}

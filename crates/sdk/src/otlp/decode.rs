//! From the bytes of spans, which this library wrote itself, back to what they say.

use crate::proto::{Field, fields};
use crate::tags;
use crate::{Event, SpanContext, SpanData, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};

const IS_REMOTE: u32 = 0x200;

/// The spans of a run of `ScopeSpans.spans` fields.
pub(crate) fn spans(encoded: &[u8]) -> Vec<SpanData> {
    fields(encoded)
        .filter_map(|field| match field {
            (2, Field::Bytes(bytes)) => Some(span(bytes)),
            _ => None,
        })
        .collect()
}

fn span(bytes: &[u8]) -> SpanData {
    let mut data = SpanData::default();
    for field in fields(bytes) {
        match field {
            (1, Field::Bytes(id)) => data.context.trace_id = trace_id(id),
            (2, Field::Bytes(id)) => data.context.span_id = span_id(id),
            (3, Field::Bytes(state)) => data.context.trace_state = TraceState::parse(&text(state)),
            (4, Field::Bytes(id)) => data.parent_span_id = Some(span_id(id)),
            (5, Field::Bytes(name)) => data.name = text(name).into(),
            (6, Field::Varint(kind)) => {
                data.kind = match kind {
                    2 => SpanKind::Server,
                    3 => SpanKind::Client,
                    4 => SpanKind::Producer,
                    5 => SpanKind::Consumer,
                    _ => SpanKind::Internal,
                };
            }
            (7, Field::Fixed64(nanos)) => data.start_unix_nanos = nanos,
            (8, Field::Fixed64(nanos)) => data.end_unix_nanos = nanos,
            (9, Field::Bytes(tag)) => data.tags.push(tags::decode(tag)),
            (10, Field::Varint(count)) => data.dropped_tags = count as u32,
            (11, Field::Bytes(bytes)) => data.events.push(event(bytes)),
            (12, Field::Varint(count)) => data.dropped_events = count as u32,
            (13, Field::Bytes(bytes)) => data.links.push(link(bytes)),
            (14, Field::Varint(count)) => data.dropped_links = count as u32,
            (15, Field::Bytes(bytes)) => data.status = status(bytes),
            (16, Field::Fixed32(flags)) => {
                data.context.flags = TraceFlags::from_byte(flags as u8);
                data.parent_is_remote = flags & IS_REMOTE != 0;
            }
            _ => {}
        }
    }
    data
}

fn event(bytes: &[u8]) -> Event {
    let mut event = Event::default();
    for field in fields(bytes) {
        match field {
            (1, Field::Fixed64(nanos)) => event.unix_nanos = nanos,
            (2, Field::Bytes(name)) => event.name = text(name).into(),
            (3, Field::Bytes(tag)) => event.tags.push(tags::decode(tag)),
            (4, Field::Varint(count)) => event.dropped_tags = count as u32,
            _ => {}
        }
    }
    event
}

fn link(bytes: &[u8]) -> SpanContext {
    let mut link = SpanContext::default();
    for field in fields(bytes) {
        match field {
            (1, Field::Bytes(id)) => link.trace_id = trace_id(id),
            (2, Field::Bytes(id)) => link.span_id = span_id(id),
            (3, Field::Bytes(state)) => link.trace_state = TraceState::parse(&text(state)),
            (6, Field::Fixed32(flags)) => {
                link.flags = TraceFlags::from_byte(flags as u8);
                link.is_remote = flags & IS_REMOTE != 0;
            }
            _ => {}
        }
    }
    link
}

fn status(bytes: &[u8]) -> Status {
    let mut message = String::new();
    let mut status = Status::Unset;
    for field in fields(bytes) {
        match field {
            (2, Field::Bytes(bytes)) => message = text(bytes),
            (3, Field::Varint(1)) => status = Status::Ok,
            (3, Field::Varint(2)) => status = Status::Error(std::mem::take(&mut message).into()),
            _ => {}
        }
    }
    status
}

fn trace_id(bytes: &[u8]) -> TraceId {
    bytes.try_into().map(TraceId::from_bytes).unwrap_or_default()
}

fn span_id(bytes: &[u8]) -> SpanId {
    bytes.try_into().map(SpanId::from_bytes).unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

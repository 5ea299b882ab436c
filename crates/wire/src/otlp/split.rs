//! A large request cut into smaller ones with the same spans: what is decoded at once stays small.

use crate::protobuf::{Broken, Fields, Payload, put_varint};

/// Calls with requests of about so many bytes each, or of one span if that is larger, which together hold the spans of
/// `body` in its order. What stands beside the spans is repeated where a cut needs it.
pub(crate) fn split(body: &[u8], max_bytes: usize, each: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
    let mut part = Vec::new();
    let mut fields = Fields::new(body);
    while let Some(field) = fields.next()? {
        let (1, Payload::Bytes(message)) = field else { continue };
        if !part.is_empty() && part.len() + message.len() > max_bytes {
            each(&part);
            part.clear();
        }
        if message.len() <= max_bytes {
            put_message(&mut part, 1, message);
        } else {
            split_resource_spans(message, max_bytes, each)?;
        }
    }
    if !part.is_empty() {
        each(&part);
    }
    Ok(())
}

fn split_resource_spans(message: &[u8], max_bytes: usize, each: &mut dyn FnMut(&[u8])) -> Result<(), Broken> {
    let around = all_but(message, 2)?;
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        let (2, Payload::Bytes(scope_spans)) = field else { continue };
        let inner = all_but(scope_spans, 2)?;
        // What is repeated is at most as much as what is new, or a large resource would be decoded over and over.
        let max_bytes = max_bytes.max(around.len() + inner.len());
        let mut spans = Vec::new();
        let mut emit = |spans: &mut Vec<u8>| {
            if spans.is_empty() {
                return;
            }
            let mut scope = inner.clone();
            scope.append(spans);
            let mut resource = around.clone();
            put_message(&mut resource, 2, &scope);
            let mut part = Vec::with_capacity(resource.len() + 8);
            put_message(&mut part, 1, &resource);
            each(&part);
        };
        let mut fields = Fields::new(scope_spans);
        while let Some(field) = fields.next()? {
            let (2, Payload::Bytes(span)) = field else { continue };
            if spans.len() + span.len() > max_bytes {
                emit(&mut spans);
            }
            put_message(&mut spans, 2, span);
        }
        emit(&mut spans);
    }
    Ok(())
}

/// The fields of a message that are messages or texts, without those of a number.
fn all_but(message: &[u8], number: u32) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::new();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        if let (other, Payload::Bytes(bytes)) = field
            && other != number
        {
            put_message(&mut out, other, bytes);
        }
    }
    Ok(out)
}

fn put_message(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

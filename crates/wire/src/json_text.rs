//! JSON written piece by piece: answers are megabytes, and a tree of them would be ten times as large.

use std::io::Write as _;

use tracewell_model::{SpanId, TraceId};

/// Ends a list each of whose members has a comma behind it.
#[inline]
pub(crate) fn end_list(out: &mut Vec<u8>) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = b']',
        _ => out.push(b']'),
    }
}

#[inline]
pub(crate) fn is_plain(text: &str) -> bool {
    // Without an early end, so that many bytes are looked at in one step.
    text.bytes().fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

/// A text without its quotes.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    if is_plain(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        put_escaped(out, text);
    }
}

pub(crate) fn put_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..b' ' => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            _ => out.push(byte),
        }
    }
}

/// The digits of each byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        hex[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    hex
};

#[inline]
pub(crate) fn put_trace_id(out: &mut Vec<u8>, id: TraceId) {
    let mut digits = [[0; 2]; 16];
    digits.iter_mut().zip(id.as_bytes()).for_each(|(pair, byte)| *pair = HEX[usize::from(*byte)]);
    out.extend_from_slice(digits.as_flattened());
}

#[inline]
pub(crate) fn put_span_id(out: &mut Vec<u8>, id: SpanId) {
    let mut digits = [[0; 2]; 8];
    digits.iter_mut().zip(id.as_bytes()).for_each(|(pair, byte)| *pair = HEX[usize::from(*byte)]);
    out.extend_from_slice(digits.as_flattened());
}

/// A number in decimal.
#[inline]
pub(crate) fn put_number(out: &mut Vec<u8>, number: u64) {
    // A vector takes everything that is written to it.
    let _ = serde_json::to_writer(&mut *out, &number);
}

//! Texts of one line: cursors, ids, kinds. What is taken is written as it was understood.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracewell_model::{SpanId, SpanKind, StatusCode, TraceId};
use tracewell_query::Cursor;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    if let Ok(id) = text.parse::<TraceId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(id) = text.parse::<SpanId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    let _ = text.parse::<SpanKind>();
    let _ = text.parse::<StatusCode>();
});

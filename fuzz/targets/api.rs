//! A question to the API over spans that somebody sent: up to the first line feed a path with its query, then a body of
//! OTLP protobuf.

#![no_main]

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use libfuzzer_sys::fuzz_target;
use tracewell_fuzz::{ask, runtime};
use tracewell_server::api::{self, ApiState};
use tracewell_store::{Append, MemoryOptions, MemoryStore, SpanStore, Tenant};
use tracewell_wire::{Format, Limits, decode};

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (question, body) = (&input[..end], &input[end + 1..]);
    let Ok(request) = Request::get(question).body(Body::empty()) else { return };
    if request.uri().path().is_empty() {
        return;
    }
    runtime().block_on(async {
        let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
        if let Ok(decoded) = decode(Format::OtlpProtobuf, body, &Limits::default()) {
            let append = Append {
                batch: decoded.batch,
                body: body.to_vec().into(),
                format: Format::OtlpProtobuf,
                arrival_unix_nano: u64::MAX,
            };
            let _ = store.append(&Tenant::default(), append).await;
        }
        let state = ApiState::new(store).with_clock(|| 1_700_000_001_000_000_000);
        ask(&api::router(state), request).await;
    });
});

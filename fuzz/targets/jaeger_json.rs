//! Traces in Jaeger's JSON: what is taken can be written and is taken again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracewell_model::Trace;
use tracewell_wire::{Format, Limits, decode, jaeger};

fuzz_target!(|body: &[u8]| {
    let limits = Limits::default();
    let Ok(first) = decode(Format::JaegerJson, body, &limits) else { return };
    let encoded = jaeger::encode_traces(&Trace::assemble_all(&first.batch));
    decode(Format::JaegerJson, &encoded, &limits).expect("its own encoding is taken");
});

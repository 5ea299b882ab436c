//! Spans in OTLP protobuf: what is taken comes back from its own encoding unchanged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracewell_model::Trace;
use tracewell_wire::{Format, Limits, decode, otlp};

fuzz_target!(|body: &[u8]| {
    let limits = Limits::default();
    let Ok(first) = decode(Format::OtlpProtobuf, body, &limits) else { return };
    let encoded = otlp::encode_protobuf(&first.batch);
    let second = decode(Format::OtlpProtobuf, &encoded, &limits).expect("its own encoding is taken");
    assert_eq!(second.rejected, 0, "{}", second.message);
    assert_eq!(otlp::encode_protobuf(&second.batch), encoded);
    // Traces of any shape can be joined.
    Trace::assemble_all(&first.batch);
});

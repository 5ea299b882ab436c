//! Spans in OTLP JSON: what is taken comes back from both encodings unchanged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracewell_wire::{Format, Limits, decode, otlp};

fuzz_target!(|body: &[u8]| {
    let limits = Limits::default();
    let Ok(first) = decode(Format::OtlpJson, body, &limits) else { return };
    let json = otlp::encode_json(&first.batch);
    let second = decode(Format::OtlpJson, &json, &limits).expect("its own encoding is taken");
    assert_eq!(second.rejected, 0, "{}", second.message);
    assert_eq!(otlp::encode_json(&second.batch), json);
    let protobuf = otlp::encode_protobuf(&second.batch);
    let third = decode(Format::OtlpProtobuf, &protobuf, &limits).expect("its own encoding is taken");
    assert_eq!(otlp::encode_json(&third.batch), json);
});

//! Metrics of SDKs; the first byte chooses the encoding.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tracewell_wire::Limits;
use tracewell_wire::otlp::{Encoding, metrics};

fuzz_target!(|input: &[u8]| {
    let Some((choice, body)) = input.split_first() else { return };
    let encoding = if choice % 2 == 0 { Encoding::Protobuf } else { Encoding::Json };
    let _ = metrics::decode(encoding, body, &Limits::default());
});

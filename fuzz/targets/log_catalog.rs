//! A log file or a catalog, by the first byte; checksums hold.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, file)) = input.split_first() else { return };
    if choice % 2 == 0 { tracewell_store::fuzzing::log(file) } else { tracewell_store::fuzzing::catalog(file) }
});

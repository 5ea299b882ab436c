//! A segment's file, whose checksums all hold: opened, checked, read whole, and asked.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| tracewell_store::fuzzing::segment(file));

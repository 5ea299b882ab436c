//! The parts of the `tracewell` binary.

pub mod api;

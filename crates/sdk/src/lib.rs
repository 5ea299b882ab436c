//! Distributed tracing for Rust services.

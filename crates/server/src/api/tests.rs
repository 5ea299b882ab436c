//! The APIs over a memory store with a few traces.

mod compare;
mod fixture;
mod jaeger;
mod native;
mod openapi;
mod schema;

//! Distributed tracing for Rust services: spans, context, propagation, export.
//!
//! A service starts tracing once and shuts it down at its end. Spans go as OTLP over HTTP to Tracewell, or to any
//! other receiver; the environment variables are OpenTelemetry's ([`Config::from_env`]).
//!
//! ```no_run
//! # fn serve() {}
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tracewell = tracewell::init(tracewell::Config::from_env("gallery"))?;
//!     serve();
//!     tracewell.shutdown()?;
//!     Ok(())
//! }
//! ```
//!
//! Spans nest through the current [`Context`]; in async code a future carries its span:
//!
//! ```
//! use tracewell::{FutureExt as _, span};
//!
//! fn resize(width: i64) {
//!     let span = span("resize").tag("image.width", width).start();
//!     let _entered = span.enter();
//!     tracewell::event("decoded"); // on the current span
//! }
//!
//! async fn upload() {
//!     let work = async { resize(640) };
//!     work.in_span(span("upload").start()).await;
//! }
//! # let _ = upload();
//! ```
//!
//! Work that goes to another thread takes [`Context::current`] along; work that goes to another process takes it in
//! its headers:
//!
//! ```
//! use tracewell::{Context, extract, inject};
//! use std::collections::HashMap;
//!
//! let mut headers = HashMap::new();
//! inject(&Context::current(), &mut headers);
//! let there = extract(&headers);
//! # let _ = there;
//! ```
//!
//! | part | |
//! |---|---|
//! | [`span()`], [`Span`], [`Context`], [`FutureExt`] | recording |
//! | [`inject`], [`extract`] | propagation: W3C trace context and baggage |
//! | [`Sampler`] | what is recorded |
//! | [`ServerLayer`], [`ClientLayer`] (feature `tower`), [`http`], [`db`] | spans of HTTP and database calls |
//! | [`Config`], [`init`], [`Tracer`] | starting and stopping |
//! | [`Exporter`], [`InMemoryExporter`] | where spans go |
//!
//! # What it promises
//! - Before [`init`], or with `OTEL_SDK_DISABLED=true`, spans do nothing and contexts pass through: a service that
//!   does not trace does not break the traces of others.
//! - It never blocks the program: spans that the receiver does not take in time are dropped, and counted in [`Stats`].
//! - It never panics into the program, and needs no async runtime.
//! - Tags of a span that is not sampled are never evaluated.
//!
//! # Features
//! `tower` (default): [`ServerLayer`] and [`ClientLayer`]. `axum`: routes from axum's `MatchedPath`. `gzip`: compressed
//! export. `tls`: `https://` endpoints.
//! `stream`: spans around streams.

#![deny(unsafe_code)]

mod id;
mod value;

mod baggage;
mod context;
mod future;
mod span_context;

mod data;
mod recording;
mod sampler;
mod span;
mod tags;
mod tracer;

mod clock;
mod tsc;

mod config;
mod error;
mod exporter;
mod otlp;
mod pipeline;
mod propagation;
mod proto;
mod resource;

pub mod db;
pub mod http;
mod outcome;
#[cfg(feature = "stream")]
mod stream;
#[cfg(feature = "tower")]
mod tower;

pub use baggage::Baggage;
pub use clock::{Clock, SystemClock};
pub use config::Config;
pub use context::{Context, Entered};
pub use data::{Event, SpanData, SpanKind, Status};
pub use error::Error;
pub use exporter::{Batch, ExportError, Exporter, InMemoryExporter};
pub use future::{FutureExt, InSpan, WithContext};
pub use id::{SpanId, TraceId};
pub use pipeline::Stats;
pub use outcome::with_outcome;
pub use propagation::{Extractor, Injector, Propagators, extract, inject};
pub use resource::Resource;
pub use sampler::{Decision, Sample, Sampler, SamplingInput};
pub use span::{EventTags, Span, SpanBuilder};
pub use span_context::{SpanContext, TraceFlags, TraceState};
#[cfg(feature = "stream")]
pub use stream::{InSpanStream, StreamExt};
pub use tags::{Scalar, TagValue, ValueWriter, debug, display};
#[cfg(feature = "tower")]
pub use tower::{ClientFuture, ClientLayer, ClientService, RequestId, ServerFuture, ServerLayer, ServerService};
pub use tracer::{Guard, Tracer, init, tracer};
#[cfg(feature = "macros")]
pub use tracewell_macros::traced;
pub use value::{Key, Value};

/// A span of the global tracer, child of the current context unless told otherwise.
#[inline(always)]
pub fn span(name: impl Into<Key>) -> SpanBuilder<'static> {
    tracer().span(name)
}

/// Tags the current span.
pub fn tag(key: impl AsRef<str>, value: impl TagValue) {
    Context::current().tag(key, value);
}

/// Adds an event to the current span.
pub fn event(name: impl AsRef<str>) {
    Context::current().event(name);
}

/// Marks the current span as failed.
pub fn error(error: impl std::fmt::Display) {
    Context::current().error(error);
}

#[cfg(test)]
mod tests;

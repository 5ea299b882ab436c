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
//! | [`ServerLayer`], [`ClientLayer`] (feature `tower`), [`http`], [`db`], [`messaging`] | spans of calls and messages |
//! | [`with_outcome`], `StreamExt` (feature `stream`) | spans around calls and streams of other libraries |
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
//! `macros` (default): the attribute [`macro@traced`]. `tower` (default): [`ServerLayer`] and [`ClientLayer`]. `axum`: routes from axum's `MatchedPath`. `gzip`: compressed
//! export. `tls`: `https://` endpoints, verified as the platform does; `webpki-roots`: by roots that are compiled in. `off`: nothing is left of this library in the code that calls it; any crate of a
//! program can turn it on, and the program is then the same without tracing. Contexts of others are not passed on.
//! `stream`: spans around streams.

// `cargo test -p tracewell-loom NAME` builds this library's own tests too, although its manifest says not to; they are
// written for the standard library's threads.
#![cfg(not(all(test, feature = "loom")))]
#![deny(unsafe_code)]
#![cfg_attr(feature = "off", allow(dead_code, unused_imports, unused_variables))]

mod id;
mod value;

mod baggage;
mod span_context;

mod data;
mod limits;
mod sampler;
mod tags;

#[cfg(not(feature = "off"))]
mod context;
#[cfg(not(feature = "off"))]
mod future;
#[cfg(not(feature = "off"))]
mod recording;
#[cfg(not(feature = "off"))]
mod span;
#[cfg(not(feature = "off"))]
mod tracer;

#[cfg(feature = "off")]
mod off;

mod clock;
mod tsc;

mod fork;
#[cfg(not(any(feature = "off", feature = "loom")))]
mod sync;
#[cfg(feature = "loom")]
#[path = "sync/loom.rs"]
mod sync;

mod config;
mod error;
mod exception;
mod exporter;
mod ids;
mod notice;
mod otlp;
#[cfg(not(feature = "off"))]
mod panics;
#[cfg(not(feature = "off"))]
mod pipeline;
mod propagation;
mod proto;
mod resource;
mod retry;
mod stats;

pub mod db;
pub mod http;
pub mod messaging;
mod outcome;
#[cfg(feature = "stream")]
mod stream;
#[cfg(feature = "tower")]
mod tower;

pub use baggage::Baggage;
pub use clock::{Clock, SystemClock};
pub use config::Config;
#[cfg(not(feature = "off"))]
pub use context::{Context, Entered};
pub use data::{Event, OnEnd, SpanData, SpanKind, Status};
pub use error::Error;
pub use exception::Failure;
#[doc(hidden)]
pub use exception::caught as __caught;
pub use exporter::{Batch, ExportError, Exporter, Exporters, InMemoryExporter, Report, StdoutExporter};
#[cfg(not(feature = "off"))]
pub use future::{FutureExt, InSpan, WithContext};
pub use id::{SpanId, TraceId};
pub use ids::{Ids, ids};
#[cfg(feature = "off")]
pub use off::{
    Context, Entered, EventTags, FutureExt, Guard, InSpan, Span, SpanBuilder, Tracer, WithContext, init, tracer,
};
#[doc(hidden)]
pub use otlp::shared as __otlp;
pub use otlp::{OtlpBuilder, OtlpExporter};
pub use outcome::with_outcome;
pub use propagation::{Extractor, Injector, Propagators, extract, inject};
pub use resource::Resource;
pub use sampler::{Decision, Sample, Sampler, SamplingInput};
#[cfg(not(feature = "off"))]
pub use span::{EventTags, Span, SpanBuilder};
pub use span_context::{SpanContext, TraceFlags, TraceState};
pub use stats::{ShutdownReport, Stats};
#[cfg(feature = "stream")]
pub use stream::{InSpanStream, StreamExt, WithContextStream};
pub use tags::{Scalar, TagValue, ValueWriter, debug, display};
#[cfg(feature = "tower")]
pub use tower::{
    ClientFuture, ClientLayer, ClientService, RequestId, ServerFuture, ServerLayer, ServerService, TracedBody,
};
#[cfg(not(feature = "off"))]
pub use tracer::{Guard, Tracer, init, tracer};
#[cfg(feature = "macros")]
pub use tracewell_macros::traced;
pub use value::{Key, Value};

#[cfg(feature = "off")]
#[cfg_attr(not(all(feature = "tower", feature = "stream")), allow(unused_imports))]
use off::{poll_in, propagators_of, run_in};
#[cfg(not(feature = "off"))]
#[cfg_attr(not(all(feature = "tower", feature = "stream")), allow(unused_imports))]
use {context::run_in, future::poll_in, tracer::propagators_of};

/// A span, child of the current context unless told otherwise: of the tracer that records the current span, or else of the
/// global one.
#[inline(always)]
pub fn span(name: impl Into<Key>) -> SpanBuilder<'static> {
    tracer().span(name)
}

/// Tags the current span.
#[inline]
pub fn tag(key: impl AsRef<str>, value: impl TagValue) {
    Context::current().tag(key, value);
}

/// Adds an event to the current span.
#[inline]
pub fn event(name: impl AsRef<str>) {
    Context::current().event(name);
}

/// Marks the current span as failed, with an error and its causes or a text: see [`Span::error`].
#[inline]
pub fn error<K>(error: impl Failure<K>) {
    Context::current().error(error);
}

/// Adds the event of an error to the current span, which does not fail: see [`Span::exception`].
#[inline]
pub fn exception<E: std::error::Error + ?Sized>(error: &E) {
    Context::current().exception(error);
}

#[cfg(not(feature = "off"))]
#[cfg(test)]
mod tests;

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

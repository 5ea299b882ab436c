//! The libraries, each doing the same.

mod fastrace;
mod opentelemetry;
mod tracewell;
mod tracing;

use crate::measure::{Cost, measured};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

pub trait Subject {
    /// One span, child of one that is open, with two tags.
    fn span(&mut self);
    /// Waits until all spans so far are OTLP bytes.
    fn flush(&mut self);
    /// Polls of a future that carries a span and is never ready.
    fn polls(&mut self) -> Cost;
    /// Writes the open span's context into headers.
    fn inject(&mut self);
    /// Reads a context from headers.
    fn extract(&mut self);
    /// Spans that became bytes.
    fn exported(&self) -> u64 {
        EXPORTED.load(Ordering::Relaxed)
    }
}

pub fn of(library: &str, unsampled: bool) -> Box<dyn Subject> {
    match library {
        "tracewell" => tracewell::subject(unsampled),
        "fastrace" => fastrace::subject(unsampled),
        "opentelemetry" => opentelemetry::subject(unsampled),
        "tracing" => tracing::subject(unsampled),
        _ => panic!("unknown library {library:?}"),
    }
}

static EXPORTED: AtomicU64 = AtomicU64::new(0);

fn count(spans: usize, bytes: &[u8]) {
    std::hint::black_box(bytes);
    EXPORTED.fetch_add(spans as u64, Ordering::Relaxed);
}

pub const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A future that is never ready.
pub async fn endless() {
    std::future::poll_fn(|_| Poll::<()>::Pending).await;
}

pub fn polled(mut future: Pin<Box<dyn Future<Output = ()>>>) -> Cost {
    let mut context = Context::from_waker(Waker::noop());
    let mut poll = || assert!(future.as_mut().poll(&mut context).is_pending());
    measured(1_000_000, &mut poll)
}

pub fn headers() -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    for (name, value) in [("host", "catalog:8081"), ("accept", "*/*"), ("user-agent", "test"), ("traceparent", PARENT)]
    {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    headers
}

//! What is left with the feature `off`: the same names, of no size, whose methods do nothing and are gone after
//! compilation.

#![allow(clippy::unused_self, reason = "the methods have the shape of those that do something")]

use crate::{
    Baggage, Config, Error, Extractor, Failure, Injector, Key, Propagators, ShutdownReport, SpanContext, SpanKind,
    Status, TagValue,
};
use pin_project_lite::pin_project;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, SystemTime};

/// Nothing: tracing is off.
#[derive(Clone, Debug, Default)]
pub struct Context(());

static NO_SPAN: SpanContext = SpanContext::EMPTY;
static NO_BAGGAGE: Baggage = Baggage::EMPTY;

#[allow(missing_docs, reason = "documented where they do something")]
impl Context {
    #[inline(always)]
    pub fn new() -> Self {
        Self(())
    }

    #[inline(always)]
    pub fn current() -> Self {
        Self(())
    }

    #[inline(always)]
    pub fn span_context(&self) -> &SpanContext {
        &NO_SPAN
    }

    #[inline(always)]
    pub fn with_span_context(self, _span: SpanContext) -> Self {
        self
    }

    #[inline(always)]
    pub fn baggage(&self) -> &Baggage {
        &NO_BAGGAGE
    }

    #[inline(always)]
    pub fn with_baggage_value(self, _key: &str, _value: &str) -> Self {
        self
    }

    #[inline(always)]
    pub fn with_baggage(self, _baggage: Baggage) -> Self {
        self
    }

    #[inline(always)]
    pub fn request_id(&self) -> Option<&str> {
        None
    }

    #[inline(always)]
    pub fn ensure_request_id(self) -> Self {
        self
    }

    #[inline(always)]
    pub fn with_request_id(self, _request_id: &str) -> Self {
        self
    }

    #[inline(always)]
    pub fn enter(self) -> Entered {
        Entered(PhantomData)
    }

    #[inline(always)]
    pub fn in_scope<R>(self, work: impl FnOnce() -> R) -> R {
        work()
    }

    #[inline(always)]
    pub fn is_recording(&self) -> bool {
        false
    }

    #[inline(always)]
    pub fn is_recorded_by(&self, _tracer: &Tracer) -> bool {
        false
    }

    #[inline(always)]
    pub fn tag(&self, _key: impl AsRef<str>, _value: impl TagValue) -> &Self {
        self
    }

    #[inline(always)]
    pub fn event(&self, _name: impl AsRef<str>) -> &Self {
        self
    }

    #[inline(always)]
    pub fn event_with(&self, _name: impl AsRef<str>, _tag: impl FnOnce(&mut EventTags<'_>)) -> &Self {
        self
    }

    #[inline(always)]
    pub fn error<K>(&self, _error: impl Failure<K>) -> &Self {
        self
    }

    #[inline(always)]
    pub fn exception<E: std::error::Error + ?Sized>(&self, _error: &E) -> &Self {
        self
    }
}

#[inline(always)]
pub(crate) fn propagators_of(_context: &Context) -> Propagators {
    Propagators::NONE
}

#[inline(always)]
pub(crate) fn run_in<R>(_context: &mut Context, work: impl FnOnce() -> R) -> R {
    work()
}

/// Nothing: tracing is off.
#[derive(Debug)]
pub struct Entered(PhantomData<*const ()>);

/// Nothing: tracing is off.
#[derive(Debug)]
pub struct EventTags<'a>(PhantomData<&'a ()>);

impl EventTags<'_> {
    /// Does nothing.
    #[inline(always)]
    pub fn tag(&mut self, _key: impl AsRef<str>, _value: impl TagValue) -> &mut Self {
        self
    }
}

/// Nothing: tracing is off.
#[derive(Debug)]
pub struct SpanBuilder<'a>(PhantomData<&'a ()>);

#[allow(missing_docs, reason = "documented where they do something")]
impl<'a> SpanBuilder<'a> {
    #[inline(always)]
    pub fn kind(self, _kind: SpanKind) -> Self {
        self
    }

    #[inline(always)]
    pub fn parent(self, _parent: &'a Context) -> Self {
        self
    }

    #[inline(always)]
    pub fn start_time(self, _start: SystemTime) -> Self {
        self
    }

    #[inline(always)]
    pub fn tag(self, _key: impl AsRef<str>, _value: impl TagValue) -> Self {
        self
    }

    #[inline(always)]
    pub fn tag_with<V: TagValue>(self, _key: impl AsRef<str>, _value: impl FnOnce() -> V) -> Self {
        self
    }

    #[inline(always)]
    pub fn link(self, _other: &SpanContext) -> Self {
        self
    }

    #[inline(always)]
    pub fn start(self) -> Span {
        Span(())
    }
}

/// Nothing: tracing is off.
#[derive(Debug)]
pub struct Span(());

#[allow(missing_docs, reason = "documented where they do something")]
impl Span {
    #[inline(always)]
    pub fn context(&self) -> Context {
        Context(())
    }

    #[inline(always)]
    pub fn span_context(&self) -> &SpanContext {
        &NO_SPAN
    }

    #[inline(always)]
    pub fn is_recording(&self) -> bool {
        false
    }

    #[inline(always)]
    pub fn enter(&self) -> Entered {
        Entered(PhantomData)
    }

    #[inline(always)]
    pub fn in_scope<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }

    #[inline(always)]
    pub fn tag(&self, _key: impl AsRef<str>, _value: impl TagValue) -> &Self {
        self
    }

    #[inline(always)]
    pub fn tag_with<V: TagValue>(&self, _key: impl AsRef<str>, _value: impl FnOnce() -> V) -> &Self {
        self
    }

    #[inline(always)]
    pub fn event(&self, _name: impl AsRef<str>) -> &Self {
        self
    }

    #[inline(always)]
    pub fn event_with(&self, _name: impl AsRef<str>, _tag: impl FnOnce(&mut EventTags<'_>)) -> &Self {
        self
    }

    #[inline(always)]
    pub fn link(&self, _other: &SpanContext) -> &Self {
        self
    }

    #[inline(always)]
    pub fn status(&self, _status: Status) -> &Self {
        self
    }

    #[inline(always)]
    pub fn error<K>(&self, _error: impl Failure<K>) -> &Self {
        self
    }

    #[inline(always)]
    pub fn exception<E: std::error::Error + ?Sized>(&self, _error: &E) -> &Self {
        self
    }

    #[inline(always)]
    pub fn rename(&self, _name: impl Into<Key>) -> &Self {
        self
    }

    #[inline(always)]
    pub fn end(self) {}

    #[inline(always)]
    pub fn end_at(self, _end: SystemTime) {}
}

/// Gives futures nothing: tracing is off.
pub trait FutureExt: Future + Sized {
    /// The future as it is.
    #[inline(always)]
    fn in_span(self, _span: Span) -> InSpan<Self> {
        InSpan { inner: self }
    }

    /// The future as it is.
    #[inline(always)]
    fn with_context(self, _context: Context) -> WithContext<Self> {
        InSpan { inner: self }
    }
}

impl<F: Future> FutureExt for F {}

/// See [`FutureExt::with_context`].
pub type WithContext<F> = InSpan<F>;

pin_project! {
    /// See [`FutureExt::in_span`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct InSpan<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future> Future for InSpan<F> {
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, task: &mut std::task::Context<'_>) -> Poll<F::Output> {
        self.project().inner.poll(task)
    }
}

#[inline(always)]
pub(crate) fn poll_in<R>(_context: &mut Context, _span: &mut Option<Span>, poll: impl FnOnce() -> R) -> R {
    poll()
}

/// Nothing: tracing is off.
#[derive(Clone, Debug, Default)]
pub struct Tracer(());

static TRACER: Tracer = Tracer(());

#[allow(missing_docs, reason = "documented where they do something")]
#[allow(clippy::missing_errors_doc, reason = "there are none")]
impl Tracer {
    #[inline(always)]
    pub fn new(_config: Config) -> Result<Self, Error> {
        Ok(Self(()))
    }

    #[inline(always)]
    pub const fn noop() -> Self {
        Self(())
    }

    #[inline(always)]
    pub fn span(&self, _name: impl Into<Key>) -> SpanBuilder<'_> {
        SpanBuilder(PhantomData)
    }

    #[inline(always)]
    pub fn flush(&self, _timeout: Duration) -> Result<(), Error> {
        Ok(())
    }

    #[inline(always)]
    pub fn shutdown(&self, _timeout: Duration) -> Result<ShutdownReport, Error> {
        Ok(ShutdownReport::default())
    }

    #[inline(always)]
    pub fn propagators(&self) -> Propagators {
        Propagators::NONE
    }

    #[inline(always)]
    pub fn stats(&self) -> crate::Stats {
        crate::Stats::default()
    }
}

/// Starts nothing: tracing is off.
///
/// # Errors
/// None.
#[inline(always)]
pub fn init(_config: Config) -> Result<Guard, Error> {
    Ok(Guard(()))
}

/// One that does nothing: tracing is off.
#[inline(always)]
pub fn tracer() -> &'static Tracer {
    &TRACER
}

/// Nothing: tracing is off.
#[derive(Debug)]
pub struct Guard(());

#[allow(missing_docs, reason = "documented where they do something")]
#[allow(clippy::missing_errors_doc, reason = "there are none")]
impl Guard {
    #[inline(always)]
    pub fn tracer(&self) -> &Tracer {
        &TRACER
    }

    #[inline(always)]
    pub fn shutdown(self) -> Result<ShutdownReport, Error> {
        Ok(ShutdownReport::default())
    }
}

#[allow(missing_docs, reason = "documented where they do something")]
impl Propagators {
    #[inline(always)]
    pub fn inject(self, _context: &Context, _carrier: &mut impl Injector) {}

    #[inline(always)]
    pub fn extract(self, _carrier: &impl Extractor) -> Context {
        Context(())
    }
}

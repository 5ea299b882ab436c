//! Spans: building, changing and ending them.

use crate::clock::to_unix_nanos;
use crate::context::{Entered, Shared, with_current};
use crate::exception::Failure;
use crate::limits::Limits;
use crate::recording::Open;
use crate::sampler::SamplingInput;
use crate::tags::{EventTagList, TagValue};
use crate::{Context, Key, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, Tracer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

/// The tags of an event while it is made, see [`Span::event_with`].
#[derive(Debug)]
pub struct EventTags<'a> {
    pub(crate) tags: EventTagList,
    limits: &'a Limits,
}

impl<'a> EventTags<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self { tags: EventTagList::default(), limits }
    }

    /// Tags the event.
    pub fn tag(&mut self, key: impl AsRef<str>, value: impl TagValue) -> &mut Self {
        self.tags.set(self.limits, key.as_ref(), value);
        self
    }
}

/// A span before it starts.
///
/// The sampler is asked at the first tag or link, or else at the start. Kind and parent are best set before: when one is
/// set later the sampler is asked again, and if only its second answer is to record, the tags and links before are counted
/// as dropped.
//
// Its parts stay in registers: nothing takes the builder's address. A builder that is moved through memory costs more than
// all the rest of a span that is not sampled.
#[derive(Debug)]
#[must_use = "the span exists only once started"]
pub struct SpanBuilder<'a> {
    tracer: &'a Tracer,
    name: Key,
    kind: SpanKind,
    /// The current context when not given.
    parent: Option<&'a Context>,
    /// 0 when it is now.
    start_unix_nanos: u64,
    /// The sampler has been asked.
    is_decided: bool,
    /// That have been set; what the sampler's first answer left out is counted by its second.
    tags: u32,
    links: u32,
    /// The span's own, once decided; with a recording when it is sampled.
    context: Context,
}

impl<'a> SpanBuilder<'a> {
    #[inline(always)]
    pub(crate) fn new(tracer: &'a Tracer, name: Key) -> Self {
        let (kind, context) = (SpanKind::Internal, Context::EMPTY);
        Self { tracer, name, kind, parent: None, start_unix_nanos: 0, is_decided: false, tags: 0, links: 0, context }
    }

    /// The role; `Internal` unless told.
    #[inline(always)]
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = kind;
        self.decided_again()
    }

    /// The parent instead of the current context. [`Context::new`] starts a new trace.
    #[inline(always)]
    pub fn parent(mut self, parent: &'a Context) -> Self {
        self.parent = Some(parent);
        self.decided_again()
    }

    /// When the work began, if that is not now.
    #[inline(always)]
    pub fn start_time(mut self, start: SystemTime) -> Self {
        self.start_unix_nanos = to_unix_nanos(start);
        self
    }

    /// Tags the span. The value is looked at only when the span is sampled.
    #[inline(always)]
    pub fn tag(self, key: impl AsRef<str>, value: impl TagValue) -> Self {
        let mut decided = self.decided();
        decided.tags += 1;
        if let Some(recording) = decided.context.recording() {
            recording.tag_quietly(key.as_ref(), value);
        }
        decided
    }

    /// Tags the span with what the closure returns, which is called only when the span is sampled.
    #[inline(always)]
    pub fn tag_with<V: TagValue>(self, key: impl AsRef<str>, value: impl FnOnce() -> V) -> Self {
        let mut decided = self.decided();
        decided.tags += 1;
        if let Some(recording) = decided.context.recording() {
            recording.tag(key.as_ref(), value());
        }
        decided
    }

    /// Links another span that led to this one without being its parent, such as that of a batch's message:
    /// OpenTracing's `follows from`.
    pub fn link(self, other: &SpanContext) -> Self {
        let mut decided = self.decided();
        decided.links += 1;
        if let Some(recording) = decided.context.recording() {
            recording.link(other);
        }
        decided
    }

    /// Starts the span. It is not current until entered.
    #[inline(always)]
    pub fn start(self) -> Span {
        let Self { name, kind, start_unix_nanos, context, .. } = self.decided();
        if context.recording().is_some() {
            return start(context, name, kind, start_unix_nanos);
        }
        Span { context }
    }

    /// Asks the sampler again, if it was asked. The compiler knows whether it was.
    #[inline(always)]
    fn decided_again(mut self) -> Self {
        if self.is_decided {
            let before = std::mem::replace(&mut self.context, Context::EMPTY);
            let set = (self.tags, self.links);
            self.context = decide_again(self.tracer, &self.name, self.kind, self.parent, before, set);
        }
        self
    }

    /// Asks the sampler, once.
    #[inline(always)]
    fn decided(mut self) -> Self {
        if !self.is_decided {
            let context = decide(self.tracer, &self.name, self.kind, self.parent);
            // What was there is the empty context, of which nothing has to be dropped.
            std::mem::forget(std::mem::replace(&mut self.context, context));
            self.is_decided = true;
        }
        self
    }
}

#[inline(never)]
fn start(mut context: Context, name: Key, kind: SpanKind, start_unix_nanos: u64) -> Span {
    if let Some(Shared { span, recording: Some(recording), offset_nanos, .. }) = context.unique() {
        let known = Some(*offset_nanos).filter(|offset| *offset != 0);
        *offset_nanos = recording.start(span, name, kind, start_unix_nanos, known);
    }
    Span { context }
}

/// The context of the span to be under another parent or of another kind, with what was set before.
#[cold]
#[inline(never)]
fn decide_again(
    tracer: &Tracer,
    name: &str,
    kind: SpanKind,
    parent: Option<&Context>,
    before: Context,
    (tags, links): (u32, u32),
) -> Context {
    let context = decide(tracer, name, kind, parent);
    if let Some(recording) = context.recording() {
        match before.recording() {
            Some(before) if before.is_open() => before.take_tags().into_iter().for_each(|set| recording.set_tags(set)),
            _ => recording.count_dropped(tags, links),
        }
    }
    context
}

/// The context of the span to be; the empty one when a user's sampler panics.
//
// Foreign functions do not unwind, and the compiler knows: without a way out of the middle of things it keeps the builder
// in registers.
#[inline(never)]
#[allow(improper_ctypes_definitions, reason = "it is called from Rust alone")]
extern "C" fn decide(tracer: &Tracer, name: &str, kind: SpanKind, parent: Option<&Context>) -> Context {
    let decide = || match parent {
        // Its own tracer, or else that of what is around.
        Some(parent) if parent.recording().is_none() => {
            with_current(|around| decide_under(tracer, name, kind, parent, around))
        }
        Some(parent) => decide_under(tracer, name, kind, parent, parent),
        None => with_current(|parent| decide_under(tracer, name, kind, parent, parent)),
    };
    catch_unwind(AssertUnwindSafe(decide)).unwrap_or(Context::EMPTY)
}

#[inline]
fn decide_under(tracer: &Tracer, name: &str, kind: SpanKind, parent: &Context, around: &Context) -> Context {
    let parent_span = parent.span_context();
    let Some(pipeline) = tracer.pipeline_around(around).filter(|pipeline| !pipeline.is_forked()) else {
        // Without a tracer the parent passes through, so that a service that does not trace breaks no trace.
        return passed_on(parent, parent_span.flags);
    };
    // Remote or not, a parent without a valid trace is none.
    let has_parent = parent_span.is_valid();
    let (trace_id, flags) =
        if has_parent { (parent_span.trace_id, parent_span.flags) } else { (TraceId::random(), TraceFlags::random()) };
    let decision = pipeline.sampler.sample(&SamplingInput { parent: parent_span, trace_id, name, kind });
    let flags = flags.with_sampled(decision.is_sampled);
    if !decision.is_sampled && has_parent {
        return passed_on(parent, flags);
    }
    if !decision.is_sampled {
        let span = SpanContext { trace_id, span_id: SpanId::random(), flags, ..SpanContext::EMPTY };
        return parent.clone().with_span_context(span);
    }
    Context::recorded(pipeline, |shared| {
        shared.span.trace_id = trace_id;
        shared.span.span_id = SpanId::random();
        shared.span.flags = flags;
        shared.offset_nanos = 0;
        if let Some(parent) = parent.shared() {
            if has_parent && !parent.span.trace_state.is_empty() {
                shared.span.trace_state = parent.span.trace_state.clone();
            }
            if let Some(baggage) = &parent.baggage {
                shared.baggage = Some(Arc::clone(baggage));
            }
            if let Some(request_id) = &parent.request_id {
                shared.request_id = Some(Arc::clone(request_id));
            }
            if parent.recording.as_ref().is_some_and(|recording| recording.is_of(pipeline)) {
                shared.offset_nanos = parent.offset_nanos;
            }
        }
        if decision.threshold.is_some() {
            shared.span.trace_state = shared.span.trace_state.with_sampling_threshold(decision.threshold);
        }
        if let Some(recording) = &shared.recording {
            recording.open(if has_parent { parent_span } else { &SpanContext::EMPTY });
        }
    })
}

/// The parent's context for a span that is not recorded.
#[inline]
fn passed_on(parent: &Context, flags: TraceFlags) -> Context {
    if parent.recording().is_none() && parent.span_context().flags == flags {
        return parent.clone();
    }
    let mut span = SpanContext { flags, ..parent.span_context().clone() };
    if span.trace_state.sampling_threshold().is_some() {
        // It has not come through the sampling whose threshold that was.
        span.trace_state = span.trace_state.with_sampling_threshold(None);
    }
    parent.clone().with_span_context(span)
}

/// A started span. Ends when dropped, or with [`Span::end`]; while a panic unwinds, with an error status.
///
/// All methods do nothing, and evaluate nothing, when the span is not sampled.
#[derive(Debug)]
#[must_use = "the span ends when it is dropped"]
pub struct Span {
    context: Context,
}

impl Span {
    /// The context of work inside the span.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// The identity.
    #[must_use]
    pub fn span_context(&self) -> &SpanContext {
        self.context.span_context()
    }

    /// Whether anything set on the span will be exported.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.context.is_recording()
    }

    /// Makes the span current on this thread until the guard is dropped, which does not end it.
    ///
    /// In async code use [`crate::FutureExt::in_span`] instead.
    #[must_use = "the span is left when the guard is dropped"]
    pub fn enter(&self) -> Entered {
        self.context().enter()
    }

    /// Runs the closure inside the span.
    pub fn in_scope<R>(&self, work: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        work()
    }

    /// Tags the span; the last value of a key counts.
    #[inline]
    pub fn tag(&self, key: impl AsRef<str>, value: impl TagValue) -> &Self {
        self.context.tag(key, value);
        self
    }

    /// Tags the span with what the closure returns, which is called only when the span is recorded.
    pub fn tag_with<V: TagValue>(&self, key: impl AsRef<str>, value: impl FnOnce() -> V) -> &Self {
        if self.is_recording() {
            self.tag(key, value());
        }
        self
    }

    /// Adds an event, now.
    pub fn event(&self, name: impl AsRef<str>) -> &Self {
        self.context.event(name);
        self
    }

    /// Adds an event with tags; the closure is called only when the span is recorded.
    pub fn event_with(&self, name: impl AsRef<str>, tag: impl FnOnce(&mut EventTags<'_>)) -> &Self {
        if let Some(recording) = self.context.recording().filter(|recording| recording.is_open()) {
            recording.event(name.as_ref(), tag);
        }
        self
    }

    /// Links another span that led to this one without being its parent, as [`SpanBuilder::link`] does.
    pub fn link(&self, other: &SpanContext) -> &Self {
        if let Some(recording) = self.context.recording() {
            recording.link(other);
        }
        self
    }

    /// Sets how the work went.
    pub fn status(&self, status: Status) -> &Self {
        self.update(|open| open.status = status);
        self
    }

    /// Marks the span as failed: sets the status to an error with this text. An error (`std::error::Error`) is an event, too,
    /// as [`Span::exception`] says.
    ///
    /// ```
    /// # let span = tracewell::span("save").start();
    /// if let Err(error) = std::fs::write("/no/such/place", "text") {
    ///     span.error(error);
    /// }
    /// span.error("the image is empty");
    /// ```
    pub fn error<K>(&self, error: impl Failure<K>) -> &Self {
        self.context.error(error);
        self
    }

    /// Adds the event of an error that the work has dealt with, such as one before another attempt; the status stays.
    ///
    /// The event is `exception` of the semantic conventions: `exception.type`, `exception.message`, and, where the error
    /// has causes, all of them in `exception.stacktrace`.
    pub fn exception<E: std::error::Error + ?Sized>(&self, error: &E) -> &Self {
        self.context.exception(error);
        self
    }

    /// Changes the name, when the better one is known only later.
    pub fn rename(&self, name: impl Into<Key>) -> &Self {
        self.update(|open| open.name = name.into());
        self
    }

    /// Ends the span now.
    pub fn end(self) {}

    /// Ends the span at another time than now; not before its start.
    pub fn end_at(self, end: SystemTime) {
        if let Some(recording) = self.context.recording() {
            recording.end(Some(to_unix_nanos(end)));
        }
    }

    fn update(&self, change: impl FnOnce(&mut Open)) {
        if let Some(recording) = self.context.recording() {
            recording.update(|open, _| change(open));
        }
    }
}

impl Drop for Span {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(recording) = self.context.recording() {
            recording.end(None);
        }
    }
}

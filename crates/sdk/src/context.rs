//! The context that travels with the work: the current span and the baggage.

use crate::exception::{self, Failure};
use crate::pipeline::Pipeline;
use crate::recording::Recording;
use crate::sync::{Arc, thread_local};
use crate::tags::TagValue;
use crate::{Baggage, EventTags, SpanContext, TraceState, Tracer};
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;

/// What a piece of work belongs to: a span, and the baggage. Cheap to clone; send it to another thread or through a
/// channel to continue there.
///
/// ```
/// # use tracewell::Context;
/// let context = Context::current();
/// std::thread::spawn(move || {
///     let _entered = context.enter();
///     // Spans started here are children of the span that was current there.
/// });
/// ```
#[derive(Clone, Default)]
pub struct Context(Option<Arc<Shared>>);

/// What all clones of a context share.
///
/// They are used again: a span costs no allocation once its thread has had as many open at once, and nothing has to be
/// freed by another thread. What nobody else knows any more goes into the pool of the thread that knew it last.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) span: SpanContext,
    pub(crate) baggage: Option<std::sync::Arc<Baggage>>,
    /// What logs and traces of one request share.
    pub(crate) request_id: Option<std::sync::Arc<str>>,
    /// Of a span that this process records.
    pub(crate) recording: Option<Arc<Recording>>,
    /// What, added to the monotonic clock, gives Unix time in this process's part of the trace. With a recording.
    pub(crate) offset_nanos: u64,
}

/// What a thread keeps of each kind; what is above is given back to the allocator.
const KEPT: usize = 256;

#[derive(Default)]
struct Pool {
    with_recording: Vec<Arc<Shared>>,
    without: Vec<Arc<Shared>>,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { with_recording: Vec::new(), without: Vec::new() }) };
}

impl Shared {
    /// One without a recording, which `fill` is to set.
    #[inline]
    fn new(fill: impl FnOnce(&mut Self)) -> Arc<Self> {
        let kept = POOL.try_with(|pool| pool.try_borrow_mut().ok()?.without.pop());
        let mut shared = kept.ok().flatten().unwrap_or_default();
        // Only those that nobody else knows are kept, and a new one is known to nobody.
        if let Some(shared) = Arc::get_mut(&mut shared) {
            fill(shared);
        }
        shared
    }

    /// One with a recording of this pipeline.
    #[inline]
    fn recorded(pipeline: &Arc<Pipeline>, fill: impl FnOnce(&mut Self)) -> Arc<Self> {
        let kept = POOL.try_with(|pool| pool.try_borrow_mut().ok()?.with_recording.pop());
        let kept = kept.ok().flatten().filter(|kept| kept.recording.as_ref().is_some_and(|r| r.is_of(pipeline)));
        let mut shared = kept.unwrap_or_else(|| Self::new_recorded(pipeline));
        if let Some(shared) = Arc::get_mut(&mut shared) {
            fill(shared);
        }
        shared
    }

    #[cold]
    fn new_recorded(pipeline: &Arc<Pipeline>) -> Arc<Self> {
        Arc::new(Self { recording: Some(Recording::new(pipeline)), ..Self::default() })
    }

    /// Keeps it for the next, when nobody else knows it or its recording.
    #[inline(never)]
    fn keep(mut shared: Arc<Self>) {
        let Some(unique) = Arc::get_mut(&mut shared) else { return };
        (unique.baggage, unique.request_id) = (None, None);
        unique.span.trace_state = TraceState::default();
        if unique.recording.as_ref().is_some_and(|recording| !Recording::is_free(recording)) {
            return;
        }
        // Without the thread's locals (it is ending) it is freed.
        let _ = POOL.try_with(|pool| {
            let Ok(mut pool) = pool.try_borrow_mut() else { return };
            let kept = if shared.recording.is_some() { &mut pool.with_recording } else { &mut pool.without };
            if kept.len() < KEPT {
                kept.push(shared);
            }
        });
    }
}

impl Drop for Context {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(shared) = self.0.take()
            && Arc::strong_count(&shared) == 1
        {
            Shared::keep(shared);
        }
    }
}

impl Context {
    pub(crate) const EMPTY: Self = Self(None);

    /// The context without a span and without baggage: what starts here starts a trace.
    #[must_use]
    pub fn new() -> Self {
        Self::EMPTY
    }

    /// The one this thread works in; that of [`Context::new`] when nothing was entered.
    #[must_use]
    pub fn current() -> Self {
        with_current(Self::clone)
    }

    /// The span's identity; invalid when there is none. Of a span that is not recorded it is that of the nearest one
    /// around it that is, or of the trace's beginning: what other processes do joins there.
    #[must_use]
    #[inline]
    pub fn span_context(&self) -> &SpanContext {
        static NONE: SpanContext = SpanContext::EMPTY;
        self.0.as_ref().map_or(&NONE, |shared| &shared.span)
    }

    /// The same baggage under another span, such as one that another process told of by means of its own.
    #[must_use]
    pub fn with_span_context(self, span: SpanContext) -> Self {
        let shared = self.shared();
        Self::unrecorded(
            span,
            shared.and_then(|shared| shared.baggage.clone()),
            shared.and_then(|shared| shared.request_id.clone()),
        )
    }

    /// The baggage.
    #[must_use]
    pub fn baggage(&self) -> &Baggage {
        static EMPTY: Baggage = Baggage::EMPTY;
        self.shared_baggage().map_or(&EMPTY, |baggage| baggage)
    }

    /// The same with a baggage value set; unchanged when it does not fit, see [`Baggage::insert`].
    #[must_use]
    pub fn with_baggage_value(self, key: &str, value: &str) -> Self {
        let mut baggage = self.baggage().clone();
        baggage.insert(key, value);
        self.with_baggage(baggage)
    }

    /// The same with this baggage instead of its own.
    #[must_use]
    pub fn with_baggage(self, baggage: Baggage) -> Self {
        let baggage = if baggage.is_empty() { None } else { Some(std::sync::Arc::new(baggage)) };
        self.with(|shared| shared.baggage = baggage)
    }

    /// The id that logs and traces of one request share: see [`crate::ServerLayer`], or [`Context::with_request_id`].
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.shared()?.request_id.as_deref()
    }

    /// The same with this request id, which the spans and contexts below inherit.
    #[must_use]
    pub fn with_request_id(self, request_id: &str) -> Self {
        self.with(|shared| shared.request_id = Some(request_id.into()))
    }

    /// The same, with a request id that is made up where it has none: where requests come in.
    #[must_use]
    pub fn ensure_request_id(self) -> Self {
        if self.request_id().is_some() {
            return self;
        }
        self.with_request_id(&crate::propagation::new_request_id())
    }

    /// A context of its own that differs in something.
    fn with(self, change: impl FnOnce(&mut Shared)) -> Self {
        let mut new = Shared::default();
        if let Some(shared) = self.shared() {
            new.span.clone_from(&shared.span);
            new.baggage.clone_from(&shared.baggage);
            new.request_id.clone_from(&shared.request_id);
            new.recording.clone_from(&shared.recording);
            new.offset_nanos = shared.offset_nanos;
        }
        change(&mut new);
        Self(Some(Arc::new(new)))
    }

    /// Makes this the thread's current context until the guard is dropped.
    ///
    /// In async code use [`crate::FutureExt::with_context`]: a guard held over an `.await` would leak into other tasks
    /// (the compiler refuses it wherever the future has to be `Send`).
    #[must_use = "the context is left when the guard is dropped"]
    #[inline]
    pub fn enter(self) -> Entered {
        let entered = STACK.try_with(|stack| stack.try_borrow_mut().map(|mut stack| stack.enter(self)));
        // No guard has the id 0: nothing was entered when the thread is ending.
        Entered { id: entered.map_or(0, |entered| entered.unwrap_or(0)), _not_send: PhantomData }
    }

    /// Runs the closure in this context.
    pub fn in_scope<R>(self, work: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        work()
    }

    /// Whether the span is recorded by this process and has not ended.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.recording().is_some_and(|recording| recording.is_open())
    }

    /// Tags the span; nothing happens when it is not recorded.
    #[inline]
    pub fn tag(&self, key: impl AsRef<str>, value: impl TagValue) -> &Self {
        if let Some(recording) = self.recording() {
            recording.tag(key.as_ref(), value);
        }
        self
    }

    /// Adds an event to the span; nothing happens when it is not recorded.
    pub fn event(&self, name: impl AsRef<str>) -> &Self {
        if let Some(recording) = self.recording() {
            recording.event(name.as_ref(), |_| {});
        }
        self
    }

    /// Adds an event with tags to the span; the closure is called only when it is recorded.
    pub fn event_with(&self, name: impl AsRef<str>, tag: impl FnOnce(&mut EventTags<'_>)) -> &Self {
        if let Some(recording) = self.recording().filter(|recording| recording.is_open()) {
            recording.event(name.as_ref(), tag);
        }
        self
    }

    /// Marks the span as failed, see [`crate::Span::error`]; nothing happens when it is not recorded.
    pub fn error<K>(&self, error: impl Failure<K>) -> &Self {
        if let Some(recording) = self.recording() {
            recording.error(&error.described());
        }
        self
    }

    /// Adds the event of an error to the span, see [`crate::Span::exception`]; nothing happens when it is not recorded.
    pub fn exception<E: std::error::Error + ?Sized>(&self, error: &E) -> &Self {
        if let Some(recording) = self.recording().filter(|recording| recording.is_open()) {
            // A reference to an error is one, also when the error is of any type.
            let stacktrace = exception::causes(&error);
            recording.exception(exception::type_name::<E>(), &error, stacktrace);
        }
        self
    }

    /// Whether this tracer records the span.
    #[must_use]
    pub fn is_recorded_by(&self, tracer: &Tracer) -> bool {
        let Some(recording) = self.recording() else { return false };
        tracer.with_pipeline(|pipeline| pipeline.is_some_and(|pipeline| recording.is_of(pipeline)))
    }

    /// Without a recording.
    #[inline]
    pub(crate) fn unrecorded(
        span: SpanContext,
        baggage: Option<std::sync::Arc<Baggage>>,
        request_id: Option<std::sync::Arc<str>>,
    ) -> Self {
        if !span.is_valid() && baggage.is_none() && request_id.is_none() {
            return Self::EMPTY;
        }
        Self(Some(Shared::new(|shared| {
            shared.span = span;
            shared.baggage = baggage;
            shared.request_id = request_id;
        })))
    }

    /// With a recording, to which the parts that are not known yet are added by `fill`.
    #[inline]
    pub(crate) fn recorded(pipeline: &Arc<Pipeline>, fill: impl FnOnce(&mut Shared)) -> Self {
        Self(Some(Shared::recorded(pipeline, fill)))
    }

    /// The shared part, while nobody else knows it.
    #[inline]
    pub(crate) fn unique(&mut self) -> Option<&mut Shared> {
        Arc::get_mut(self.0.as_mut()?)
    }

    #[inline]
    pub(crate) fn shared(&self) -> Option<&Shared> {
        self.0.as_deref()
    }

    #[inline]
    pub(crate) fn recording(&self) -> Option<&Arc<Recording>> {
        self.0.as_ref()?.recording.as_ref()
    }

    #[inline]
    pub(crate) fn shared_baggage(&self) -> Option<&std::sync::Arc<Baggage>> {
        self.0.as_ref()?.baggage.as_ref()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (span, baggage) = (self.span_context(), self.baggage());
        f.debug_struct("Context").field("span", span).field("baggage", baggage).finish_non_exhaustive()
    }
}

/// Leaves the context when dropped. Guards may be dropped in any order; the current context is that of the youngest
/// living one.
#[derive(Debug)]
pub struct Entered {
    id: u64,
    /// The stack belongs to this thread.
    _not_send: PhantomData<*const ()>,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        let _ = STACK.try_with(|stack| {
            if let Ok(mut stack) = stack.try_borrow_mut() {
                stack.leave(self.id);
            }
        });
    }
}

/// Runs `work` in the context, which changes places with the current one and back: a poll costs no reference counting.
#[inline]
pub(crate) fn run_in<R>(context: &mut Context, work: impl FnOnce() -> R) -> R {
    struct Restore<'a> {
        context: &'a mut Context,
        floor: usize,
    }
    impl Drop for Restore<'_> {
        #[inline]
        fn drop(&mut self) {
            let _ = STACK.try_with(|stack| {
                if let Ok(mut stack) = stack.try_borrow_mut() {
                    stack.end_run(self.context, self.floor);
                }
            });
        }
    }
    let begun = STACK.try_with(|stack| stack.try_borrow_mut().map(|mut stack| stack.begin_run(context)));
    // Without the thread's locals (it is ending) there is no current context.
    let Ok(Ok(floor)) = begun else { return work() };
    let _restore = Restore { context, floor };
    work()
}

/// The current context, and what is current again when those that were entered are left.
struct Stack {
    current: Context,
    entered: Vec<Saved>,
    /// How many had been entered when the innermost run began. Those are left only after it.
    floor: usize,
    last_id: u64,
}

/// What was current before a context was entered.
struct Saved {
    id: u64,
    before: Context,
    is_left: bool,
}

thread_local! {
    static STACK: RefCell<Stack> = const { RefCell::new(Stack::new()) };
}

impl Stack {
    const fn new() -> Self {
        Self { current: Context::EMPTY, entered: Vec::new(), floor: 0, last_id: 0 }
    }

    fn enter(&mut self, context: Context) -> u64 {
        self.last_id += 1;
        let before = std::mem::replace(&mut self.current, context);
        self.entered.push(Saved { id: self.last_id, before, is_left: false });
        self.last_id
    }

    #[inline]
    fn leave(&mut self, id: u64) {
        match self.entered.last() {
            Some(last) if last.id == id && self.entered.len() > self.floor => {
                if let Some(Saved { before, .. }) = self.entered.pop() {
                    self.current = before;
                }
            }
            _ => self.leave_older(id),
        }
    }

    #[cold]
    fn leave_older(&mut self, id: u64) {
        let Some(at) = self.entered.iter().rposition(|saved| saved.id == id) else { return };
        if at < self.floor {
            self.entered[at].is_left = true;
        } else {
            // The context that is left is what the next one saved.
            let left = self.entered.remove(at);
            self.entered[at].before = left.before;
        }
    }

    /// Makes the context current, and gives what was in exchange.
    #[inline]
    fn begin_run(&mut self, context: &mut Context) -> usize {
        std::mem::swap(&mut self.current, context);
        std::mem::replace(&mut self.floor, self.entered.len())
    }

    #[inline]
    fn end_run(&mut self, context: &mut Context, floor: usize) {
        match self.entered.get_mut(self.floor) {
            None => std::mem::swap(&mut self.current, context),
            // A guard lives on after the run that it was made in; what it saved first is this run's context.
            Some(first) => std::mem::swap(&mut first.before, context),
        }
        self.floor = floor;
        while self.entered.len() > floor
            && let Some(Saved { before, .. }) = self.entered.pop_if(|saved| saved.is_left)
        {
            self.current = before;
        }
    }
}

/// Reads the current context; the empty one when the thread is ending.
#[inline]
pub(crate) fn with_current<R>(read: impl FnOnce(&Context) -> R) -> R {
    let mut read = Some(read);
    let current = STACK.try_with(|stack| {
        let stack = stack.try_borrow().ok()?;
        read.take().map(|read| read(&stack.current))
    });
    match (current, read) {
        (Ok(Some(result)), _) => result,
        (_, Some(read)) => read(&Context::EMPTY),
        (_, None) => unreachable!("what was taken has been called"),
    }
}

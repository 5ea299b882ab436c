//! Spans: building, changing and ending them, and the finished data that is exported.

use crate::clock::to_unix_nanos;
use crate::context::{Entered, with_current};
use crate::pipeline::Pipeline;
use crate::sampler::SamplingInput;
use crate::{Context, Key, SpanContext, SpanId, TraceFlags, TraceId, TraceState, Tracer, Value};
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// The role of a span in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanKind {
    /// Work inside the service.
    #[default]
    Internal,
    /// Handles a request of another process.
    Server,
    /// Sends a request to another process and waits for the answer.
    Client,
    /// Puts a message in a queue.
    Producer,
    /// Takes a message from a queue.
    Consumer,
}

/// How a span's work went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset,
    /// Declared good, whatever it may look like.
    Ok,
    /// Failed; the text says how.
    Error(Cow<'static, str>),
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub name: Key,
    /// When, in nanoseconds since the Unix epoch.
    pub unix_nanos: u64,
    /// Tags of the event alone.
    pub tags: Vec<(Key, Value)>,
}

/// A span, as exporters get it once it has ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpanData {
    /// The identity.
    pub context: SpanContext,
    /// The parent; `None` for the first span of a trace.
    pub parent_span_id: Option<SpanId>,
    /// Whether the parent is another process's.
    pub parent_is_remote: bool,
    /// The operation.
    pub name: Key,
    /// The role.
    pub kind: SpanKind,
    /// Nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// Nanoseconds since the Unix epoch; at least the start.
    pub end_unix_nanos: u64,
    /// Each key once, in the order first set.
    pub tags: Vec<(Key, Value)>,
    /// In the order they happened.
    pub events: Vec<Event>,
    /// Other spans that led to this one.
    pub links: Vec<SpanContext>,
    /// How it went.
    pub status: Status,
    /// Tags beyond the limit.
    pub dropped_tags: u32,
    /// Events beyond the limit.
    pub dropped_events: u32,
    /// Links beyond the limit.
    pub dropped_links: u32,
}

/// What a single span may hold; the rest is counted as dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) tags: usize,
    pub(crate) events: usize,
    pub(crate) links: usize,
    pub(crate) value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tags: 128, events: 128, links: 128, value_bytes: 16 << 10 }
    }
}

impl SpanData {
    /// The value of a tag.
    #[must_use]
    pub fn tag_value(&self, key: &str) -> Option<&Value> {
        self.tags.iter().find(|(other, _)| other == key).map(|(_, value)| value)
    }

    pub(crate) fn tag(&mut self, limits: &Limits, key: Key, value: Value) {
        set_tag(&mut self.tags, &mut self.dropped_tags, limits, key, value);
    }

    /// About how many bytes the span takes when exported.
    pub(crate) fn size_bytes(&self) -> usize {
        let tags = |tags: &[(Key, Value)]| -> usize { tags.iter().map(|(k, v)| k.len() + v.size_bytes() + 10).sum() };
        let events: usize = self.events.iter().map(|event| event.name.len() + 16 + tags(&event.tags)).sum();
        let status = if let Status::Error(text) = &self.status { text.len() } else { 0 };
        let state = self.context.trace_state.as_str().len();
        let links: usize = self.links.iter().map(|link| 40 + link.trace_state.as_str().len()).sum();
        80 + self.name.len() + tags(&self.tags) + events + links + status + state
    }
}

/// An empty key is not a tag: OpenTelemetry leaves such ones out.
fn set_tag(tags: &mut Vec<(Key, Value)>, dropped: &mut u32, limits: &Limits, key: Key, mut value: Value) {
    if key.is_empty() {
        return;
    }
    value.truncate(limits.value_bytes);
    if let Some((_, old)) = tags.iter_mut().find(|(other, _)| *other == key) {
        *old = value;
    } else if tags.len() < limits.tags {
        tags.push((key, value));
    } else {
        *dropped = dropped.saturating_add(1);
    }
}

/// The tags of an event while it is made, see [`Span::event_with`].
#[derive(Debug)]
pub struct EventTags<'a> {
    tags: Vec<(Key, Value)>,
    limits: &'a Limits,
}

impl EventTags<'_> {
    /// Tags the event.
    pub fn tag(&mut self, key: impl Into<Key>, value: impl Into<Value>) -> &mut Self {
        set_tag(&mut self.tags, &mut 0, self.limits, key.into(), value.into());
        self
    }
}

/// A span that is being recorded. Its lock is the span's own: two threads meet there only when they change the same
/// span at the same moment.
pub(crate) struct Recording {
    pipeline: Arc<Pipeline>,
    /// What, added to the monotonic clock, gives Unix time in this process's part of the trace.
    offset_nanos: u64,
    /// `None` once ended.
    data: Mutex<Option<SpanData>>,
}

impl Recording {
    pub(crate) fn is_recording(&self) -> bool {
        self.lock().is_some()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut SpanData, &Limits)) {
        if let Some(data) = self.lock().as_mut() {
            change(data, &self.pipeline.limits);
        }
    }

    pub(crate) fn event(&self, name: Key, tag: impl FnOnce(&mut EventTags<'_>)) {
        let unix_nanos = self.now();
        // The closure is the user's, so it runs before the lock is taken.
        let limits = &self.pipeline.limits;
        let mut tags = EventTags { tags: Vec::new(), limits };
        tag(&mut tags);
        self.update(|data, limits| {
            if data.events.len() < limits.events {
                data.events.push(Event { name, unix_nanos, tags: tags.tags });
            } else {
                data.dropped_events = data.dropped_events.saturating_add(1);
            }
        });
    }

    pub(crate) fn error(&self, error: &dyn fmt::Display) {
        let mut text = Value::from(error.to_string());
        text.truncate(self.pipeline.limits.value_bytes);
        if let Value::String(text) = text {
            self.update(|data, _| data.status = Status::Error(text));
        }
    }

    fn now(&self) -> u64 {
        self.offset_nanos.wrapping_add(self.pipeline.clock.monotonic_nanos())
    }

    fn end(&self, end_unix_nanos: Option<u64>) {
        let Some(mut data) = self.lock().take() else { return };
        data.end_unix_nanos = end_unix_nanos.unwrap_or_else(|| self.now()).max(data.start_unix_nanos);
        self.pipeline.push(data);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SpanData>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A span before it starts. Set kind and parent before the first tag: the sampler is asked then.
#[derive(Debug)]
#[must_use = "the span exists only once started"]
pub struct SpanBuilder<'a> {
    tracer: &'a Tracer,
    name: Key,
    kind: SpanKind,
    parent: Option<Context>,
    start_time: Option<SystemTime>,
    /// The sampler's answer, once asked.
    draft: Option<Draft>,
}

#[derive(Debug)]
struct Draft {
    parent: Context,
    span: SpanContext,
    /// `None` when not sampled.
    recorded: Option<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    tags: Vec<(Key, Value)>,
    links: Vec<SpanContext>,
    dropped_tags: u32,
    dropped_links: u32,
}

impl<'a> SpanBuilder<'a> {
    pub(crate) fn new(tracer: &'a Tracer, name: Key) -> Self {
        Self { tracer, name, kind: SpanKind::Internal, parent: None, start_time: None, draft: None }
    }

    /// The role; `Internal` unless told.
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.kind = kind;
        self
    }

    /// The parent instead of the current context. [`Context::new`] starts a new trace.
    pub fn parent(mut self, parent: &Context) -> Self {
        self.parent = Some(parent.clone());
        self
    }

    /// When the work began, if that is not now.
    pub fn start_time(mut self, start: SystemTime) -> Self {
        self.start_time = Some(start);
        self
    }

    /// Tags the span. The value is converted only when the span is sampled.
    pub fn tag(self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.tag_with(key, || value)
    }

    /// Tags the span with what the closure returns, which is called only when the span is sampled.
    pub fn tag_with<V: Into<Value>>(mut self, key: impl Into<Key>, value: impl FnOnce() -> V) -> Self {
        let limits = self.tracer.limits();
        if let Some(recorded) = &mut self.decide().recorded {
            set_tag(&mut recorded.tags, &mut recorded.dropped_tags, &limits, key.into(), value().into());
        }
        self
    }

    /// Links another span that led to this one without being its parent, such as that of a batch's message.
    pub fn link(mut self, other: &SpanContext) -> Self {
        let limits = self.tracer.limits();
        if let Some(recorded) = self.decide().recorded.as_mut().filter(|_| other.is_valid()) {
            if recorded.links.len() < limits.links {
                recorded.links.push(other.clone());
            } else {
                recorded.dropped_links = recorded.dropped_links.saturating_add(1);
            }
        }
        self
    }

    /// Starts the span. It is not current until entered.
    pub fn start(mut self) -> Span {
        self.decide();
        // `decide` has just made it.
        let Some(Draft { parent, span, recorded }) = self.draft else { return Span { context: Context::new() } };
        let (Some(recorded), Some(pipeline)) = (recorded, self.tracer.pipeline()) else {
            return Span { context: parent.with_span(span, None) };
        };
        let local_parent = parent.recording().filter(|parent| Arc::ptr_eq(&parent.pipeline, pipeline));
        let monotonic_nanos = pipeline.clock.monotonic_nanos();
        let offset_nanos = match local_parent {
            Some(parent) => parent.offset_nanos,
            None => pipeline.clock.unix_nanos().wrapping_sub(monotonic_nanos),
        };
        let start_unix_nanos =
            self.start_time.map_or_else(|| offset_nanos.wrapping_add(monotonic_nanos), to_unix_nanos);
        let parent_span = parent.span_context();
        let data = SpanData {
            context: span.clone(),
            parent_span_id: Some(parent_span.span_id).filter(|id| id.is_valid()),
            parent_is_remote: parent_span.is_remote,
            name: self.name,
            kind: self.kind,
            start_unix_nanos,
            end_unix_nanos: start_unix_nanos,
            tags: recorded.tags,
            events: Vec::new(),
            links: recorded.links,
            status: Status::Unset,
            dropped_tags: recorded.dropped_tags,
            dropped_events: 0,
            dropped_links: recorded.dropped_links,
        };
        let recording = Recording { pipeline: Arc::clone(pipeline), offset_nanos, data: Mutex::new(Some(data)) };
        Span { context: parent.with_span(span, Some(Arc::new(recording))) }
    }

    /// Asks the sampler, once.
    fn decide(&mut self) -> &mut Draft {
        let (tracer, parent) = (self.tracer, &mut self.parent);
        let (name, kind) = (&self.name, self.kind);
        self.draft.get_or_insert_with(|| {
            let parent = parent.take().unwrap_or_else(|| with_current(Context::clone));
            let parent_span = parent.span_context();
            let Some(pipeline) = tracer.pipeline() else {
                // Without a tracer the parent passes through, so that a service that does not trace breaks no trace.
                let span = parent_span.clone();
                return Draft { parent, span, recorded: None };
            };
            let (trace_id, flags, trace_state) = if parent_span.is_valid() {
                (parent_span.trace_id, parent_span.flags, parent_span.trace_state.clone())
            } else {
                (TraceId::random(), TraceFlags::random(), TraceState::default())
            };
            let input = SamplingInput { parent: parent_span, trace_id, name, kind };
            let sampled = pipeline.sampler.sample(&input);
            let flags = flags.with_sampled(sampled);
            let span = SpanContext { trace_id, span_id: SpanId::random(), flags, is_remote: false, trace_state };
            // Remote or not, a parent without a valid trace is none.
            let parent = if parent_span.is_valid() { parent } else { parent.with_span(SpanContext::default(), None) };
            Draft { parent, span, recorded: sampled.then(Recorded::default) }
        })
    }
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
    pub fn tag(&self, key: impl Into<Key>, value: impl Into<Value>) -> &Self {
        self.context.tag(key, value);
        self
    }

    /// Tags the span with what the closure returns, which is called only when the span is recorded.
    pub fn tag_with<V: Into<Value>>(&self, key: impl Into<Key>, value: impl FnOnce() -> V) -> &Self {
        if self.is_recording() {
            self.tag(key, value());
        }
        self
    }

    /// Adds an event, now.
    pub fn event(&self, name: impl Into<Key>) -> &Self {
        self.context.event(name);
        self
    }

    /// Adds an event with tags; the closure is called only when the span is recorded.
    pub fn event_with(&self, name: impl Into<Key>, tag: impl FnOnce(&mut EventTags<'_>)) -> &Self {
        if let Some(recording) = self.context.recording().filter(|recording| recording.is_recording()) {
            recording.event(name.into(), tag);
        }
        self
    }

    /// Sets how the work went.
    pub fn status(&self, status: Status) -> &Self {
        self.update(|data| data.status = status);
        self
    }

    /// Sets the status to an error with this text.
    pub fn error(&self, error: impl fmt::Display) -> &Self {
        self.context.error(error);
        self
    }

    /// Changes the name, when the better one is known only later.
    pub fn rename(&self, name: impl Into<Key>) -> &Self {
        self.update(|data| data.name = name.into());
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

    fn update(&self, change: impl FnOnce(&mut SpanData)) {
        if let Some(recording) = self.context.recording() {
            recording.update(|data, _| change(data));
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(recording) = self.context.recording() else { return };
        if std::thread::panicking() {
            recording.update(|data, _| data.status = Status::Error(Cow::Borrowed("panicked")));
        }
        recording.end(None);
    }
}

//! A span while it is recorded.

use crate::exception::{Described, causes};
use crate::limits::Limits;
use crate::pipeline::Pipeline;
use crate::proto;
use crate::span::EventTags;
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crate::tags::{SpanTags, TagValue};
use crate::value::truncated;
use crate::{Key, SpanContext, SpanId, SpanKind, Status, TraceState, otlp, panics};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Buffers that one span has made larger than this are not kept for the next.
const MOST_KEPT_BYTES: usize = 2 << 10;

/// The tag of a span that is reported before it has ended.
pub(crate) const PENDING: &str = "tracewell.pending";

/// What is recorded of a span. Its lock is the span's own: two threads meet there only when they change the same span at
/// the same moment. It is used again for later spans, see [`crate::context::Shared`].
pub(crate) struct Recording {
    pipeline: Arc<Pipeline>,
    /// Whether the pipeline knows it, to look at it when it is open for long.
    is_registered: bool,
    open: Mutex<Open>,
}

/// What is known of a span that has not ended.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// From the sampler's decision to the end.
    is_open: bool,
    pub(crate) span: SpanContext,
    pub(crate) parent_span_id: SpanId,
    pub(crate) parent_is_remote: bool,
    pub(crate) kind: SpanKind,
    pub(crate) name: Key,
    pub(crate) status: Status,
    /// 0 before the start.
    pub(crate) start_unix_nanos: u64,
    /// What, added to the monotonic clock, gives Unix time in this process's part of the trace.
    offset_nanos: u64,
    pub(crate) tags: SpanTags,
    pub(crate) events: Repeated,
    pub(crate) links: Repeated,
    /// Whether it was already reported as pending.
    is_reported: bool,
}

/// Messages of one field, encoded.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) dropped: u32,
}

impl Repeated {
    fn push(&mut self, most: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        if (self.count as usize) < most {
            self.count += 1;
            encode(&mut self.bytes);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn clear(&mut self) {
        clear_bytes(&mut self.bytes);
        (self.count, self.dropped) = (0, 0);
    }
}

fn clear_bytes(bytes: &mut Vec<u8>) {
    bytes.clear();
    if bytes.capacity() > MOST_KEPT_BYTES {
        *bytes = Vec::new();
    }
}

impl Open {
    /// Afterwards it is as [`Open::default`], but for the buffers.
    fn clear(&mut self) {
        self.is_open = false;
        self.name = Key::Borrowed("");
        self.status = Status::Unset;
        self.span.trace_state = TraceState::default();
        self.start_unix_nanos = 0;
        self.tags.clear();
        clear_bytes(&mut self.tags.bytes);
        self.events.clear();
        self.links.clear();
        self.is_reported = false;
    }
}

impl Recording {
    pub(crate) fn new(pipeline: &Arc<Pipeline>) -> Arc<Self> {
        let new = |is_registered| Self { pipeline: Arc::clone(pipeline), is_registered, open: Mutex::default() };
        if pipeline.reports_pending() {
            let registered = Arc::new(new(true));
            if pipeline.register(&registered) {
                return registered;
            }
        }
        Arc::new(new(false))
    }

    /// Whether nobody but the asker knows it, so that it may serve another span. The register forgets it only after
    /// the pipeline was closed. What ends then is dropped, so no test of exports fails without that check: it keeps a
    /// context whose span has ended from saying that it records the next one.
    #[inline]
    pub(crate) fn is_free(this: &Arc<Self>) -> bool {
        Arc::strong_count(this) == 1 + usize::from(this.is_registered) && !this.pipeline.is_closed()
    }

    #[inline]
    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    #[inline]
    pub(crate) fn is_of(&self, pipeline: &Arc<Pipeline>) -> bool {
        Arc::ptr_eq(&self.pipeline, pipeline)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_some_and(|open| open.is_open)
    }

    /// Changes the span, unless it has ended. `change` must not run a user's code: the span is locked.
    #[inline]
    pub(crate) fn update(&self, change: impl FnOnce(&mut Open, &Limits)) {
        if let Some(mut open) = self.lock().filter(|open| open.is_open) {
            change(&mut open, &self.pipeline.limits);
        }
    }

    /// Opens it for tags, before the start.
    #[inline]
    pub(crate) fn open(&self, parent: &SpanContext) {
        let Some(mut open) = self.lock() else { return };
        if open.is_open {
            // Its last span was never started.
            open.clear();
        }
        open.is_open = true;
        open.parent_span_id = parent.span_id;
        open.parent_is_remote = parent.is_remote;
    }

    /// Begins the span, now when no other time is given (which is not 0). The offset is known of spans whose parent is
    /// recorded too.
    #[inline]
    pub(crate) fn start(
        &self,
        span: &SpanContext,
        name: Key,
        kind: SpanKind,
        start_unix_nanos: u64,
        offset_nanos: Option<u64>,
    ) -> u64 {
        let clock = &self.pipeline.clock;
        let monotonic_nanos = clock.monotonic_nanos();
        let offset_nanos = offset_nanos.unwrap_or_else(|| clock.unix_offset_nanos(monotonic_nanos));
        let now = offset_nanos.wrapping_add(monotonic_nanos);
        let Some(mut open) = self.lock() else { return offset_nanos };
        open.span.clone_from(span);
        open.name = name;
        open.kind = kind;
        open.offset_nanos = offset_nanos;
        open.start_unix_nanos = if start_unix_nanos == 0 { now } else { start_unix_nanos };
        offset_nanos
    }

    /// Tags the span. Not inlined: this is what a tag costs in the size of its caller.
    #[inline(never)]
    pub(crate) fn tag(&self, key: &str, value: impl TagValue) {
        self.update(|open, limits| open.tags.set(limits, key, value));
    }

    /// As [`Recording::tag`], and the compiler knows that it never unwinds, see [`crate::SpanBuilder`].
    #[inline(never)]
    #[allow(improper_ctypes_definitions, reason = "it is called from Rust alone")]
    pub(crate) extern "C" fn tag_quietly<V: TagValue>(&self, key: &str, value: V) {
        // Only a lack of memory gets here, and that aborts anyway.
        let _ = catch_unwind(AssertUnwindSafe(|| self.update(|open, limits| open.tags.set(limits, key, value))));
    }

    pub(crate) fn link(&self, other: &SpanContext) {
        if other.is_valid() {
            self.update(|open, limits| open.links.push(limits.links, |out| otlp::link(out, other)));
        }
    }

    pub(crate) fn event(&self, name: &str, tag: impl FnOnce(&mut EventTags<'_>)) {
        let monotonic_nanos = self.pipeline.clock.monotonic_nanos();
        // The closure is the user's, so it runs before the lock is taken.
        let mut tags = EventTags::new(&self.pipeline.limits);
        tag(&mut tags);
        self.update(|open, limits| {
            let unix_nanos = open.offset_nanos.wrapping_add(monotonic_nanos);
            open.events.push(limits.events, |out| otlp::event(out, name, unix_nanos, &tags.tags));
        });
    }

    /// Marks the span as failed. An error is an event, too.
    pub(crate) fn error(&self, failure: &Described<'_>) {
        if !self.is_open() {
            return;
        }
        if let Some((kind, error)) = failure.error {
            self.exception(kind, failure.text, causes(error));
        }
        let mut text = failure.text.to_string();
        text.truncate(truncated(&text, self.pipeline.limits.value_chars).len());
        self.update(|open, _| open.status = Status::Error(text.into()));
    }

    /// The event of an exception, by the semantic conventions.
    pub(crate) fn exception(&self, kind: &str, message: &dyn fmt::Display, stacktrace: Option<String>) {
        self.event("exception", |tags| {
            if !kind.is_empty() {
                tags.tag("exception.type", kind);
            }
            tags.tag("exception.message", message.to_string()).tag("exception.stacktrace", stacktrace);
        });
    }

    /// The span is unwound by a panic of this thread.
    #[cold]
    fn panicked(&self) {
        let Some(panic) = panics::current() else {
            return self.update(|open, _| open.status = Status::Error("panicked".into()));
        };
        self.exception("panic", &panic.text, Some(panic.location).filter(|location| !location.is_empty()));
        let status = match panic.text.as_str() {
            "" => "panicked".into(),
            text => format!("panicked: {}", truncated(text, self.pipeline.limits.value_chars)).into(),
        };
        self.update(|open, _| open.status = Status::Error(status));
    }

    /// Takes what was set on it before it started, for another one.
    pub(crate) fn take_tags(&self) -> Option<(SpanTags, Repeated)> {
        let mut open = self.lock()?;
        Some((std::mem::take(&mut open.tags), std::mem::take(&mut open.links)))
    }

    /// Has the tags and links of another one.
    pub(crate) fn set_tags(&self, (tags, links): (SpanTags, Repeated)) {
        self.update(|open, _| (open.tags, open.links) = (tags, links));
    }

    /// So many tags and links were not looked at.
    pub(crate) fn count_dropped(&self, tags: u32, links: u32) {
        self.update(|open, _| {
            open.tags.dropped += tags;
            open.links.dropped += links;
        });
    }

    /// Ends the span, unless it has ended, and hands it to the pipeline.
    pub(crate) fn end(&self, end_unix_nanos: Option<u64>) {
        let monotonic_nanos = if end_unix_nanos.is_none() { self.pipeline.clock.monotonic_nanos() } else { 0 };
        if std::thread::panicking() {
            self.panicked();
        }
        let Some(mut open) = self.lock() else { return };
        let open = &mut *open;
        if !open.is_open {
            return;
        }
        let end = end_unix_nanos.unwrap_or(open.offset_nanos.wrapping_add(monotonic_nanos)).max(open.start_unix_nanos);
        // Nothing locks a span that holds the lock of a thread's buffer.
        self.pipeline.push(open, end);
        open.clear();
    }

    /// Writes the span as it is now, once, when it began before that time.
    pub(crate) fn report_pending(&self, out: &mut Vec<u8>, now_monotonic_nanos: u64, open_for_nanos: u64) -> bool {
        let Some(mut open) = self.lock() else { return false };
        let open = &mut *open;
        let now = open.offset_nanos.wrapping_add(now_monotonic_nanos);
        let is_old = open.start_unix_nanos != 0 && open.start_unix_nanos.saturating_add(open_for_nanos) <= now;
        if !open.is_open || open.is_reported || !is_old {
            return false;
        }
        open.is_reported = true;
        let length = open.tags.bytes.len();
        proto::message(&mut open.tags.bytes, 9, |out| {
            proto::bytes(out, 1, PENDING.as_bytes());
            proto::message(out, 2, |out| out.extend_from_slice(&[0x10, 1]));
        });
        otlp::span(out, open, now);
        open.tags.bytes.truncate(length);
        true
    }

    /// `None` in a forked process: the parent's other threads may have held it.
    #[inline]
    fn lock(&self) -> Option<MutexGuard<'_, Open>> {
        if self.pipeline.is_forked() { None } else { Some(lock(&self.open)) }
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

//! The context that travels with the work: the current span and the baggage.

use crate::span::Recording;
use crate::{Baggage, Key, SpanContext, Value};
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

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
pub struct Context {
    span: SpanContext,
    recording: Option<Arc<Recording>>,
    baggage: Option<Arc<Baggage>>,
}

impl Context {
    /// The context without a span and without baggage: what starts here starts a trace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The one this thread works in; that of [`Context::new`] when nothing was entered.
    #[must_use]
    pub fn current() -> Self {
        with_current(Self::clone)
    }

    /// The span's identity; invalid when there is none.
    #[must_use]
    pub fn span_context(&self) -> &SpanContext {
        &self.span
    }

    /// The same baggage under another span, such as one that another process told of by means of its own.
    #[must_use]
    pub fn with_span_context(mut self, span: SpanContext) -> Self {
        self.span = span;
        self.recording = None;
        self
    }

    /// The baggage.
    #[must_use]
    pub fn baggage(&self) -> &Baggage {
        static EMPTY: std::sync::LazyLock<Baggage> = std::sync::LazyLock::new(Baggage::default);
        self.baggage.as_deref().unwrap_or(&EMPTY)
    }

    /// The same with a baggage value set; unchanged when it does not fit, see [`Baggage::insert`].
    #[must_use]
    pub fn with_baggage_value(mut self, key: &str, value: &str) -> Self {
        Arc::make_mut(self.baggage.get_or_insert_default()).insert(key, value);
        self
    }

    /// The same with this baggage instead of its own.
    #[must_use]
    pub fn with_baggage(mut self, baggage: Baggage) -> Self {
        self.baggage = if baggage.is_empty() { None } else { Some(Arc::new(baggage)) };
        self
    }

    /// Makes this the thread's current context until the guard is dropped.
    ///
    /// In async code use [`crate::FutureExt::with_context`]: a guard held over an `.await` would leak into other tasks
    /// (the compiler refuses it wherever the future has to be `Send`).
    #[must_use = "the context is left when the guard is dropped"]
    pub fn enter(self) -> Entered {
        Entered { id: push(self), _not_send: PhantomData }
    }

    /// Runs the closure in this context.
    pub fn in_scope<R>(self, work: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        work()
    }

    /// Whether the span is recorded by this process and has not ended.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.recording.as_ref().is_some_and(|recording| recording.is_recording())
    }

    /// Tags the span; nothing happens when it is not recorded.
    pub fn tag(&self, key: impl Into<Key>, value: impl Into<Value>) -> &Self {
        if let Some(recording) = &self.recording {
            recording.update(|data, limits| data.tag(limits, key.into(), value.into()));
        }
        self
    }

    /// Adds an event to the span; nothing happens when it is not recorded.
    pub fn event(&self, name: impl Into<Key>) -> &Self {
        if let Some(recording) = &self.recording {
            recording.event(name.into(), |_| {});
        }
        self
    }

    /// Marks the span as failed; nothing happens when it is not recorded.
    pub fn error(&self, error: impl fmt::Display) -> &Self {
        if let Some(recording) = &self.recording {
            recording.error(&error);
        }
        self
    }

    pub(crate) fn with_span(&self, span: SpanContext, recording: Option<Arc<Recording>>) -> Self {
        Self { span, recording, baggage: self.baggage.clone() }
    }

    pub(crate) fn recording(&self) -> Option<&Arc<Recording>> {
        self.recording.as_ref()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("span", &self.span).field("baggage", self.baggage()).finish_non_exhaustive()
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
    fn drop(&mut self) {
        pop(self.id);
    }
}

/// Runs `work` in the context, which is moved onto the stack and back: a poll costs no reference counting.
pub(crate) fn run_in<R>(context: &mut Context, work: impl FnOnce() -> R) -> R {
    struct Restore<'a> {
        id: u64,
        context: &'a mut Context,
    }
    impl Drop for Restore<'_> {
        fn drop(&mut self) {
            if let Some(context) = pop(self.id) {
                *self.context = context;
            }
        }
    }
    let restore = Restore { id: push(std::mem::take(context)), context };
    let result = work();
    drop(restore);
    result
}

/// The contexts that this thread has entered, oldest first; `None` where a guard was dropped before younger ones.
#[derive(Default)]
struct Stack {
    entries: Vec<(u64, Option<Context>)>,
    last_id: u64,
}

thread_local! {
    static STACK: RefCell<Stack> = RefCell::default();
}

/// Without the thread's locals (it is ending) there is no current context.
pub(crate) fn with_current<R>(read: impl Fn(&Context) -> R) -> R {
    let current = STACK.try_with(|stack| {
        let stack = stack.try_borrow().ok()?;
        stack.entries.last().and_then(|(_, context)| context.as_ref()).map(&read)
    });
    current.ok().flatten().unwrap_or_else(|| read(&Context::default()))
}

/// The id is 0 when the thread is ending and nothing was entered.
fn push(context: Context) -> u64 {
    STACK
        .try_with(|stack| {
            let mut stack = stack.borrow_mut();
            stack.last_id += 1;
            let id = stack.last_id;
            stack.entries.push((id, Some(context)));
            id
        })
        .unwrap_or(0)
}

fn pop(id: u64) -> Option<Context> {
    STACK
        .try_with(|stack| {
            let mut stack = stack.borrow_mut();
            let at = stack.entries.iter().rposition(|(other, _)| *other == id)?;
            let context = stack.entries[at].1.take();
            while stack.entries.last().is_some_and(|(_, context)| context.is_none()) {
                stack.entries.pop();
            }
            context
        })
        .unwrap_or(None)
}

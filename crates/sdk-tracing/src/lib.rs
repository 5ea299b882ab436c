//! `tracing` and Tracewell in one program, both ways:
//!
//! - [`init`] starts everything in one line.
//! - [`layer`] makes Tracewell's spans of those that libraries open with `tracing`. The two nest in each other in any order,
//!   for while a `tracing` span is entered its context is [`Context::current`], and a `tracing` span's parent is that.
//! - [`with_ids`] puts the ids of the trace and the span into each log line.
//!
//! For a subscriber of your own:
//!
//! ```
//! use tracing_subscriber::filter::LevelFilter;
//! use tracing_subscriber::fmt::format;
//! use tracing_subscriber::layer::SubscriberExt as _;
//!
//! let subscriber = tracing_subscriber::registry()
//!     .with(LevelFilter::INFO)
//!     .with(tracewell_tracing::layer())
//!     .with(tracing_subscriber::fmt::layer().event_format(tracewell_tracing::with_ids(format())));
//! # drop(subscriber);
//! ```
//!
//! Which spans and events are taken is the business of a filter, for all layers as here or for one:
//! `layer().with_filter(LevelFilter::INFO)`. Without one, everything down to `TRACE` is written and recorded.

mod fields;
mod ids;
#[cfg(feature = "init")]
mod init;
mod transport;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use fields::{EventFields, SpanFields, Special};
pub use ids::{WithIds, with_ids};
#[cfg(feature = "init")]
pub use init::{InitError, init, init_json};
use tracewell::{Context, Entered, Span, Tracer};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as Scope;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// A layer that records what is opened with `tracing`, with the tracer of the current context or else the global one, as it is
/// when a span is opened.
#[must_use]
pub fn layer() -> SpanLayer {
    SpanLayer::default()
}

/// See [`layer`].
///
/// Fields become tags, events become events, and an event of level `ERROR` makes the span an error. The fields
/// `otel.name`, `otel.kind`, `otel.status_code` and `otel.status_description` mean what they mean to
/// `tracing-opentelemetry`.
#[derive(Clone, Debug)]
pub struct SpanLayer {
    tracer: Option<Tracer>,
    with_transport: bool,
    /// Tells the layers of a program apart.
    id: u64,
}

impl Default for SpanLayer {
    fn default() -> Self {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        Self { tracer: None, with_transport: false, id: LAST_ID.fetch_add(1, Ordering::Relaxed) }
    }
}

impl SpanLayer {
    /// With this tracer.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = Some(tracer);
        self
    }

    /// Records what the libraries that move bytes say of themselves, too: `h2`, `hyper*`, `rustls`, `tower::buffer` and
    /// `ureq*`. Their spans last as long as a connection and are about no request, so they are left out unless asked for.
    #[must_use]
    pub fn with_transport(mut self) -> Self {
        self.with_transport = true;
        self
    }

    fn leaves_out(&self, target: &str) -> bool {
        !self.with_transport && transport::is_target(target)
    }

    /// The context that is current for this layer, when that is not [`Context::current`]: where another layer has entered
    /// the same span, or what is current is another tracer's, it is what this layer has entered last.
    fn own_current(&self) -> Option<Context> {
        ENTERED.with_borrow(|all| {
            let mine = |entered: &&EnteredSpan| entered.layer == self.id;
            if all.is_empty() || all.iter().all(|entered| mine(&entered)) && self.tracer.is_none() {
                return None;
            }
            let current = Context::current();
            let entered = all.iter().rfind(|entered| entered.context.span_context() == current.span_context());
            let is_another_layers = entered.is_some_and(|entered| !mine(&entered));
            let is_another_tracers =
                current.is_recording() && self.tracer.as_ref().is_some_and(|tracer| !current.is_recorded_by(tracer));
            (is_another_layers || is_another_tracers)
                .then(|| all.iter().rfind(mine).map(|e| e.context.clone()))
                .flatten()
        })
    }

    /// Does something with this layer's span behind an id.
    fn with_span<S, R>(&self, scope: &Scope<'_, S>, id: &Id, work: impl FnOnce(&Span) -> R) -> Option<R>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.with_opened(&scope.span(id)?, work)
    }

    fn with_opened<'a, S: LookupSpan<'a>, R>(&self, span: &SpanRef<'a, S>, work: impl FnOnce(&Span) -> R) -> Option<R> {
        let extensions = span.extensions();
        let opened = extensions.get::<Opened>()?;
        opened.0.iter().find(|(layer, _)| *layer == self.id).map(|(_, span)| work(span))
    }
}

/// What a `tracing` span keeps: a span for each layer.
struct Opened(Vec<(u64, Span)>);

/// What this thread has entered, with the guard that makes it current.
struct EnteredSpan {
    layer: u64,
    id: Id,
    context: Context,
    _entered: Entered,
}

thread_local! {
    static ENTERED: RefCell<Vec<EnteredSpan>> = const { RefCell::new(Vec::new()) };
}

impl<S> Layer<S> for SpanLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, scope: Scope<'_, S>) {
        let metadata = attributes.metadata();
        if self.leaves_out(metadata.target()) {
            return;
        }
        let parent = match attributes.parent() {
            // One that this layer does not see has its next ancestor's place.
            Some(_) => scope
                .span(id)
                .and_then(|span| span.scope().skip(1).find_map(|ancestor| self.with_opened(&ancestor, Span::context))),
            None if attributes.is_root() => Some(Context::new()),
            None => self.own_current(),
        };
        let mut special = Special::default();
        attributes.record(&mut special);
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let builder = tracer.span(special.name.take().unwrap_or_else(|| metadata.name().into()));
        let builder = builder.kind(special.kind.unwrap_or_default());
        let span = match &parent {
            Some(parent) => builder.parent(parent).start(),
            None => builder.start(),
        };
        if span.is_recording() {
            span.tag("tracing.target", metadata.target());
            attributes.record(&mut SpanFields(&span));
            special.set_status(&span);
        }
        if let Some(opened) = scope.span(id) {
            let mut extensions = opened.extensions_mut();
            match extensions.get_mut::<Opened>() {
                Some(Opened(spans)) => spans.push((self.id, span)),
                None => extensions.insert(Opened(vec![(self.id, span)])),
            }
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, scope: Scope<'_, S>) {
        self.with_span(&scope, id, |span| {
            if span.is_recording() {
                let mut special = Special::default();
                values.record(&mut special);
                values.record(&mut SpanFields(span));
                if let Some(name) = special.name.take() {
                    span.rename(name);
                }
                special.set_status(span);
            }
        });
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, scope: Scope<'_, S>) {
        if let Some(followed) = self.with_span(&scope, follows, |span| span.span_context().clone()) {
            self.with_span(&scope, id, |span| {
                span.link(&followed);
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, scope: Scope<'_, S>) {
        if event.is_root() || self.leaves_out(event.metadata().target()) {
            return;
        }
        let told = event.parent().and_then(|parent| self.with_span(&scope, parent, Span::context));
        // What is entered is Tracewell's current context, so that the event is on the innermost span, whoever made it.
        let context = told.or_else(|| self.own_current()).unwrap_or_else(Context::current);
        if !context.is_recording() {
            return;
        }
        let fields = EventFields::of(event);
        if fields.log_target().is_some_and(|target| self.leaves_out(target)) {
            return;
        }
        let level = event.metadata().level();
        context.event_with(fields.name(event), |tags| {
            tags.tag("level", level.as_str());
            fields.tag(event, tags);
        });
        if *level == Level::ERROR {
            context.error(fields.reason());
        }
    }

    fn on_enter(&self, id: &Id, scope: Scope<'_, S>) {
        if let Some(context) = self.with_span(&scope, id, Span::context) {
            let entered = context.clone().enter();
            let entered = EnteredSpan { layer: self.id, id: id.clone(), context, _entered: entered };
            ENTERED.with_borrow_mut(|all| all.push(entered));
        }
    }

    fn on_exit(&self, id: &Id, _: Scope<'_, S>) {
        let left = ENTERED.with_borrow_mut(|all| {
            let at = all.iter().rposition(|entered| entered.layer == self.id && entered.id == *id)?;
            Some(all.remove(at))
        });
        // Dropped only here: it may drop a span, of which this list is to know nothing.
        drop(left);
    }

    fn on_close(&self, id: Id, scope: Scope<'_, S>) {
        if let Some(span) = scope.span(&id) {
            let opened = span.extensions_mut().get_mut::<Opened>().and_then(|Opened(spans)| {
                let at = spans.iter().position(|(layer, _)| *layer == self.id)?;
                Some(spans.swap_remove(at))
            });
            drop(opened);
        }
    }
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! `tracing` and Tracewell in one program, both ways:
//!
//! - [`layer`] makes Tracewell's spans of those that libraries open with `tracing`. The two nest in each other in any order,
//!   for while a `tracing` span is entered its context is [`Context::current`], and a `tracing` span's parent is that.
//! - [`with_ids`] puts the ids of the trace and the span into each log line.
//!
//! ```
//! use tracing_subscriber::layer::SubscriberExt as _;
//! use tracing_subscriber::fmt::format;
//!
//! let subscriber = tracing_subscriber::registry()
//!     .with(tracewell_tracing::layer())
//!     .with(tracing_subscriber::fmt::layer().event_format(tracewell_tracing::with_ids(format())));
//! # drop(subscriber);
//! ```
//!
//! Which spans and events are taken is the business of a filter: `layer().with_filter(LevelFilter::INFO)`.

mod fields;
mod ids;

use std::cell::RefCell;

use fields::{EventFields, SpanFields, Special};
pub use ids::{WithIds, with_ids};
use tracewell::{Context, Entered, Span, Tracer};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as Scope;
use tracing_subscriber::registry::LookupSpan;

/// A layer that records what is opened with `tracing`, with the global tracer as it is when a span is opened.
#[must_use]
pub fn layer() -> SpanLayer {
    SpanLayer::default()
}

/// See [`layer`].
///
/// Fields become tags, events become events, and an event of level `ERROR` makes the span an error. The fields
/// `otel.name`, `otel.kind`, `otel.status_code` and `otel.status_description` mean what they mean to
/// `tracing-opentelemetry`.
#[derive(Clone, Debug, Default)]
pub struct SpanLayer {
    tracer: Option<Tracer>,
}

impl SpanLayer {
    /// With this tracer.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = Some(tracer);
        self
    }
}

/// What a `tracing` span keeps.
struct Opened(Span);

thread_local! {
    /// What this thread has entered, with the guards that make it current.
    static ENTERED: RefCell<Vec<(Id, Entered)>> = const { RefCell::new(Vec::new()) };
}

/// Does something with the span behind an id.
fn with_span<S, R>(scope: &Scope<'_, S>, id: &Id, work: impl FnOnce(&Span) -> R) -> Option<R>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let span = scope.span(id)?;
    let extensions = span.extensions();
    extensions.get::<Opened>().map(|opened| work(&opened.0))
}

impl<S> Layer<S> for SpanLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, scope: Scope<'_, S>) {
        let parent = match attributes.parent() {
            Some(parent) => with_span(&scope, parent, Span::context),
            None => attributes.is_root().then(Context::new),
        };
        let metadata = attributes.metadata();
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
            opened.extensions_mut().insert(Opened(span));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, scope: Scope<'_, S>) {
        with_span(&scope, id, |span| {
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
        if let Some(followed) = with_span(&scope, follows, |span| span.span_context().clone()) {
            with_span(&scope, id, |span| {
                span.link(&followed);
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, scope: Scope<'_, S>) {
        let told = event.parent().and_then(|parent| with_span(&scope, parent, Span::context));
        // What is entered is Tracewell's current context, so that the event is on the innermost span, whoever made it.
        let context = told.unwrap_or_else(Context::current);
        if event.is_root() || !context.is_recording() {
            return;
        }
        let fields = EventFields::of(event);
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
        if let Some(context) = with_span(&scope, id, Span::context) {
            let entered = context.enter();
            ENTERED.with_borrow_mut(|all| all.push((id.clone(), entered)));
        }
    }

    fn on_exit(&self, id: &Id, _: Scope<'_, S>) {
        let left = ENTERED.with_borrow_mut(|all| {
            let at = all.iter().rposition(|(entered, _)| entered == id)?;
            Some(all.remove(at))
        });
        // Dropped only here: it may drop a span, of which this list is to know nothing.
        drop(left);
    }

    fn on_close(&self, id: Id, scope: Scope<'_, S>) {
        if let Some(span) = scope.span(&id) {
            let opened = span.extensions_mut().remove::<Opened>();
            drop(opened);
        }
    }
}

//! Spans of `tracing` become spans of Tracewell.

use std::cell::RefCell;
use std::fmt;
use tracewell::{Context, Entered, Span, SpanKind, Tracer};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Makes a Tracewell span of each span that reaches the layer, with the global tracer. Add a filter to it to have fewer.
///
/// Fields become tags, and `otel.name`, `otel.kind` (`server`, `client`, ...) and `otel.status_code` mean what they mean
/// elsewhere. Events become events; one of level `ERROR` marks its span as failed. A span without a parent in `tracing` is a
/// child of Tracewell's current context, and while it is entered its own context is the current one.
#[must_use]
pub fn layer() -> Layer {
    Layer { tracer: None }
}

/// The layer; made by [`layer`].
#[derive(Clone, Debug)]
pub struct Layer {
    tracer: Option<Tracer>,
}

impl Layer {
    /// With this tracer instead of the global one.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = Some(tracer);
        self
    }
}

thread_local! {
    /// What this thread has entered, with the id of its span; left in any order.
    static ENTERED: RefCell<Vec<(Id, Entered)>> = const { RefCell::new(Vec::new()) };
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> layer::Layer<S> for Layer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: layer::Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut special = Special::default();
        attributes.record(&mut special);
        let parent = if attributes.is_root() {
            Context::new()
        } else {
            span.parent().and_then(|parent| context_of(&parent)).unwrap_or_else(Context::current)
        };
        let metadata = attributes.metadata();
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let name = special.name.unwrap_or_else(|| metadata.name().into());
        let ours = tracer.span(name).kind(special.kind.unwrap_or_default()).parent(&parent).start();
        if ours.is_recording() {
            if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
                ours.tag("code.file.path", file).tag("code.line.number", line);
            }
            attributes.record(&mut Tags { context: &ours.context() });
        }
        span.extensions_mut().insert(ours);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: layer::Context<'_, S>) {
        if let Some(ours) = context.span(id).and_then(|span| context_of(&span)) {
            values.record(&mut Tags { context: &ours });
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: layer::Context<'_, S>) {
        let (Some(span), Some(other)) = (context.span(id), context.span(follows)) else { return };
        let Some(other) = context_of(&other) else { return };
        if let Some(ours) = span.extensions().get::<Span>() {
            ours.link(other.span_context());
        }
    }

    fn on_event(&self, event: &Event<'_>, context: layer::Context<'_, S>) {
        let ours = context.event_span(event).and_then(|span| context_of(&span)).unwrap_or_else(Context::current);
        if !ours.is_recording() {
            return;
        }
        let metadata = event.metadata();
        let mut said = Said::default();
        event.record(&mut said);
        let message = said.message.unwrap_or_else(|| metadata.name().to_owned());
        ours.event_with(&message, |out| {
            out.tag("log.severity", metadata.level().as_str()).tag("log.target", metadata.target());
            for (key, value) in &said.fields {
                out.tag(key, value);
            }
        });
        if *metadata.level() == Level::ERROR {
            ours.error(message);
        }
    }

    fn on_enter(&self, id: &Id, context: layer::Context<'_, S>) {
        if let Some(ours) = context.span(id).and_then(|span| context_of(&span)) {
            let _ = ENTERED.try_with(|entered| entered.borrow_mut().push((id.clone(), ours.enter())));
        }
    }

    fn on_exit(&self, id: &Id, _context: layer::Context<'_, S>) {
        let _ = ENTERED.try_with(|entered| {
            let mut entered = entered.borrow_mut();
            if let Some(at) = entered.iter().rposition(|(other, _)| other == id) {
                entered.remove(at);
            }
        });
    }

    fn on_close(&self, id: Id, context: layer::Context<'_, S>) {
        if let Some(span) = context.span(&id) {
            // Dropping it is its end.
            drop(span.extensions_mut().remove::<Span>());
        }
    }
}

fn context_of<S: for<'a> LookupSpan<'a>>(span: &SpanRef<'_, S>) -> Option<Context> {
    span.extensions().get::<Span>().map(Span::context)
}

/// What has to be known before the span starts.
#[derive(Default)]
struct Special {
    name: Option<tracewell::Key>,
    kind: Option<SpanKind>,
}

impl Visit for Special {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "otel.name" => self.name = Some(value.to_owned().into()),
            "otel.kind" => {
                self.kind = match value.to_ascii_lowercase().as_str() {
                    "server" => Some(SpanKind::Server),
                    "client" => Some(SpanKind::Client),
                    "producer" => Some(SpanKind::Producer),
                    "consumer" => Some(SpanKind::Consumer),
                    _ => None,
                };
            }
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "otel.name" | "otel.kind") {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

/// Fields to tags.
struct Tags<'a> {
    context: &'a Context,
}

impl Visit for Tags<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.context.tag(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.context.tag(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.context.tag(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.context.tag(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "otel.name" | "otel.kind" => {}
            "otel.status_code" if value.eq_ignore_ascii_case("error") => {
                self.context.error("");
            }
            "otel.status_code" => {}
            "otel.status_message" => {
                self.context.error(value);
            }
            name => {
                self.context.tag(name, value);
            }
        }
    }

    fn record_error(&mut self, _field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.context.error(value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// An event's message and fields.
#[derive(Default)]
struct Said {
    message: Option<String>,
    fields: Vec<(&'static str, tracewell::Value)>,
}

impl Visit for Said {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = Some(value.to_owned()),
            name => self.fields.push((name, value.into())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

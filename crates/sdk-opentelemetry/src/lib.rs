//! OpenTelemetry's tracing API, version 0.33, recorded by Tracewell: for libraries that trace themselves with it.
//!
//! ```
//! opentelemetry::global::set_tracer_provider(tracewell_opentelemetry::Provider::new());
//! ```
//!
//! Their spans are then spans of Tracewell's. One with no OpenTelemetry span around it is a child of Tracewell's current
//! one. The two keep the current span each in a place of its own; where Tracewell's spans are to nest in OpenTelemetry's,
//! enter [`context_of`], and the other way round attach [`context_for`].

mod convert;

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{SpanBuilder, Status, TraceContextExt as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use tracewell::EventTags;

/// OpenTelemetry's tracer provider.
#[derive(Clone, Debug, Default)]
pub struct Provider {
    tracer: Option<tracewell::Tracer>,
}

impl Provider {
    /// With the global tracer, as it is when a span starts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this tracer.
    #[must_use]
    pub fn with_tracer(mut self, tracer: tracewell::Tracer) -> Self {
        self.tracer = Some(tracer);
        self
    }
}

/// Tracewell's context with OpenTelemetry's active span as the current one; [`tracewell::Context::current`] without any.
#[must_use]
pub fn context_of(context: &opentelemetry::Context) -> tracewell::Context {
    let span = context.span();
    if !span.span_context().is_valid() {
        return tracewell::Context::current();
    }
    tracewell::Context::current().with_span_context(convert::from_theirs(span.span_context()))
}

/// OpenTelemetry's current context with Tracewell's span as the active one.
#[must_use]
pub fn context_for(context: &tracewell::Context) -> opentelemetry::Context {
    let span = convert::to_theirs(context.span_context());
    opentelemetry::Context::current().with_remote_span_context(span)
}

impl opentelemetry::trace::TracerProvider for Provider {
    type Tracer = Tracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> Tracer {
        Tracer { tracer: self.tracer.clone(), scope: scope.name().to_owned() }
    }
}

/// A library's tracer.
#[derive(Clone, Debug)]
pub struct Tracer {
    tracer: Option<tracewell::Tracer>,
    scope: String,
}

impl opentelemetry::trace::Tracer for Tracer {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &opentelemetry::Context) -> Span {
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let parent = context_of(parent);
        let mut span = tracer.span(builder.name).kind(convert::kind(builder.span_kind.as_ref())).parent(&parent);
        if let Some(start) = builder.start_time {
            span = span.start_time(start);
        }
        // What the conventions call the library in other formats than OTLP, where spans of one are not kept together.
        span = span.tag("otel.scope.name", self.scope.as_str());
        for KeyValue { key, value, .. } in builder.attributes.into_iter().flatten() {
            span = span.tag(key.as_str(), convert::value(value));
        }
        for link in builder.links.into_iter().flatten() {
            span = span.link(&convert::from_theirs(&link.span_context));
        }
        let span = span.start();
        let context = convert::to_theirs(span.span_context());
        let mut span = Span { span: Some(span), context };
        for event in builder.events.into_iter().flatten() {
            opentelemetry::trace::Span::add_event(&mut span, event.name, event.attributes);
        }
        span
    }
}

/// A span of OpenTelemetry's API.
#[derive(Debug)]
pub struct Span {
    /// `None` once it has ended.
    span: Option<tracewell::Span>,
    context: opentelemetry::trace::SpanContext,
}

fn tag_event(tags: &mut EventTags<'_>, attributes: Vec<KeyValue>) {
    for KeyValue { key, value, .. } in attributes {
        tags.tag(key.as_str(), convert::value(value));
    }
}

impl opentelemetry::trace::Span for Span {
    /// Events are of the moment at which they are told: the time given is not kept.
    fn add_event_with_timestamp<T>(&mut self, name: T, _: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        if let Some(span) = &self.span {
            let name: Cow<'static, str> = name.into();
            span.event_with(name, |tags| tag_event(tags, attributes));
        }
    }

    fn span_context(&self) -> &opentelemetry::trace::SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        self.span.as_ref().is_some_and(tracewell::Span::is_recording)
    }

    fn set_attribute(&mut self, KeyValue { key, value, .. }: KeyValue) {
        if let Some(span) = &self.span {
            span.tag(key.as_str(), convert::value(value));
        }
    }

    fn set_status(&mut self, status: Status) {
        if let Some(span) = &self.span {
            span.status(match status {
                Status::Unset => tracewell::Status::Unset,
                Status::Ok => tracewell::Status::Ok,
                Status::Error { description } => tracewell::Status::Error(description),
            });
        }
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        if let Some(span) = &self.span {
            let name: Cow<'static, str> = name.into();
            span.rename(name);
        }
    }

    fn add_link(&mut self, context: opentelemetry::trace::SpanContext, _: Vec<KeyValue>) {
        if let Some(span) = &self.span {
            span.link(&convert::from_theirs(&context));
        }
    }

    fn end(&mut self) {
        self.span = None;
    }

    fn end_with_timestamp(&mut self, end: SystemTime) {
        if let Some(span) = self.span.take() {
            span.end_at(end);
        }
    }
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

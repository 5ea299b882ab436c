//! Fields of `tracing`, as tags.

use std::fmt;

use tracewell::{EventTags, Key, Span, SpanKind, Status, debug, display};
use tracing_core::field::{Field, Visit};
use tracing_core::{Event, Metadata};

/// The fields that are not tags but say something of the span itself.
#[derive(Default)]
pub(crate) struct Special {
    pub(crate) name: Option<Key>,
    pub(crate) kind: Option<SpanKind>,
    status: Option<String>,
    description: Option<String>,
}

impl Special {
    pub(crate) fn set_status(self, span: &Span) {
        let description = self.description;
        let is = |wanted: &str| self.status.as_ref().is_some_and(|status| status.eq_ignore_ascii_case(wanted));
        if is("error") || (description.is_some() && !is("ok")) {
            span.status(Status::Error(description.unwrap_or_default().into()));
        } else if is("ok") {
            span.status(Status::Ok);
        }
    }
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
                    "internal" => Some(SpanKind::Internal),
                    _ => None,
                }
            }
            "otel.status_code" => self.status = Some(value.to_owned()),
            "otel.status_description" | "otel.status_message" => self.description = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // `%kind` comes as one of these.
        if is_special(field) {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}

fn is_special(field: &Field) -> bool {
    field.name().starts_with("otel.")
}

/// Implements [`Visit`] by tagging `self.0`, for all fields but some.
macro_rules! visit_by_tagging {
    ($except:expr) => {
        fn record_str(&mut self, field: &Field, value: &str) {
            if !$except(field) {
                self.0.tag(field.name(), value);
            }
        }

        fn record_bool(&mut self, field: &Field, value: bool) {
            if !$except(field) {
                self.0.tag(field.name(), value);
            }
        }

        fn record_i64(&mut self, field: &Field, value: i64) {
            if !$except(field) {
                self.0.tag(field.name(), value);
            }
        }

        fn record_u64(&mut self, field: &Field, value: u64) {
            if !$except(field) {
                self.0.tag(field.name(), value);
            }
        }

        fn record_u128(&mut self, field: &Field, value: u128) {
            if !$except(field) {
                self.0.tag(field.name(), value);
            }
        }

        fn record_i128(&mut self, field: &Field, value: i128) {
            if !$except(field) {
                self.0.tag(field.name(), value);
            }
        }

        fn record_f64(&mut self, field: &Field, value: f64) {
            if !$except(field) {
                self.0.tag(field.name(), value);
            }
        }

        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if !$except(field) {
                self.0.tag(field.name(), debug(value));
            }
        }
    };
}

/// Tags a span.
pub(crate) struct SpanFields<'a>(pub(crate) &'a Span);

impl Visit for SpanFields<'_> {
    visit_by_tagging!(is_special);
}

/// Tags an event, with all but its message, which is its name.
struct EventTagger<'a, 'b>(&'a mut EventTags<'b>);

impl Visit for EventTagger<'_, '_> {
    visit_by_tagging!(|field: &Field| field.name() == "message" || field.name().starts_with("log."));

    /// An error is an exception of the semantic conventions, too, with its causes.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.tag(field.name(), display(value)).tag("exception.message", display(value));
        if value.source().is_some() {
            self.0.tag("exception.stacktrace", causes(value));
        }
    }
}

/// What an event says.
#[derive(Default)]
pub(crate) struct EventFields {
    message: Option<String>,
    error: Option<String>,
    /// Of an event that was a record of `log`.
    log_target: Option<String>,
}

/// Causes of causes that are looked at.
const MAX_CAUSES: usize = 32;

/// The error with its causes, a line each.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source()).take(MAX_CAUSES);
    causes.fold(error.to_string(), |lines, cause| format!("{lines}\ncaused by: {cause}"))
}

impl EventFields {
    pub(crate) fn log_target(&self) -> Option<&str> {
        self.log_target.as_deref()
    }

    pub(crate) fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        event.record(&mut fields);
        fields
    }

    pub(crate) fn name(&self, event: &Event<'_>) -> String {
        let metadata: &Metadata<'_> = event.metadata();
        self.message.clone().unwrap_or_else(|| metadata.name().to_owned())
    }

    /// Why it is an error.
    pub(crate) fn reason(&self) -> &str {
        self.error.as_deref().or(self.message.as_deref()).unwrap_or("")
    }

    pub(crate) fn tag(&self, event: &Event<'_>, tags: &mut EventTags<'_>) {
        event.record(&mut EventTagger(tags));
    }
}

impl Visit for EventFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = Some(format!("{value:?}")),
            "log.target" => self.log_target = Some(format!("{value:?}")),
            "error" | "err" => self.error = Some(format!("{value:?}")),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

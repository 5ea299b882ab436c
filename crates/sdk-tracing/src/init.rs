//! Everything in one line.

use crate::{layer, with_ids};
use std::{fmt, io};
use tracewell::{Config, Guard};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter};
use tracing_subscriber::fmt::format::{JsonFields, format};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer as _, registry};

/// Starts tracing and logging: the global tracer, spans of `tracing`, and log lines (text, on the standard output) with the ids
/// of their spans.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tracewell = tracewell_tracing::init(tracewell::Config::from_env("gallery"))?;
/// # Ok(()) }
/// ```
///
/// `RUST_LOG` says which lines are written, those from `info` on unless told. Spans and events are recorded from `info` on,
/// whatever is written, and further ones that `RUST_LOG` names. For anything else put the parts together yourself:
/// [`layer`] and [`with_ids`].
///
/// # Errors
/// When the tracer cannot be started, or the program has a subscriber or logger already.
pub fn init(config: Config) -> Result<Guard, InitError> {
    let lines = tracing_subscriber::fmt::layer().event_format(with_ids(format()));
    // First the log, so that it has what the tracer says.
    registry().with(spans()).with(lines.with_filter(lines_filter())).try_init()?;
    Ok(tracewell::init(config)?)
}

/// As [`init`], with a JSON object a line.
///
/// # Errors
/// As [`init`].
pub fn init_json(config: Config) -> Result<Guard, InitError> {
    let lines = tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new()).event_format(with_ids(format().json()));
    registry().with(spans()).with(lines.with_filter(lines_filter())).try_init()?;
    Ok(tracewell::init(config)?)
}

fn lines_filter() -> EnvFilter {
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy()
}

/// A quiet log must not make a trace of holes.
fn spans<S>() -> impl tracing_subscriber::Layer<S>
where
    S: tracing_core::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    layer().with_filter(lines_filter().or(LevelFilter::INFO))
}

/// Why [`init`] failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum InitError {
    /// The tracer was not started.
    Tracer(tracewell::Error),
    /// The program has a subscriber or logger already.
    Subscriber(TryInitError),
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracer(error) => error.fmt(f),
            Self::Subscriber(_) => f.write_str(
                "the program has a subscriber for `tracing` or a logger already: add `tracewell_tracing::layer()` to it",
            ),
        }
    }
}

impl std::error::Error for InitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tracer(error) => std::error::Error::source(error),
            Self::Subscriber(error) => Some(error),
        }
    }
}

impl From<tracewell::Error> for InitError {
    fn from(error: tracewell::Error) -> Self {
        Self::Tracer(error)
    }
}

impl From<TryInitError> for InitError {
    fn from(error: TryInitError) -> Self {
        Self::Subscriber(error)
    }
}

impl From<InitError> for io::Error {
    fn from(error: InitError) -> Self {
        Self::other(error)
    }
}

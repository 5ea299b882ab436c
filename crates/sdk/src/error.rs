//! What can go wrong outside of requests.

use std::{fmt, io};

/// Why tracing could not be started, flushed or stopped.
///
/// Written out rather than derived: a macro would be a third of what users of this library build.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// [`crate::init`] was called twice.
    AlreadyInitialized,
    /// The configuration, or the environment variable that the message names, is wrong.
    Config(String),
    /// The exporter's thread could not be started.
    Thread(io::Error),
    /// Not everything was exported in time.
    Timeout,
    /// This process was forked off from the one that started tracing, and the exporter's thread stayed there. Nothing is
    /// lost that was recorded before; to trace here, start tracing after the fork.
    Forked,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyInitialized => f.write_str("the global tracer is already initialized"),
            Self::Config(problem) => f.write_str(problem),
            Self::Thread(_) => f.write_str("the exporter's thread cannot be started"),
            Self::Timeout => f.write_str("not all spans were exported in time"),
            Self::Forked => f.write_str("tracing was started before the process was forked; start it after the fork"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Thread(error)
    }
}

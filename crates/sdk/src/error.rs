//! What can go wrong outside of requests.

/// Why tracing could not be started, flushed or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// [`crate::init`] was called twice.
    #[error("the global tracer is already initialized")]
    AlreadyInitialized,
    /// The configuration, or the environment variable that the message names, is wrong.
    #[error("{0}")]
    Config(String),
    /// The exporter's thread could not be started.
    #[error("start the exporter's thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Not everything was exported in time.
    #[error("not all spans were exported in time")]
    Timeout,
}

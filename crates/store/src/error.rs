//! What a caller can do next, by kind.

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Over a budget right now: try again after a moment.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// The request makes no sense: fix it.
    #[error("{0}")]
    Invalid(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Reading or writing failed; the text names the step.
    #[error("{context}: {source}")]
    Io {
        /// The step, with the file.
        context: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was written is not what is read; the text names file and offset.
    #[error("damaged: {0}")]
    Corrupt(String),
}

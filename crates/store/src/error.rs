//! What a caller can do next, by kind.

use std::io;

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Over a budget right now: try again after a moment.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// Over what the store can ever take at once: send less in one request.
    #[error("{0}")]
    TooLarge(String),
    /// Something that the answer needs cannot be read at the moment: a disk reports an error, or a bucket does not answer.
    /// Nothing is known to be damaged: try again later.
    #[error("{0}")]
    Unavailable(String),
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
        source: io::Error,
    },
    /// What was written is not what is read; the text names file and offset.
    #[error("damaged: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// Spans that take more memory than there is for all.
    pub(crate) fn too_large(bytes: usize, budget: usize) -> Self {
        Self::TooLarge(format!(
            "its spans take {bytes} bytes of memory, and for spans that are not in segments yet there are {budget} in all \
             (setting --memory; --decoded-size bounds one request)"
        ))
    }

    /// A step that failed: with a file, or because the file cannot be reached.
    pub(crate) fn io(context: String, source: io::Error) -> Self {
        match source.get_ref().and_then(|cause| cause.downcast_ref::<Unreachable>()) {
            Some(cause) => Self::Unavailable(format!("{context}: {cause}")),
            None => Self::Io { context, source },
        }
    }

    /// A read that failed. A file that is missing or too short is damaged; any other error may pass, and says nothing about
    /// the bytes.
    pub(crate) fn read(context: String, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                Self::Corrupt(format!("{context}: {source}"))
            }
            _ => match Self::io(context, source) {
                Self::Io { context, source } => Self::Unavailable(format!("{context}: {source}")),
                other => other,
            },
        }
    }
}

/// The cause of an [`io::Error`] that says nothing about the file, only that it cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreachable(pub(crate) String);

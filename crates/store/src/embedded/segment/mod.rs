//! Segments: spans at rest, as Parquet, with an index of their traces beside it.
//!
//! A segment's rows are sorted by trace, traces by the start of their first span: a trace is one range of rows, and near
//! traces in time are near on disk. docs/format.md shows the columns and the index.

mod read;
mod schema;
mod write;

pub(crate) use read::Segment;
pub(crate) use write::write;

use std::path::{Path, PathBuf};

fn parquet_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.parquet"))
}

fn index_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.traces"))
}

fn names_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.names"))
}

/// Deletes the files of a segment that the catalog no longer names. What cannot be deleted is found at the next start.
pub(crate) fn remove(folder: &Path, number: u64) {
    for path in [parquet_path(folder, number), index_path(folder, number), names_path(folder, number)] {
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot delete a dropped segment");
        }
    }
}

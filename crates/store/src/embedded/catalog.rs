//! The catalog: which segments are live, and from which log file on the log counts.
//!
//! One JSON file, replaced as a whole by renaming: whoever opens the store sees the state before a change or after it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::StoreError;

/// The version of the directory's layout. A directory of a newer one is refused.
pub(crate) const FORMAT: u32 = 1;
const NAME: &str = "catalog.json";

/// What the directory holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Catalog {
    pub(crate) format: u32,
    /// Log files with a smaller number are in segments already.
    pub(crate) first_log: u64,
    pub(crate) next_segment: u64,
    pub(crate) segments: Vec<SegmentEntry>,
}

/// A live segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) number: u64,
    pub(crate) tenant: String,
    pub(crate) spans: u64,
    pub(crate) bytes: u64,
    pub(crate) first_start_unix_nano: u64,
    pub(crate) last_start_unix_nano: u64,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { format: FORMAT, first_log: 0, next_segment: 0, segments: Vec::new() }
    }
}

impl Catalog {
    /// Reads the catalog of a directory; that of a new directory is empty.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(StoreError::Io { context: format!("read {}", path.display()), source }),
        };
        let damaged = |error| StoreError::Corrupt(format!("{}: {error}", path.display()));
        let version: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
        match version["format"].as_u64() {
            Some(format) if format > u64::from(FORMAT) => Err(StoreError::Invalid(format!(
                "{} was written by a newer version (format {format}, this one reads up to {FORMAT})",
                folder.display()
            ))),
            _ => serde_json::from_value(version).map_err(damaged),
        }
    }

    /// Replaces the catalog; on return the new one is on the disk.
    pub(crate) fn commit(&self, folder: &Path) -> Result<(), StoreError> {
        let (path, temporary) = (folder.join(NAME), folder.join("catalog.json.new"));
        let context = |source| StoreError::Io { context: format!("write {}", path.display()), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let mut file = File::create(&temporary).map_err(context)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(context)?;
        std::fs::rename(&temporary, &path).map_err(context)?;
        super::sync_folder(folder)
    }
}

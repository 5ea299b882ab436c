//! The last known catalog of a bucket, as a copy in the directory: what a start goes by while the bucket is away.
//!
//! It is written after the bucket's own, and before a log file whose spans are in segments is deleted: a copy that a crash
//! made one write older names a log file that is still there. One that is older than that is found out by
//! [`is_current`](Known::is_current), and is not gone by.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::embedded::catalog::Catalog;
use crate::embedded::disk::Disk;
use crate::embedded::log_path;

const NAME: &str = "bucket-catalog.json";
const NEW_NAME: &str = "bucket-catalog.json.new";

/// The copy of a directory.
pub(crate) struct Known {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl Known {
    pub(crate) fn new(disk: &Arc<dyn Disk>, folder: &Path) -> Self {
        Self { disk: disk.clone(), folder: folder.to_owned() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Keeps a catalog that the bucket has. That it cannot be kept is no reason to stop: a start needs the bucket then.
    pub(super) fn keep(&self, catalog: &[u8]) {
        if let Err(error) = self.disk.replace(&self.folder.join(NEW_NAME), &self.path(), catalog) {
            tracing::warn!(path = %self.path().display(), %error, "cannot keep a copy of the bucket's catalog");
        }
    }

    /// Forgets what is no longer this directory's to know.
    pub(super) fn forget(&self) {
        // It may not be there.
        let _ = self.disk.remove(&self.path());
    }

    /// The copy of a directory that the bucket belongs to; `None` if there is none that can be read.
    pub(super) fn read(&self, directory: &str) -> Option<Catalog> {
        let path = self.path();
        let bytes = match self.disk.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read.map_err(|error| error.to_string()),
        };
        let read = bytes
            .and_then(|bytes| Catalog::decode(&bytes, &path.display().to_string()).map_err(|error| error.to_string()));
        match read {
            Ok(catalog) => {
                Some(catalog).filter(|catalog| catalog.owner.as_ref().is_some_and(|owner| owner.directory == directory))
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), error, "cannot read the copy of the bucket's catalog");
                None
            }
        }
    }

    /// Whether the log file is there from which a copy counts on, as it always is while a store is open. If not, the bucket
    /// knows of more than the copy.
    pub(super) fn is_current(&self, catalog: &Catalog) -> bool {
        self.disk.open(&log_path(&self.folder, catalog.first_log)).is_ok()
    }
}

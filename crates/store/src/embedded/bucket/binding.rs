//! What a directory knows of its bucket: a file, so that its log is never taken for that of another store.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::embedded::disk::Disk;

const NAME: &str = "bucket.json";
const NEW_NAME: &str = "bucket.json.new";

/// The bucket that a directory belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// `s3://BUCKET/PREFIX`.
    pub(crate) segments: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// The directory's own name, at random: its path may change.
    pub(crate) directory: String,
}

impl Binding {
    /// Reads the binding of a directory; `None` if it belongs to no bucket.
    pub(crate) fn read(disk: &dyn Disk, folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join(NAME);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(format!("read {}", path.display()), error)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| StoreError::Corrupt(format!("{}: {error}", path.display())))
    }

    /// Writes the binding of a directory; on return it is on the disk.
    pub(crate) fn write(&self, disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
        let path = folder.join(NAME);
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        disk.replace(&folder.join(NEW_NAME), &path, &bytes)
            .map_err(|error| StoreError::io(format!("write {}", path.display()), error))
    }
}

/// A name that no other has: 128 random bits, from the keys that the standard library's hash tables are seeded with.
pub(super) fn random_name() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", number(), number())
}

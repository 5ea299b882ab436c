//! The catalog: which segments are live, and from which log file on the log counts.
//!
//! One file of JSON and a checksum, replaced as a whole by renaming: whoever opens the store sees the state before a
//! change or after it. If it is damaged it is made again from the segments, which tell where their spans came from.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::segment::{EXTENSION, Segment};
use crate::StoreError;

/// The version of the directory's layout. A directory of a newer one is refused.
pub(crate) const FORMAT: u32 = 2;
pub(crate) const NAME: &str = "catalog.json";
const NEW_NAME: &str = "catalog.json.new";
/// What stands between the JSON and its CRC-32 in hexadecimal.
const CHECKSUM: &str = "\ncrc32 ";

/// What the directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Reads the catalog of a directory; that of a new directory is empty. Damage is an error that says so.
    pub(crate) fn open(disk: &dyn Disk, folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(NAME);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(StoreError::Io { context: format!("read {}", path.display()), source }),
        };
        let damaged = |what: String| StoreError::Corrupt(format!("{}: {what}", path.display()));
        let text = String::from_utf8_lossy(&bytes);
        let (json, checksum) = text.rsplit_once(CHECKSUM).unwrap_or((&text, ""));
        // A newer version's checksum may lie elsewhere, so its number is looked at first.
        let version = serde_json::from_str::<serde_json::Value>(json).ok().and_then(|value| value["format"].as_u64());
        let is_whole = u32::from_str_radix(checksum.trim(), 16) == Ok(crc32fast::hash(json.as_bytes()));
        match version {
            Some(format) if format > u64::from(FORMAT) => Err(StoreError::Invalid(format!(
                "{} was written by a newer version (format {format}, this one reads up to {FORMAT})",
                folder.display()
            ))),
            Some(1) => Err(StoreError::Invalid(format!(
                "{} is of format 1, which no released version wrote: export it with the version that did",
                folder.display()
            ))),
            _ if !is_whole => Err(damaged("its checksum is wrong".to_owned())),
            _ => serde_json::from_str(json).map_err(|error| damaged(error.to_string())),
        }
    }

    /// Makes the catalog again from the segments that can be read: those that no other has replaced.
    pub(crate) fn rebuild(disk: &dyn Disk, folder: &Path) -> Result<Self, StoreError> {
        let segments = folder.join("segments");
        let mut catalog = Self::default();
        let mut replaced = BTreeSet::new();
        for number in super::numbers_in(disk, &segments, EXTENSION)? {
            catalog.next_segment = catalog.next_segment.max(number + 1);
            match Segment::find(disk, &segments, number) {
                Ok((entry, origin)) => {
                    replaced.extend(origin.merged);
                    catalog.first_log = origin.log.map_or(0, |log| log + 1).max(catalog.first_log);
                    catalog.segments.push(entry);
                }
                Err(error) => tracing::error!(%error, "a segment cannot be read"),
            }
        }
        catalog.segments.retain(|entry| !replaced.contains(&entry.number));
        Ok(catalog)
    }

    /// Replaces the catalog; on return the new one is on the disk.
    pub(crate) fn commit(&self, disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
        let (path, temporary) = (folder.join(NAME), folder.join(NEW_NAME));
        let context = |source| StoreError::Io { context: format!("write {}", path.display()), source };
        let mut text = serde_json::to_string_pretty(self).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{checksum:08x}\n"));
        let mut file = disk.create(&temporary).map_err(context)?;
        file.append(text.as_bytes()).and_then(|()| file.sync()).map_err(context)?;
        disk.rename(&temporary, &path).and_then(|()| disk.sync_folder(folder)).map_err(context)
    }
}

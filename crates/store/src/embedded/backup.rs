//! Backups: a consistent copy of a store in a directory, which a server may be changing meanwhile, and back.
//!
//! ```text
//! DIR/manifest.json                      what the backup is, with checksums; replaced last and as a whole
//! DIR/segments/NUMBER-CHECKSUM.segment   never changes, so the next backup copies only what is new
//! DIR/log/NUMBER-CHECKSUM.log            up to the last whole record
//! DIR/catalog-CHECKSUM.json
//! ```
//!
//! What a backup holds is the store at one moment: when the log files were opened. The catalog is read before and after,
//! and if it changed in between, all is looked at again; the segments that were copied stay. So every span that was
//! acknowledged before the backup began is in it, in a segment that the catalog names or in a log file that counts.
//!
//! A backup that ends early leaves the one before it as it was: files have other names than those of the old manifest
//! unless they are the same, and what no manifest names is deleted only after the new one is durable.

mod files;
mod restore;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, SegmentEntry};
use super::disk::{Disk, LocalDisk, ReadFile};
use super::files::SegmentFiles;
use super::place::Opened;
use super::{Place, log_path, logs_in};
use crate::StoreError;
use files::Target;
pub use restore::{RestoreReport, restore};

/// So often the store is looked at again when it changed in the midst of it.
const TRIES: usize = 50;
/// The version of the manifest.
const FORMAT: u32 = 1;
/// The last bytes of a segment, which hold the checksum of the footer, which holds those of all else.
const TAIL_BYTES: u64 = 16;

/// What a backup copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Segments in the backup.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Those that the backup before had not.
    pub new_segments: u64,
    /// Their bytes.
    pub new_segment_bytes: u64,
    /// Log files in the backup.
    pub log_files: u64,
    /// Their bytes.
    pub log_bytes: u64,
    /// Files of the backup before that were deleted.
    pub deleted_files: u64,
}

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    written_unix_nano: u64,
    /// The store that it is of, for people.
    place: String,
    catalog: Copied,
    segments: Vec<Copied>,
    log: Vec<Copied>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Copied {
    /// Where it is in the backup.
    name: String,
    /// Its number in the store; 0 for the catalog.
    number: u64,
    bytes: u64,
    crc32: u32,
}

impl Manifest {
    fn files(&self) -> impl Iterator<Item = &Copied> {
        self.segments.iter().chain(&self.log).chain([&self.catalog])
    }
}

/// Copies a store into a directory, which is made if it is not there. Segments of a bucket are copied, too. `progress` is
/// told how many bytes of how many segments are copied.
///
/// # Errors
/// [`StoreError::Invalid`] when the directory holds something else or another backup is being written to it;
/// [`StoreError::Corrupt`] when a segment or the catalog cannot be read: `fsck` says more.
pub fn backup(place: &Place, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<BackupReport, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let place = place.clone().with_known_bucket(&*disk)?;
    let mut target = Target::open(to, &place.folder)?;
    let former = target.manifest()?;
    let mut report = BackupReport::default();
    for _ in 0..TRIES {
        let Opened { files, mut catalog, damage, .. } = place.look(&disk)?;
        if let Some(damage) = damage {
            return Err(StoreError::Corrupt(format!("{damage}; `tracewell fsck --repair` makes the catalog again")));
        }
        let named = Catalog::open(&*files)?;
        if catalog.segments.len() < named.segments.len() && catalog.writes == named.writes {
            let segments = named.segments.len() - catalog.segments.len();
            return Err(StoreError::Invalid(format!(
                "{segments} segments are still in the directory that owns the bucket: make the backup from there, or wait until they are moved"
            )));
        }
        let is_unchanged = || -> Result<bool, StoreError> { Ok(Catalog::open(&*files)?.writes == catalog.writes) };
        let segments = match copy_segments(&*files, &catalog.segments, former.as_ref(), &mut target, progress) {
            // Merged away or deleted while it was copied.
            Err(_) if !is_unchanged()? => continue,
            copied => copied?,
        };
        let logs = match open_logs(&*disk, &place.folder, catalog.first_log) {
            Err(_) if !is_unchanged()? => continue,
            opened => opened?,
        };
        if !is_unchanged()? {
            continue;
        }
        let log = copy_logs(logs, &mut target)?;
        // What is restored is a directory of its own.
        if !catalog.unread.is_empty() {
            return Err(StoreError::Unavailable(
                "some files of the store could not be read so far, and would not be in the backup".to_owned(),
            ));
        }
        (catalog.owner, catalog.former, catalog.moved) = (None, Vec::new(), Vec::new());
        // What is to be deleted from the store is not in the backup.
        (catalog.dropped, catalog.ends) = (Vec::new(), Vec::new());
        let catalog = target.write("catalog", 0, &catalog.encode()?)?;
        let written_unix_nano = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let manifest =
            Manifest { format: FORMAT, written_unix_nano, place: files.catalog_name(), catalog, segments, log };
        let known: BTreeSet<&str> =
            former.iter().flat_map(|former| &former.segments).map(|file| file.name.as_str()).collect();
        for file in &manifest.segments {
            report.segments += 1;
            report.segment_bytes += file.bytes;
            if !known.contains(file.name.as_str()) {
                report.new_segments += 1;
                report.new_segment_bytes += file.bytes;
            }
        }
        report.log_files = manifest.log.len() as u64;
        report.log_bytes = manifest.log.iter().map(|file| file.bytes).sum();
        report.deleted_files = target.commit(&manifest)?;
        return Ok(report);
    }
    Err(StoreError::Busy(format!(
        "the store changed {TRIES} times while it was copied; try again when less is received"
    )))
}

/// Copies the segments that the target has not.
fn copy_segments(
    files: &dyn SegmentFiles,
    entries: &[SegmentEntry],
    former: Option<&Manifest>,
    target: &mut Target,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Copied>, StoreError> {
    let all_bytes = entries.iter().map(|entry| entry.bytes).sum();
    let mut done_bytes = 0;
    let mut copied = Vec::with_capacity(entries.len());
    for entry in entries {
        let context = |source| StoreError::io(format!("read segment {}", files.name(entry.number)), source);
        let file = files.open(entry.number, Some(entry.bytes)).map_err(context)?;
        let bytes = file.length().map_err(context)?;
        if bytes != entry.bytes {
            return Err(StoreError::Corrupt(format!(
                "segment {} has {bytes} bytes instead of {}; `tracewell fsck --repair` keeps what can be read",
                files.name(entry.number),
                entry.bytes
            )));
        }
        let mut tail = [0; TAIL_BYTES as usize];
        let mark = match bytes.checked_sub(TAIL_BYTES) {
            Some(start) => file.read_at(&mut tail, start).map(|()| crc32fast::hash(&tail)).map_err(context)?,
            None => 0,
        };
        let name = format!("segments/{:010}-{mark:08x}.segment", entry.number);
        let known = former.into_iter().flat_map(|former| &former.segments).find(|known| known.name == name);
        let file = match known.filter(|known| known.bytes == bytes && target.has(known)).or(target.written(&name)) {
            Some(known) => known.clone(),
            None => {
                target.copy(name, entry.number, &*file, bytes, &mut |part| progress(done_bytes + part, all_bytes))?
            }
        };
        done_bytes += bytes;
        progress(done_bytes, all_bytes);
        copied.push(file);
    }
    Ok(copied)
}

/// A log file that is held open: it can be read after it was deleted.
struct OpenLog {
    number: u64,
    file: Box<dyn ReadFile>,
    bytes: u64,
}

/// The log files that count.
fn open_logs(disk: &dyn Disk, folder: &Path, first: u64) -> Result<Vec<OpenLog>, StoreError> {
    let mut opened = Vec::new();
    for number in logs_in(disk, folder)?.into_iter().filter(|number| *number >= first) {
        let path = log_path(folder, number);
        let context = |source| StoreError::io(format!("read log {}", path.display()), source);
        let file = disk.open(&path).map_err(context)?;
        let bytes = file.length().map_err(context)?;
        opened.push(OpenLog { number, file, bytes });
    }
    Ok(opened)
}

/// Copies log files. The last one is being written, and is copied up to its last whole record; those before it are as they
/// were left, and the header of each next one says how much of them was acknowledged.
fn copy_logs(logs: Vec<OpenLog>, target: &mut Target) -> Result<Vec<Copied>, StoreError> {
    let mut copied = Vec::with_capacity(logs.len());
    let last = logs.last().map(|log| log.number);
    for OpenLog { number, file, bytes } in logs {
        let is_last = Some(number) == last;
        copied.extend(target.copy_log(number, &*file, bytes, is_last)?);
    }
    Ok(copied)
}

//! From a backup to a store's directory.

use std::path::{Path, PathBuf};

use super::Copied;
use super::files::{copy_bytes, create_folder, failed, read_manifest, sync_folder};
use crate::StoreError;
use crate::embedded::disk::{Disk, LocalDisk};
use crate::embedded::log_path;

/// What was restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Segments.
    pub segments: u64,
    /// Log files, which the next start reads.
    pub log_files: u64,
    /// Bytes of all.
    pub bytes: u64,
    /// When the backup was written.
    pub written_unix_nano: u64,
}

/// Copies a backup into a directory that is not there or empty, and checks every byte. The directory appears when all is
/// in it: until then it is beside it, under its name and `.restoring`. `progress` is told how many bytes of how many are
/// copied.
///
/// # Errors
/// [`StoreError::Invalid`] when the directory is not empty; [`StoreError::Corrupt`] when the backup is damaged, which
/// names the file.
pub fn restore(from: &Path, data: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<RestoreReport, StoreError> {
    let manifest = read_manifest(from)?;
    if data.exists() && !LocalDisk.list(data).map_err(failed("list", data))?.is_empty() {
        return Err(StoreError::Invalid(format!("{} is not empty; restore into a new directory", data.display())));
    }
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    let unfinished = data.with_file_name(name);
    if unfinished.exists() {
        // Nothing else writes there, and what is in it is a copy.
        std::fs::remove_dir_all(&unfinished).map_err(failed("delete", &unfinished))?;
    }
    for folder in [unfinished.clone(), unfinished.join("segments"), unfinished.join("log")] {
        create_folder(&folder)?;
    }
    let all_bytes = manifest.files().map(|file| file.bytes).sum();
    let mut done_bytes = 0;
    let mut copy = |file: &Copied, path: PathBuf| {
        restore_file(&from.join(&file.name), file, &path, &mut |part| progress(done_bytes + part, all_bytes))?;
        done_bytes += file.bytes;
        Ok::<(), StoreError>(())
    };
    for file in &manifest.segments {
        copy(file, unfinished.join("segments").join(format!("{:010}.segment", file.number)))?;
    }
    for file in &manifest.log {
        copy(file, log_path(&unfinished, file.number))?;
    }
    copy(&manifest.catalog, unfinished.join("catalog.json"))?;
    for folder in [unfinished.join("segments"), unfinished.join("log"), unfinished.clone()] {
        sync_folder(&folder)?;
    }
    std::fs::rename(&unfinished, data).map_err(failed("rename to", data))?;
    if let Some(parent) = data.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_folder(parent)?;
    }
    Ok(RestoreReport {
        segments: manifest.segments.len() as u64,
        log_files: manifest.log.len() as u64,
        bytes: all_bytes,
        written_unix_nano: manifest.written_unix_nano,
    })
}

fn restore_file(source: &Path, file: &Copied, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), StoreError> {
    let damaged = |what: String| StoreError::Corrupt(format!("the backup is damaged: {} {what}", source.display()));
    let opened = LocalDisk.open(source).map_err(failed("open", source))?;
    let bytes = opened.length().map_err(failed("read", source))?;
    if bytes != file.bytes {
        return Err(damaged(format!("has {bytes} bytes instead of {}", file.bytes)));
    }
    if copy_bytes(&*opened, bytes, path, progress)? != file.crc32 {
        return Err(damaged("has another checksum".to_owned()));
    }
    Ok(())
}

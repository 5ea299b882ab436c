//! The directory that a backup is in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Copied, FORMAT, Manifest};
use crate::StoreError;
use crate::embedded::disk::{Disk, LocalDisk, ReadFile};
use crate::embedded::log_read::LogReader;

const MANIFEST: &str = "manifest.json";
/// What stands between the manifest's JSON and its CRC-32 in hexadecimal, as in a catalog.
const CHECKSUM: &str = "\ncrc32 ";
/// What is being written and has no name yet.
const UNFINISHED: &str = "unfinished";
const PIECE_BYTES: usize = 1 << 20;

/// A backup's directory that is being written to.
pub(super) struct Target {
    folder: PathBuf,
    /// Copied since it was opened, by name.
    written: BTreeMap<String, Copied>,
    _lock: Box<dyn Send + Sync>,
}

pub(super) fn failed(step: &str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::io(format!("{step} {}", path.display()), source)
}

/// Makes a directory, and those above it, that only its owner can look into.
pub(super) fn create_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))
}

/// Begins a file that only its owner can read.
pub(super) fn create_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(failed("create", path))
}

pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    LocalDisk.sync_folder(path).map_err(failed("sync", path))
}

impl Target {
    /// Takes a directory, made if it is not there, for a backup of another one.
    pub(super) fn open(folder: &Path, source: &Path) -> Result<Self, StoreError> {
        create_folder(folder)?;
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if real(folder).starts_with(real(source)) || real(source).starts_with(real(folder)) {
            return Err(StoreError::Invalid(format!(
                "{} and {} lie in each other; a backup needs a directory of its own",
                folder.display(),
                source.display()
            )));
        }
        let ours = |name: &str| {
            ["lock", "segments", "log", MANIFEST, UNFINISHED].contains(&name) || name.starts_with("catalog-")
        };
        let entries = LocalDisk.list(folder).map_err(failed("list", folder))?;
        if let Some(other) =
            entries.iter().find(|path| !path.file_name().and_then(|name| name.to_str()).is_some_and(ours))
        {
            return Err(StoreError::Invalid(format!(
                "{} holds {}, which is no part of a backup; name an empty or a new directory",
                folder.display(),
                other.display()
            )));
        }
        let lock = folder.join("lock");
        let lock = LocalDisk
            .lock(&lock)
            .map_err(failed("open", &lock))?
            .ok_or_else(|| StoreError::Invalid(format!("another backup is being written to {}", folder.display())))?;
        for name in ["segments", "log"] {
            create_folder(&folder.join(name))?;
        }
        Ok(Self { folder: folder.to_owned(), written: BTreeMap::new(), _lock: lock })
    }

    /// The backup that is there, if there is one that can be read; one that is damaged is written anew.
    pub(super) fn manifest(&self) -> Result<Option<Manifest>, StoreError> {
        match read_manifest(&self.folder) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error @ StoreError::Corrupt(_)) => {
                tracing::warn!(%error, "everything is copied again");
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Whether a file of a former backup is there as long as it was.
    pub(super) fn has(&self, file: &Copied) -> bool {
        self.folder.join(&file.name).metadata().is_ok_and(|found| found.len() == file.bytes)
    }

    /// A file that was copied since the target was opened.
    pub(super) fn written(&self, name: &str) -> Option<&Copied> {
        self.written.get(name)
    }

    /// Copies so many bytes of a file. `progress` is told how many are copied.
    pub(super) fn copy(
        &mut self,
        name: String,
        number: u64,
        source: &dyn ReadFile,
        bytes: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Copied, StoreError> {
        let unfinished = self.folder.join(UNFINISHED);
        let crc32 = copy_bytes(source, bytes, &unfinished, progress)?;
        self.finish(name, number, bytes, crc32)
    }

    /// Copies a log file; up to its last whole record if it is one that may be written meanwhile, and not at all if it has
    /// none.
    pub(super) fn copy_log(
        &mut self,
        number: u64,
        source: &dyn ReadFile,
        bytes: u64,
        is_last: bool,
    ) -> Result<Option<Copied>, StoreError> {
        let unfinished = self.folder.join(UNFINISHED);
        let mut crc32 = copy_bytes(source, bytes, &unfinished, &mut |_| {})?;
        let mut kept = bytes;
        if is_last {
            let mut records = 0;
            let mut reader = LogReader::open(&LocalDisk, &unfinished, None)?;
            while reader.next()?.is_some() {
                records += 1;
            }
            kept = reader.end().whole_bytes();
            if records == 0 {
                return Ok(None);
            }
        }
        if kept < bytes {
            let context = failed("cut", &unfinished);
            let file = OpenOptions::new().write(true).open(&unfinished).map_err(&context)?;
            file.set_len(kept).and_then(|()| file.sync_all()).map_err(&context)?;
            crc32 = checksum(&unfinished)?.1;
        }
        self.finish(format!("log/{number:010}-{crc32:08x}.log"), number, kept, crc32).map(Some)
    }

    /// Writes a small file.
    pub(super) fn write(&mut self, kind: &str, number: u64, bytes: &[u8]) -> Result<Copied, StoreError> {
        let unfinished = self.folder.join(UNFINISHED);
        write_file(&unfinished, bytes)?;
        let crc32 = crc32fast::hash(bytes);
        self.finish(format!("{kind}-{crc32:08x}.json"), number, bytes.len() as u64, crc32)
    }

    fn finish(&mut self, name: String, number: u64, bytes: u64, crc32: u32) -> Result<Copied, StoreError> {
        let path = self.folder.join(&name);
        std::fs::rename(self.folder.join(UNFINISHED), &path).map_err(failed("rename to", &path))?;
        let copied = Copied { name: name.clone(), number, bytes, crc32 };
        self.written.insert(name, copied.clone());
        Ok(copied)
    }

    /// Makes a manifest the backup, and then deletes what it does not name; how many files.
    pub(super) fn commit(&mut self, manifest: &Manifest) -> Result<u64, StoreError> {
        for folder in [self.folder.join("segments"), self.folder.join("log"), self.folder.clone()] {
            sync_folder(&folder)?;
        }
        let mut text =
            serde_json::to_string_pretty(manifest).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{checksum:08x}\n"));
        let (unfinished, path) = (self.folder.join(UNFINISHED), self.folder.join(MANIFEST));
        write_file(&unfinished, text.as_bytes())?;
        std::fs::rename(&unfinished, &path).map_err(failed("rename to", &path))?;
        sync_folder(&self.folder)?;
        let named: BTreeSet<PathBuf> = manifest.files().map(|file| self.folder.join(&file.name)).collect();
        let mut deleted = 0;
        for folder in [self.folder.join("segments"), self.folder.join("log"), self.folder.clone()] {
            for path in LocalDisk.list(&folder).map_err(failed("list", &folder))? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let is_kept = named.contains(&path) || path.is_dir() || [MANIFEST, "lock"].contains(&name);
                if !is_kept {
                    std::fs::remove_file(&path).map_err(failed("delete", &path))?;
                    deleted += 1;
                }
            }
        }
        Ok(deleted)
    }
}

/// The manifest of a backup, checked.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest, StoreError> {
    let path = folder.join(MANIFEST);
    let damaged = |what: String| StoreError::Corrupt(format!("{}: {what}", path.display()));
    let text = std::fs::read(&path).map_err(failed("read", &path))?;
    let text = String::from_utf8_lossy(&text);
    let (json, checksum) = text.rsplit_once(CHECKSUM).ok_or_else(|| damaged("it is cut off".to_owned()))?;
    if u32::from_str_radix(checksum.trim(), 16) != Ok(crc32fast::hash(json.as_bytes())) {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    let manifest: Manifest = serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(StoreError::Invalid(format!(
            "{} was written by another version (format {}, this one reads {FORMAT})",
            path.display(),
            manifest.format
        )));
    }
    Ok(manifest)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = create_file(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", path))
}

/// Copies bytes into a new file that is durable on return; their CRC-32.
pub(super) fn copy_bytes(
    source: &dyn ReadFile,
    bytes: u64,
    path: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<u32, StoreError> {
    let mut file = create_file(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut done = 0;
    while done < bytes {
        let piece = &mut buffer[..(bytes - done).min(PIECE_BYTES as u64) as usize];
        source.read_at(piece, done).map_err(|error| StoreError::io(format!("read for {}", path.display()), error))?;
        file.write_all(piece).map_err(failed("write", path))?;
        hasher.update(piece);
        done += piece.len() as u64;
        progress(done);
    }
    file.sync_all().map_err(failed("sync", path))?;
    Ok(hasher.finalize())
}

/// Length and CRC-32 of a file.
fn checksum(path: &Path) -> Result<(u64, u32), StoreError> {
    let bytes = std::fs::read(path).map_err(failed("read", path))?;
    Ok((bytes.len() as u64, crc32fast::hash(&bytes)))
}

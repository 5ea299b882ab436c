//! Segments and the catalog in the store's directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SegmentFiles;
use crate::embedded::disk::{Disk, ReadFile, WriteFile, numbers_in};
use crate::embedded::log_path;

/// What the name of a segment's file ends with.
const EXTENSION: &str = "segment";
const CATALOG: &str = "catalog.json";
const NEW_CATALOG: &str = "catalog.json.new";
/// Where a repair puts what cannot be read.
const DAMAGED_FOLDER: &str = "damaged";

/// The files of a directory.
pub(crate) struct LocalFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segments: PathBuf,
}

impl LocalFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self { disk, folder: folder.to_owned(), segments: folder.join("segments") }
    }

    /// Removes the catalog, if it is there.
    #[cfg(feature = "s3")]
    pub(crate) fn remove_catalog(&self) -> io::Result<()> {
        match self.disk.remove(&self.folder.join(CATALOG)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.disk.sync_folder(&self.folder)),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.segments.join(file_name(number))
    }
}

fn file_name(number: u64) -> String {
    format!("{number:010}.{EXTENSION}")
}

impl SegmentFiles for LocalFiles {
    fn has_log(&self, number: u64) -> bool {
        self.disk.open(&log_path(&self.folder, number)).is_ok()
    }

    fn name(&self, number: u64) -> String {
        self.path(number).display().to_string()
    }

    fn create(&self, number: u64) -> io::Result<Box<dyn WriteFile>> {
        let file = self.disk.create(&self.path(number))?;
        Ok(Box::new(NewSegment { file, disk: self.disk.clone(), folder: self.segments.clone() }))
    }

    fn open(&self, number: u64, _: Option<u64>) -> io::Result<Box<dyn ReadFile>> {
        self.disk.open(&self.path(number))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        match self.disk.remove(&self.path(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn set_aside(&self, number: u64) -> io::Result<String> {
        let folder = self.folder.join(DAMAGED_FOLDER);
        self.disk.create_folder(&folder)?;
        let path = folder.join(file_name(number));
        self.disk.rename(&self.path(number), &path)?;
        Ok(path.display().to_string())
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        numbers_in(&*self.disk, &self.segments, EXTENSION)
    }

    fn catalog_name(&self) -> String {
        self.folder.join(CATALOG).display().to_string()
    }

    fn read_catalog(&self) -> io::Result<Option<Vec<u8>>> {
        match self.disk.read(&self.folder.join(CATALOG)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn swap_catalog(&self, bytes: &[u8]) -> io::Result<()> {
        self.disk.replace(&self.folder.join(NEW_CATALOG), &self.folder.join(CATALOG), bytes)
    }
}

/// A segment's file whose name is durable as soon as its bytes are.
struct NewSegment {
    file: Box<dyn WriteFile>,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl WriteFile for NewSegment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.disk.sync_folder(&self.folder)
    }
}

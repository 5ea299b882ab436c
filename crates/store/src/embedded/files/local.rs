//! Segments and the catalog in the store's directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SegmentFiles;
use super::aside::{Aside, DAMAGED_FOLDER, free_name};
use crate::embedded::disk::{Disk, ReadFile, WriteFile, numbers_in, retried};
use crate::embedded::log_path;

/// What the name of a segment's file ends with.
const EXTENSION: &str = "segment";
const CATALOG: &str = "catalog.json";
const NEW_CATALOG: &str = "catalog.json.new";

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

    fn set_aside(&self, number: u64, is_repaired: bool) -> io::Result<String> {
        set_aside(&*self.disk, &self.folder, &self.path(number), number, EXTENSION, is_repaired)
    }

    fn list_aside(&self) -> io::Result<Vec<Aside>> {
        list_aside(&*self.disk, &self.folder, EXTENSION)
    }

    fn open_aside(&self, aside: &Aside) -> io::Result<Box<dyn ReadFile>> {
        self.disk.open(&self.folder.join(DAMAGED_FOLDER).join(&aside.name))
    }

    fn remove_aside(&self, aside: &Aside) -> io::Result<()> {
        self.disk.remove(&self.folder.join(DAMAGED_FOLDER).join(&aside.name))
    }

    fn retire_aside(&self, aside: &Aside) -> io::Result<()> {
        retire_aside(&*self.disk, &self.folder, aside)
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        retried(|| numbers_in(&*self.disk, &self.segments, EXTENSION))
    }

    fn catalog_name(&self) -> String {
        self.folder.join(CATALOG).display().to_string()
    }

    fn read_catalog(&self) -> io::Result<Option<Vec<u8>>> {
        match retried(|| self.disk.read(&self.folder.join(CATALOG))) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn swap_catalog(&self, bytes: &[u8]) -> io::Result<()> {
        self.disk.replace(&self.folder.join(NEW_CATALOG), &self.folder.join(CATALOG), bytes)
    }
}

/// Moves a file of a store's directory to where nothing is deleted. On return the move is durable.
pub(crate) fn set_aside(
    disk: &dyn Disk,
    folder: &Path,
    from: &Path,
    number: u64,
    extension: &str,
    is_repaired: bool,
) -> io::Result<String> {
    let aside = folder.join(DAMAGED_FOLDER);
    disk.create_folder(&aside)?;
    let names = names_in(disk, &aside)?;
    let path = aside.join(free_name(number, extension, is_repaired, |name| names.iter().any(|known| known == name)));
    disk.rename(from, &path)?;
    // The new name first: should the machine crash in between, two names of a file are better than none.
    disk.sync_folder(&aside)?;
    from.parent().map_or(Ok(()), |folder| disk.sync_folder(folder))?;
    Ok(path.display().to_string())
}

/// The files that were set aside in a store's directory, sorted.
pub(crate) fn list_aside(disk: &dyn Disk, folder: &Path, extension: &str) -> io::Result<Vec<Aside>> {
    let names = names_in(disk, &folder.join(DAMAGED_FOLDER))?;
    let mut found: Vec<Aside> = names.iter().filter_map(|name| Aside::parse(name, extension)).collect();
    found.iter_mut().for_each(|aside| aside.is_in_directory = true);
    found.sort();
    Ok(found)
}

/// Marks a file that was set aside as repaired.
pub(crate) fn retire_aside(disk: &dyn Disk, folder: &Path, aside: &Aside) -> io::Result<()> {
    let folder = folder.join(DAMAGED_FOLDER);
    let names = names_in(disk, &folder)?;
    let to = aside.repaired_name(|name| names.iter().any(|known| known == name));
    disk.rename(&folder.join(&aside.name), &folder.join(to))?;
    disk.sync_folder(&folder)
}

fn names_in(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<String>> {
    let paths = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    Ok(paths.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
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

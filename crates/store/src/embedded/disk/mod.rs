//! Files, as the store uses them: passed in, so that tests can crash, fill and damage the disk at any moment.

#[cfg(test)]
pub(crate) mod simulated;

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a store needs of a file system. Paths are those of the store's directory.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Makes a directory and those above it, unless it is there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Begins a file; one that is there is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// Opens a file for reading. It can be read for as long as it is open, even after it was removed.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>>;
    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Gives a file another name, in place of the file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes the names in a directory durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Takes a lock file for as long as the result lives; `None` if another has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

impl dyn Disk {
    /// Puts a whole file in place of another, through a temporary one beside it: a crash leaves the old or the new.
    pub(crate) fn replace(&self, temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create(temporary)?;
        file.append(bytes)?;
        file.sync()?;
        self.rename(temporary, path)?;
        path.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }
}

/// The numbers of the files `NUMBER.EXTENSION` in a folder, sorted; none if there is no such folder.
pub(crate) fn numbers_in(disk: &dyn Disk, folder: &Path, extension: &str) -> io::Result<Vec<u64>> {
    let paths = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let mut numbers: Vec<u64> = paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A file that is being written, from its beginning on.
pub(crate) trait WriteFile: Send {
    /// Appends bytes. After an error it is unknown how many.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was appended durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is read at any place.
pub(crate) trait ReadFile: Send + Sync {
    fn length(&self) -> io::Result<u64>;
    /// Fills the buffer from an offset on; the end of the file within it is an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Says which parts are needed before all others, those that matter most last: if only some of the file can be held
    /// near, it is these.
    fn prefer(&self, _: &[Range<u64>]) {}
}

/// The file system of this machine.
pub(crate) struct LocalDisk;

impl Disk for LocalDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(File::create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = File::create(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl WriteFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl ReadFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

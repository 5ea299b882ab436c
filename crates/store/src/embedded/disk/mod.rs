//! Files, as the store uses them: passed in, so that tests can crash, fill and damage the disk at any moment.

#[cfg(test)]
pub(crate) mod simulated;

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Unreachable;

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
    /// What a name stands for now; `None` where nobody can tell.
    fn identity(&self, _: &Path) -> io::Result<Option<FileId>> {
        Ok(None)
    }
    /// How much space there is; `None` where nobody can tell.
    fn space(&self, _: &Path) -> io::Result<Option<Space>> {
        Ok(None)
    }
    /// Who may do what with a directory, where there is such a thing.
    fn mode(&self, _: &Path) -> Option<u32> {
        None
    }
    /// Makes a file that takes so many bytes, or makes one that is there as large.
    fn reserve(&self, _: &Path, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Tells a file from every other: the device and the number on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    number: u64,
}

/// Space on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
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

/// Pauses before a read that failed is tried again: what passes at once is no reason to fail, and who waits for an answer
/// waits no longer than this.
const RETRY_AFTER: [Duration; 2] =
    if cfg!(test) { [Duration::ZERO; 2] } else { [Duration::from_millis(5), Duration::from_millis(25)] };

/// Reads, and tries again if that fails at something that may pass. A bucket has its own retries.
pub(crate) fn retried<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let is_final = |error: &io::Error| {
        use io::ErrorKind::{InvalidData, NotFound, PermissionDenied, UnexpectedEof};
        matches!(error.kind(), NotFound | PermissionDenied | UnexpectedEof | InvalidData)
            || error.get_ref().is_some_and(|cause| cause.is::<Unreachable>())
    };
    for pause in RETRY_AFTER {
        match read() {
            Err(error) if !is_final(&error) => std::thread::sleep(pause),
            done => return done,
        }
    }
    read()
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
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(create_private(path, true)?))
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
        // The directory is locked, too: its lock stays when somebody deletes the lock file. Not every file system has locks
        // for directories.
        let folder = path.parent().and_then(|folder| File::open(folder).ok());
        let locked = folder.as_ref().map(File::try_lock);
        if matches!(locked, Some(Err(TryLockError::WouldBlock))) {
            return Ok(None);
        }
        let is_folder_locked = matches!(locked, Some(Ok(())));
        let file = match create_private(path, false) {
            Ok(file) => Some(file),
            // Where nothing can be written, a lock that is there can still be taken; else the directory's has to do.
            Err(error) => match File::open(path) {
                Ok(file) => Some(file),
                Err(_) if is_folder_locked => None,
                Err(_) => return Err(error),
            },
        };
        if let Some(file) = &file {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            if id_of(&file.metadata()?) != id_of(&std::fs::metadata(path)?) {
                return Err(io::Error::other("it was replaced while it was taken"));
            }
        }
        Ok(Some(Box::new((folder, file))))
    }

    fn identity(&self, path: &Path) -> io::Result<Option<FileId>> {
        std::fs::metadata(path).map(|metadata| Some(id_of(&metadata)))
    }

    fn space(&self, path: &Path) -> io::Result<Option<Space>> {
        let stats = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stats.f_frsize);
        Ok(Some(Space { free_bytes: bytes(stats.f_bavail), total_bytes: bytes(stats.f_blocks) }))
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        Some(std::fs::metadata(path).ok()?.permissions().mode())
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut file = create_private(path, false)?;
        let reserved = match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP) => file.write_all(&vec![0; bytes as usize]),
            other => Ok(other?),
        };
        if reserved.is_err() {
            // A part of it is of no use.
            let _ = std::fs::remove_file(path);
        }
        reserved
    }
}

/// Opens a file that is this user's alone, whatever the mask of the process; one that is there is emptied if asked.
fn create_private(path: &Path, truncate: bool) -> io::Result<File> {
    const PRIVATE: u32 = 0o600;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(truncate).mode(PRIVATE).open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != PRIVATE {
        // Another user's file that this one may write stays as it is.
        let _ = file.set_permissions(Permissions::from_mode(PRIVATE));
    }
    Ok(file)
}

fn id_of(metadata: &std::fs::Metadata) -> FileId {
    FileId { device: metadata.dev(), number: metadata.ino() }
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

//! A disk in memory that crashes, fills up, fails and rots as a test asks, from a seed.
//!
//! What was synced survives a crash. Of what was not, anything may: each 512 bytes of a file by themselves, each name by
//! itself, in any order.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, ReadFile, WriteFile};

const PAGE_BYTES: usize = 512;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// From this operation on nothing works: the machine has crashed.
    pub(crate) crash_at: Option<u64>,
    /// This one operation fails, and what it would have done is done in part.
    pub(crate) fail_at: Option<u64>,
    /// Reads fail.
    pub(crate) reads_fail: bool,
    /// No file may grow beyond so many bytes together.
    pub(crate) capacity: Option<usize>,
}

#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    files: HashMap<u64, FileState>,
    next_file: u64,
    names: BTreeMap<PathBuf, u64>,
    /// The names that survive a crash for certain.
    durable_names: BTreeMap<PathBuf, u64>,
    /// Changes of names since their folder was synced: a name, and what it stands for afterwards.
    pending_names: Vec<(PathBuf, Option<u64>)>,
    operations: u64,
    faults: Faults,
    unreadable: Vec<Unreadable>,
    locked: bool,
}

/// A file or a folder that cannot be opened, read or listed.
struct Unreadable {
    path: PathBuf,
    /// The file that had the name: it stays unreadable wherever it is moved.
    file: Option<u64>,
    /// How many operations still fail; `None` is all.
    times: Option<u64>,
}

#[derive(Clone, Default)]
struct FileState {
    bytes: Vec<u8>,
    durable_bytes: usize,
}

impl SimulatedDisk {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// Operations so far that change something.
    pub(crate) fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Whether the machine has crashed.
    pub(crate) fn has_crashed(&self) -> bool {
        let world = self.world();
        world.faults.crash_at.is_some_and(|crash| world.operations > crash)
    }

    /// Crashes the machine now.
    pub(crate) fn crash(&self) {
        let mut world = self.world();
        world.faults.crash_at = Some(world.operations);
        world.operations += 1;
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.world().used_bytes()
    }

    /// Every file with its length.
    pub(crate) fn files(&self) -> Vec<(PathBuf, usize)> {
        let world = self.world();
        world.names.iter().map(|(path, file)| (path.clone(), world.files[file].bytes.len())).collect()
    }

    pub(crate) fn flip(&self, path: &Path, bit: usize) {
        self.flip_file(self.number_of(path), bit);
    }

    /// What tells a file from others, whatever it is called.
    pub(crate) fn number_of(&self, path: &Path) -> u64 {
        self.world().names[path]
    }

    /// Flips a bit of a file, if it is still there.
    pub(crate) fn flip_file(&self, number: u64, bit: usize) {
        if let Some(byte) = self.world().files.get_mut(&number).and_then(|file| file.bytes.get_mut(bit / 8)) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Has a file or a folder fail to be opened, read and listed, this number of times or until [`heal`](Self::heal).
    pub(crate) fn fail_reads_of(&self, path: &Path, times: Option<u64>) {
        let mut world = self.world();
        let file = world.names.get(path).copied();
        world.unreadable.push(Unreadable { path: path.to_owned(), file, times });
    }

    /// Ends what [`fail_reads_of`](Self::fail_reads_of) began.
    pub(crate) fn heal(&self) {
        self.world().unreadable.clear();
    }

    /// The same disk, for another life of the same machine.
    pub(crate) fn copy(&self) -> Self {
        let world = self.world();
        Self(Arc::new(Mutex::new(World {
            files: world.files.clone(),
            next_file: world.next_file,
            names: world.names.clone(),
            durable_names: world.names.clone(),
            ..World::default()
        })))
    }

    /// What is found after a crash.
    pub(crate) fn after_crash(&self, random: &mut fastrand::Rng) -> Self {
        let world = self.world();
        let mut names = world.durable_names.clone();
        for (path, file) in &world.pending_names {
            if random.bool() {
                match file {
                    Some(file) => names.insert(path.clone(), *file),
                    None => names.remove(path),
                };
            }
        }
        let mut files = world.files.clone();
        // In the order of their numbers, so that a seed says the same each time.
        let mut numbers: Vec<u64> = files.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(file) = files.get_mut(&number) else { continue };
            let durable = file.durable_bytes;
            let length = random.usize(durable..=file.bytes.len());
            file.bytes.truncate(length);
            let mut at = durable;
            while at < length {
                let end = ((at / PAGE_BYTES + 1) * PAGE_BYTES).min(length);
                if random.u8(0..4) == 0 {
                    file.bytes[at..end].fill(0);
                }
                at = end;
            }
            file.durable_bytes = length;
        }
        files.retain(|number, _| names.values().any(|named| named == number));
        Self(Arc::new(Mutex::new(World {
            files,
            next_file: world.next_file,
            durable_names: names.clone(),
            names,
            ..World::default()
        })))
    }
}

impl World {
    fn used_bytes(&self) -> usize {
        self.names.values().map(|file| self.files[file].bytes.len()).sum()
    }

    /// Counts an operation; true if it is to fail halfway.
    fn begin(&mut self) -> io::Result<bool> {
        let operation = self.operations;
        self.operations += 1;
        if self.faults.crash_at.is_some_and(|crash| operation >= crash) {
            // The very operation may still have done a part of its work.
            if self.faults.crash_at == Some(operation) {
                return Ok(true);
            }
            return Err(io::Error::other("the machine has crashed"));
        }
        Ok(self.faults.fail_at == Some(operation))
    }

    fn set_name(&mut self, path: &Path, file: Option<u64>) {
        match file {
            Some(file) => self.names.insert(path.to_owned(), file),
            None => self.names.remove(path),
        };
        self.pending_names.push((path.to_owned(), file));
    }

    /// An error if a file, or the folder of that path, cannot be read.
    fn check_readable(&mut self, file: Option<u64>, path: Option<&Path>) -> io::Result<()> {
        let is_it = |bad: &&mut Unreadable| match file {
            Some(file) => bad.file == Some(file),
            None => Some(&*bad.path) == path,
        };
        let Some(bad) = self.unreadable.iter_mut().find(is_it) else { return Ok(()) };
        match &mut bad.times {
            None => failed(),
            Some(0) => Ok(()),
            Some(times) => {
                *times -= 1;
                failed()
            }
        }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn failed<T>() -> io::Result<T> {
    Err(io::Error::other("input/output error"))
}

struct SimulatedFile {
    disk: SimulatedDisk,
    number: u64,
}

impl WriteFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.disk.world();
        let fails = world.begin()?;
        let left = world.faults.capacity.map_or(usize::MAX, |most| most.saturating_sub(world.used_bytes()));
        let is_full = bytes.len() > left;
        let written = if fails { bytes.len() / 2 } else { bytes.len().min(left) };
        if let Some(file) = world.files.get_mut(&self.number) {
            file.bytes.extend_from_slice(&bytes[..written]);
        }
        if is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if fails { failed() } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut world = self.disk.world();
        if world.begin()? {
            return failed();
        }
        if let Some(file) = world.files.get_mut(&self.number) {
            file.durable_bytes = file.bytes.len();
        }
        Ok(())
    }
}

impl ReadFile for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.world().files.get(&self.number).map_or(0, |file| file.bytes.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.world();
        if world.faults.reads_fail {
            return failed();
        }
        world.check_readable(Some(self.number), None)?;
        let end = io::Error::from(io::ErrorKind::UnexpectedEof);
        let file = world.files.get(&self.number).ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let bytes = file.bytes.get(start..).and_then(|rest| rest.get(..buffer.len())).ok_or(end)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// Gives the lock back when the store is closed.
struct SimulatedLock(SimulatedDisk);

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.world().locked = false;
    }
}

impl Disk for SimulatedDisk {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let mut world = self.world();
        if world.begin()? {
            return failed();
        }
        let number = world.next_file;
        world.next_file += 1;
        world.files.insert(number, FileState::default());
        world.set_name(path, Some(number));
        Ok(Box::new(SimulatedFile { disk: self.clone(), number }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        let mut world = self.world();
        let number = world.find(path)?;
        world.check_readable(Some(number), None)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), number }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut world = self.world();
        if world.faults.reads_fail {
            return failed();
        }
        let number = world.find(path)?;
        world.check_readable(Some(number), None)?;
        Ok(world.files[&number].bytes.clone())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let fails = world.begin()?;
        let file = world.find(from)?;
        if fails {
            return failed();
        }
        // Both names change at once, whatever else is lost.
        world.names.remove(from);
        world.set_name(to, Some(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        let fails = world.begin()?;
        world.find(path)?;
        if fails {
            return failed();
        }
        world.set_name(path, None);
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut world = self.world();
        world.check_readable(None, Some(folder))?;
        Ok(world.names.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut world = self.world();
        if world.begin()? {
            return failed();
        }
        let (own, others) =
            std::mem::take(&mut world.pending_names).into_iter().partition(|(path, _)| path.parent() == Some(folder));
        world.pending_names = others;
        let own: Vec<(PathBuf, Option<u64>)> = own;
        for (path, file) in own {
            match file {
                Some(file) => world.durable_names.insert(path, file),
                None => world.durable_names.remove(&path),
            };
        }
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        if std::mem::replace(&mut self.world().locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimulatedLock(self.clone()))))
    }
}

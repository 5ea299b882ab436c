//! What a start leaves behind when it ends in the midst of reading the log: so that the next one takes less memory, and
//! does not read for ever a record that ends every process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, WriteFile};
use super::log::{u32_at, u64_at};

/// Kind, count, number of the log file, offset in it, checksum.
const ENTRY_BYTES: usize = 4 + 4 + 8 + 8 + 4;
/// How many starts before this one did not get through.
const STARTS: u32 = 1;
/// A record that ended starts before this one so often.
const SUSPECT: u32 = 2;
/// A record that is being read, for the so many-th time.
const BEGIN: u32 = 3;
/// It was read.
const END: u32 = 4;
/// Smaller records are marked only after a start that did not get through: a mark costs as much as reading them.
const SMALL_BODY_BYTES: usize = 64 * 1024;
/// A record of this size may take more memory than there is.
pub(super) const LARGE_BODY_BYTES: usize = 1 << 20;

/// The file that says how far the log is read.
pub(super) struct ReplayMark {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<Box<dyn WriteFile>>,
    deaths: u32,
    suspect: Option<(u64, u64, u32)>,
    /// What is being read, if that is marked: its file, its offset, the bytes of its body.
    current: Option<(u64, u64, usize)>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("log").join("replay.mark")
}

impl ReplayMark {
    /// Begins to mark, going by what was left behind; nothing is marked if there is nothing to read.
    pub(super) fn begin(disk: &Arc<dyn Disk>, folder: &Path, has_log: bool) -> Option<Self> {
        let path = path(folder);
        let before = disk.read(&path).ok();
        if !has_log {
            if before.is_some() {
                // It says nothing any more.
                let _ = disk.remove(&path);
            }
            return None;
        }
        let (deaths, suspect) = before.map_or((0, None), |bytes| what_is_left(&bytes));
        if deaths > 0 {
            tracing::warn!(starts = deaths, "starts before this one ended while they read the log back");
        }
        let mut mark = Self { disk: disk.clone(), path, file: None, deaths, suspect, current: None };
        // A disk that is full or read-only leaves no mark; the log is read all the same.
        mark.file = mark.disk.create(&mark.path).ok();
        mark.put(STARTS, deaths, 0, 0);
        if let Some((number, offset, deaths)) = suspect {
            mark.put(SUSPECT, deaths, number, offset);
        }
        Some(mark)
    }

    /// How many starts in a row did not get through.
    pub(super) fn deaths(&self) -> u32 {
        self.deaths
    }

    /// How often a record was being read when the process ended.
    pub(super) fn deaths_of(&self, number: u64, offset: u64) -> u32 {
        self.suspect.filter(|suspect| (suspect.0, suspect.1) == (number, offset)).map_or(0, |(_, _, deaths)| deaths)
    }

    /// Says that a record is about to be read.
    pub(super) fn begin_record(&mut self, number: u64, offset: u64, body_bytes: usize) {
        let is_marked = body_bytes >= SMALL_BODY_BYTES || self.deaths > 0;
        self.current = is_marked.then_some((number, offset, body_bytes));
        self.put_begin();
    }

    /// Says that it was read.
    pub(super) fn end_record(&mut self) {
        if self.current.take().is_some() {
            self.put(END, 0, 0, 0);
        }
    }

    /// Says that other work comes first, which takes long: a process that is stopped then is not stopped by the record. Of a
    /// large one that is not known.
    pub(super) fn pause(&mut self) {
        if self.current.is_some_and(is_pausable) {
            self.put(END, 0, 0, 0);
        }
    }

    /// Says that the record is read again.
    pub(super) fn resume(&mut self) {
        if self.current.is_some_and(is_pausable) {
            self.put_begin();
        }
    }

    fn put_begin(&mut self) {
        if let Some((number, offset, _)) = self.current {
            self.put(BEGIN, self.deaths_of(number, offset) + 1, number, offset);
        }
    }

    fn put(&mut self, kind: u32, count: u32, number: u64, offset: u64) {
        let Some(file) = &mut self.file else { return };
        let mut entry = Vec::with_capacity(ENTRY_BYTES);
        entry.extend_from_slice(&kind.to_le_bytes());
        entry.extend_from_slice(&count.to_le_bytes());
        entry.extend_from_slice(&number.to_le_bytes());
        entry.extend_from_slice(&offset.to_le_bytes());
        let checksum = crc32fast::hash(&entry);
        entry.extend_from_slice(&checksum.to_le_bytes());
        // It is to outlive the process, not the machine, and is not synced.
        if file.append(&entry).is_err() {
            self.file = None;
        }
    }
}

fn is_pausable((_, _, body_bytes): (u64, u64, usize)) -> bool {
    body_bytes < LARGE_BODY_BYTES
}

impl Drop for ReplayMark {
    /// The log is read, or the store is closed in good order before it is.
    fn drop(&mut self) {
        let _ = self.disk.remove(&self.path);
    }
}

/// How many starts have not got through, this file's included, and which record was being read most often.
fn what_is_left(bytes: &[u8]) -> (u32, Option<(u64, u64, u32)>) {
    let (mut starts, mut suspect, mut begun) = (0, None, None);
    for entry in bytes.chunks_exact(ENTRY_BYTES) {
        let (Some(kind), Some(count), Some(number), Some(offset), Some(checksum)) =
            (u32_at(entry, 0), u32_at(entry, 4), u64_at(entry, 8), u64_at(entry, 16), u32_at(entry, 24))
        else {
            break;
        };
        if crc32fast::hash(&entry[..ENTRY_BYTES - 4]) != checksum {
            break;
        }
        match kind {
            STARTS => starts = count,
            SUSPECT => suspect = Some((number, offset, count)),
            BEGIN => begun = Some((number, offset, count)),
            _ => begun = None,
        }
    }
    (starts.saturating_add(1), begun.or(suspect))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::disk::simulated::SimulatedDisk;

    #[test]
    fn a_small_record_is_not_to_blame_for_the_work_that_comes_before_it() {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::default());
        let deaths_of = |body_bytes: usize, resumes: bool| {
            for _ in 0..3 {
                let mut mark = ReplayMark::begin(&disk, Path::new("/data"), true).unwrap();
                mark.begin_record(4, 50, body_bytes);
                mark.pause();
                if resumes {
                    mark.resume();
                }
                std::mem::forget(mark);
            }
            ReplayMark::begin(&disk, Path::new("/data"), true).unwrap().deaths_of(4, 50)
        };
        assert_eq!(deaths_of(SMALL_BODY_BYTES, false), 0);
        assert_eq!(deaths_of(SMALL_BODY_BYTES, true), 3);
        assert_eq!(deaths_of(LARGE_BODY_BYTES, false), 3);
    }

    #[test]
    fn a_record_that_ends_the_process_is_known_by_how_often() {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::default());
        let folder = Path::new("/data");
        for deaths in 0..3 {
            let mut mark = ReplayMark::begin(&disk, folder, true).unwrap();
            assert_eq!((mark.deaths(), mark.deaths_of(4, 100)), (deaths, deaths), "start {deaths}");
            mark.begin_record(4, 50, 1 << 20);
            mark.end_record();
            mark.begin_record(4, 100, 1 << 20);
            std::mem::forget(mark);
        }
        let mut mark = ReplayMark::begin(&disk, folder, true).unwrap();
        // Another one is read and ends the process: what is known of the first is not needed any more.
        mark.begin_record(5, 60, 10);
        std::mem::forget(mark);
        let mark = ReplayMark::begin(&disk, folder, true).unwrap();
        assert_eq!((mark.deaths_of(4, 100), mark.deaths_of(5, 60)), (0, 1));
        drop(mark);
        let mark = ReplayMark::begin(&disk, folder, true).unwrap();
        assert_eq!((mark.deaths(), mark.deaths_of(5, 60)), (0, 0), "after a start that got through");
    }
}

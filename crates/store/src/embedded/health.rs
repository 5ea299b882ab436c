//! What keeps a store from taking spans: a directory that is not there any more, a disk that is full, a log that cannot be
//! written. Looked at every second, and before an append is acknowledged.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::disk::{Disk, FileId};
use super::{Request, Shared};
use crate::{DiskStats, StoreError};

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// Unless told otherwise, so much stays free, or a twentieth of the disk if that is less.
const MIN_FREE_BYTES: u64 = 1 << 30;
const MIN_FREE_PART: u64 = 20;

/// What is known of where the store is.
pub(super) struct Health {
    /// What the names stood for when the store was opened.
    folder: (PathBuf, Option<FileId>),
    lock: (PathBuf, Option<FileId>),
    /// The log file that is being written.
    log: Mutex<Option<(PathBuf, FileId)>>,
    /// Why nothing may be written here any more.
    lost: OnceLock<String>,
    /// Why nothing that is received is safe here any more, while what is in memory can still become a segment.
    log_lost: OnceLock<String>,
    /// Why the log cannot be written now.
    unwritable: Mutex<Option<String>>,
    min_free_bytes: Option<u64>,
    space: Mutex<Option<DiskStats>>,
}

impl Health {
    /// Looks at a directory whose lock is held.
    pub(super) fn begin(disk: &dyn Disk, folder: &Path, min_free_bytes: Option<u64>) -> Self {
        let known = |path: PathBuf| {
            let id = disk.identity(&path).ok().flatten();
            (path, id)
        };
        let health = Self {
            folder: known(folder.to_owned()),
            lock: known(folder.join("lock")),
            log: Mutex::default(),
            lost: OnceLock::new(),
            log_lost: OnceLock::new(),
            unwritable: Mutex::default(),
            min_free_bytes,
            space: Mutex::default(),
        };
        health.look_at_space(disk);
        if let Some(mode) = disk.mode(folder).filter(|mode| mode & 0o077 != 0) {
            tracing::warn!(
                directory = %folder.display(),
                mode = format!("{:03o}", mode & 0o777),
                "other users of this machine can look into the data directory; `chmod 700` keeps them out"
            );
        }
        health
    }

    /// An error if the directory or its lock is not the one that was opened: then another process may be writing it, or
    /// what is written is found by nobody.
    pub(super) fn check_folder(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        if self.lost.get().is_none() {
            for (what, (path, id)) in
                [("the data directory", &self.folder), ("the lock of the data directory", &self.lock)]
            {
                if let Some(how) = id.and_then(|id| how_it_changed(disk, path, id)) {
                    let why = format!("{what} {} {how}; start the server again", path.display());
                    if self.lost.set(why.clone()).is_ok() {
                        tracing::error!(why, "spans are refused from now on");
                    }
                    break;
                }
            }
        }
        self.lost.get().map_or(Ok(()), |why| Err(StoreError::Busy(why.clone())))
    }

    /// An error if what the log takes would be found by nobody.
    pub(super) fn check_log(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        self.check_folder(disk)?;
        if self.log_lost.get().is_none() {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((path, id)) = &*log
                && let Some(how) = how_it_changed(disk, path, *id)
            {
                let why = format!("the log file {} {how}; start the server again", path.display());
                if self.log_lost.set(why.clone()).is_ok() {
                    tracing::error!(why, "spans are refused from now on");
                }
            }
        }
        self.log_lost.get().map_or(Ok(()), |why| Err(StoreError::Busy(why.clone())))
    }

    /// Whether the log file, and it alone, was taken away.
    pub(super) fn is_log_lost(&self) -> bool {
        self.lost.get().is_none() && self.log_lost.get().is_some()
    }

    /// Whether nothing may be written or deleted here any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Notes which file the log is in.
    pub(super) fn set_log(&self, disk: &dyn Disk, path: &Path) {
        let id = disk.identity(path).ok().flatten();
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = id.map(|id| (path.to_owned(), id));
        self.set_unwritable(None);
    }

    /// Notes why the log cannot be written, or that it can.
    pub(super) fn set_unwritable(&self, why: Option<String>) {
        *self.unwritable.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn unwritable(&self) -> Option<String> {
        self.unwritable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn look_at_space(&self, disk: &dyn Disk) {
        // A file system that does not tell has no bound.
        let Ok(Some(space)) = disk.space(&self.folder.0) else { return };
        let default = MIN_FREE_BYTES.min(space.total_bytes / MIN_FREE_PART);
        let min_free_bytes = self.min_free_bytes.unwrap_or(default);
        let stats = DiskStats { free_bytes: space.free_bytes, total_bytes: space.total_bytes, min_free_bytes };
        let before = self.space.lock().unwrap_or_else(PoisonError::into_inner).replace(stats);
        match (before.is_some_and(is_low), is_low(stats)) {
            (false, true) => tracing::error!(
                free_bytes = stats.free_bytes,
                min_free_bytes,
                "the disk is nearly full; spans are refused until more is free (--min-free-disk)"
            ),
            (true, false) => tracing::info!(free_bytes = stats.free_bytes, "the disk has space again"),
            _ => {}
        }
    }

    /// The disk, as it was a second ago at most.
    pub(super) fn disk(&self) -> Option<DiskStats> {
        *self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error if appends are refused without trying.
    pub(super) fn check_taking(&self) -> Result<(), StoreError> {
        match self.lost.get().or_else(|| self.log_lost.get()).cloned().or_else(|| self.low()) {
            Some(why) => Err(StoreError::Busy(why)),
            None => Ok(()),
        }
    }

    /// Why appends are refused now, if they are.
    pub(super) fn refusing(&self) -> Option<String> {
        let gone = self.lost.get().or_else(|| self.log_lost.get()).cloned();
        gone.or_else(|| self.low()).or_else(|| self.unwritable())
    }

    fn low(&self) -> Option<String> {
        let stats = self.disk().filter(|stats| is_low(*stats))?;
        let mebibytes = |bytes: u64| bytes >> 20;
        Some(format!(
            "{} MiB are free on the disk of {}, and spans are refused below {} MiB (--min-free-disk)",
            mebibytes(stats.free_bytes),
            self.folder.0.display(),
            mebibytes(stats.min_free_bytes)
        ))
    }
}

fn is_low(stats: DiskStats) -> bool {
    stats.free_bytes < stats.min_free_bytes
}

/// What became of a name that stood for this file; `None` if it still does, or nobody can tell now.
fn how_it_changed(disk: &dyn Disk, path: &Path, id: FileId) -> Option<&'static str> {
    match disk.identity(path) {
        Ok(Some(now)) if now != id => Some("was replaced by another"),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Some("was deleted")
        }
        _ => None,
    }
}

/// Looks every second until the store is closed.
pub(super) fn watch(shared: &Shared, appends: &mpsc::WeakSender<Request>) {
    let mut last_freeze: Option<Instant> = None;
    while !shared.closed.load(Ordering::SeqCst) {
        // What is found is remembered, and told to senders.
        let _ = shared.health.check_log(&*shared.disk);
        shared.health.look_at_space(&*shared.disk);
        let is_to_try = shared.health.unwritable().is_some() || shared.health.is_log_lost();
        if is_to_try && let Some(appends) = appends.upgrade() {
            // One that waits already is as good.
            let _ = appends.try_send(Request::Retry);
        }
        let since_freeze = last_freeze.map_or(Duration::MAX, |when| when.elapsed());
        if shared.is_in_memory_too_long(since_freeze)
            && let Some(appends) = appends.upgrade()
        {
            let (done, _) = oneshot::channel();
            let _ = appends.try_send(Request::Freeze { done });
            last_freeze = Some(Instant::now());
        }
        std::thread::park_timeout(LOOK);
    }
}

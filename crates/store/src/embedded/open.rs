//! Opening a store: what a crash left is put in order, what is damaged is told, what the log holds is read back.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use tokio::sync::{Notify, mpsc};

use super::catalog::SegmentEntry;
use super::clock::Clock;
use super::damage::Damages;
use super::disk::Disk;
use super::files::SegmentFiles;
use super::flush::Flusher;
use super::health::{self, Health};
use super::place::{Opened, Place};
use super::replay::ReplayedTo;
use super::segment::Segment;
use super::signal::Signal;
use super::{EmbeddedOptions, EmbeddedStore, Inner, LogThread, MOST_WAITING_APPENDS, Shared, Unopened};
use crate::StoreError;

impl EmbeddedStore {
    pub(crate) fn open_on(disk: Arc<dyn Disk>, folder: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let lock = lock(&*disk, folder)?;
        let place = Place { folder: folder.to_owned(), bucket: options.segments.clone() };
        let opened = place.open(&disk)?;
        Self::open_with(disk, folder, options, lock, opened)
    }

    /// Opens a store whose lock and catalog are held.
    pub(super) fn open_with(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: EmbeddedOptions,
        lock: Box<dyn Send + Sync>,
        opened: Opened,
    ) -> Result<Self, StoreError> {
        let Opened { files, catalog, damage, late_claim } = opened;
        let is_rebuilt = damage.is_some();
        let table_bytes = options.used_bytes.clone();
        let clock = if options.trust_clock { Clock::trusted() } else { Clock::default() };
        let health = Health::begin(&*disk, folder, options.min_free_bytes);
        let shared = Arc::new(Shared {
            disk,
            folder: folder.to_owned(),
            files,
            options,
            state: RwLock::default(),
            table_bytes,
            room: Notify::new(),
            flush: Signal::default(),
            damages: Damages::default(),
            work: super::work::Work::default(),
            clock: Mutex::new(clock),
            health,
            closed: AtomicBool::new(false),
        });
        let mut flusher = Flusher::new(late_claim);
        flusher.adopt(&shared, catalog, damage);
        if is_rebuilt && let Err(error) = flusher.catalog.commit(&*shared.files) {
            // Every other commit writes it, too.
            tracing::error!(%error, "cannot write the catalog that was made again; trying again later");
        }
        let ReplayedTo { next, before } = flusher.replay(&shared)?;
        let (appends, waiting) = mpsc::channel(MOST_WAITING_APPENDS);
        let log_thread = LogThread::begin(shared.clone(), next, before);
        let watched = appends.downgrade();
        let threads = vec![
            spawn("tracewell-log", move || log_thread.run(waiting))?,
            spawn("tracewell-watch", {
                let shared = shared.clone();
                move || health::watch(&shared, &watched)
            })?,
            spawn("tracewell-flush", {
                let shared = shared.clone();
                move || flusher.run(&shared)
            })?,
        ];
        shared.flush.wake();
        let (appends, threads) = (Mutex::new(Some(appends)), Mutex::new(threads));
        let inner = Arc::new(Inner { shared: shared.clone(), appends, threads, _lock: lock });
        Ok(Self { shared, inner, left_out: None })
    }
}

/// Opens the segments that can be read. The others are tried again later.
pub(super) fn open_segments(files: &dyn SegmentFiles, entries: &[SegmentEntry]) -> (Vec<Arc<Segment>>, Vec<Unopened>) {
    let (mut segments, mut unopened) = (Vec::new(), Vec::new());
    for (entry, opened) in entries.iter().zip(open_all(files, entries)) {
        match opened {
            Ok(segment) => segments.push(Arc::new(segment)),
            Err(error) => {
                let what = Unopened::known(entry.clone(), &error);
                // One that cannot be reached is told of with its bucket.
                if !files.is_remote(entry.number) || what.is_damaged {
                    tracing::error!(%error, spans = entry.spans, "a segment cannot be opened; trying again later");
                }
                unopened.push(what);
            }
        }
    }
    (segments, unopened)
}

/// Opens segments, as many at once as is good for where they are.
pub(super) fn open_all(files: &dyn SegmentFiles, entries: &[SegmentEntry]) -> Vec<Result<Segment, StoreError>> {
    let open = |entry: &SegmentEntry| Segment::open(files, entry.clone());
    let mut opened = Vec::with_capacity(entries.len());
    for entries in entries.chunks(files.opened_at_once()) {
        if let Some(Err(StoreError::Unavailable(why))) = opened.last().filter(|_| !files.is_away()) {
            // Each would wait for as long.
            let why = why.clone();
            opened.extend(entries.iter().map(|_| Err(StoreError::Unavailable(why.clone()))));
            continue;
        }
        match entries {
            [only] => opened.push(open(only)),
            several => std::thread::scope(|scope| {
                let threads: Vec<_> = several.iter().map(|entry| scope.spawn(|| open(entry))).collect();
                let panicked = |_| Err(StoreError::Corrupt("opening a segment panicked".to_owned()));
                opened.extend(threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)));
            }),
        }
    }
    opened
}

/// Makes the directory and takes its lock.
pub(super) fn lock(disk: &dyn Disk, folder: &Path) -> Result<Box<dyn Send + Sync>, StoreError> {
    let io = |step: &str, path: &Path, source| StoreError::io(format!("{step} {}", path.display()), source);
    disk.create_folder(folder).map_err(|source| io("create", folder, source))?;
    for path in [folder.join("log"), folder.join("segments")] {
        if let Err(error) = disk.create_folder(&path) {
            // What can be read is served all the same.
            tracing::error!(path = %path.display(), %error, "cannot create a directory of the store");
        }
    }
    let path = folder.join("lock");
    let lock = disk.lock(&path).map_err(|source| io("open", &path, source))?;
    lock.ok_or_else(|| {
        StoreError::Invalid(format!("{} is in use by another process (lock {})", folder.display(), path.display()))
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| StoreError::io(format!("start thread {name}"), source))
}

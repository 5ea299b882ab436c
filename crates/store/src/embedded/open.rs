//! Opening a store: what a crash left is put in order, what is damaged is told, what the log holds is read back.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;

use tokio::sync::{Notify, mpsc};

use super::catalog::SegmentEntry;
use super::damage::Damages;
use super::disk::Disk;
use super::files::SegmentFiles;
use super::flush::Flusher;
use super::log::{self, LogEnd, LogWriter};
use super::place::{Opened, Place};
use super::segment::Segment;
use super::signal::Signal;
use super::{
    EmbeddedOptions, EmbeddedStore, Frozen, LogThread, MEMTABLES_PER_BUDGET, MOST_WAITING_APPENDS, Shared, Unopened,
};
use crate::memtable::{Kept, Memtable};
use crate::{StoreError, Tenant};

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
            closed: AtomicBool::new(false),
        });
        let mut flusher = Flusher::new(late_claim);
        flusher.adopt(&shared, catalog, damage);
        if is_rebuilt {
            flusher.catalog.commit(&*shared.files)?;
        }
        let (number, before) = replay(&shared, &mut flusher)?;
        let path = super::log_path(folder, number);
        let writer = LogWriter::create(&*shared.disk, &path, &shared.options.limits, before)?;
        let (appends, waiting) = mpsc::channel(MOST_WAITING_APPENDS);
        let log_thread = LogThread { shared: shared.clone(), writer, number, before, failed: false };
        let threads = vec![
            spawn("tracewell-log", move || log_thread.run(waiting))?,
            spawn("tracewell-flush", {
                let shared = shared.clone();
                move || flusher.run(&shared)
            })?,
        ];
        shared.flush.wake();
        Ok(Self { shared, appends: Mutex::new(Some(appends)), threads: Mutex::new(threads), _lock: lock })
    }
}

/// Opens the segments that can be read. Those that cannot be reached are opened later.
pub(super) fn open_segments(
    files: &dyn SegmentFiles,
    entries: &[SegmentEntry],
    damages: &Damages,
) -> (Vec<Arc<Segment>>, Vec<Unopened>) {
    let (mut segments, mut unopened) = (Vec::new(), Vec::new());
    for (entry, opened) in entries.iter().zip(open_all(files, entries)) {
        match opened {
            Ok(segment) => segments.push(Arc::new(segment)),
            Err(StoreError::Unavailable(why)) => unopened.push(Unopened { entry: entry.clone(), why }),
            Err(error) => {
                damages.note(&StoreError::Corrupt(format!("{error}: its {} spans are lost", entry.spans)).to_string());
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
    for path in [folder.to_owned(), folder.join("log"), folder.join("segments")] {
        disk.create_folder(&path).map_err(|source| io("create", &path, source))?;
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

/// Reads the log files that are not in segments into frozen memtables. Returns the number of the next file, and how much
/// of the one before it counts.
fn replay(shared: &Shared, flusher: &mut Flusher) -> Result<(u64, u64), StoreError> {
    let first = flusher.catalog.first_log;
    let mut numbers = super::logs_in(&*shared.disk, &shared.folder)?;
    numbers.retain(|number| *number >= first);
    let mut whole = 0;
    for (place, number) in numbers.iter().enumerate() {
        let expected = if place == 0 { first } else { numbers[place - 1] + 1 };
        if *number != expected {
            shared.damages.note(&format!(
                "{} is missing: its spans are lost",
                super::log_path(&shared.folder, expected).display()
            ));
        }
        let path = super::log_path(&shared.folder, *number);
        let next = super::log_path(&shared.folder, number + 1);
        let acknowledged = log::acknowledged_before(&*shared.disk, &next);
        let mut tables: HashMap<Tenant, Memtable> = HashMap::new();
        let mut spans = 0;
        let read = log::read(&*shared.disk, &path, acknowledged.unwrap_or(u64::MAX), |record, limits| {
            match tracewell_wire::decode(record.format, &record.body, limits) {
                Ok(decoded) => {
                    spans += decoded.batch.len();
                    tables.entry(record.tenant).or_default().insert(Arc::new(Kept::new(decoded.batch)));
                }
                Err(error) => {
                    shared.damages.note(&format!("log {}: a record does not decode: {error}", path.display()));
                }
            }
            Ok(())
        });
        let Some(end) = shared.damages.tolerate(read)? else { continue };
        note_damage(shared, &path, &end, acknowledged);
        whole = whole_bytes(&end);
        if spans > 0 {
            tracing::info!(path = %path.display(), spans, "read the log back");
        }
        let frozen = Arc::new(Frozen { log_number: *number, log_bytes: end.bytes, tables });
        shared.table_bytes.fetch_add(frozen.bytes(), Ordering::SeqCst);
        {
            let mut state = shared.state_mut();
            state.log_bytes += end.bytes;
            state.frozen.push(frozen.clone());
        }
        // More than the memory budget is written before more is read.
        let budget = shared.options.memory_bytes / MEMTABLES_PER_BUDGET * (MEMTABLES_PER_BUDGET - 1);
        while !flusher.is_to_claim() && shared.table_bytes.load(Ordering::SeqCst) > budget.max(1) {
            let Some(oldest) = shared.state().frozen.first().cloned() else { break };
            if let Err(error) = flusher.flush(shared, &oldest) {
                tracing::error!(%error, "cannot flush what was read back; trying again later");
                break;
            }
        }
    }
    Ok((numbers.last().map_or(first, |last| last + 1), whole))
}

/// The bytes up to the last whole record.
fn whole_bytes(end: &LogEnd) -> u64 {
    match end.unreadable.last() {
        Some((from, to)) if *to == end.bytes => *from,
        _ => end.bytes,
    }
}

/// Says which parts of a log file cannot be read. `acknowledged` is how much of it was, if that is known.
fn note_damage(shared: &Shared, path: &Path, end: &LogEnd, acknowledged: Option<u64>) {
    if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > end.bytes) {
        let bytes = acknowledged - end.bytes;
        shared.damages.note(&format!(
            "log {} at offset {}: it is cut off: the spans in {bytes} bytes are lost",
            path.display(),
            end.bytes
        ));
    }
    for (from, to) in &end.unreadable {
        let bytes = to - from;
        let is_end = *to == end.bytes && acknowledged.is_none();
        let what = if is_end { "the end, which was never acknowledged, or is damaged" } else { "damaged" };
        shared
            .damages
            .note(&format!("log {} at offset {from}: {what}: the spans in {bytes} bytes are lost", path.display()));
    }
}

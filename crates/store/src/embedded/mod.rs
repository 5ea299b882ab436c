//! The embedded store: a log, memtables, Parquet segments and a catalog in one directory.
//!
//! ```text
//! append ──▶ log thread: write, one fdatasync a group ──▶ memtable (visible) ──▶ acknowledged
//!                                 │ full
//!                                 ▼
//!            flush thread: frozen memtable ──▶ segment ──▶ catalog ──▶ log file deleted; merge; retention
//! ```
//!
//! One log file belongs to one memtable: when the memtable is in a segment, the file goes. The catalog's commit is the
//! moment at which the segment counts and the log file does not, so no crash loses a span or doubles one.

mod catalog;
mod flush;
mod log;
mod options;
mod segment;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tracewell_model::{SpanBatch, TimeRange, TraceId};

use crate::memtable::Memtable;
use crate::names::{Names, ValuesOf};
use crate::{
    Append, AttributeScope, Capabilities, Operation, Scan, ScanPage, SpanStore, StoreError, StoreStats, Tenant, scan,
};
use catalog::{Catalog, SegmentEntry};
use log::LogWriter;
pub use options::{Commit, EmbeddedOptions};
use segment::Segment;

/// Appends that may wait for the log thread; more are told that the store is busy.
const MOST_WAITING_APPENDS: usize = 1024;
/// Bytes of records that one group commit writes at most.
const GROUP_BYTES: usize = 16 << 20;
/// A memtable is frozen at this part of the memory budget: one fills while others are written.
const MEMTABLES_PER_BUDGET: usize = 4;

/// A store in a directory of its own.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    appends: Mutex<Option<mpsc::Sender<Request>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads and the readers share.
struct Shared {
    folder: PathBuf,
    options: EmbeddedOptions,
    state: RwLock<State>,
    flush: flush::Signal,
    closed: AtomicBool,
    /// Held for as long as the store is open.
    _lock: File,
}

/// What reads look at: the memtables and the segments together are every acknowledged span, once.
#[derive(Default)]
struct State {
    active: HashMap<Tenant, Memtable>,
    frozen: Vec<Arc<Frozen>>,
    segments: Vec<Arc<Segment>>,
    log_bytes: u64,
}

/// A full memtable that waits to become a segment.
struct Frozen {
    log_number: u64,
    log_bytes: u64,
    tables: HashMap<Tenant, Memtable>,
}

enum Request {
    Append { tenant: Tenant, batch: Box<SpanBatch>, record: Vec<u8>, done: oneshot::Sender<Result<(), StoreError>> },
    Freeze { done: oneshot::Sender<Result<(), StoreError>> },
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is made if it is not there, and reads back what its log holds.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when another process has it open or a newer version wrote it, [`StoreError::Corrupt`] with
    /// file and offset when it is damaged.
    pub fn open(folder: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let io =
            |step: &str, path: &Path, source| StoreError::Io { context: format!("{step} {}", path.display()), source };
        for path in [folder.to_owned(), folder.join("log"), folder.join("segments")] {
            std::fs::create_dir_all(&path).map_err(|source| io("create", &path, source))?;
        }
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(|source| io("open", &lock_path, source))?;
        lock.try_lock().map_err(|_| {
            StoreError::Invalid(format!(
                "{} is in use by another process (lock {})",
                folder.display(),
                lock_path.display()
            ))
        })?;

        let catalog = Catalog::open(folder)?;
        let segments_folder = folder.join("segments");
        let segments = catalog
            .segments
            .iter()
            .map(|entry| Segment::open(&segments_folder, entry.clone()).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        flush::remove_strays(folder, &catalog);

        let mut state = State { segments, ..State::default() };
        let last_log = replay(folder, &catalog, &mut state, options.memory_bytes / MEMTABLES_PER_BUDGET)?;
        let next_log = last_log.map_or(catalog.first_log, |last| last + 1);
        let writer = LogWriter::create(&log_path(folder, next_log), &options.limits)?;

        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            options,
            state: RwLock::new(state),
            flush: flush::Signal::default(),
            closed: AtomicBool::new(false),
            _lock: lock,
        });
        let (appends, waiting) = mpsc::channel(MOST_WAITING_APPENDS);
        let log_thread = {
            let shared = shared.clone();
            spawn("tracewell-log", move || LogThread { shared, writer, number: next_log, failed: false }.run(waiting))?
        };
        let flush_thread = {
            let shared = shared.clone();
            spawn("tracewell-flush", move || flush::run(&shared, catalog))?
        };
        Ok(Self { shared, appends: Mutex::new(Some(appends)), threads: Mutex::new(vec![log_thread, flush_thread]) })
    }

    fn sender(&self) -> Result<mpsc::Sender<Request>, StoreError> {
        self.appends.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    /// Reads off the async threads: files are read in the process of it.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || read(&shared)).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Corrupt(format!("a read did not finish: {error}"))),
        }
    }
}

impl Drop for EmbeddedStore {
    /// Ends the threads. What is in memory only is in the log, too.
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.appends.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.flush.wake();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| StoreError::Io { context: format!("start thread {name}"), source })
}

fn log_path(folder: &Path, number: u64) -> PathBuf {
    folder.join("log").join(format!("{number:010}.log"))
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| StoreError::Io { context: format!("sync folder {}", folder.display()), source })
}

/// Reads the log files that are not in segments into frozen memtables; returns the last file's number.
fn replay(folder: &Path, catalog: &Catalog, state: &mut State, table_bytes: usize) -> Result<Option<u64>, StoreError> {
    let numbers = flush::numbers_in(&folder.join("log"), "log")?;
    let live: Vec<u64> = numbers.into_iter().filter(|number| *number >= catalog.first_log).collect();
    for (place, number) in live.iter().enumerate() {
        let path = log_path(folder, *number);
        let mut tables: HashMap<Tenant, Memtable> = HashMap::new();
        let mut spans = 0;
        let end = log::read(&path, |record, limits| {
            let decoded = tracewell_wire::decode(record.format, &record.body, limits).map_err(|error| {
                StoreError::Corrupt(format!("log {}: a record does not decode: {error}", path.display()))
            })?;
            spans += decoded.batch.len();
            tables.entry(record.tenant).or_default().insert(decoded.batch);
            Ok(())
        })?;
        let is_last = place + 1 == live.len();
        if end.torn_bytes > 0 {
            if is_last {
                tracing::warn!(path = %path.display(), bytes = end.torn_bytes, "dropped the end of the log, which was never acknowledged");
            } else {
                tracing::error!(
                    path = %path.display(), offset = end.bytes - end.torn_bytes, bytes = end.torn_bytes,
                    "the log is damaged: spans from this offset on are lost"
                );
            }
        }
        if spans > 0 {
            tracing::info!(path = %path.display(), spans, table_bytes, "read the log back");
        }
        state.log_bytes += end.bytes;
        state.frozen.push(Arc::new(Frozen { log_number: *number, log_bytes: end.bytes, tables }));
    }
    Ok(live.last().copied())
}

impl Shared {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the memtables of a tenant and returns its segments: together one moment's state.
    fn look(&self, tenant: &Tenant, mut table: impl FnMut(&Memtable)) -> Vec<Arc<Segment>> {
        let state = self.state();
        state.tables(tenant).for_each(&mut table);
        state.segments.iter().filter(|segment| segment.entry.tenant == tenant.as_str()).cloned().collect()
    }

    fn names(&self, tenant: &Tenant) -> Names {
        let mut names = Names::default();
        for segment in self.look(tenant, |table| names.merge(table.names())) {
            names.merge(segment.names());
        }
        names
    }
}

impl State {
    fn tables<'a>(&'a self, tenant: &'a Tenant) -> impl Iterator<Item = &'a Memtable> {
        let frozen = self.frozen.iter().filter_map(|frozen| frozen.tables.get(tenant));
        frozen.chain(self.active.get(tenant))
    }

    fn active_bytes(&self) -> usize {
        self.active.values().map(Memtable::bytes).sum()
    }

    fn table_bytes(&self) -> usize {
        let frozen = self.frozen.iter().flat_map(|frozen| frozen.tables.values());
        self.active_bytes() + frozen.map(Memtable::bytes).sum::<usize>()
    }
}

/// Writes the log: the only writer of the log and of the active memtable.
struct LogThread {
    shared: Arc<Shared>,
    writer: LogWriter,
    number: u64,
    /// After a failed write the end of the file is unknown, so it takes no more.
    failed: bool,
}

impl LogThread {
    fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        let mut group = Vec::new();
        while let Some(first) = waiting.blocking_recv() {
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(request) = next.take() {
                match request {
                    Request::Append { tenant, batch, record, done } => {
                        bytes += record.len();
                        group.push((tenant, batch, record, done));
                        if bytes < GROUP_BYTES {
                            next = waiting.try_recv().ok();
                        }
                    }
                    Request::Freeze { done } => {
                        self.commit(&mut group);
                        // The receiver is gone only when its caller is.
                        let _ = done.send(self.freeze());
                    }
                }
            }
            self.commit(&mut group);
        }
    }

    #[expect(clippy::type_complexity, reason = "the parts of one request, used here only")]
    fn commit(&mut self, group: &mut Vec<(Tenant, Box<SpanBatch>, Vec<u8>, oneshot::Sender<Result<(), StoreError>>)>) {
        if group.is_empty() {
            return;
        }
        let records: Vec<u8> = group.iter().flat_map(|(_, _, record, _)| record.iter().copied()).collect();
        let written = if self.failed { self.freeze() } else { Ok(()) }
            .and_then(|()| self.writer.write(&records, self.shared.options.commit == Commit::Group));
        if let Err(error) = written {
            tracing::error!(%error, "cannot write the log");
            self.failed = true;
            for (.., done) in group.drain(..) {
                let _ = done.send(Err(StoreError::Busy(format!("the log cannot be written: {error}"))));
            }
            return;
        }
        let full = {
            let mut state = self.shared.state_mut();
            state.log_bytes += records.len() as u64;
            for (tenant, batch, _, done) in group.drain(..) {
                state.active.entry(tenant).or_default().insert(*batch);
                let _ = done.send(Ok(()));
            }
            state.active_bytes() >= self.shared.options.memory_bytes / MEMTABLES_PER_BUDGET
        };
        if full && let Err(error) = self.freeze() {
            tracing::error!(%error, "cannot begin a new log file");
        }
    }

    /// Hands the active memtable with its log file to the flush thread and begins a new file.
    fn freeze(&mut self) -> Result<(), StoreError> {
        let number = self.number + 1;
        let writer = LogWriter::create(&log_path(&self.shared.folder, number), &self.shared.options.limits)?;
        let old = std::mem::replace(&mut self.writer, writer);
        let mut state = self.shared.state_mut();
        let tables = std::mem::take(&mut state.active);
        state.frozen.push(Arc::new(Frozen { log_number: self.number, log_bytes: old.bytes, tables }));
        drop(state);
        self.number = number;
        self.failed = false;
        self.shared.flush.wake();
        Ok(())
    }
}

#[async_trait]
impl SpanStore for EmbeddedStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { survives_restart: true, evaluates_predicates: true }
    }

    async fn append(&self, tenant: &Tenant, append: Append) -> Result<(), StoreError> {
        if append.batch.is_empty() {
            return Ok(());
        }
        let budget = self.shared.options.memory_bytes;
        if self.shared.state().table_bytes() + append.batch.size_bytes() > budget.max(append.batch.size_bytes()) {
            return Err(StoreError::Busy(format!("the memory budget of {budget} bytes is used up until a flush ends")));
        }
        let record = log::encode_record(tenant, append.format, &append.body);
        let (done, answer) = oneshot::channel();
        let request = Request::Append { tenant: tenant.clone(), batch: Box::new(append.batch), record, done };
        self.sender()?.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                StoreError::Busy(format!("{MOST_WAITING_APPENDS} appends are waiting for the log"))
            }
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn traces(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<SpanBatch, StoreError> {
        let (tenant, ids) = (tenant.clone(), ids.to_vec());
        self.read(move |shared| {
            let mut out = SpanBatch::new();
            for segment in shared.look(&tenant, |table| table.traces(&ids, &mut out)) {
                segment.traces(&ids, &mut out)?;
            }
            Ok(out)
        })
        .await
    }

    async fn scan(&self, tenant: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError> {
        let (tenant, scan) = (tenant.clone(), scan.clone());
        self.read(move |shared| {
            let limit = scan.limit.saturating_add(1);
            let mut hits = Vec::new();
            let mut segments = shared.look(&tenant, |table| table.scan(&scan, limit, &mut hits));
            segments.retain(|segment| {
                scan.time.overlaps(segment.entry.first_start_unix_nano, segment.entry.last_start_unix_nano)
            });
            segments.sort_by_key(|segment| std::cmp::Reverse(segment.entry.last_start_unix_nano));
            for segment in segments {
                let worst = hits.get(limit - 1).map(|hit| hit.position.start_unix_nano);
                if worst.is_some_and(|worst| segment.entry.last_start_unix_nano < worst) {
                    break;
                }
                segment.scan(&scan, limit, &mut hits)?;
            }
            Ok(scan::page(&scan, hits))
        })
        .await
    }

    async fn services(&self, tenant: &Tenant) -> Result<Vec<String>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |shared| Ok(shared.names(&tenant).services())).await
    }

    async fn operations(
        &self,
        tenant: &Tenant,
        service: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        let (tenant, service) = (tenant.clone(), service.map(str::to_owned));
        self.read(move |shared| Ok(shared.names(&tenant).operations(service.as_deref(), limit))).await
    }

    async fn attribute_keys(&self, tenant: &Tenant, limit: usize) -> Result<Vec<(AttributeScope, String)>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |shared| Ok(shared.names(&tenant).keys(limit))).await
    }

    async fn attribute_values(
        &self,
        tenant: &Tenant,
        key: &str,
        prefix: &str,
        time: TimeRange,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let (tenant, key, prefix) = (tenant.clone(), key.to_owned(), prefix.to_owned());
        self.read(move |shared| {
            let wanted = ValuesOf { key: &key, prefix: &prefix, time, limit };
            let mut out = BTreeSet::new();
            for segment in shared.look(&tenant, |table| table.values(&wanted, &mut out)) {
                let entry = &segment.entry;
                if time.overlaps(entry.first_start_unix_nano, entry.last_start_unix_nano) {
                    segment.values(&wanted, &mut out)?;
                }
            }
            Ok(out.into_iter().collect())
        })
        .await
    }

    async fn stats(&self, tenant: &Tenant) -> Result<StoreStats, StoreError> {
        let mut stats = StoreStats::default();
        let mut starts: Vec<(u64, u64)> = Vec::new();
        let segments = self.shared.look(tenant, |table| {
            stats.spans += table.spans() as u64;
            stats.memtable_bytes += table.bytes() as u64;
            starts.extend(table.starts());
        });
        for entry in segments.iter().map(|segment| &segment.entry) {
            stats.spans += entry.spans;
            stats.bytes += entry.bytes;
            starts.push((entry.first_start_unix_nano, entry.last_start_unix_nano));
        }
        stats.segments = segments.len() as u64;
        stats.log_bytes = self.shared.state().log_bytes;
        stats.bytes += stats.log_bytes;
        stats.oldest_unix_nano = starts.iter().map(|(first, _)| *first).min();
        stats.newest_unix_nano = starts.iter().map(|(_, last)| *last).max();
        Ok(stats)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.sender()?.send(Request::Freeze { done }).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))?;
        self.read(|shared| shared.flush.wait_until_idle(shared)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let flushed = self.flush().await;
        self.appends.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.flush.wake();
        match flushed {
            Err(StoreError::Closed) => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests;

//! The embedded store: a log, memtables, segments and a catalog in one directory.
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

mod append;
#[cfg(feature = "s3")]
mod bucket;
mod catalog;
mod clock;
mod damage;
mod disk;
mod files;
mod flush;
mod fsck;
mod log;
mod look;
mod moving;
mod open;
mod options;
mod parquet;
mod place;
mod reads;
mod segment;
mod signal;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, oneshot};
use tracewell_model::{SpanBatch, TimeRange, TraceId};

use crate::memtable::{Kept, Memtable};
use crate::names::ValuesOf;
use crate::{
    Append, AttributeScope, BucketStats, Capabilities, Operation, Predicate, Projection, Scan, ScanPage, SpanStore,
    StoreError, StoreStats, Tenant,
};
use append::LogThread;
use catalog::{Catalog, SegmentEntry};
use damage::Damages;
use disk::Disk;
use files::SegmentFiles;
pub use fsck::{FsckReport, SegmentReport, StoreReport, fsck, store_report};
pub use options::{BucketOptions, Commit, EmbeddedOptions};
pub use parquet::export_parquet;
pub use place::Place;
use reads::Looked;
use segment::Segment;
pub(crate) use segment::{Damaged, Input, put_varint, service_only};

/// Appends that may wait for the log thread; more are told that the store is busy.
const MOST_WAITING_APPENDS: usize = 1024;
/// A memtable is frozen at this part of the memory budget: one fills while others are written.
const MEMTABLES_PER_BUDGET: usize = 4;
/// How long an append waits for memory before it is told that the store is busy.
const MOST_WAIT: Duration = Duration::from_secs(2);

/// How long a flush at the end may take when segments are in a bucket: what is not in it stays in the log.
const MOST_CLOSING: Duration = Duration::from_secs(10);

/// A store in a directory of its own.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    appends: Mutex<Option<mpsc::Sender<Request>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads and the readers share.
struct Shared {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    files: Arc<dyn SegmentFiles>,
    options: EmbeddedOptions,
    state: RwLock<State>,
    /// Bytes of all memtables, and of the batches that are on their way into one.
    table_bytes: AtomicUsize,
    /// Told when a flush has given memory back.
    room: Notify,
    flush: signal::Signal,
    damages: Damages,
    closed: AtomicBool,
    /// Held for as long as the store is open.
    _lock: Box<dyn Send + Sync>,
}

/// What reads look at: the memtables and the segments together are every acknowledged span, once.
#[derive(Default)]
struct State {
    active: HashMap<Tenant, Memtable>,
    frozen: Vec<Arc<Frozen>>,
    segments: Vec<Arc<Segment>>,
    /// Segments of a bucket that could not be reached so far: no answer that may need one is made without it.
    unopened: Vec<Unopened>,
    log_bytes: u64,
}

/// A segment that is known and could not be opened, with the reason.
#[derive(Clone)]
struct Unopened {
    entry: SegmentEntry,
    why: String,
}

/// A full memtable that waits to become a segment.
struct Frozen {
    log_number: u64,
    log_bytes: u64,
    tables: HashMap<Tenant, Memtable>,
}

enum Request {
    Append(Waiting),
    Freeze { done: oneshot::Sender<Result<(), StoreError>> },
}

/// An append that waits for the log.
struct Waiting {
    tenant: Tenant,
    kept: Arc<Kept>,
    record: Vec<u8>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is made if it is not there, and reads back what its log holds.
    ///
    /// What is damaged is told by name ([`damages`](Self::damages)) and left out; the rest is served.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when another process has it open or a newer version wrote it.
    pub fn open(folder: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(disk::LocalDisk), folder, options)
    }

    /// Waits until everything is flushed and nothing is left to merge.
    pub async fn settle(&self) -> Result<(), StoreError> {
        self.flush().await?;
        self.read(|shared| shared.flush.wait_until_merged()).await
    }

    /// What is damaged, by file and offset, as far as it was met.
    pub fn damages(&self) -> Vec<String> {
        self.shared.damages.list()
    }

    /// Bytes in segments by column, the largest first.
    pub fn bytes_by_column(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let mut columns = BTreeMap::new();
        let segments = self.shared.state().segments.clone();
        segments.iter().try_for_each(|segment| segment.bytes_by_column(&mut columns))?;
        let mut columns: Vec<(String, u64)> = columns.into_iter().collect();
        columns.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        Ok(columns)
    }

    /// What is known of the bucket, if the segments are in one.
    fn bucket_stats(&self) -> Option<BucketStats> {
        let files = &self.shared.files;
        let mut stats = files.bucket_stats()?;
        stats.away = self.shared.flush.failed().filter(|failed| failed.is_away).map(|failed| failed.why).or(stats.away);
        let state = self.shared.state();
        for segment in state.segments.iter().filter(|segment| files.is_to_be_moved(segment.entry.number)) {
            stats.unmoved_segments += 1;
            stats.unmoved_bytes += segment.entry.bytes;
        }
        Some(stats)
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
        let read = move || {
            shared.check_owned()?;
            let result = read(&shared);
            shared.forget_least_used();
            result
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Corrupt(format!("a read did not finish: {error}"))),
        }
    }

    /// Takes memory for a batch, and waits a while for it. A lone batch always fits, or a small budget would refuse it
    /// for ever.
    async fn reserve(&self, bytes: usize) -> Result<(), StoreError> {
        let deadline = tokio::time::Instant::now() + MOST_WAIT;
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            // Told of from here on, so that a flush between the look and the wait is not missed.
            room.as_mut().enable();
            let used = self.shared.table_bytes.fetch_add(bytes, Ordering::SeqCst);
            let budget = self.shared.options.memory_bytes;
            if used == 0 || used + bytes <= budget {
                return Ok(());
            }
            self.shared.table_bytes.fetch_sub(bytes, Ordering::SeqCst);
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                let why = self.shared.flush.failed().map(|failed| format!(": {}", failed.why)).unwrap_or_default();
                return Err(StoreError::Busy(format!(
                    "the memory budget of {budget} bytes is used up until a flush ends{why}"
                )));
            }
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

fn log_path(folder: &Path, number: u64) -> PathBuf {
    folder.join("log").join(format!("{number:010}.log"))
}

/// The numbers of the log files, sorted.
fn logs_in(disk: &dyn Disk, folder: &Path) -> Result<Vec<u64>, StoreError> {
    let folder = folder.join("log");
    let context = |source| StoreError::io(format!("list {}", folder.display()), source);
    disk::numbers_in(disk, &folder, "log").map_err(context)
}

impl Shared {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses, with the reason, once another process has taken this one's place: what it holds is out of date.
    fn check_owned(&self) -> Result<(), StoreError> {
        self.files.taken_over().map_or(Ok(()), |by| Err(StoreError::Unavailable(by)))
    }

    /// Gives memory back.
    fn release(&self, bytes: usize) {
        self.table_bytes.fetch_sub(bytes, Ordering::SeqCst);
        self.room.notify_waiters();
    }
}

impl Frozen {
    fn bytes(&self) -> usize {
        self.tables.values().map(Memtable::bytes).sum()
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
        self.shared.check_owned()?;
        let kept = Arc::new(Kept::new(append.batch));
        let bytes = kept.bytes();
        self.reserve(bytes).await?;
        let record = log::encode_record(tenant, append.format, &append.body);
        let (done, answer) = oneshot::channel();
        let request = Request::Append(Waiting { tenant: tenant.clone(), kept, record, done });
        let sent = self.sender().and_then(|sender| {
            sender.try_send(request).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    StoreError::Busy(format!("{MOST_WAITING_APPENDS} appends are waiting for the log"))
                }
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
            })
        });
        if let Err(error) = sent {
            self.shared.release(bytes);
            return Err(error);
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn traces(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<SpanBatch, StoreError> {
        self.traces_with(tenant, ids, Projection::All).await
    }

    async fn traces_with(
        &self,
        tenant: &Tenant,
        ids: &[TraceId],
        projection: Projection,
    ) -> Result<SpanBatch, StoreError> {
        let (tenant, ids) = (tenant.clone(), ids.to_vec());
        self.read(move |shared| shared.traces(&tenant, &ids, projection)).await
    }

    async fn scan(&self, tenant: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError> {
        let (tenant, scan) = (tenant.clone(), scan.clone());
        self.read(move |shared| shared.scan(&tenant, &scan)).await
    }

    async fn trace_ids(
        &self,
        tenant: &Tenant,
        time: TimeRange,
        predicates: &[Predicate],
    ) -> Result<Vec<TraceId>, StoreError> {
        let (tenant, predicates) = (tenant.clone(), predicates.to_vec());
        self.read(move |shared| shared.trace_ids(&tenant, time, predicates)).await
    }

    async fn services(&self, tenant: &Tenant) -> Result<Vec<String>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |shared| Ok(shared.names(&tenant)?.services())).await
    }

    async fn operations(
        &self,
        tenant: &Tenant,
        service: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Operation>, StoreError> {
        let (tenant, service) = (tenant.clone(), service.map(str::to_owned));
        self.read(move |shared| Ok(shared.names(&tenant)?.operations(service.as_deref(), limit))).await
    }

    async fn attribute_keys(&self, tenant: &Tenant, limit: usize) -> Result<Vec<(AttributeScope, String)>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |shared| Ok(shared.names(&tenant)?.keys(limit))).await
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
            let wanted = ValuesOf::new(&key, &prefix, time, limit);
            let mut out = BTreeSet::new();
            let (tables, mut segments) = shared.look(&tenant).whole(time)?;
            segments.sort_by_key(|segment| std::cmp::Reverse(segment.entry.last_start_unix_nano));
            tables.iter().for_each(|table| table.values(&wanted, &mut out));
            for segment in segments {
                shared.damages.tolerate(segment.values(&wanted, &shared.damages, &mut out))?;
            }
            Ok(out.into_iter().collect())
        })
        .await
    }

    async fn stats(&self, tenant: &Tenant) -> Result<StoreStats, StoreError> {
        let mut stats = StoreStats::default();
        let mut starts: Vec<(u64, u64)> = Vec::new();
        let Looked { tables, segments, unopened } = self.shared.look(tenant);
        for table in tables {
            stats.spans += table.spans() as u64;
            stats.memtable_bytes += table.bytes() as u64;
            starts.extend(table.starts());
        }
        let entries =
            segments.iter().map(|segment| &segment.entry).chain(unopened.iter().map(|unopened| &unopened.entry));
        for entry in entries {
            stats.spans += entry.spans;
            stats.bytes += entry.bytes;
            starts.push((entry.first_start_unix_nano, entry.last_start_unix_nano));
        }
        stats.segments = (segments.len() + unopened.len()) as u64;
        stats.log_bytes = self.shared.state().log_bytes;
        stats.bytes += stats.log_bytes;
        stats.damages = self.damages();
        stats.bucket = self.bucket_stats();
        stats.oldest_unix_nano = starts.iter().map(|(first, _)| *first).min();
        stats.newest_unix_nano = starts.iter().map(|(_, last)| *last).max();
        Ok(stats)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.sender()?.send(Request::Freeze { done }).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))?;
        self.read(|shared| shared.flush.wait_until_flushed(shared)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let is_bucket = self.shared.files.bucket_stats().is_some();
        let flushed = if is_bucket {
            let slow = || format!("it takes longer than {MOST_CLOSING:?}");
            let flushed = tokio::time::timeout(MOST_CLOSING, self.flush()).await;
            flushed.unwrap_or_else(|_| Err(StoreError::Unavailable(slow())))
        } else {
            self.flush().await
        };
        self.appends.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.closed.store(true, Ordering::SeqCst);
        if flushed.is_err() {
            self.shared.files.give_up();
        }
        self.shared.flush.wake();
        match flushed {
            Err(StoreError::Closed) => Ok(()),
            // What is in the log is found by the next start, unless another directory owns the bucket by now.
            Err(StoreError::Unavailable(why)) if self.shared.files.taken_over().is_none() => {
                let log_bytes = self.shared.state().log_bytes;
                tracing::warn!(
                    why,
                    log_bytes,
                    "the bucket is away; what is not in it stays in the log for the next start"
                );
                Ok(())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;

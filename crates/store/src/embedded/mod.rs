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

mod adopt;
mod append;
mod aside;
mod backup;
#[cfg(feature = "s3")]
mod bucket;
mod catalog;
mod checksum;
mod clock;
mod contract;
mod damage;
mod disk;
mod files;
mod flush;
mod fsck;
pub mod fuzzing;
mod health;
mod log;
mod log_read;
mod look;
mod merging;
mod moving;
mod open;
mod options;
mod parquet;
mod place;
mod portions;
mod reads;
mod replay;
mod replay_mark;
mod reserve;
mod segment;
mod signal;
mod upgrade;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::memtable::{Kept, Memtable, sent_unix_nano};
use crate::{Append, BucketStats, LeftOut, RetentionStats, SpanStore, StoreError, Tenant, WorkStats, stop};
use append::LogThread;
use aside::{SetAside, Unopened};
pub use backup::{BackupReport, RestoreReport, backup, restore};
use catalog::{Catalog, SegmentEntry};
use clock::{Clock, Reading};
use damage::Damages;
use disk::Disk;
use files::SegmentFiles;
pub use fsck::{FsckChanges, FsckReport, SegmentReport, StoreReport, fsck, store_report};
use health::Health;
use log_read::LogState;
pub use options::{BucketOptions, Commit, EmbeddedOptions};
pub use parquet::export_parquet;
pub use place::Place;
use reads::Reading as StoreReading;
use segment::Segment;
pub(crate) use segment::{Damaged, Input, put_varint, service_only};

/// Appends that may wait for the log thread; more are told that the store is busy.
const MOST_WAITING_APPENDS: usize = 1024;
/// A memtable is frozen at this part of the memory budget: one fills while others are written.
const MEMTABLES_PER_BUDGET: usize = 4;
/// How long an append waits for memory before it is told that the store is busy.
const MOST_WAIT: Duration = Duration::from_secs(2);

/// A store in a directory of its own.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    inner: Arc<Inner>,
    /// What reads leave out is collected here, if this is the view of one question.
    left_out: Option<Arc<LeftOut>>,
}

/// What ends with the store and the last view of it.
struct Inner {
    shared: Arc<Shared>,
    appends: Mutex<Option<mpsc::Sender<Request>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The directory's, held until the threads that write have ended. A read that nobody waits for any more may outlast
    /// it: it changes nothing but the cache of a bucket.
    _lock: Box<dyn Send + Sync>,
}

/// What the threads and the readers share.
struct Shared {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    files: Arc<dyn SegmentFiles>,
    options: EmbeddedOptions,
    state: RwLock<State>,
    /// Bytes of all memtables, and of the batches that are on their way into one.
    table_bytes: Arc<AtomicUsize>,
    /// Told when a flush has given memory back.
    room: Notify,
    flush: signal::Signal,
    damages: Damages,
    work: work::Work,
    clock: Mutex<Clock>,
    health: Health,
    closed: AtomicBool,
}

/// What reads look at: the memtables and the segments together are every acknowledged span, once.
#[derive(Default)]
struct State {
    active: HashMap<Tenant, Memtable>,
    frozen: Vec<Arc<Frozen>>,
    segments: Vec<Arc<Segment>>,
    /// Segments that could not be opened so far: no answer that may need one is made without it in silence.
    unopened: Vec<Unopened>,
    /// Why a part of the log is not read back yet, if so: no answer is made without it either.
    unread_log: Option<String>,
    /// What was set aside, likewise.
    aside: Vec<SetAside>,
    log_bytes: u64,
}

/// A full memtable that waits to become a segment.
struct Frozen {
    log_number: u64,
    log_bytes: u64,
    tables: HashMap<Tenant, Memtable>,
    /// Spans of the same log file that are in segments already, which no catalog names yet.
    written: Vec<SegmentEntry>,
    /// Whether some of the log file could not be read, so that it is kept.
    /// How much of the log file could be read back.
    log_state: LogState,
}

enum Request {
    Append(Waiting),
    Freeze {
        done: oneshot::Sender<Result<(), StoreError>>,
    },
    /// What could not be done is to be tried again.
    Retry,
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
        self.read(|reading| reading.shared.flush.wait_until_merged()).await
    }

    /// A thread that ended though the store is open, by name: what is appended from then on is not kept, or never written.
    pub fn ended_thread(&self) -> Option<String> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return None;
        }
        let threads = self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = threads.iter().find(|thread| thread.is_finished())?;
        // It may have been closed in between.
        (!self.shared.closed.load(Ordering::SeqCst)).then(|| ended.thread().name().unwrap_or("?").to_owned())
    }

    /// What is damaged, by file and offset, as far as it was met.
    pub fn damages(&self) -> Vec<String> {
        let mut damages = self.shared.damages.list();
        damages.extend(self.shared.missing_files());
        damages
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

    /// What the store does in the background.
    fn work_stats(&self) -> WorkStats {
        let state = self.shared.state();
        WorkStats {
            memtables: state.frozen.len() as u64 + u64::from(!state.active.is_empty()),
            unavailable_segments: state.unopened.len() as u64,
            ..self.shared.work.snapshot()
        }
    }

    /// What is known of the bucket, if the segments are in one.
    fn bucket_stats(&self) -> Option<BucketStats> {
        let files = &self.shared.files;
        let mut stats = files.bucket_stats()?;
        stats.away = self.shared.flush.failed().filter(|failed| failed.is_away).map(|failed| failed.why).or(stats.away);
        let state = self.shared.state();
        // It may be claimed, and what it holds not be open yet.
        let unopened = state.unopened.iter().find(|unopened| files.is_remote(unopened.number) && !unopened.is_damaged);
        stats.away = stats.away.or_else(|| Some(unopened?.why.clone()));
        for segment in state.segments.iter().filter(|segment| files.is_to_be_moved(segment.entry.number)) {
            stats.unmoved_segments += 1;
            stats.unmoved_bytes += segment.entry.bytes;
        }
        Some(stats)
    }

    /// What retention does, and what holds it up.
    fn retention_stats(&self) -> RetentionStats {
        let clock_doubt = self.shared.read_clock().doubt;
        let oldest = self.shared.state().segments.iter().map(|segment| segment.entry.last_date()).min();
        let lag_nanos = self.shared.options.retention_age.zip(oldest).map_or(0, |(age, oldest)| {
            let due = oldest.saturating_add(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
            (self.shared.options.now_unix_nano)().saturating_sub(due)
        });
        RetentionStats { lag_nanos, clock_doubt }
    }

    fn sender(&self) -> Result<mpsc::Sender<Request>, StoreError> {
        self.inner.appends.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }

    /// Reads off the async threads; see [`Shared::read_off`].
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StoreReading<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.shared.read_off(self.left_out.clone(), read).await
    }

    /// Takes memory for a batch, and waits a while for it. One that would not fit alone is refused for good: it would take
    /// more than there is now, when it is flushed, and when the log is read back.
    async fn reserve(&self, bytes: usize) -> Result<(), StoreError> {
        let budget = self.shared.options.memory_bytes;
        if bytes > budget {
            return Err(StoreError::too_large(bytes, budget));
        }
        let deadline = tokio::time::Instant::now() + MOST_WAIT;
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            // Told of from here on, so that a flush between the look and the wait is not missed.
            room.as_mut().enable();
            let used = self.shared.table_bytes.fetch_add(bytes, Ordering::SeqCst);
            if used + bytes <= budget {
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

impl Drop for Inner {
    /// Ends the threads. What is in memory only is in the log, too.
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.appends.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.flush.wake();
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|thread| thread.thread().unpark());
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
    disk::retried(|| disk::numbers_in(disk, &folder, "log")).map_err(context)
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

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time to delete by.
    fn read_clock(&self) -> Reading {
        let (wall, passing) = ((self.options.now_unix_nano)(), (self.options.passing)());
        self.clock().read(wall, passing)
    }

    /// When a request arrived, and whether the clock that says so can be believed. Its senders have a say in that.
    fn arrival(&self, append: &Append) -> log::Arrival {
        let (wall, passing) = ((self.options.now_unix_nano)(), (self.options.passing)());
        let mut clock = self.clock();
        let sent = sent_unix_nano(&append.batch);
        clock.note_sent(sent, wall);
        log::Arrival { unix_nano: append.arrival_unix_nano, is_doubtful: clock.is_behind(sent, wall, passing) }
    }

    /// Under what rules requests become spans.
    fn rules(&self) -> log::Rules {
        log::Rules { limits: self.options.limits, times: self.options.times }
    }

    /// Reads off the async threads: files are read in the process of it. A read whose future is dropped ends soon.
    async fn read_off<T: Send + 'static>(
        self: &Arc<Self>,
        left_out: Option<Arc<LeftOut>>,
        read: impl FnOnce(&StoreReading<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.clone();
        let (_waiter, awaited) = stop::Waiter::new();
        match tokio::task::spawn_blocking(move || awaited.run(|| shared.read(left_out.as_deref(), read))).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Corrupt(format!("a read did not finish: {error}"))),
        }
    }

    /// Reads on this thread, where its runtime lets another one take over what else waits: less is read than it takes to
    /// get a thread, where others want the processor, too.
    async fn read_little<T: Send + 'static>(
        self: &Arc<Self>,
        left_out: Option<Arc<LeftOut>>,
        read: impl FnOnce(&StoreReading<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match Handle::current().runtime_flavor() {
            RuntimeFlavor::MultiThread => tokio::task::block_in_place(|| self.read(left_out.as_deref(), read)),
            _ => self.read_off(left_out, read).await,
        }
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

#[cfg(test)]
mod clock_simulation;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod tests;

//! Where spans are kept.
//!
//! [`SpanStore`] is the contract; what one store cannot do cheaply the query layer does for it, guided by
//! [`Capabilities`].

mod compiled;
#[doc(hidden)]
pub mod conformance;
mod embedded;
mod error;
mod left_out;
mod memory;
mod memtable;
mod names;
mod odd_times;
mod predicate;
mod reader;
mod scan;
mod stop;
mod values;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracewell_model::{SpanBatch, SpanKind, SpanRef, TimeRange, TraceId, TraceSummary};
use tracewell_wire::Format;

#[doc(hidden)]
pub use embedded::fuzzing;
pub use embedded::{
    BackupReport, BucketOptions, Commit, EmbeddedOptions, EmbeddedStore, FsckChanges, FsckReport, Place, RestoreReport,
    SegmentReport, StoreReport, backup, export_parquet, fsck, restore, store_report,
};
pub use error::StoreError;
pub use left_out::{LeftOut, Missing, MissingPart};
pub use memory::{MemoryOptions, MemoryStore};
pub use names::NameLimits;
pub use odd_times::{OddCounts, OddTimes, TimeRules};
pub use predicate::{AttributeScope, Field, Literal, Op, Predicate};
pub use reader::{TracePortion, TraceReader};
pub use scan::{Projection, Scan, ScanPage, ScanPosition};

/// Whose spans: every call names one, and no call sees another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(String);

impl Tenant {
    /// A tenant by name: 1 to 64 of `a-z A-Z 0-9 _ -`, so that it can be part of a file name.
    pub fn new(name: &str) -> Result<Self, StoreError> {
        let fits = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(StoreError::Invalid(format!("tenant {name:?}: use 1 to 64 of a-z A-Z 0-9 _ -")))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    /// The tenant of those who name none: `default`.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// What a store can do by itself. The default promises nothing, so a new store is correct before it is fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What [`SpanStore::append`] acknowledges survives the death of the process.
    pub survives_restart: bool,
    /// Predicates are evaluated by the store; otherwise a scan may return rows that do not match.
    pub evaluates_predicates: bool,
}

/// Spans to keep: what was received, and what it says.
#[derive(Clone, Debug)]
pub struct Append {
    /// The decoded spans.
    pub batch: SpanBatch,
    /// The bytes that `batch` was decoded from, uncompressed.
    pub body: Bytes,
    /// How `body` is written.
    pub format: Format,
    /// When it was received, by the clock of who received it. Retention goes by the earlier of this and a span's start.
    pub arrival_unix_nano: u64,
}

/// What a store holds, for people and for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Spans held, duplicates included.
    pub spans: u64,
    /// Bytes on disk (or in memory, for a store without one).
    pub bytes: u64,
    /// Bytes in memory that are not yet in a segment.
    pub memtable_bytes: u64,
    /// Bytes of the log that a restart would replay.
    pub log_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// The earliest span start held.
    pub oldest_unix_nano: Option<u64>,
    /// The latest span start held.
    pub newest_unix_nano: Option<u64>,
    /// What recovery and reads found broken, by file and offset, whosever it is. An entry goes when it can be read again.
    pub damages: Vec<String>,
    /// Files that were set aside, because no segment is known to hold their spans, whosever they are.
    pub set_aside: Vec<SetAsideFile>,
    /// Files that cannot be read at the moment and are tried again, whosever they are.
    pub unavailable: Vec<UnavailableFile>,
    /// The read that failed last since the store was opened, at something that may have passed.
    pub last_read_error: Option<String>,
    /// The same, if it was in the last ten seconds.
    pub failing_read: Option<String>,
    /// Of the bucket with the segments, if they are in one, whosever they are.
    pub bucket: Option<BucketStats>,
    /// What the store does in the background, for all tenants.
    pub work: WorkStats,
    /// Of the disk with the log, if there is one.
    pub disk: Option<DiskStats>,
    /// Why appends are refused now, if they are.
    pub refusing: Option<String>,
    /// What retention does, and what holds it up.
    pub retention: RetentionStats,
}

/// Work in the background, since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkStats {
    /// Memtables now: the one that is filled, and those that wait to become segments.
    pub memtables: u64,
    /// Segments that cannot be read now and are tried again.
    pub unavailable_segments: u64,
    /// Memtables that became segments.
    pub flushes: u64,
    /// Time that took.
    pub flush_nanos: u64,
    /// Memtables that could not be written; they were tried again.
    pub failed_flushes: u64,
    /// Merges of segments.
    pub merges: u64,
    /// Time they took.
    pub merge_nanos: u64,
    /// Segments that retention deleted.
    pub retired_segments: u64,
}

/// What is known of the disk that a store is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
    /// With less than this free, appends are refused.
    pub min_free_bytes: u64,
}

/// What retention does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionStats {
    /// By how much the oldest segment is older than it may be by now: zero unless something holds retention up.
    pub lag_nanos: u64,
    /// Why the clock is not believed, if so: nothing is deleted by what it says.
    pub clock_doubt: Option<String>,
}

/// A file in the folder `damaged`, from which `tracewell fsck --adopt` takes what can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAsideFile {
    /// Its name with the folder.
    pub name: String,
    /// Its spans, if that is known.
    pub spans: Option<u64>,
    /// The earliest and the latest start of them, if that is known.
    pub starts_unix_nano: Option<(u64, u64)>,
    /// Whether spans that were acknowledged may be missing with it.
    pub is_missing: bool,
}

/// A file that cannot be read at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnavailableFile {
    /// Its name.
    pub name: String,
    /// Its spans, if that is known.
    pub spans: Option<u64>,
    /// The earliest and the latest start of them, if that is known.
    pub starts_unix_nano: Option<(u64, u64)>,
    /// What the system said.
    pub why: String,
}

/// What is known of the bucket that segments are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketStats {
    /// `s3://BUCKET/PREFIX`.
    pub url: String,
    /// Why it cannot be written, or not all of it be read, now, if so: spans then wait in the log.
    pub away: Option<String>,
    /// Whether that is for good, as when another directory owns it: this process then refuses spans and questions.
    pub is_away_for_good: bool,
    /// Segments that are still in the directory, on their way into the bucket.
    pub unmoved_segments: u64,
    /// Their bytes.
    pub unmoved_bytes: u64,
    /// The cache in the directory.
    pub cache: CacheStats,
}

/// How the cache of a bucket's segments was used since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// Bytes that it may hold.
    pub most_bytes: u64,
    /// Bytes that it holds.
    pub bytes: u64,
    /// Pieces of segments that it holds.
    pub pieces: u64,
    /// Reads of a piece that it answered.
    pub hits: u64,
    /// Pieces that were read from the bucket because it did not have them.
    pub misses: u64,
    /// Their bytes.
    pub missed_bytes: u64,
    /// Pieces that had to make room for others.
    pub evictions: u64,
}

/// An operation of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// The span name.
    pub name: String,
    /// The span kind.
    pub kind: SpanKind,
}

/// Some of what there is, and whether that is all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// What is listed, in order.
    pub items: Vec<T>,
    /// Whether nothing was left out.
    pub complete: bool,
    /// Services that have more operations, or more attribute keys, than are known, sorted and at most a hundred.
    pub cut_services: Vec<String>,
}

impl<T> Default for Listed<T> {
    /// Nothing, which is all.
    fn default() -> Self {
        Self { items: Vec::new(), complete: true, cut_services: Vec::new() }
    }
}

/// Keeps spans and gives them back.
#[async_trait]
pub trait SpanStore: Send + Sync + 'static {
    /// What this store can do by itself.
    fn capabilities(&self) -> Capabilities;

    /// Keeps spans. On return they are visible to every read, and durable as [`Capabilities`] says. On an error none of
    /// them is promised; after [`StoreError::Busy`] the same call may succeed later. A span appended twice may be
    /// returned twice: readers assemble with `tracewell_model::Trace`, which joins equal spans.
    async fn append(&self, tenant: &Tenant, append: Append) -> Result<(), StoreError>;

    /// All spans of the given traces, whole, in no particular order. An unknown id adds nothing.
    async fn traces(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<SpanBatch, StoreError>;

    /// The same as far as a projection asks for it. A store that cannot read less gives all.
    async fn traces_with(
        &self,
        tenant: &Tenant,
        ids: &[TraceId],
        projection: Projection,
    ) -> Result<SpanBatch, StoreError> {
        let _ = projection;
        self.traces(tenant, ids).await
    }

    /// The spans of some traces, a portion at a time, however many there are; see [`TraceReader`]. It begins with
    /// [`Projection::All`]. A store that cannot read less than all at once does so.
    async fn open_traces(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<Box<dyn TraceReader>, StoreError> {
        Ok(Box::new(reader::WholeReader::new(self.traces(tenant, ids).await?)))
    }

    /// What a list says of traces, of those for which the store knows it without reading their spans, in any order: what
    /// [`TraceSummary::of`] says of the whole trace. The others are read.
    async fn summaries(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<Vec<TraceSummary>, StoreError> {
        let _ = (tenant, ids);
        Ok(Vec::new())
    }

    /// Spans by time and predicates, newest start first, a page at a time; see [`Scan`].
    async fn scan(&self, tenant: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError>;

    /// The traces with a span that starts in a time and passes all predicates, near ones in the store near each other. A
    /// trace may be named more than once. A store that has no quicker way scans.
    async fn trace_ids(
        &self,
        tenant: &Tenant,
        time: TimeRange,
        predicates: &[Predicate],
    ) -> Result<Vec<TraceId>, StoreError> {
        let exact = self.capabilities().evaluates_predicates;
        let projection = if exact { Projection::Ids } else { Projection::All };
        let mut scan = Scan { time, predicates: predicates.to_vec(), projection, after: None, limit: 8192 };
        let mut ids = Vec::new();
        loop {
            let page = self.scan(tenant, &scan).await?;
            let passes = |span: SpanRef<'_>| exact || predicates.iter().all(|predicate| predicate.matches(span));
            ids.extend(page.spans.iter().filter(|span| passes(*span)).map(SpanRef::trace_id));
            ids.dedup();
            scan.after = page.next;
            if scan.after.is_none() {
                return Ok(ids);
            }
        }
    }

    /// The services that have spans, sorted. A store may bound how many it knows, and then keeps those with the most spans.
    async fn services(&self, tenant: &Tenant) -> Result<Listed<String>, StoreError>;

    /// The operations of one service, or of all, sorted by name and kind, at most `limit`. Where not all are listed, each
    /// service has a share, whatever others send.
    async fn operations(
        &self,
        tenant: &Tenant,
        service: Option<&str>,
        limit: usize,
    ) -> Result<Listed<Operation>, StoreError>;

    /// The attribute keys in use with the part of the span they occur in, sorted, at most `limit`. Where not all are
    /// listed, each service has a share.
    async fn attribute_keys(
        &self,
        tenant: &Tenant,
        limit: usize,
    ) -> Result<Listed<(AttributeScope, String)>, StoreError>;

    /// Distinct values of one attribute as text, sorted, those that begin with `prefix`, at most `limit`. Only spans
    /// that start in `time` are looked at; where values hardly repeat, as those of request ids, a store may look at the
    /// newest alone.
    async fn attribute_values(
        &self,
        tenant: &Tenant,
        key: &str,
        prefix: &str,
        time: TimeRange,
        limit: usize,
    ) -> Result<Listed<String>, StoreError>;

    /// The same store for one question, whose reads collect what they leave out; `None` if this one never leaves out
    /// anything.
    fn view(&self, left_out: Arc<LeftOut>) -> Option<Arc<dyn SpanStore>> {
        let _ = left_out;
        None
    }

    /// What is held.
    async fn stats(&self, tenant: &Tenant) -> Result<StoreStats, StoreError>;

    /// Writes what is only in memory to where it is kept in the long run, then returns.
    async fn flush(&self) -> Result<(), StoreError>;

    /// Stops background work, flushes, and refuses further appends with [`StoreError::Closed`].
    async fn close(&self) -> Result<(), StoreError>;
}

#[cfg(test)]
mod memory_tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn the_memory_store_conforms() {
        conformance::check(&MemoryStore::new(MemoryOptions::default()), false).await;
    }

    #[tokio::test]
    async fn the_memory_store_has_a_bound() {
        let append = || conformance::append_of(conformance::batch_of(1, &[1]));
        let store = MemoryStore::new(MemoryOptions { most_bytes: 10, ..MemoryOptions::default() });
        let refused = store.append(&Tenant::default(), append()).await;
        assert!(matches!(refused, Err(StoreError::TooLarge(_))), "it never fits: {refused:?}");
        let used_bytes = Arc::<AtomicUsize>::default();
        let store = MemoryStore::new(MemoryOptions {
            most_bytes: 3000,
            used_bytes: used_bytes.clone(),
            ..MemoryOptions::default()
        });
        let mut taken = 0;
        let refused = loop {
            match store.append(&Tenant::default(), append()).await {
                Ok(()) => taken += 1,
                Err(refused) => break refused,
            }
            assert!(taken < 100, "memory has no bound");
        };
        assert!(matches!(refused, StoreError::Busy(_)), "{refused:?}");
        assert!(taken > 0 && (1..=3000).contains(&used_bytes.load(Ordering::Relaxed)));
    }
}

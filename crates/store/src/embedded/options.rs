//! How an embedded store behaves.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tracewell_wire::Limits;

use super::MEMTABLES_PER_BUDGET;
use crate::{NameLimits, TimeRules};

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// When the log is on the disk; appends that wait together share one `fdatasync`. Survives power loss.
    Group,
    /// When the log is with the operating system. Survives the death of the process, not of the machine.
    None,
}

/// A place in a bucket of an S3-compatible object store. Credentials and region are those of the variables `AWS_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketOptions {
    /// `s3://BUCKET/PREFIX`.
    pub url: String,
    /// The server, if it is not AWS: `https://HOST:PORT`.
    pub endpoint: Option<String>,
    /// Bytes of segments that are held in the store's directory to be read faster.
    pub cache_bytes: u64,
    /// Take the place of another directory that the bucket belongs to.
    pub take_over: bool,
    /// How fast segments that the directory has are moved into the bucket; 0 is without limit.
    pub move_bytes_per_second: u64,
}

impl BucketOptions {
    /// A place in a bucket without a cache, and without a limit on what is moved.
    pub fn new(url: String, endpoint: Option<String>) -> Self {
        Self { url, endpoint, cache_bytes: 0, take_over: false, move_bytes_per_second: 0 }
    }
}

/// Options of an embedded store; the default is right for most.
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// When an append is acknowledged.
    pub commit: Commit,
    /// Bytes of spans in memory, over all tenants and until they are flushed. All of it makes appends wait.
    pub memory_bytes: usize,
    /// Bytes of spans that start a flush; `None` is a quarter of `memory_bytes`.
    pub flush_bytes: Option<usize>,
    /// Where it is counted how much of `memory_bytes` is taken, for others to see.
    pub used_bytes: Arc<AtomicUsize>,
    /// Spans older than this may be deleted; `None` keeps them for ever.
    pub retention_age: Option<Duration>,
    /// When segments take more than this, the oldest are deleted; `None` is without limit.
    pub retention_bytes: Option<u64>,
    /// Where segments are kept; `None` keeps them in the store's directory.
    pub segments: Option<BucketOptions>,
    /// The limits that requests were decoded under, and the log is read back under.
    pub limits: Limits,
    /// What was done with spans of odd times, and is done again when the log is read back.
    pub times: TimeRules,
    /// Delete by what the clock says, even where nothing confirms it.
    pub trust_clock: bool,
    /// Appends are refused while less than this is free on the disk; `None` is the smaller of 1 GiB and a twentieth of it.
    pub min_free_bytes: Option<u64>,
    /// How many names of services, operations and attributes are told.
    pub names: NameLimits,
    /// Nanoseconds since 1970; tests set it.
    pub now_unix_nano: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Time that only passes, also while the machine sleeps; tests set it.
    pub passing: Arc<dyn Fn() -> Duration + Send + Sync>,
}

/// The time since the machine was started, which no change of the clock touches, and which goes on while it sleeps.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

impl EmbeddedOptions {
    /// A memtable of so many bytes is frozen: one fills while others are written.
    pub(super) fn freeze_bytes(&self) -> usize {
        self.flush_bytes.unwrap_or(self.memory_bytes / MEMTABLES_PER_BUDGET)
    }

    /// Reading the log back holds no more than so many bytes: as much as waits for a flush when all goes well.
    pub(super) fn replay_bytes(&self) -> usize {
        let share = |bytes: usize| bytes / MEMTABLES_PER_BUDGET * (MEMTABLES_PER_BUDGET - 1);
        share(self.memory_bytes).min(self.freeze_bytes().saturating_mul(MEMTABLES_PER_BUDGET - 1))
    }
}

impl Default for EmbeddedOptions {
    /// Group commit, 128 MiB of memory, no retention.
    fn default() -> Self {
        Self {
            commit: Commit::Group,
            memory_bytes: 128 << 20,
            flush_bytes: None,
            used_bytes: Arc::default(),
            names: NameLimits::default(),
            retention_age: None,
            retention_bytes: None,
            segments: None,
            limits: Limits::default(),
            times: TimeRules::default(),
            trust_clock: false,
            min_free_bytes: None,
            passing: Arc::new(since_boot),
            now_unix_nano: Arc::new(|| {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                since.map_or(0, |since| since.as_nanos() as u64)
            }),
        }
    }
}

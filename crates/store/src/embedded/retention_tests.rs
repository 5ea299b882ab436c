//! What is kept, and for how long: by the earlier of a span's start and its arrival, by clocks that are right or wrong, on
//! directories that go away.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracewell_model::{SpanBatch, SpanRef, TimeRange, TraceId};

use super::disk::Disk;
use super::disk::simulated::{Faults, SimulatedDisk};
use super::fsck::check_on;
use super::{EmbeddedOptions, EmbeddedStore};
use crate::conformance::{append_of, batch_of};
use crate::{Append, OddTimes, Projection, Scan, SpanStore, StoreError, Tenant, TimeRules};

const FOLDER: &str = "/data";
const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;
const NOW: u64 = 1_700_000_000 * SECOND;

/// A machine: its disk, its clock, and the time that passes.
#[derive(Clone, Default)]
struct Machine {
    disk: SimulatedDisk,
    wall: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self::default();
        machine.wall.store(NOW, Ordering::SeqCst);
        machine
    }

    /// Time goes by, for both clocks.
    fn pass(&self, nanos: u64) {
        self.wall.fetch_add(nanos, Ordering::SeqCst);
        self.passed.fetch_add(nanos, Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn options(&self) -> EmbeddedOptions {
        let (wall, passed) = (self.wall.clone(), self.passed.clone());
        EmbeddedOptions {
            retention_age: Some(Duration::from_secs(3600)),
            now_unix_nano: Arc::new(move || wall.load(Ordering::SeqCst)),
            passing: Arc::new(move || Duration::from_nanos(passed.load(Ordering::SeqCst))),
            ..EmbeddedOptions::default()
        }
    }

    fn open_with(&self, options: EmbeddedOptions) -> EmbeddedStore {
        EmbeddedStore::open_on(Arc::new(self.disk.clone()), Path::new(FOLDER), options).unwrap()
    }

    fn open(&self) -> EmbeddedStore {
        self.open_with(self.options())
    }

    /// Spans that start at some times, received now.
    fn append(&self, first_id: u64, starts: &[u64]) -> Append {
        Append { arrival_unix_nano: self.now(), ..append_of(batch_at(first_id, starts)) }
    }

    /// Sends them in a request of their own, which becomes a segment of its own.
    async fn send(&self, store: &EmbeddedStore, first_id: u64, starts: &[u64]) {
        store.append(&Tenant::default(), self.append(first_id, starts)).await.unwrap();
        store.flush().await.unwrap();
    }
}

fn batch_at(first_id: u64, starts: &[u64]) -> SpanBatch {
    let ids: Vec<u64> = (first_id..first_id + starts.len() as u64).collect();
    let mut batch = batch_of(1, &ids);
    starts.iter().enumerate().for_each(|(row, start)| batch.move_span(row, *start, true));
    batch
}

async fn ids(store: &EmbeddedStore) -> Vec<u64> {
    let scan =
        Scan { time: TimeRange::ALL, predicates: vec![], projection: Projection::All, after: None, limit: 100_000 };
    let page = store.scan(&Tenant::default(), &scan).await.unwrap();
    let mut ids: Vec<u64> = page.spans.iter().map(|span| span.span_id().as_u64()).collect();
    ids.sort_unstable();
    ids
}

/// A whole round of the flush thread, retention included.
async fn settle(store: &EmbeddedStore) {
    store.settle().await.unwrap();
}

#[tokio::test]
async fn a_span_of_the_future_is_forgotten_as_its_neighbours_are() {
    let machine = Machine::new();
    let store = machine.open();
    for round in 0..3 {
        let now = machine.now();
        machine.send(&store, round * 10 + 1, &[now, now - HOUR / 2, u64::MAX - 10, 0]).await;
        machine.pass(SECOND);
    }
    settle(&store).await;
    assert_eq!(ids(&store).await.len(), 12, "found while it is kept");
    machine.pass(HOUR + 10 * SECOND);
    settle(&store).await;
    assert_eq!(ids(&store).await, Vec::<u64>::new());
}

#[tokio::test]
async fn merged_spans_of_the_future_are_forgotten_too() {
    let machine = Machine::new();
    let options = EmbeddedOptions { retention_age: Some(Duration::from_secs(30 * 86_400)), ..machine.options() };
    let store = machine.open_with(options);
    for round in 0..20 {
        let now = machine.now();
        machine.send(&store, round * 10 + 1, &[now, now, u64::MAX - 10, 0]).await;
        machine.pass(SECOND);
    }
    settle(&store).await;
    let segments = store.stats(&Tenant::default()).await.unwrap().segments;
    assert!(segments < 20, "odd times keep nothing from being merged: {segments} segments");
    drop(store);
    let store = machine.open();
    settle(&store).await;
    assert_eq!(ids(&store).await.len(), 80);
    machine.pass(HOUR + 10 * SECOND);
    settle(&store).await;
    assert_eq!(ids(&store).await, Vec::<u64>::new());
}

#[tokio::test]
async fn size_deletes_by_arrival_and_not_by_what_senders_claim() {
    let machine = Machine::new();
    let store = machine.open_with(EmbeddedOptions { retention_age: None, ..machine.options() });
    for round in 0..4u64 {
        // The first that is sent claims to be of the future.
        let start = if round == 0 { NOW + 3650 * DAY } else { machine.now() };
        machine.send(&store, round * 100 + 1, &[start; 50]).await;
        machine.pass(SECOND);
    }
    let bytes = store.stats(&Tenant::default()).await.unwrap().bytes;
    drop(store);
    let options = EmbeddedOptions { retention_age: None, retention_bytes: Some(bytes * 6 / 10), ..machine.options() };
    let store = machine.open_with(options);
    settle(&store).await;
    let kept = ids(&store).await;
    assert!(kept.contains(&301) && !kept.contains(&1), "{kept:?}");
}

#[tokio::test]
async fn a_start_with_a_wrong_clock_deletes_nothing() {
    for off in [2 * DAY, 400 * DAY, u64::MAX / 4] {
        let machine = Machine::new();
        let store = machine.open();
        let now = machine.now();
        machine.send(&store, 1, &[now; 10]).await;
        store.close().await.unwrap();
        drop(store);
        machine.wall.fetch_add(off, Ordering::SeqCst);
        let store = machine.open();
        for _ in 0..3 {
            settle(&store).await;
            machine.pass(600 * SECOND);
        }
        assert_eq!(ids(&store).await.len(), 10, "off by {off}");
        let stats = store.stats(&Tenant::default()).await.unwrap();
        assert!(stats.retention.clock_doubt.is_some(), "{stats:?}");
        drop(store);
        // An operator who knows better.
        let store = machine.open_with(EmbeddedOptions { trust_clock: true, ..machine.options() });
        settle(&store).await;
        assert_eq!(ids(&store).await, Vec::<u64>::new(), "off by {off}");
    }
}

#[tokio::test]
async fn a_clock_that_is_right_again_does_not_delete_what_arrived_while_it_was_behind() {
    let machine = Machine::new();
    // Not set yet: it is 1970.
    machine.wall.store(60 * SECOND, Ordering::SeqCst);
    let store = machine.open();
    machine.send(&store, 1, &[NOW, NOW + SECOND]).await;
    store.append(&Tenant::default(), machine.append(3, &[NOW + SECOND])).await.unwrap();
    drop(store);
    // The log is read back after it was set.
    machine.wall.store(NOW + 5 * SECOND, Ordering::SeqCst);
    let store = machine.open();
    machine.send(&store, 4, &[NOW + 5 * SECOND]).await;
    settle(&store).await;
    assert_eq!(ids(&store).await, [1, 2, 3, 4]);
    machine.pass(HOUR + 20 * SECOND);
    settle(&store).await;
    assert_eq!(ids(&store).await, Vec::<u64>::new(), "and then goes when its time has come");
}

#[tokio::test]
async fn replay_gives_what_was_received_whatever_is_done_with_odd_times() {
    for odd in [OddTimes::Keep, OddTimes::Refuse, OddTimes::Clamp] {
        let machine = Machine::new();
        let times = TimeRules { odd, ..TimeRules::default() };
        let options = || EmbeddedOptions { times, ..machine.options() };
        let store = machine.open_with(options());
        let received = machine.append(1, &[NOW, 0, u64::MAX - 50, NOW - HOUR / 2]);
        let (batch, _) = times.apply(received.batch.clone(), Some(received.arrival_unix_nano));
        store.append(&Tenant::default(), Append { batch, ..received }).await.unwrap();
        let trace = [TraceId::from_u128(1)];
        let whole = |batch: SpanBatch| {
            let of = |span: SpanRef<'_>| (span.span_id(), span.start_unix_nano(), span.end_unix_nano());
            let mut spans: Vec<_> = batch.iter().map(of).collect();
            spans.sort_unstable();
            spans
        };
        let before = whole(store.traces(&Tenant::default(), &trace).await.unwrap());
        drop(store);
        machine.pass(100 * SECOND);
        // Under other settings, too: the log has those that it was written under.
        let store = machine.open_with(machine.options());
        assert_eq!(whole(store.traces(&Tenant::default(), &trace).await.unwrap()), before, "{odd:?}");
    }
}

#[tokio::test]
async fn a_log_that_is_larger_than_the_memory_is_read_back_within_it() {
    let machine = Machine::new();
    let options = |memory_bytes| EmbeddedOptions { memory_bytes, retention_age: None, ..machine.options() };
    let store = machine.open_with(options(64 << 20));
    for request in 0..200 {
        let append = machine.append(request * 20 + 1, &[NOW; 20]);
        store.append(&Tenant::default(), append).await.unwrap();
    }
    drop(store);
    // As often as it is tried, and whatever it ends with.
    for crash in 0..40 {
        let disk = machine.disk.copy();
        disk.set_faults(Faults { crash_at: Some(crash), ..Faults::default() });
        let broken = Machine { disk: disk.clone(), ..machine.clone() };
        drop(EmbeddedStore::open_on(Arc::new(disk.clone()), Path::new(FOLDER), options(32 << 10)));
        let disk = disk.after_crash(&mut fastrand::Rng::with_seed(crash));
        let store = Machine { disk, ..broken }.open_with(options(32 << 10));
        assert_eq!(ids(&store).await, (1..=4000).collect::<Vec<_>>(), "crash at operation {crash}");
    }
    let store = machine.open_with(options(32 << 10));
    let stats = store.stats(&Tenant::default()).await.unwrap();
    assert!(stats.segments > 3, "what did not fit is in segments: {stats:?}");
    assert!(stats.memtable_bytes <= 32 << 10, "{stats:?}");
    assert_eq!(ids(&store).await, (1..=4000).collect::<Vec<_>>());
    settle(&store).await;
    assert_eq!(ids(&store).await, (1..=4000).collect::<Vec<_>>());
    drop(store);
    let report = check_on(Arc::new(machine.disk.clone()), Path::new(FOLDER), false).unwrap();
    assert_eq!(report.damages, Vec::<String>::new());
}

#[tokio::test]
async fn a_store_whose_disk_is_full_at_the_start_is_read_and_takes_spans_when_there_is_space() {
    let machine = Machine::new();
    let store = machine.open();
    let now = machine.now();
    machine.send(&store, 1, &[now; 10]).await;
    store.append(&Tenant::default(), machine.append(11, &[now; 10])).await.unwrap();
    drop(store);
    machine.disk.set_faults(Faults { capacity: Some(machine.disk.used_bytes()), ..Faults::default() });
    let store = machine.open();
    assert_eq!(ids(&store).await.len(), 20);
    let refused = store.append(&Tenant::default(), machine.append(21, &[now])).await;
    assert!(matches!(&refused, Err(StoreError::Busy(why)) if why.contains("log")), "{refused:?}");
    assert!(store.stats(&Tenant::default()).await.unwrap().refusing.is_some());
    machine.disk.set_faults(Faults::default());
    store.append(&Tenant::default(), machine.append(21, &[now])).await.unwrap();
    assert_eq!(store.stats(&Tenant::default()).await.unwrap().refusing, None);
    settle(&store).await;
    drop(store);
    assert_eq!(ids(&machine.open()).await.len(), 21);
}

#[tokio::test]
async fn a_directory_a_lock_or_a_log_that_goes_away_is_told_to_the_next_sender() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 4] = [
        ("data directory", |data| std::fs::remove_dir_all(data).unwrap()),
        ("data directory", |data| {
            std::fs::rename(data, data.with_extension("old")).unwrap();
            std::fs::create_dir(data).unwrap();
        }),
        ("lock", |data| std::fs::remove_file(data.join("lock")).unwrap()),
        ("log file", |data| std::fs::remove_file(data.join("log/0000000000.log")).unwrap()),
    ];
    for (named, harm) in harms {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let store = EmbeddedStore::open(&data, EmbeddedOptions::default()).unwrap();
        store.append(&Tenant::default(), append_of(batch_of(1, &[1]))).await.unwrap();
        harm(&data);
        for id in 2..4 {
            let refused = store.append(&Tenant::default(), append_of(batch_of(1, &[id]))).await;
            assert!(matches!(&refused, Err(StoreError::Busy(why)) if why.contains(named)), "{named}: {refused:?}");
        }
        assert_eq!(ids(&store).await, [1], "{named}: what is known is served");
    }
}

#[tokio::test]
async fn a_second_store_is_refused_even_when_the_lock_file_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let _store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
    std::fs::remove_file(folder.path().join("lock")).unwrap();
    let Err(StoreError::Invalid(message)) = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()) else {
        panic!("two stores write one directory")
    };
    assert!(message.contains("in use"), "{message}");
}

#[tokio::test]
async fn what_a_store_makes_is_its_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let store = EmbeddedStore::open(&data, EmbeddedOptions::default()).unwrap();
    store.append(&Tenant::default(), append_of(batch_of(1, &[1]))).await.unwrap();
    store.settle().await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut seen = 0;
    let mut folders = vec![data];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 5, "{seen} files");
}

#[tokio::test]
async fn too_little_space_refuses_spans_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { min_free_bytes: Some(u64::MAX), ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(folder.path(), options).unwrap();
    let refused = store.append(&Tenant::default(), append_of(batch_of(1, &[1]))).await;
    assert!(matches!(&refused, Err(StoreError::Busy(why)) if why.contains("--min-free-disk")), "{refused:?}");
    assert_eq!(ids(&store).await, Vec::<u64>::new());
    let stats = store.stats(&Tenant::default()).await.unwrap();
    assert!(stats.refusing.is_some() && stats.disk.is_some_and(|disk| disk.total_bytes > disk.free_bytes));
}

#[tokio::test]
async fn a_record_that_ended_the_process_twice_is_set_aside_by_name() {
    let machine = Machine::new();
    let store = machine.open_with(EmbeddedOptions { retention_age: None, ..machine.options() });
    store.append(&Tenant::default(), machine.append(1, &[NOW])).await.unwrap();
    let files = machine.disk.files();
    let offset = files.into_iter().find(|(path, _)| path.ends_with("log/0000000000.log")).unwrap().1 as u64;
    // A body of more than a mebibyte.
    let many = machine.append(10, &[NOW; 30_000]);
    assert!(many.body.len() > 1 << 20);
    store.append(&Tenant::default(), many).await.unwrap();
    store.append(&Tenant::default(), machine.append(2, &[NOW])).await.unwrap();
    drop(store);
    let disk: Arc<dyn Disk> = Arc::new(machine.disk.clone());
    for _ in 0..2 {
        let mut mark = super::replay_mark::ReplayMark::begin(&disk, Path::new(FOLDER), true).unwrap();
        mark.begin_record(0, offset, 2 << 20);
        std::mem::forget(mark);
    }
    let store = machine.open_with(EmbeddedOptions { retention_age: None, ..machine.options() });
    assert_eq!(ids(&store).await, [1, 2], "the rest is served");
    let damages = store.damages();
    assert!(damages.iter().any(|damage| damage.contains("damaged/0000000000-")), "{damages:?}");
    settle(&store).await;
    drop(store);
    let kept = machine.disk.list(&Path::new(FOLDER).join("damaged")).unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let report = check_on(disk, Path::new(FOLDER), false).unwrap();
    assert!(report.damages.iter().any(|damage| damage.contains("damaged/0000000000-")), "{report:?}");
    let store = machine.open();
    assert!(store.damages().iter().any(|damage| damage.contains("damaged/0000000000-")), "told until it is dealt with");
}

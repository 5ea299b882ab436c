//! The store on a disk that crashes, fills up, fails and rots: what was acknowledged is there once, or its loss is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use tracewell_model::{TimeRange, TraceId};

use super::disk::Disk;
use super::disk::simulated::{Faults, SimulatedDisk};
use super::fsck::check_on;
use super::{EmbeddedOptions, EmbeddedStore};
use crate::conformance::{append_of, batch_of};
use crate::{LeftOut, Projection, Scan, SpanStore, StoreError, Tenant};

const FOLDER: &str = "/data";

fn open(disk: &SimulatedDisk) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open_on(Arc::new(disk.clone()), Path::new(FOLDER), EmbeddedOptions::default())
}

/// How often each span is found by a scan; and that it is found in its trace as often.
pub(super) async fn found(store: &EmbeddedStore) -> BTreeMap<u64, usize> {
    let tenant = Tenant::default();
    let scan =
        Scan { time: TimeRange::ALL, predicates: vec![], projection: Projection::All, after: None, limit: 100_000 };
    let page = store.scan(&tenant, &scan).await.unwrap();
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    let mut traces: BTreeSet<TraceId> = BTreeSet::new();
    for span in page.spans.iter() {
        *counts.entry(span.span_id().as_u64()).or_default() += 1;
        traces.insert(span.trace_id());
        assert_eq!(span.trace_id(), trace_of(span.span_id().as_u64()), "a span comes back as it was");
        assert_eq!(span.start_unix_nano(), 1_000 + span.span_id().as_u64(), "a span comes back as it was");
    }
    let ids: Vec<TraceId> = traces.into_iter().collect();
    let spans = store.traces(&tenant, &ids).await.unwrap();
    let mut by_trace: BTreeMap<u64, usize> = BTreeMap::new();
    spans.iter().for_each(|span| *by_trace.entry(span.span_id().as_u64()).or_default() += 1);
    assert_eq!(counts, by_trace, "a scan and a look into traces find the same");
    counts
}

fn trace_of(id: u64) -> TraceId {
    TraceId::from_u128(u128::from(id % 5 + 1))
}

/// The given number of seeds from 0 on, or `TRACEWELL_SEEDS` of them from `TRACEWELL_SEED` on, for more than CI has time for.
pub(super) fn seeds(count: u64) -> std::ops::Range<u64> {
    let set = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number of seeds"));
    let first = set("TRACEWELL_SEED").unwrap_or(0);
    first..first + set("TRACEWELL_SEEDS").unwrap_or(count)
}

/// What a client knows.
#[derive(Default, Debug)]
pub(super) struct Sent {
    pub(super) acknowledged: BTreeSet<u64>,
    pub(super) refused: BTreeSet<u64>,
    next: u64,
}

impl Sent {
    /// One whose spans have larger ids than so.
    #[cfg(feature = "s3")]
    pub(super) fn above(id: u64) -> Self {
        Self { next: id, ..Self::default() }
    }

    pub(super) async fn send(&mut self, store: &EmbeddedStore) -> Result<(), StoreError> {
        self.next += 1;
        let id = self.next;
        let batch = batch_of((id % 5) + 1, &[id]);
        let result = store.append(&Tenant::default(), append_of(batch)).await;
        match &result {
            Ok(()) => self.acknowledged.insert(id),
            Err(_) => self.refused.insert(id),
        };
        result
    }

    /// How many spans were sent.
    #[cfg(feature = "s3")]
    pub(super) fn total(&self) -> usize {
        self.acknowledged.len() + self.refused.len()
    }

    /// Every span that was acknowledged is there once; one that was not, at most once.
    pub(super) fn check(&self, found: &BTreeMap<u64, usize>, what: &str) {
        for id in &self.acknowledged {
            assert_eq!(found.get(id), Some(&1), "span {id}, which was acknowledged: {what}");
        }
        for (id, count) in found {
            assert!(*count == 1, "span {id} is there {count} times: {what}");
            assert!(self.acknowledged.contains(id) || self.refused.contains(id), "span {id} was never sent: {what}");
        }
    }
}

/// A life of a store: appends, and as the seed has it, flushes and merges. Errors are what the faults make of it.
pub(super) async fn live(opened: Result<EmbeddedStore, StoreError>, sent: &mut Sent, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let Ok(store) = opened else { return };
    for _ in 0..18 {
        let _ = sent.send(&store).await;
        if random.u8(0..3) > 0 {
            let _ = store.flush().await;
        }
        if random.u8(0..8) == 0 {
            let _ = store.settle().await;
        }
    }
}

#[tokio::test]
async fn after_a_crash_at_any_operation_every_acknowledged_span_is_there_once() {
    let mut crashes = 0;
    for seed in seeds(6) {
        let whole = SimulatedDisk::default();
        live(open(&whole), &mut Sent::default(), seed).await;
        for crash in 0..whole.operations() {
            // With more seeds than CI has time for, each looks at a part of the operations.
            if crash % 3 != seed % 3 {
                continue;
            }
            let what = format!("seed {seed}, crash at operation {crash}");
            let disk = SimulatedDisk::default();
            disk.set_faults(Faults { crash_at: Some(crash), ..Faults::default() });
            let mut sent = Sent::default();
            live(open(&disk), &mut sent, seed).await;
            let mut random = fastrand::Rng::with_seed(seed << 32 | crash);
            let disk = disk.after_crash(&mut random);
            let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            sent.check(&found(&store).await, &what);
            // It goes on, and crashes again in the midst of it.
            for _ in 0..3 {
                sent.send(&store).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            if random.bool() {
                store.settle().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            let disk = disk.after_crash(&mut random);
            drop(store);
            let store = open(&disk).unwrap_or_else(|error| panic!("{what}, again: {error}"));
            sent.check(&found(&store).await, &format!("{what}, again"));
            drop(store);
            let report = check_on(Arc::new(disk.clone()), Path::new(FOLDER), false).unwrap();
            assert!(report.damages.iter().all(|damage| damage.contains("log")), "{what}: {report:?}");
            crashes += 1;
        }
    }
    assert!(crashes > 200, "{crashes} crashes");
}

#[tokio::test]
async fn an_operation_that_fails_loses_nothing_and_the_store_recovers() {
    for seed in seeds(3) {
        let whole = SimulatedDisk::default();
        live(open(&whole), &mut Sent::default(), seed).await;
        for fail in 0..whole.operations() {
            if fail % 2 != seed % 2 {
                continue;
            }
            let what = format!("seed {seed}, operation {fail} fails");
            let disk = SimulatedDisk::default();
            disk.set_faults(Faults { fail_at: Some(fail), ..Faults::default() });
            let mut sent = Sent::default();
            live(open(&disk), &mut sent, seed).await;
            let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            sent.check(&found(&store).await, &what);
            sent.send(&store).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            store.settle().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            sent.check(&found(&store).await, &format!("{what}, settled"));
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_told_to_senders_and_overcome_when_it_has_space() {
    for seed in 0..20u64 {
        let disk = SimulatedDisk::default();
        let mut sent = Sent::default();
        let store = open(&disk).unwrap();
        for _ in 0..5 + seed {
            sent.send(&store).await.unwrap();
        }
        disk.set_faults(Faults { capacity: Some(disk.used_bytes() + 40), ..Faults::default() });
        for _ in 0..5 {
            let refused = sent.send(&store).await;
            assert!(matches!(refused, Err(StoreError::Busy(_))), "seed {seed}: {refused:?}");
            assert!(store.flush().await.is_err(), "seed {seed}: nothing can be flushed");
        }
        sent.check(&found(&store).await, &format!("seed {seed}, full"));
        disk.set_faults(Faults::default());
        for _ in 0..5 {
            sent.send(&store).await.unwrap();
        }
        store.settle().await.unwrap();
        sent.check(&found(&store).await, &format!("seed {seed}, with space"));
        drop(store);
        let store = open(&disk).unwrap();
        sent.check(&found(&store).await, &format!("seed {seed}, opened again"));
        assert!(store.damages().is_empty(), "{:?}", store.damages());
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_harmless_or_told_and_the_rest_is_served() {
    let whole = SimulatedDisk::default();
    let mut sent = Sent::default();
    // Segments, of which one is merged, and a log.
    {
        let store = open(&whole).unwrap();
        for number in 0..40 {
            sent.send(&store).await.unwrap();
            if number % 4 == 3 {
                store.flush().await.unwrap();
            }
        }
        store.settle().await.unwrap();
        for _ in 0..6 {
            sent.send(&store).await.unwrap();
        }
    }
    let mut random = fastrand::Rng::with_seed(7);
    let (mut lost, mut flips) = (0, 0);
    for (path, length) in whole.files() {
        if length == 0 || path.ends_with("lock") {
            continue;
        }
        for _ in 0..120 {
            let bit = random.usize(0..length * 8);
            let what = format!("bit {bit} of {}", path.display());
            let disk = whole.copy();
            disk.flip(&path, bit);
            flips += 1;
            let store = match open(&disk) {
                Ok(store) => store,
                // A catalog's own version number may have become a higher one.
                Err(StoreError::Invalid(message)) if path.ends_with("catalog.json") => {
                    assert!(message.contains("format"), "{what}: {message}");
                    continue;
                }
                Err(error) => panic!("{what}: {error}"),
            };
            let found = found(&store).await;
            assert!(found.values().all(|count| *count == 1), "{what}: {found:?}");
            let missing: Vec<u64> = sent.acknowledged.iter().copied().filter(|id| !found.contains_key(id)).collect();
            let damages = store.damages();
            if !missing.is_empty() {
                lost += 1;
                let named = path.file_name().unwrap().to_str().unwrap();
                assert!(damages.iter().any(|damage| damage.contains(named)), "{what}: {missing:?}, told: {damages:?}");
                assert!(missing.len() <= 40, "{what}: the rest is served");
            }
            drop(store);
            // What a repair leaves is whole, and holds what could be read.
            check_on(Arc::new(disk.clone()), Path::new(FOLDER), true).unwrap();
            let store = open(&disk).unwrap_or_else(|error| panic!("{what}, repaired: {error}"));
            let repaired = self::found(&store).await;
            assert!(found.keys().all(|id| repaired.get(id) == Some(&1)), "{what}, repaired: {repaired:?}");
            assert!(repaired.values().all(|count| *count == 1), "{what}, repaired: {repaired:?}");
            drop(store);
            if !path.to_string_lossy().contains("log") {
                let report = check_on(Arc::new(disk.clone()), Path::new(FOLDER), false).unwrap();
                assert!(report.damages.is_empty(), "{what}, repaired: {report:?}");
            }
        }
    }
    assert!(flips > 300 && lost > 50, "{flips} flips, {lost} of them lost something");
}

#[tokio::test]
async fn reads_that_fail_are_told_and_succeed_later() {
    let disk = SimulatedDisk::default();
    let mut sent = Sent::default();
    let store = open(&disk).unwrap();
    for _ in 0..5 {
        sent.send(&store).await.unwrap();
    }
    store.flush().await.unwrap();
    sent.send(&store).await.unwrap();
    disk.set_faults(Faults { reads_fail: true, ..Faults::default() });
    let scan = Scan { time: TimeRange::ALL, predicates: vec![], projection: Projection::All, after: None, limit: 100 };
    let refused = store.scan(&Tenant::default(), &scan).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "no answer is silently shorter: {refused:?}");
    let left_out = Arc::new(LeftOut::new(true));
    let view = store.view(left_out.clone()).unwrap();
    let page = view.scan(&Tenant::default(), &scan).await.unwrap();
    assert_eq!(page.spans.len(), 1, "what is in memory is served to who accepts it");
    assert_eq!(left_out.missing().parts[0].spans, Some(5));
    let stats = store.stats(&Tenant::default()).await.unwrap();
    assert!(stats.damages.is_empty(), "what may pass is no damage: {:?}", stats.damages);
    assert!(stats.last_read_error.is_some());
    disk.set_faults(Faults::default());
    sent.check(&found(&store).await, "reads succeed again");
}

#[tokio::test]
async fn a_lost_catalog_is_made_again_from_the_segments() {
    let disk = SimulatedDisk::default();
    let mut sent = Sent::default();
    {
        let store = open(&disk).unwrap();
        for _ in 0..30 {
            sent.send(&store).await.unwrap();
            store.flush().await.unwrap();
        }
        store.settle().await.unwrap();
        sent.send(&store).await.unwrap();
    }
    let path = Path::new(FOLDER).join("catalog.json");
    let (_, length) = disk.files().into_iter().find(|(known, _)| *known == path).unwrap();
    let removed = disk.copy();
    removed.remove(&path).unwrap();
    disk.flip(&path, length * 8 - 100);
    for disk in [&removed, &disk] {
        let store = open(disk).unwrap();
        sent.check(&found(&store).await, "without a catalog");
        assert_eq!(store.damages().len(), 1, "{:?}", store.damages());
    }
    assert!(disk.lock(Path::new("lock")).unwrap().is_some(), "a store that is dropped is closed");
}

//! A store whose segments are in a bucket, on a disk that crashes and before a bucket that fails.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tracewell_model::TraceId;

use super::faulty::{Fault, FaultyBucket};
use super::{Bucket, Sizes};
use crate::conformance::{self, append_of, batch_of};
use crate::embedded::catalog::Catalog;
use crate::embedded::damage::Damages;
use crate::embedded::disk::Disk;
use crate::embedded::disk::simulated::{Faults, SimulatedDisk};
use crate::embedded::fault_tests::{Sent, found, live};
use crate::embedded::flush::Flusher;
use crate::embedded::fsck::{FsckReport, check};
use crate::embedded::open::lock;
use crate::embedded::place::Opened;
use crate::embedded::{EmbeddedOptions, EmbeddedStore, Place};
use crate::{BucketOptions, Projection, SpanStore, StoreError, Tenant};

const URL: &str = "s3://bucket/spans";
const FOLDER: &str = "/data";
/// So small that every segment is uploaded in parts, and read in pieces.
const SIZES: Sizes = Sizes { part_bytes: 512, piece_bytes: 256, page_bytes: 64 };

/// A directory and the bucket that it belongs to.
#[derive(Clone)]
struct World {
    disk: SimulatedDisk,
    bucket: FaultyBucket,
    options: BucketOptions,
}

impl World {
    fn new() -> Self {
        Self::with(FaultyBucket::default())
    }

    /// A new directory before a bucket.
    fn with(bucket: FaultyBucket) -> Self {
        let options = BucketOptions { url: URL.to_owned(), endpoint: None, cache_bytes: 8 << 10, take_over: false };
        Self { disk: SimulatedDisk::default(), bucket, options }
    }

    fn taking_over(mut self) -> Self {
        self.options.take_over = true;
        self
    }

    fn with_cache(mut self, cache_bytes: u64) -> Self {
        self.options.cache_bytes = cache_bytes;
        self
    }

    fn claim(&self) -> Result<(Arc<dyn Disk>, Opened), StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let store = Arc::new(self.bucket.used_by(&self.disk));
        let bucket = Bucket::on(store, object_store::path::Path::from("spans"), URL, SIZES);
        let place = Place { folder: FOLDER.into(), bucket: None };
        let opened = place.claim(&disk, bucket, &self.options)?;
        Ok((disk, opened))
    }

    fn open(&self) -> Result<EmbeddedStore, StoreError> {
        self.open_with(EmbeddedOptions::default())
    }

    fn open_with(&self, options: EmbeddedOptions) -> Result<EmbeddedStore, StoreError> {
        let lock = lock(&self.disk, Path::new(FOLDER))?;
        let (disk, opened) = self.claim()?;
        EmbeddedStore::open_with(disk, Path::new(FOLDER), options, lock, opened)
    }

    fn check(&self, repair: bool) -> FsckReport {
        let _lock = lock(&self.disk, Path::new(FOLDER)).unwrap();
        let (disk, opened) = self.claim().unwrap();
        check(&*disk, Path::new(FOLDER), opened, repair).unwrap()
    }

    /// The same directory after a crash, on a machine that works.
    fn after_crash(&self, random: &mut fastrand::Rng) -> Self {
        self.bucket.set_fault(None);
        Self { disk: self.disk.after_crash(random), ..self.clone() }
    }

    /// That nothing is in the bucket but what the catalog names.
    async fn check_no_orphans(&self, what: &str) {
        let names = self.bucket.names().await;
        let catalog = String::from_utf8(self.bucket.read("spans/catalog.json").await).unwrap();
        let segments = names.iter().filter(|name| name.starts_with("spans/segments/"));
        for name in segments {
            let number: u64 = name["spans/segments/".len()..].trim_end_matches(".segment").parse().unwrap();
            assert!(catalog.contains(&format!("\"number\": {number},")), "{what}: {name} is an orphan");
        }
    }
}

async fn fill(store: &EmbeddedStore, sent: &mut Sent, rounds: u64) {
    for _ in 0..rounds {
        sent.send(store).await.unwrap();
        store.flush().await.unwrap();
    }
}

#[tokio::test]
async fn it_conforms_from_a_bucket() {
    for cache_bytes in [0, 2 << 10, 1 << 30] {
        let store = World::new().with_cache(cache_bytes).open().unwrap();
        conformance::check(&store, true).await;
    }
}

#[tokio::test]
async fn after_a_crash_at_any_request_every_acknowledged_span_is_there_once() {
    let mut crashes = 0;
    for seed in 0..6u64 {
        let whole = World::new();
        live(whole.open(), &mut Sent::default(), seed).await;
        for crash in (0..whole.bucket.requests()).filter(|crash| crash % 2 == seed % 2) {
            let what = format!("seed {seed}, crash at request {crash}");
            let world = World::new();
            world.bucket.set_fault(Some((crash, Fault::Crash)));
            let mut sent = Sent::default();
            live(world.open(), &mut sent, seed).await;
            check_after_crash(&world, &mut sent, seed << 32 | crash, &what).await;
            crashes += 1;
        }
    }
    assert!(crashes > 100, "{crashes} crashes");
}

#[tokio::test]
async fn after_a_crash_at_any_operation_of_the_disk_every_acknowledged_span_is_there_once() {
    let mut crashes = 0;
    for seed in 0..3u64 {
        let whole = World::new();
        live(whole.open(), &mut Sent::default(), seed).await;
        for crash in (0..whole.disk.operations()).filter(|crash| crash % 5 == seed % 5) {
            let what = format!("seed {seed}, crash at operation {crash}");
            let world = World::new();
            world.disk.set_faults(Faults { crash_at: Some(crash), ..Faults::default() });
            let mut sent = Sent::default();
            live(world.open(), &mut sent, seed).await;
            check_after_crash(&world, &mut sent, seed << 32 | crash, &what).await;
            crashes += 1;
        }
    }
    assert!(crashes > 100, "{crashes} crashes");
}

async fn check_after_crash(world: &World, sent: &mut Sent, seed: u64, what: &str) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = world.after_crash(&mut random);
    if !world.disk.files().iter().any(|(path, _)| path.ends_with("bucket.json")) {
        // The crash was before the directory had a name of its own that the bucket could know.
        world = world.taking_over();
    }
    let store = world.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    sent.check(&found(&store).await, what);
    for _ in 0..3 {
        sent.send(&store).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    if random.bool() {
        store.settle().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let again = world.after_crash(&mut random);
    drop(store);
    let store = again.open().unwrap_or_else(|error| panic!("{what}, again: {error}"));
    sent.check(&found(&store).await, &format!("{what}, again"));
    store.settle().await.unwrap_or_else(|error| panic!("{what}, again: {error}"));
    drop(store);
    again.check_no_orphans(what).await;
    let report = again.check(false);
    assert!(report.damages.iter().all(|damage| damage.contains("log")), "{what}: {report:?}");
}

#[tokio::test]
async fn a_request_that_fails_gets_lost_or_comes_late_loses_nothing_and_the_store_recovers() {
    for (seed, fault) in [(0, Fault::Lost), (1, Fault::AnswerLost), (2, Fault::Late), (3, Fault::Twice)] {
        let whole = World::new();
        live(whole.open(), &mut Sent::default(), seed).await;
        for at in 0..whole.bucket.requests() {
            let what = format!("seed {seed}, request {at} {fault:?}");
            let world = World::new();
            world.bucket.set_fault(Some((at, fault)));
            let mut sent = Sent::default();
            live(world.open(), &mut sent, seed).await;
            // What comes late may come while the next process starts, too.
            let store = world.open().unwrap_or_else(|error| panic!("{what}: {error}"));
            sent.check(&found(&store).await, &what);
            sent.send(&store).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            store.settle().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            sent.check(&found(&store).await, &format!("{what}, settled"));
            assert!(store.damages().is_empty(), "{what}: {:?}", store.damages());
            drop(store);
            drop(world.open().unwrap_or_else(|error| panic!("{what}, again: {error}")));
            world.check_no_orphans(&what).await;
        }
    }
}

#[tokio::test]
async fn a_second_directory_is_refused_and_one_that_takes_over_ends_the_first() {
    let first = World::new();
    let mut sent = Sent::default();
    let old = first.open().unwrap();
    fill(&old, &mut sent, 5).await;
    // Only in the log of the first.
    sent.send(&old).await.unwrap();

    let second = World::with(first.bucket.clone());
    let Err(StoreError::Invalid(message)) = second.open() else { panic!("two processes have one bucket") };
    assert!(message.contains(URL) && message.contains("belongs to") && message.contains(FOLDER), "{message}");

    let new = second.clone().taking_over().open().unwrap();
    let in_segments: Vec<u64> = found(&new).await.into_keys().collect();
    assert_eq!(in_segments, (1..=5).collect::<Vec<_>>(), "what was in segments is served");
    new.append(&Tenant::default(), append_of(batch_of(1, &[100]))).await.unwrap();
    new.settle().await.unwrap();

    // The first finds out as soon as it wants to change something, and acknowledges nothing more.
    let Err(StoreError::Busy(message)) = old.flush().await else { panic!("two processes write one bucket") };
    assert!(message.contains("taken over"), "{message}");
    let refused = old.append(&Tenant::default(), append_of(batch_of(1, &[101]))).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(message)) if message.contains("taken over")), "{refused:?}");
    let refused = old.services(&Tenant::default()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "what it would answer is out of date");
    drop(old);
    drop(new);

    // When it takes over again, what was in its log is found, once.
    let old = first.taking_over().open().unwrap();
    let all: Vec<(u64, usize)> = found(&old).await.into_iter().collect();
    assert_eq!(all, [1, 2, 3, 4, 5, 6, 100].map(|id| (id, 1)));
    old.settle().await.unwrap();
    drop(old);
    let new = second.taking_over().open().unwrap();
    assert_eq!(found(&new).await.len(), 7);
}

#[tokio::test]
async fn an_owner_that_does_not_know_of_its_end_finds_no_damage_where_another_deleted() {
    let first = World::new().with_cache(0);
    let mut sent = Sent::default();
    let old = first.open().unwrap();
    fill(&old, &mut sent, 7).await;
    let new = World::with(first.bucket.clone()).taking_over().open().unwrap();
    new.append(&Tenant::default(), append_of(batch_of(1, &[100]))).await.unwrap();
    new.settle().await.unwrap();
    drop(new);
    let ids: Vec<TraceId> = (1..=5).map(TraceId::from_u128).collect();
    let refused = old.traces(&Tenant::default(), &ids).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(message)) if message.contains("taken over")), "{refused:?}");
    assert!(old.damages().is_empty(), "{:?}", old.damages());
}

#[tokio::test]
async fn of_two_that_claim_at_once_one_wins() {
    let world = World::new();
    drop(world.open().unwrap());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let own = World::with(world.bucket.clone()).taking_over();
            std::thread::spawn(move || own.open().map(|store| (own, store)))
        })
        .collect();
    let stores: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect();
    let mut winners = 0;
    for (id, (_, store)) in stores.iter().enumerate() {
        let _ = store.append(&Tenant::default(), append_of(batch_of(1, &[id as u64 + 1]))).await;
        winners += usize::from(store.flush().await.is_ok());
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn when_the_bucket_is_away_spans_are_taken_and_what_is_cached_is_answered() {
    let world = World::new().with_cache(1 << 30);
    let store = world.open().unwrap();
    let mut sent = Sent::default();
    fill(&store, &mut sent, 4).await;
    world.bucket.set_down(true);
    sent.send(&store).await.unwrap();
    assert!(matches!(store.flush().await, Err(StoreError::Busy(message)) if message.contains(URL)));
    sent.check(&found(&store).await, "from log and cache");
    drop(store);

    world.bucket.set_down(false);
    let store = world.clone().with_cache(0).open().unwrap();
    world.bucket.set_down(true);
    let refused = store.traces(&Tenant::default(), &[TraceId::from_u128(1), TraceId::from_u128(2)]).await;
    let Err(StoreError::Unavailable(message)) = refused else { panic!("{refused:?}") };
    assert!(message.contains(URL) && message.contains("slow down"), "{message}");
    assert!(store.damages().is_empty(), "what cannot be reached is not damaged: {:?}", store.damages());
    world.bucket.set_down(false);
    sent.check(&found(&store).await, "it recovers by itself");
    store.settle().await.unwrap();
    sent.check(&found(&store).await, "and flushes again");
}

#[tokio::test]
async fn when_the_bucket_is_away_for_long_senders_are_told_to_come_again() {
    let world = World::new();
    let store = world.open_with(EmbeddedOptions { memory_bytes: 4 << 10, ..EmbeddedOptions::default() }).unwrap();
    let mut sent = Sent::default();
    world.bucket.set_down(true);
    let refused = loop {
        if let Err(refused) = sent.send(&store).await {
            break refused;
        }
        assert!(sent.acknowledged.len() < 100, "memory has no bound");
    };
    assert!(matches!(refused, StoreError::Busy(_)), "{refused:?}");
    assert!(sent.acknowledged.len() > 3, "{sent:?}");
    world.bucket.set_down(false);
    store.settle().await.unwrap();
    sent.send(&store).await.unwrap();
    sent.check(&found(&store).await, "the bucket is back");
}

#[tokio::test]
async fn a_directory_that_is_lost_loses_only_what_was_in_its_log() {
    let world = World::new();
    let mut sent = Sent::default();
    let store = world.open().unwrap();
    fill(&store, &mut sent, 12).await;
    store.settle().await.unwrap();
    sent.send(&store).await.unwrap();
    drop(store);
    let new = World::with(world.bucket.clone());
    assert!(matches!(new.open(), Err(StoreError::Invalid(_))));
    let store = new.taking_over().open().unwrap();
    assert_eq!(found(&store).await.into_keys().collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
    assert!(store.damages().is_empty(), "{:?}", store.damages());
}

#[tokio::test]
async fn the_cache_survives_a_restart_and_its_damage_harms_nobody() {
    let world = World::new().with_cache(1 << 30);
    let mut sent = Sent::default();
    let store = world.open().unwrap();
    fill(&store, &mut sent, 6).await;
    drop(store);
    let pieces: Vec<_> =
        world.disk.files().into_iter().filter(|(path, _)| path.starts_with(format!("{FOLDER}/cache"))).collect();
    assert!(pieces.len() > 6, "what is written is held");

    let store = world.open().unwrap();
    world.bucket.set_down(true);
    sent.check(&found(&store).await, "after a restart, from the cache alone");
    world.bucket.set_down(false);
    drop(store);
    for (path, length) in pieces {
        world.disk.flip(&path, length * 4);
    }
    let store = world.open().unwrap();
    sent.check(&found(&store).await, "with every piece damaged");
    assert!(store.damages().is_empty(), "{:?}", store.damages());
}

#[tokio::test]
async fn a_segment_that_was_merged_away_is_there_until_its_last_reader_is_done() {
    let world = World::new().with_cache(0);
    let mut sent = Sent::default();
    let store = world.open().unwrap();
    fill(&store, &mut sent, 7).await;
    let (_, segments) = store.shared.look(&Tenant::default());
    fill(&store, &mut sent, 3).await;
    store.settle().await.unwrap();
    assert!(store.stats(&Tenant::default()).await.unwrap().segments < 8, "nothing was merged");
    let ids: Vec<TraceId> = (1..=5).map(TraceId::from_u128).collect();
    let mut spans = tracewell_model::SpanBatch::new();
    for segment in &segments {
        segment.traces(&ids, Projection::All, &Damages::default(), &mut spans).unwrap();
    }
    assert_eq!(spans.len(), 7);
    drop(segments);
    store.settle().await.unwrap();
    world.check_no_orphans("when nobody reads").await;
}

#[tokio::test]
async fn what_an_earlier_owner_left_is_swept_and_what_a_later_one_wrote_is_not() {
    let world = World::new();
    let mut sent = Sent::default();
    let store = world.open().unwrap();
    fill(&store, &mut sent, 3).await;
    let catalog = Catalog::open(&*store.shared.files).unwrap();
    let [earlier, own, later] =
        [7, (1 << 32) + 900, 2 << 32].map(|number: u64| format!("spans/segments/{number:010}.segment"));
    for name in [&earlier, &own, &later] {
        world.bucket.write(name, b"spans".to_vec()).await;
    }
    Flusher::new(catalog).sweep(&store.shared);
    let names = world.bucket.names().await;
    assert!(!names.contains(&earlier) && !names.contains(&own) && names.contains(&later), "{names:?}");
    sent.check(&found(&store).await, "swept");
}

#[tokio::test]
async fn a_flipped_bit_in_a_segment_is_told_and_mended() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut lost = 0;
    for round in 0..40 {
        let world = World::new().with_cache(0);
        let mut sent = Sent::default();
        let store = world.open().unwrap();
        fill(&store, &mut sent, 4).await;
        drop(store);
        let names = world.bucket.names().await;
        let name = names.iter().find(|name| name.contains("segments")).unwrap();
        let mut bytes = world.bucket.read(name).await;
        let bit = random.usize(0..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        world.bucket.write(name, bytes).await;
        let store = world.open().unwrap();
        let found_before = found(&store).await;
        if found_before.len() < 4 {
            lost += 1;
            assert_eq!(found_before.len(), 3, "round {round}: the rest is served");
            assert!(store.damages().iter().any(|damage| damage.contains(name)), "round {round}: {:?}", store.damages());
        }
        drop(store);
        let report = world.check(true);
        assert!(!report.damages.is_empty(), "round {round}");
        assert_eq!(world.check(false).damages, Vec::<String>::new(), "round {round}");
        let store = world.open().unwrap();
        assert_eq!(found(&store).await, found_before, "round {round}, mended");
    }
    assert!(lost > 5, "{lost} rounds lost something");
}

#[tokio::test]
async fn a_catalog_that_is_lost_is_made_again_from_the_segments() {
    for is_removed in [true, false] {
        let world = World::new();
        let mut sent = Sent::default();
        let store = world.open().unwrap();
        fill(&store, &mut sent, 12).await;
        store.settle().await.unwrap();
        sent.send(&store).await.unwrap();
        drop(store);
        if is_removed {
            world.bucket.remove("spans/catalog.json").await;
        } else {
            world.bucket.write("spans/catalog.json", b"{}".to_vec()).await;
        }
        let refused = World::with(world.bucket.clone()).open();
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "whose it was is not known");
        let store = world.open().unwrap();
        sent.check(&found(&store).await, "without a catalog");
        assert_eq!(store.damages().len(), 1, "{:?}", store.damages());
        store.settle().await.unwrap();
        sent.check(&found(&store).await, "settled");
    }
}

#[tokio::test]
async fn a_directory_with_segments_of_its_own_is_moved_into_the_bucket_whatever_fails() {
    let local = SimulatedDisk::default();
    let mut sent = Sent::default();
    {
        let folder = Path::new(FOLDER);
        let store = EmbeddedStore::open_on(Arc::new(local.clone()), folder, EmbeddedOptions::default()).unwrap();
        fill(&store, &mut sent, 5).await;
        sent.send(&store).await.unwrap();
    }
    let world = || World { disk: local.copy(), ..World::new() };
    let whole = world();
    sent.check(&found(&whole.open().unwrap()).await, "moved");
    let left: BTreeSet<String> = whole.disk.files().into_iter().map(|(path, _)| path.display().to_string()).collect();
    assert!(!left.iter().any(|path| path.ends_with(".segment") || path.ends_with("catalog.json")), "{left:?}");
    let refused = EmbeddedStore::open_on(Arc::new(whole.disk.clone()), Path::new(FOLDER), EmbeddedOptions::default());
    assert!(matches!(refused, Err(StoreError::Invalid(message)) if message.contains("--segments s3://bucket/spans")));

    for crash in 0..whole.bucket.requests() {
        let what = format!("crash at request {crash}");
        let world = world();
        world.bucket.set_fault(Some((crash, Fault::Crash)));
        drop(world.open());
        let world = world.after_crash(&mut fastrand::Rng::with_seed(crash));
        sent.check(&found(&world.open().unwrap_or_else(|error| panic!("{what}: {error}"))).await, &what);
    }
    for crash in 0..whole.disk.operations() {
        let what = format!("crash at operation {crash}");
        let world = world();
        world.disk.set_faults(Faults { crash_at: Some(crash), ..Faults::default() });
        drop(world.open());
        let world = world.after_crash(&mut fastrand::Rng::with_seed(crash));
        sent.check(&found(&world.open().unwrap_or_else(|error| panic!("{what}: {error}"))).await, &what);
    }
}

#[tokio::test]
async fn a_directory_of_another_bucket_and_a_server_without_conditions_are_refused() {
    let mut world = World::new();
    drop(world.open().unwrap());
    world.options.url = "s3://bucket/other".to_owned();
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let bucket =
        Bucket::on(Arc::new(world.bucket.clone()), object_store::path::Path::from("other"), "s3://bucket/other", SIZES);
    let place = Place { folder: FOLDER.into(), bucket: None };
    let Err(StoreError::Invalid(message)) = place.claim(&disk, bucket, &world.options) else { panic!("it was opened") };
    assert!(message.contains(URL) && message.contains("s3://bucket/other"), "{message}");

    let world = World::new();
    world.bucket.ignore_conditions();
    let Err(StoreError::Invalid(message)) = world.open() else { panic!("it was opened") };
    assert!(message.contains("conditional PUT"), "{message}");
    assert!(!world.disk.files().iter().any(|(path, _)| path.ends_with("bucket.json")), "nothing is bound");
}

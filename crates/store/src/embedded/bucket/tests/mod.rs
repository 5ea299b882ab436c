//! A store whose segments are in a bucket, on a disk that crashes and before a bucket that fails.

use std::path::Path;
use std::sync::Arc;

use tracewell_model::TraceId;

use super::faulty::{Fault, FaultyBucket};
use super::{Bucket, Sizes};
use crate::conformance::{self, append_of, batch_of};
use crate::embedded::catalog::Catalog;
use crate::embedded::damage::{Damages, Tolerance};
use crate::embedded::disk::Disk;
use crate::embedded::disk::simulated::{Faults, SimulatedDisk};
use crate::embedded::fault_tests::{Sent, found, live};
use crate::embedded::flush::Flusher;
use crate::embedded::fsck::{FsckChanges, FsckReport, check};
use crate::embedded::open::lock;
use crate::embedded::place::Opened;
use crate::embedded::{EmbeddedOptions, EmbeddedStore, Place};
use crate::{BucketOptions, Projection, SpanStore, StoreError, Tenant};

mod away;
mod crashes;
mod damage;
mod flapping;
mod moving;
mod owners;
mod preferred;

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
        let options = BucketOptions { cache_bytes: 8 << 10, ..BucketOptions::new(URL.to_owned(), None) };
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
        check(&*disk, Path::new(FOLDER), opened, FsckChanges { repair, ..FsckChanges::default() }).unwrap()
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

/// Opens a store and fills it; what was sent is known.
async fn begin(world: &World, rounds: u64) -> (EmbeddedStore, Sent) {
    let store = world.open().unwrap();
    let mut sent = Sent::default();
    fill(&store, &mut sent, rounds).await;
    (store, sent)
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
async fn a_segment_that_was_merged_away_is_there_until_its_last_reader_is_done() {
    let world = World::new().with_cache(0);
    let (store, mut sent) = begin(&world, 7).await;
    let segments = store.shared.look(&Tenant::default()).segments;
    fill(&store, &mut sent, 3).await;
    store.settle().await.unwrap();
    assert!(store.stats(&Tenant::default()).await.unwrap().segments < 8, "nothing was merged");
    let ids: Vec<TraceId> = (1..=5).map(TraceId::from_u128).collect();
    let mut spans = tracewell_model::SpanBatch::new();
    for segment in &segments {
        segment.traces(&ids, Projection::All, &Tolerance::new(&Damages::default(), None), &mut spans).unwrap();
    }
    assert_eq!(spans.len(), 7);
    drop(segments);
    store.settle().await.unwrap();
    world.check_no_orphans("when nobody reads").await;
}

//! A bucket that is away: while the store is open, when it is opened, and when it is closed.

use tracewell_model::TimeRange;

use super::crashes::{Crash, check_after_crash};
use super::*;
use crate::Scan;

#[tokio::test]
async fn when_the_bucket_is_away_spans_are_taken_and_what_is_cached_is_answered() {
    let world = World::new().with_cache(1 << 30);
    let store = world.open().unwrap();
    let mut sent = Sent::default();
    fill(&store, &mut sent, 4).await;
    world.bucket.set_down(true);
    sent.send(&store).await.unwrap();
    assert!(matches!(store.flush().await, Err(StoreError::Unavailable(message)) if message.contains(URL)));
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
    assert!(matches!(&refused, StoreError::Busy(why) if why.contains(URL)), "{refused:?}");
    assert!(sent.acknowledged.len() > 3, "{sent:?}");
    world.bucket.set_down(false);
    store.settle().await.unwrap();
    sent.send(&store).await.unwrap();
    sent.check(&found(&store).await, "the bucket is back");
}

/// Waits until a store has done all that it has to.
async fn recover(store: &EmbeddedStore, what: &str) {
    for _ in 0..200 {
        // The round that was under way may have met the bucket as it was.
        if store.settle().await.is_ok() {
            return;
        }
    }
    panic!("{what}: {:?}", store.settle().await);
}

async fn fill_log(store: &EmbeddedStore, sent: &mut Sent, spans: u64) {
    for _ in 0..spans {
        sent.send(store).await.unwrap();
    }
}

async fn away(store: &EmbeddedStore) -> Option<String> {
    store.stats(&Tenant::default()).await.unwrap().bucket.unwrap().away
}

#[tokio::test]
async fn a_start_while_the_bucket_is_away_answers_from_log_and_cache_and_recovers_by_itself() {
    let world = World::new().with_cache(1 << 30);
    let mut sent = Sent::default();
    let store = world.open().unwrap();
    fill(&store, &mut sent, 9).await;
    sent.send(&store).await.unwrap();
    drop(store);

    world.bucket.set_down(true);
    let store = world.open().unwrap();
    sent.check(&found(&store).await, "from what was known");
    assert_eq!(store.stats(&Tenant::default()).await.unwrap().spans, sent.acknowledged.len() as u64);
    assert!(away(&store).await.unwrap().contains(URL));
    for _ in 0..3 {
        sent.send(&store).await.unwrap();
        assert!(matches!(store.flush().await, Err(StoreError::Unavailable(message)) if message.contains(URL)));
    }
    sent.check(&found(&store).await, "taken while it is away");

    world.bucket.take_changed();
    world.bucket.set_down(false);
    recover(&store, "the bucket is back").await;
    let changed = world.bucket.take_changed();
    let first = changed.iter().find(|name| !name.contains("probe")).unwrap();
    assert!(first == "spans/catalog.json", "the bucket is claimed before anything is written: {changed:?}");
    assert_eq!(away(&store).await, None);
    assert_eq!(store.stats(&Tenant::default()).await.unwrap().log_bytes, 0, "all is in segments");
    sent.check(&found(&store).await, "settled");
    assert!(store.damages().is_empty(), "{:?}", store.damages());
    drop(store);
    world.check_no_orphans("settled").await;
    sent.check(&found(&world.open().unwrap()).await, "again");
}

#[tokio::test]
async fn what_is_not_held_is_an_error_that_names_the_bucket_until_it_is_back() {
    let world = World::new().with_cache(0);
    let mut sent = Sent::default();
    let store = world.open().unwrap();
    fill(&store, &mut sent, 3).await;
    drop(store);
    world.bucket.set_down(true);
    let store = world.open().unwrap();
    fill_log(&store, &mut sent, 2).await;
    let tenant = Tenant::default();
    let refusals = [
        store.services(&tenant).await.map(drop),
        store.traces(&tenant, &[TraceId::from_u128(1)]).await.map(drop),
        store.trace_ids(&tenant, TimeRange::ALL, &[]).await.map(drop),
        store.attribute_values(&tenant, "user", "", TimeRange::ALL, 10).await.map(drop),
    ];
    for refused in refusals {
        assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains(URL)), "{refused:?}");
    }
    // The two newest spans are in memory, and newer than all that cannot be read.
    let scan =
        |limit| Scan { time: TimeRange::ALL, predicates: vec![], projection: Projection::All, after: None, limit };
    assert_eq!(store.scan(&tenant, &scan(1)).await.unwrap().spans.len(), 1);
    assert!(matches!(store.scan(&tenant, &scan(3)).await, Err(StoreError::Unavailable(_))));
    assert!(store.damages().is_empty(), "what cannot be reached is not damaged: {:?}", store.damages());
    world.bucket.set_down(false);
    recover(&store, "the bucket is back").await;
    sent.check(&found(&store).await, "the bucket is back");
}

#[tokio::test]
async fn a_bucket_that_is_away_for_long_after_a_start_takes_no_more_than_the_budget() {
    let world = World::new();
    let options = || EmbeddedOptions { memory_bytes: 4 << 10, ..EmbeddedOptions::default() };
    let mut sent = Sent::default();
    drop(world.open_with(options()).unwrap());
    world.bucket.set_down(true);
    for round in 0..3 {
        let store = world.open_with(options()).unwrap();
        while sent.send(&store).await.is_ok() {
            assert!(sent.acknowledged.len() < 100, "memory has no bound");
        }
        sent.check(&found(&store).await, &format!("start {round} while it is away"));
    }
    world.bucket.set_down(false);
    let store = world.open_with(options()).unwrap();
    recover(&store, "the bucket is back").await;
    sent.send(&store).await.unwrap();
    sent.check(&found(&store).await, "the bucket is back");
}

#[tokio::test]
async fn a_start_that_knows_nothing_or_too_little_needs_the_bucket() {
    let world = World::new();
    world.bucket.set_down(true);
    let refused = |world: &World| match world.open() {
        Err(StoreError::Unavailable(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was opened"),
    };
    assert!(refused(&world).contains(URL));
    world.bucket.set_down(false);
    let store = world.open().unwrap();
    let copy = Path::new(FOLDER).join("bucket-catalog.json");
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let old = disk.read(&copy).unwrap();
    let mut sent = Sent::default();
    fill(&store, &mut sent, 2).await;
    drop(store);
    world.bucket.set_down(true);
    let new = disk.read(&copy).unwrap();
    // Older than the log, as after a write of it that failed; and damaged.
    let mut flipped = new.clone();
    flipped[40] ^= 1;
    for bytes in [old, flipped] {
        disk.create(&copy).unwrap().append(&bytes).unwrap();
        assert!(refused(&world).contains("does not know"));
    }
    disk.create(&copy).unwrap().append(&new).unwrap();
    drop(world.open().unwrap());
}

#[tokio::test]
async fn a_bucket_that_was_emptied_is_not_begun_anew_in_silence() {
    let world = World::new();
    let mut sent = Sent::default();
    let store = world.open().unwrap();
    fill(&store, &mut sent, 2).await;
    sent.send(&store).await.unwrap();
    drop(store);
    let other = World { disk: world.disk.clone(), ..World::new() };
    let Err(StoreError::Invalid(message)) = other.open() else { panic!("two segments are forgotten") };
    assert!(message.contains("2 segments with 2 spans") && message.contains("bucket-catalog.json"), "{message}");
    assert_eq!(other.bucket.names().await, Vec::<String>::new(), "nothing was written");
    // As the message says.
    let disk: Arc<dyn Disk> = Arc::new(other.disk.clone());
    disk.remove(&Path::new(FOLDER).join("bucket-catalog.json")).unwrap();
    let store = other.open().unwrap();
    assert_eq!(found(&store).await.into_keys().collect::<Vec<_>>(), [3], "the log is there");
    assert!(store.damages().is_empty(), "{:?}", store.damages());
}

#[tokio::test]
async fn an_owner_that_was_replaced_while_the_bucket_was_away_for_it_writes_nothing_and_loses_nothing() {
    let first = World::new();
    let mut sent = Sent::default();
    let store = first.open().unwrap();
    fill(&store, &mut sent, 4).await;
    drop(store);
    first.bucket.set_down(true);
    let old = first.open().unwrap();
    sent.send(&old).await.unwrap();
    first.bucket.set_down(false);
    // Whether the first or the second is faster, one of them ends.
    let second = World::with(first.bucket.clone()).taking_over();
    let new = second.open().unwrap();
    new.append(&Tenant::default(), append_of(batch_of(1, &[100]))).await.unwrap();
    recover(&new, "the new owner").await;
    first.bucket.take_changed();
    let Err(StoreError::Unavailable(message)) = old.flush().await else { panic!("two processes write one bucket") };
    assert!(message.contains(URL) && (message.contains("belongs to") || message.contains("taken over")), "{message}");
    let refused = old.append(&Tenant::default(), append_of(batch_of(1, &[101]))).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(old.services(&Tenant::default()).await.is_err(), "what it would answer is out of date");
    assert!(old.close().await.is_err(), "what is in its log only is not served by the next start");
    drop(old);
    let changed = first.bucket.take_changed();
    assert!(changed.iter().all(|name| name == "spans/catalog.json"), "{changed:?}");
    drop(new);

    // It knows that what it knew is out of date.
    first.bucket.set_down(true);
    assert!(matches!(first.open(), Err(StoreError::Unavailable(_))));
    first.bucket.set_down(false);
    let old = first.taking_over().open().unwrap();
    let mut all = found(&old).await;
    assert_eq!(all.remove(&100), Some(1));
    sent.check(&all, "taken over again");
}

/// A life in which the bucket goes away and comes back, with a start between.
async fn live_through(world: &World, sent: &mut Sent, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    live_a_little(world.open(), sent, &mut random).await;
    for _ in 0..2 {
        world.bucket.set_down(true);
        let Ok(store) = world.open() else { return };
        for _ in 0..3 {
            let _ = sent.send(&store).await;
            if random.bool() {
                let _ = store.flush().await;
            }
        }
        if random.bool() {
            world.bucket.set_down(false);
            let _ = store.settle().await;
            let _ = sent.send(&store).await;
            let _ = store.settle().await;
        }
        drop(store);
        world.bucket.set_down(false);
        if random.bool() {
            live_a_little(world.open(), sent, &mut random).await;
        }
    }
}

async fn live_a_little(opened: Result<EmbeddedStore, StoreError>, sent: &mut Sent, random: &mut fastrand::Rng) {
    let Ok(store) = opened else { return };
    for _ in 0..random.u8(2..6) {
        let _ = sent.send(&store).await;
        let _ = store.flush().await;
    }
    let _ = sent.send(&store).await;
}

#[tokio::test]
async fn after_a_crash_anywhere_around_a_time_without_the_bucket_every_acknowledged_span_is_there_once() {
    let (mut crashes, mut starts, mut answered) = (0, 0, 0);
    for seed in 0..6u64 {
        let whole = World::new().with_cache(1 << 20);
        live_through(&whole, &mut Sent::default(), seed).await;
        for (place, crash) in Crash::all(&whole).enumerate().filter(|(place, _)| *place as u64 % 2 == seed % 2) {
            let what = format!("seed {seed}, crash at {crash:?}");
            let world = World::new().with_cache(1 << 20);
            crash.set(&world);
            let mut sent = Sent::default();
            live_through(&world, &mut sent, seed).await;
            let mut random = fastrand::Rng::with_seed(seed << 32 | place as u64);
            let again = world.after_crash(&mut random);
            // The next start may find the bucket away, too, and crash when it is back.
            world.bucket.set_down(true);
            if let Ok(store) = again.open() {
                let (spans, total) = (store.stats(&Tenant::default()).await.unwrap().spans as usize, sent.total());
                assert!((sent.acknowledged.len()..=total).contains(&spans), "{what}, away: {spans} of {total} spans");
                starts += 1;
                // What the crash tore of the cache is read from the bucket again.
                let ids: Vec<TraceId> = (1..=5).map(TraceId::from_u128).collect();
                if store.traces(&Tenant::default(), &ids).await.is_ok() {
                    sent.check(&found(&store).await, &format!("{what}, away"));
                    answered += 1;
                }
                sent.send(&store).await.unwrap_or_else(|error| panic!("{what}, away: {error}"));
                world.bucket.set_down(false);
                if random.bool() {
                    recover(&store, &what).await;
                    sent.check(&found(&store).await, &format!("{what}, recovered"));
                }
            }
            world.bucket.set_down(false);
            check_after_crash(&again, &mut sent, seed << 32 | place as u64, &what).await;
            crashes += 1;
        }
    }
    assert!(
        starts > 300 && answered > 10,
        "{starts} starts without the bucket after {crashes} crashes, {answered} answered all"
    );
}

#[tokio::test]
async fn a_bucket_that_flaps_loses_and_doubles_nothing() {
    let mut taken = 0;
    for seed in 0..60u64 {
        let what = format!("seed {seed}");
        let world = World::new().with_cache([0, 8 << 10, 1 << 20][seed as usize % 3]);
        let mut sent = Sent::default();
        drop(world.open().unwrap());
        for life in 0..4 {
            world.bucket.set_flaps(seed << 8 | life, 10 + seed as u8 % 50);
            live(world.open(), &mut sent, seed << 8 | life).await;
        }
        world.bucket.set_flaps(0, 0);
        let store = world.open().unwrap_or_else(|error| panic!("{what}: {error}"));
        sent.check(&found(&store).await, &what);
        recover(&store, &what).await;
        sent.check(&found(&store).await, &format!("{what}, settled"));
        assert!(store.damages().is_empty(), "{what}: {:?}", store.damages());
        taken += sent.acknowledged.len();
        drop(store);
        drop(world.open().unwrap_or_else(|error| panic!("{what}, again: {error}")));
        world.check_no_orphans(&what).await;
    }
    assert!(taken > 2_000, "{taken} spans were taken");
}

#[tokio::test]
async fn a_store_that_is_closed_while_the_bucket_is_away_keeps_the_rest_in_its_log() {
    let world = World::new();
    let mut sent = Sent::default();
    let store = world.open().unwrap();
    fill(&store, &mut sent, 2).await;
    world.bucket.set_down(true);
    fill_log(&store, &mut sent, 2).await;
    store.close().await.unwrap();
    drop(store);
    let store = world.clone().with_cache(1 << 20).open().unwrap();
    sent.send(&store).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    world.bucket.set_down(false);
    let store = world.open().unwrap();
    sent.check(&found(&store).await, "the bucket is back");
    recover(&store, "the bucket is back").await;
    store.close().await.unwrap();
}

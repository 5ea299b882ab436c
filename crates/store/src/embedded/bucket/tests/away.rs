//! A bucket that is away: while the store is open, when it is opened, and when it is closed.

use tracewell_model::TimeRange;

use super::*;
use crate::Scan;

#[tokio::test]
async fn when_the_bucket_is_away_spans_are_taken_and_what_is_cached_is_answered() {
    let world = World::new().with_cache(1 << 30);
    let (store, mut sent) = begin(&world, 4).await;
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
    let store = world.open_with(EmbeddedOptions { memory_bytes: 32 << 10, ..EmbeddedOptions::default() }).unwrap();
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
pub(super) async fn recover(store: &EmbeddedStore, what: &str) {
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
    let (store, mut sent) = begin(&world, 9).await;
    sent.send(&store).await.unwrap();
    drop(store);

    world.bucket.set_down(true);
    let store = world.open().unwrap();
    sent.check(&found(&store).await, "from what was known");
    assert_eq!(store.stats(&Tenant::default()).await.unwrap().spans, sent.acknowledged.len() as u64);
    let bucket = store.stats(&Tenant::default()).await.unwrap().bucket.unwrap();
    assert!(bucket.away.unwrap().contains(URL) && !bucket.is_away_for_good);
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
    let (store, mut sent) = begin(&world, 3).await;
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
    let options = || EmbeddedOptions { memory_bytes: 32 << 10, ..EmbeddedOptions::default() };
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
    let (store, mut sent) = begin(&world, 2).await;
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
    let (store, mut sent) = begin(&first, 4).await;
    drop(store);
    first.bucket.set_down(true);
    let old = first.open().unwrap();
    sent.send(&old).await.unwrap();
    first.bucket.take_changed();
    let second = World::with(first.bucket.over_another_line()).taking_over();
    let new = second.open().unwrap();
    new.append(&Tenant::default(), append_of(batch_of(1, &[100]))).await.unwrap();
    recover(&new, "the new owner").await;
    first.bucket.set_down(false);
    let message = loop {
        // The round that was under way may have met the bucket as it was.
        match old.flush().await {
            Err(StoreError::Unavailable(message)) if message.contains("belongs to") => break message,
            Err(StoreError::Unavailable(_)) => {}
            other => panic!("two processes write one bucket: {other:?}"),
        }
    };
    assert!(message.contains(URL) && message.contains(FOLDER), "{message}");
    assert!(old.stats(&Tenant::default()).await.unwrap().bucket.unwrap().is_away_for_good);
    let refused = old.append(&Tenant::default(), append_of(batch_of(1, &[101]))).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(old.services(&Tenant::default()).await.is_err(), "what it would answer is out of date");
    assert!(old.close().await.is_err(), "what is in its log only is not served by the next start");
    drop(old);
    assert_eq!(first.bucket.take_changed(), Vec::<String>::new());
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

#[tokio::test]
async fn a_store_that_is_closed_while_the_bucket_is_away_keeps_the_rest_in_its_log() {
    let world = World::new();
    let (store, mut sent) = begin(&world, 2).await;
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

#[tokio::test]
async fn a_store_whose_bucket_does_not_answer_can_be_closed() {
    let world = World::new();
    let (store, mut sent) = begin(&world, 1).await;
    world.bucket.set_hanging(true);
    fill_log(&store, &mut sent, 2).await;
    store.close().await.unwrap();
    let read = store.shared.clone();
    // Its threads end, though one of them waits for an answer, and the directory is free, though somebody still reads.
    drop(store);
    world.bucket.set_hanging(false);
    sent.check(&found(&world.open().unwrap()).await, "the bucket answers again");
    drop(read);
}

#[tokio::test]
async fn a_bucket_is_away_until_what_it_holds_can_be_read() {
    let world = World::new().with_cache(0);
    let (store, sent) = begin(&world, 2).await;
    drop(store);
    world.bucket.set_down(true);
    let store = world.open().unwrap();
    world.bucket.hold(Some("segment"));
    world.bucket.set_down(false);
    store.shared.flush.wake();
    while store.shared.files.is_away() {
        tokio::task::yield_now().await;
    }
    // As in a first round that had to try again: none has failed so far.
    store.shared.flush.finish_round(None, false);
    assert!(away(&store).await.unwrap().contains(URL), "it is claimed, and no question has an answer yet");
    world.bucket.hold(None);
    recover(&store, "it can be read").await;
    assert_eq!(away(&store).await, None);
    sent.check(&found(&store).await, "it can be read");
}

#[tokio::test]
async fn a_bucket_that_is_not_claimed_yet_is_neither_written_nor_read_by_questions() {
    let world = World::new().with_cache(1 << 20);
    let (store, mut sent) = begin(&world, 2).await;
    drop(store);
    world.bucket.set_down(true);
    let store = world.open().unwrap();
    // The segments are open, and what else they hold is to be read from the bucket.
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    for piece in disk.list(&Path::new(FOLDER).join("cache")).unwrap() {
        disk.remove(&piece).unwrap();
    }
    assert_eq!(store.shared.look(&Tenant::default()).segments.len(), 2);
    // All but what says whose it is can be reached.
    world.bucket.set_denied(Some("catalog.json"));
    world.bucket.set_down(false);
    world.bucket.take_changed();
    let files = &store.shared.files;
    let number = (1 << 32) + 1;
    let refusals = [
        files.swap_catalog(b"{}"),
        files.create(number).map(drop),
        files.remove(number),
        files.set_aside(number, false).map(drop),
    ];
    for refused in refusals {
        let said = refused.unwrap_err().to_string();
        assert!(said.contains(URL), "{said}");
    }
    let refused = store.traces(&Tenant::default(), &[TraceId::from_u128(2)]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "another may be changing it: {refused:?}");
    sent.send(&store).await.unwrap();
    assert!(store.flush().await.is_err());
    assert_eq!(world.bucket.take_changed(), Vec::<String>::new());
    world.bucket.set_denied(None);
    recover(&store, "it can be claimed").await;
    sent.check(&found(&store).await, "it is claimed");
}

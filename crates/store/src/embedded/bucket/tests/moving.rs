//! A directory that had segments before it had a bucket.

use super::crashes::Crash;
use super::*;

/// A directory with so many segments of its own, and a span in its log.
async fn own_directory(segments: u64) -> (SimulatedDisk, Sent) {
    let (local, mut sent) = (SimulatedDisk::default(), Sent::default());
    let store = EmbeddedStore::open_on(Arc::new(local.clone()), Path::new(FOLDER), EmbeddedOptions::default()).unwrap();
    fill(&store, &mut sent, segments).await;
    sent.send(&store).await.unwrap();
    drop(store);
    (local.copy(), sent)
}

fn own_segments(world: &World) -> usize {
    world.disk.files().iter().filter(|(path, _)| path.extension().is_some_and(|found| found == "segment")).count()
}

async fn unmoved(store: &EmbeddedStore) -> u64 {
    store.stats(&Tenant::default()).await.unwrap().bucket.unwrap().unmoved_segments
}

#[tokio::test]
async fn a_directory_with_segments_is_served_at_once_and_moved_into_the_bucket_in_the_background() {
    let (local, mut sent) = own_directory(5).await;
    let mut world = World { disk: local, ..World::new() };
    // So slow that nothing is moved before the test looks.
    world.options.move_bytes_per_second = 1;
    let store = world.open().unwrap();
    sent.check(&found(&store).await, "served from the directory");
    assert_eq!(unmoved(&store).await, 5);
    sent.send(&store).await.unwrap();
    store.flush().await.unwrap();
    sent.check(&found(&store).await, "a flush does not wait for what is moved");
    drop(store);
    assert_eq!(own_segments(&world), 5);
    let report = world.check(false);
    assert_eq!((report.damages, report.segments), (vec![], 7), "what is not moved yet is looked at, too");

    world.options.move_bytes_per_second = 0;
    let store = world.open().unwrap();
    store.settle().await.unwrap();
    assert_eq!((unmoved(&store).await, own_segments(&world)), (0, 0));
    sent.check(&found(&store).await, "moved");
    world.check_no_orphans("moved").await;
    drop(store);
    let refused = EmbeddedStore::open_on(Arc::new(world.disk.clone()), Path::new(FOLDER), EmbeddedOptions::default());
    assert!(matches!(refused, Err(StoreError::Invalid(message)) if message.contains("--segments s3://bucket/spans")));
}

#[tokio::test]
async fn a_move_that_crashes_anywhere_goes_on_and_doubles_nothing() {
    let (local, sent) = own_directory(3).await;
    let world = || World { disk: local.copy(), ..World::new() };
    let whole = world();
    whole.open().unwrap().settle().await.unwrap();
    for (place, crash) in Crash::all(&whole).enumerate() {
        let what = format!("crash at {crash:?}");
        let world = world();
        crash.set(&world);
        if let Ok(store) = world.open() {
            let _ = store.settle().await;
        }
        let world = world.after_crash(&mut fastrand::Rng::with_seed(place as u64));
        let store = world.open().unwrap_or_else(|error| panic!("{what}: {error}"));
        sent.check(&found(&store).await, &what);
        store.settle().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        sent.check(&found(&store).await, &format!("{what}, moved"));
        assert_eq!(unmoved(&store).await, 0, "{what}");
        drop(store);
        drop(world.open().unwrap_or_else(|error| panic!("{what}, again: {error}")));
        assert_eq!(own_segments(&world), 0, "{what}");
        world.check_no_orphans(&what).await;
        assert_eq!(world.check(false).damages, Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn a_move_whose_requests_fail_goes_on_and_doubles_nothing() {
    let (local, sent) = own_directory(4).await;
    for seed in 0..40 {
        let what = format!("seed {seed}");
        let world = World { disk: local.copy(), ..World::new() };
        // The first start needs the bucket.
        let mut store = world.open().unwrap();
        for life in 0..3 {
            world.bucket.set_flaps(seed << 8 | life, 30);
            let _ = store.settle().await;
            drop(store);
            world.bucket.set_flaps(0, 0);
            if random_start_is_away(seed, life) {
                world.bucket.set_down(true);
            }
            store = world.open().unwrap_or_else(|error| panic!("{what}: {error}"));
            world.bucket.set_down(false);
        }
        while store.settle().await.is_err() {}
        sent.check(&found(&store).await, &what);
        assert_eq!((unmoved(&store).await, own_segments(&world)), (0, 0), "{what}");
        assert!(store.damages().is_empty(), "{what}: {:?}", store.damages());
        drop(store);
        drop(world.open().unwrap());
        world.check_no_orphans(&what).await;
    }
}

fn random_start_is_away(seed: u64, life: u64) -> bool {
    (seed >> life) % 2 == 1
}

#[tokio::test]
async fn what_is_not_moved_yet_is_missing_for_another_directory_and_back_with_its_own() {
    let (local, sent) = own_directory(3).await;
    let mut first = World { disk: local, ..World::new() };
    first.options.move_bytes_per_second = 1;
    first.open().unwrap().flush().await.unwrap();
    let second = World::with(first.bucket.clone()).taking_over();
    let new = second.open().unwrap();
    assert_eq!(found(&new).await.into_keys().collect::<Vec<_>>(), [4], "what was in the log, and is in the bucket now");
    assert!(new.damages().is_empty(), "{:?}", new.damages());
    new.append(&Tenant::default(), append_of(batch_of(1, &[100]))).await.unwrap();
    new.settle().await.unwrap();
    drop(new);
    first.options.move_bytes_per_second = 0;
    let old = first.taking_over().open().unwrap();
    old.settle().await.unwrap();
    let mut all = found(&old).await;
    assert_eq!(all.remove(&100), Some(1));
    sent.check(&all, "taken over again");
}

#[tokio::test]
async fn a_catalog_that_is_lost_in_the_midst_of_a_move_names_every_span_once() {
    let (local, sent) = own_directory(4).await;
    for crash in 4..30 {
        let world = World { disk: local.copy(), ..World::new() };
        world.bucket.set_fault(Some((crash, Fault::Crash)));
        if let Ok(store) = world.open() {
            let _ = store.settle().await;
        }
        let world = world.after_crash(&mut fastrand::Rng::with_seed(crash));
        if !world.bucket.names().await.iter().any(|name| name == "spans/catalog.json") {
            continue;
        }
        world.bucket.remove("spans/catalog.json").await;
        let what = format!("crash at request {crash}");
        // An empty bucket that should not be is another test's.
        if world.bucket.names().await.is_empty() {
            continue;
        }
        let store = world.open().unwrap_or_else(|error| panic!("{what}: {error}"));
        sent.check(&found(&store).await, &what);
        store.settle().await.unwrap();
        sent.check(&found(&store).await, &format!("{what}, moved"));
    }
}

#[tokio::test]
async fn retention_drops_what_is_not_moved_yet_and_damage_stays_where_it_is() {
    let (local, _) = own_directory(4).await;
    let mut world = World { disk: local, ..World::new() };
    world.options.move_bytes_per_second = 1;
    let store = world.open_with(EmbeddedOptions { retention_bytes: Some(0), ..EmbeddedOptions::default() }).unwrap();
    store.flush().await.unwrap();
    drop(store);
    world.options.move_bytes_per_second = 0;
    drop(world.open().unwrap());
    assert_eq!(own_segments(&world), 0);
    world.check_no_orphans("dropped").await;
}

//! Two directories that want one bucket, and buckets that are none.

use super::*;

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
    let Err(StoreError::Unavailable(message)) = old.flush().await else { panic!("two processes write one bucket") };
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
async fn what_an_earlier_owner_left_is_swept_and_what_a_later_one_wrote_is_not() {
    let world = World::new();
    let mut sent = Sent::default();
    let store = world.open().unwrap();
    fill(&store, &mut sent, 3).await;
    drop(store);
    let store = world.open().unwrap();
    let catalog = Catalog::open(&*store.shared.files).unwrap();
    let [earlier, own, later] =
        [(1 << 32) + 900, (2 << 32) + 900, 3 << 32].map(|number: u64| format!("spans/segments/{number:010}.segment"));
    for name in [&earlier, &own, &later] {
        world.bucket.write(name, b"spans".to_vec()).await;
    }
    let mut flusher = Flusher::new(None);
    flusher.catalog = catalog;
    flusher.sweep(&store.shared);
    let names = world.bucket.names().await;
    assert!(!names.contains(&earlier) && !names.contains(&own) && names.contains(&later), "{names:?}");
    sent.check(&found(&store).await, "swept");
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

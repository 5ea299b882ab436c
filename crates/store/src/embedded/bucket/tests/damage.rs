//! What is damaged in the bucket or in the cache: told by name, and mended.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn the_cache_survives_a_restart_and_its_damage_harms_nobody() {
    let world = World::new().with_cache(1 << 30);
    let (store, sent) = begin(&world, 6).await;
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
async fn a_flipped_bit_in_a_segment_is_told_and_mended() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut lost = 0;
    for round in 0..40 {
        let world = World::new().with_cache(0);
        let (store, _) = begin(&world, 4).await;
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
        let mended = found(&store).await;
        assert!(found_before.keys().all(|id| mended.get(id) == Some(&1)), "round {round}, mended: {mended:?}");
    }
    assert!(lost > 5, "{lost} rounds lost something");
}

#[tokio::test]
async fn a_catalog_that_is_lost_is_made_again_from_the_segments() {
    for is_removed in [true, false] {
        let world = World::new();
        let (store, mut sent) = begin(&world, 12).await;
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
async fn retention_frees_what_it_drops_in_the_bucket_and_in_the_cache() {
    let world = World::new().with_cache(1 << 20);
    let (store, mut sent) = begin(&world, 5).await;
    drop(store);
    let held = |world: &World| {
        world.disk.files().iter().filter(|(path, _)| path.extension().is_some_and(|found| found == "piece")).count()
    };
    assert!(held(&world) >= 5);
    let bytes = world.bucket.bytes().await;
    // Spans start in 1970, so that all of them are too old.
    let options = || EmbeddedOptions {
        retention_age: Some(Duration::from_secs(3600)),
        trust_clock: true,
        ..EmbeddedOptions::default()
    };
    let store = world.open_with(options()).unwrap();
    store.settle().await.unwrap();
    assert_eq!(store.stats(&Tenant::default()).await.unwrap().segments, 0);
    assert_eq!(world.bucket.names().await, ["spans/catalog.json"]);
    assert!(world.bucket.bytes().await < bytes / 4 && held(&world) == 0);
    drop(store);

    // What cannot be deleted while the bucket is away is when it is back.
    let store = world.open().unwrap();
    fill(&store, &mut sent, 3).await;
    drop(store);
    let store = world.open_with(options()).unwrap();
    world.bucket.set_down(true);
    let _ = store.settle().await;
    world.bucket.set_down(false);
    while store.settle().await.is_err() {}
    drop(store);
    drop(world.open_with(options()).unwrap());
    assert_eq!(world.bucket.names().await, ["spans/catalog.json"]);
}

#[tokio::test]
async fn fsck_names_what_is_damaged_or_missing_and_repair_puts_it_aside() {
    let world = World::new().with_cache(0);
    let (store, _) = begin(&world, 4).await;
    drop(store);
    let names: Vec<String> = world.bucket.names().await.into_iter().filter(|name| name.ends_with(".segment")).collect();
    let [cut, missing, rotten, ..] = &names[..] else { panic!("{names:?}") };
    let mut bytes = world.bucket.read(cut).await;
    bytes.truncate(bytes.len() / 2);
    world.bucket.write(cut, bytes).await;
    world.bucket.remove(missing).await;
    let mut bytes = world.bucket.read(rotten).await;
    bytes[20] ^= 4;
    world.bucket.write(rotten, bytes).await;

    let report = world.check(false);
    for name in [cut, missing, rotten] {
        let url = format!("s3://bucket/{name}");
        assert!(report.damages.iter().any(|damage| damage.contains(&url)), "{url}: {:?}", report.damages);
    }
    let changed = world.bucket.names().await;
    assert_eq!(changed.len(), 4, "looking changes nothing: {changed:?}");

    let report = world.check(true);
    for name in [cut, rotten] {
        let aside = format!("s3://bucket/{}", name.replace("segments", "damaged"));
        assert!(report.repairs.iter().any(|repair| repair.contains(&aside)), "{aside}: {:?}", report.repairs);
        assert!(world.bucket.names().await.contains(&format!("{}.repaired", name.replace("segments", "damaged"))));
    }
    let report = world.check(false);
    assert_eq!((report.damages, report.segments), (vec![], 1));
    let store = world.open().unwrap();
    assert_eq!(found(&store).await.into_keys().collect::<Vec<_>>(), [4]);
    world.check_no_orphans("repaired").await;

    // A bucket that is away is neither damaged nor mended.
    drop(store);
    world.bucket.set_down(true);
    let _lock = lock(&world.disk, Path::new(FOLDER)).unwrap();
    let (disk, opened) = world.claim().unwrap();
    let refused = check(&*disk, Path::new(FOLDER), opened, FsckChanges { repair: true, ..FsckChanges::default() });
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains(URL)), "{refused:?}");
}

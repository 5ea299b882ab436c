//! What is damaged in the bucket or in the cache: told by name, and mended.

use super::*;

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

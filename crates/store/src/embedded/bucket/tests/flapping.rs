//! A bucket that goes away and comes back, with crashes and starts between.

use super::away::recover;
use super::crashes::{Crash, check_after_crash};
use super::*;

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

//! Crashes and requests that fail, at every place of a life of the store.

use super::*;

/// A life in which a machine crashes once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Crash {
    Request(u64),
    Operation(u64),
}

impl Crash {
    /// Every place at which a life that is like this one may crash.
    pub(super) fn all(whole: &World) -> impl Iterator<Item = Self> {
        let requests = (0..whole.bucket.requests()).map(Self::Request);
        // The disk does more, and most of it is looked at without a bucket, too.
        requests.chain((0..whole.disk.operations()).step_by(3).map(Self::Operation))
    }

    pub(super) fn set(self, world: &World) {
        match self {
            Self::Request(at) => world.bucket.set_fault(Some((at, Fault::Crash))),
            Self::Operation(at) => world.disk.set_faults(Faults { crash_at: Some(at), ..Faults::default() }),
        }
    }
}

#[tokio::test]
async fn after_a_crash_anywhere_every_acknowledged_span_is_there_once() {
    let mut crashes = 0;
    for seed in 0..5u64 {
        let whole = World::new();
        live(whole.open(), &mut Sent::default(), seed).await;
        for (place, crash) in Crash::all(&whole).enumerate().filter(|(place, _)| *place as u64 % 2 == seed % 2) {
            let what = format!("seed {seed}, crash at {crash:?}");
            let world = World::new();
            crash.set(&world);
            let mut sent = Sent::default();
            live(world.open(), &mut sent, seed).await;
            check_after_crash(&world, &mut sent, seed << 32 | place as u64, &what).await;
            crashes += 1;
        }
    }
    assert!(crashes > 300, "{crashes} crashes");
}

pub(super) async fn check_after_crash(world: &World, sent: &mut Sent, seed: u64, what: &str) {
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

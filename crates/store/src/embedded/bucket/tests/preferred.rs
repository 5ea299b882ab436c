//! What finds spans stays in the cache while rows go.

use tracewell_model::TimeRange;

use super::*;
use crate::{AttributeScope, Field, Literal, Op, Predicate, Scan};

const SPANS: usize = 800;
const SEGMENTS: u64 = 5;

/// Appends a trace of which nothing can be compressed, as a segment of its own.
async fn append(store: &EmbeddedStore, random: &mut fastrand::Rng, trace: u64) {
    let ids: Vec<u64> = (0..SPANS).map(|_| random.u64(1..1 << 40)).collect();
    store.append(&Tenant::default(), append_of(batch_of(trace, &ids))).await.unwrap();
    store.flush().await.unwrap();
}

async fn read(store: &EmbeddedStore, trace: u64) -> Result<usize, StoreError> {
    Ok(store.traces(&Tenant::default(), &[TraceId::from_u128(u128::from(trace))]).await?.len())
}

/// How many spans have an attribute that none has.
async fn search(store: &EmbeddedStore) -> Result<usize, StoreError> {
    let predicates = vec![Predicate {
        field: Field::Attribute(AttributeScope::Span, "user".to_owned()),
        op: Op::Eq,
        value: Literal::Str("nobody".to_owned()),
    }];
    let scan = Scan { time: TimeRange::ALL, predicates, projection: Projection::All, after: None, limit: 10 };
    Ok(store.scan(&Tenant::default(), &scan).await?.spans.len())
}

#[tokio::test]
async fn after_many_reads_of_rows_a_start_without_the_bucket_still_finds_all_that_is_held() {
    let mut random = fastrand::Rng::with_seed(5);
    let cache_bytes = 24 << 10;
    let world = World::new().with_cache(cache_bytes);
    let store = world.open().unwrap();
    for trace in 1..=SEGMENTS {
        append(&store, &mut random, trace).await;
    }
    assert!(world.bucket.bytes().await > 2 * cache_bytes, "all of it is held");
    for _ in 0..3 {
        for trace in 1..=SEGMENTS {
            assert_eq!(read(&store, trace).await.unwrap(), SPANS);
        }
    }
    let cache = store.stats(&Tenant::default()).await.unwrap().bucket.unwrap().cache;
    assert!(cache.evictions > 3 * cache_bytes / SIZES.piece_bytes as u64 && cache.bytes <= cache_bytes, "{cache:?}");
    drop(store);

    world.bucket.set_down(true);
    for start in 0..3 {
        let store = world.open().unwrap();
        assert_eq!(read(&store, SEGMENTS).await.unwrap(), SPANS, "start {start}: what was read last");
        assert_eq!(read(&store, 77).await.unwrap(), 0, "start {start}: every index says that it is nowhere");
        assert_eq!(search(&store).await.unwrap(), 0, "start {start}: so does every filter");
        assert_eq!(store.services(&Tenant::default()).await.unwrap().items.len(), 1, "start {start}");
        let refused = read(&store, 1).await;
        assert!(
            matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains(URL)),
            "rows that went: {refused:?}"
        );
    }
    world.bucket.set_down(false);
    let store = world.open().unwrap();
    for trace in 1..=SEGMENTS {
        assert_eq!(read(&store, trace).await.unwrap(), SPANS, "the bucket is back");
    }
}

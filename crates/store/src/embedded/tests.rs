use std::sync::atomic::AtomicU64;

use tracewell_model::{TimeRange, TraceId};

use super::*;
use crate::conformance::{self, append_of, batch_of};
use crate::{Projection, Scan};
use std::time::Duration;

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, EmbeddedOptions::default()).unwrap()
}

async fn span_ids(store: &EmbeddedStore) -> Vec<u64> {
    let scan =
        Scan { time: TimeRange::ALL, predicates: vec![], projection: Projection::All, after: None, limit: 10_000 };
    let page = store.scan(&Tenant::default(), &scan).await.unwrap();
    let mut ids: Vec<u64> = page.spans.iter().map(|span| span.span_id().as_u64()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn it_conforms_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check(&open(folder.path()), false).await;
}

#[tokio::test]
async fn it_conforms_from_segments() {
    let folder = tempfile::tempdir().unwrap();
    conformance::check(&open(folder.path()), true).await;
}

#[tokio::test]
async fn an_acknowledged_span_is_there_once_after_a_crash_at_any_point() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..6u64 {
        let store = open(folder.path());
        assert_eq!(span_ids(&store).await, (1..=round * 3).collect::<Vec<_>>(), "round {round}");
        for place in 0..3 {
            let id = round * 3 + place + 1;
            store.append(&Tenant::default(), append_of(batch_of(id / 2 + 1, &[id]))).await.unwrap();
            if round % 2 == 0 && place == 1 {
                store.flush().await.unwrap();
            }
        }
        // Dropped without close: what is in memory only is in the log.
    }
    assert_eq!(span_ids(&open(folder.path())).await, (1..=18).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_cut_off_anywhere_keeps_every_whole_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&Tenant::default(), append_of(batch_of(1, &[1]))).await.unwrap();
    let log = log_path(folder.path(), 0);
    let first_end = std::fs::metadata(&log).unwrap().len();
    store.append(&Tenant::default(), append_of(batch_of(2, &[2]))).await.unwrap();
    let bytes = std::fs::read(&log).unwrap();
    drop(store);
    for length in first_end as usize..bytes.len() {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(copy.path().join("log")).unwrap();
        std::fs::write(log_path(copy.path(), 0), &bytes[..length]).unwrap();
        let store = open(copy.path());
        assert_eq!(span_ids(&store).await, [1], "cut at {length}");
        // What comes after a torn end is kept, too.
        store.append(&Tenant::default(), append_of(batch_of(3, &[3]))).await.unwrap();
        drop(store);
        assert_eq!(span_ids(&open(copy.path())).await, [1, 3], "cut at {length}");
    }
}

#[tokio::test]
async fn a_flipped_bit_in_the_log_is_no_panic_and_spares_what_lies_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&Tenant::default(), append_of(batch_of(1, &[1]))).await.unwrap();
    let first_end = std::fs::metadata(log_path(folder.path(), 0)).unwrap().len() as usize;
    store.append(&Tenant::default(), append_of(batch_of(2, &[2]))).await.unwrap();
    let bytes = std::fs::read(log_path(folder.path(), 0)).unwrap();
    drop(store);
    for place in first_end..bytes.len() {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(copy.path().join("log")).unwrap();
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        std::fs::write(log_path(copy.path(), 0), damaged).unwrap();
        assert_eq!(span_ids(&open(copy.path())).await, [1], "bit of byte {place}");
    }
}

#[tokio::test]
async fn merging_keeps_every_span() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for id in 1..=20 {
        store.append(&Tenant::default(), append_of(batch_of(id % 3 + 1, &[id]))).await.unwrap();
        store.flush().await.unwrap();
    }
    store.settle().await.unwrap();
    assert_eq!(span_ids(&store).await, (1..=20).collect::<Vec<_>>());
    drop(store);
    let store = open(folder.path());
    assert_eq!(span_ids(&store).await, (1..=20).collect::<Vec<_>>());
    let segments = store.stats(&Tenant::default()).await.unwrap().segments;
    assert!(segments < 20, "nothing was merged: {segments} segments");
    let trace = store.traces(&Tenant::default(), &[TraceId::from_u128(2)]).await.unwrap();
    assert_eq!(trace.len(), 7);
}

#[tokio::test]
async fn retention_drops_what_is_older_and_nothing_newer() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicU64::new(0));
    let now = clock.clone();
    let options = EmbeddedOptions {
        retention_age: Some(Duration::from_nanos(1_000)),
        now_unix_nano: Arc::new(move || now.load(Ordering::SeqCst)),
        ..EmbeddedOptions::default()
    };
    let store = EmbeddedStore::open(folder.path(), options).unwrap();
    // Spans start at 1000 plus their id.
    store.append(&Tenant::default(), append_of(batch_of(1, &[5]))).await.unwrap();
    store.flush().await.unwrap();
    store.append(&Tenant::default(), append_of(batch_of(2, &[500]))).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(span_ids(&store).await, [5, 500]);
    clock.store(2_400, Ordering::SeqCst);
    store.append(&Tenant::default(), append_of(batch_of(3, &[600]))).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(span_ids(&store).await, [500, 600]);
}

#[tokio::test]
async fn a_directory_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());
    let Err(StoreError::Invalid(message)) = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()) else {
        panic!("a second store opened the directory")
    };
    assert!(message.contains("in use by another process"), "{message}");
}

#[tokio::test]
async fn a_directory_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("catalog.json"), r#"{"format": 99}"#).unwrap();
    let Err(StoreError::Invalid(message)) = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()) else {
        panic!("a directory of a newer version was opened")
    };
    assert!(message.contains("newer version"), "{message}");
}

#[tokio::test]
async fn over_the_memory_budget_an_append_is_told_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let store =
        EmbeddedStore::open(folder.path(), EmbeddedOptions { memory_bytes: 4 << 10, ..EmbeddedOptions::default() })
            .unwrap();
    let many: Vec<u64> = (1..100).collect();
    let refused = store.append(&Tenant::default(), append_of(batch_of(1, &many))).await;
    assert!(
        matches!(&refused, Err(StoreError::TooLarge(why)) if why.contains("--memory")),
        "it never fits: {refused:?}"
    );
    // A second that fits has to wait for the flush.
    store.append(&Tenant::default(), append_of(batch_of(1, &[1]))).await.unwrap();
    store.flush().await.unwrap();
    store.append(&Tenant::default(), append_of(batch_of(2, &[2]))).await.unwrap();
    assert_eq!(span_ids(&store).await, [1, 2]);
}

#[tokio::test]
async fn a_closed_store_refuses_appends() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(&Tenant::default(), append_of(batch_of(1, &[1]))).await.unwrap();
    store.close().await.unwrap();
    let refused = store.append(&Tenant::default(), append_of(batch_of(1, &[2]))).await;
    assert!(matches!(refused, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_clock_that_leaps_and_comes_back_deletes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicU64::new(5_000));
    let now = clock.clone();
    let options = EmbeddedOptions {
        retention_age: Some(Duration::from_secs(3_600)),
        now_unix_nano: Arc::new(move || now.load(Ordering::SeqCst)),
        ..EmbeddedOptions::default()
    };
    let store = EmbeddedStore::open(folder.path(), options).unwrap();
    for (id, unix_nano) in [(1, u64::MAX), (2, 5_000), (3, 0), (4, 1 << 62), (5, 5_000)] {
        store.append(&Tenant::default(), append_of(batch_of(1, &[id]))).await.unwrap();
        store.settle().await.unwrap();
        clock.store(unix_nano, Ordering::SeqCst);
        store.settle().await.unwrap();
    }
    assert_eq!(span_ids(&store).await, [1, 2, 3, 4, 5]);
}

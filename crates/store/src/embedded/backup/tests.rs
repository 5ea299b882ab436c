use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::conformance::{append_of, batch_of};
use crate::{EmbeddedOptions, EmbeddedStore, FsckChanges, SpanStore, Tenant, fsck};

async fn put(store: &EmbeddedStore, number: u64) {
    store.append(&Tenant::default(), append_of(batch_of(number, &[1, 2]))).await.unwrap();
}

async fn spans_in(folder: &Path) -> u64 {
    let store = EmbeddedStore::open(folder, EmbeddedOptions::default()).unwrap();
    let spans = store.stats(&Tenant::default()).await.unwrap().spans;
    store.close().await.unwrap();
    spans
}

fn quiet(_: u64, _: u64) {}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_store_restores_equal_and_the_next_copies_only_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let [data, to, back] = ["data", "backup", "back"].map(|name| folder.path().join(name));
    let place = Place::from(data.as_path());
    let store = EmbeddedStore::open(&data, EmbeddedOptions::default()).unwrap();
    put(&store, 1).await;
    store.flush().await.unwrap();
    put(&store, 2).await;
    let first = backup(&place, &to, &mut quiet).unwrap();
    assert_eq!((first.segments, first.new_segments, first.log_files), (1, 1, 1));
    restore(&to, &back, &mut quiet).unwrap();
    let report = fsck(&Place::from(back.as_path()), FsckChanges::default()).unwrap();
    assert_eq!((report.segment_spans, report.log_spans, report.damages), (2, 2, vec![]));
    assert_eq!(spans_in(&back).await, 4);

    store.flush().await.unwrap();
    put(&store, 3).await;
    let second = backup(&place, &to, &mut quiet).unwrap();
    assert_eq!((second.segments, second.new_segments), (2, 1));
    let again = folder.path().join("again");
    restore(&to, &again, &mut quiet).unwrap();
    assert_eq!(spans_in(&again).await, 6);
    store.close().await.unwrap();

    let third = backup(&place, &to, &mut quiet).unwrap();
    assert_eq!((third.segments, third.log_files), (3, 0), "a stopped store can be copied, too");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for folder in [&to, &again] {
        assert_eq!(mode(folder), 0o700);
        assert_eq!(mode(&folder.join("segments")), 0o700);
    }
    assert_eq!(mode(&to.join("manifest.json")), 0o600);
    assert!(restore(&to, &again, &mut quiet).is_err_and(|error| error.to_string().contains("not empty")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_early_leaves_the_backup_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let [data, to] = ["data", "backup"].map(|name| folder.path().join(name));
    let store = EmbeddedStore::open(&data, EmbeddedOptions::default()).unwrap();
    put(&store, 1).await;
    backup(&Place::from(data.as_path()), &to, &mut quiet).unwrap();
    // As if the next had been killed: new files, the old manifest.
    std::fs::write(to.join("unfinished"), "half").unwrap();
    std::fs::write(to.join("segments/0000000009-00000000.segment"), "whole").unwrap();
    let back = folder.path().join("back");
    restore(&to, &back, &mut quiet).unwrap();
    assert_eq!(spans_in(&back).await, 2);
    store.flush().await.unwrap();
    let report = backup(&Place::from(data.as_path()), &to, &mut quiet).unwrap();
    // The segment, the log and the catalog of the backup before.
    assert_eq!((report.new_segments, report.deleted_files), (1, 3));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_and_wrong_directories_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let [data, to, back] = ["data", "backup", "back"].map(|name| folder.path().join(name));
    let place = Place::from(data.as_path());
    let store = EmbeddedStore::open(&data, EmbeddedOptions::default()).unwrap();
    put(&store, 1).await;
    store.close().await.unwrap();
    let said = |result: Result<BackupReport, StoreError>| result.unwrap_err().to_string();
    assert!(said(backup(&place, &data.join("inside"), &mut quiet)).contains("lie in each other"));
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letter.txt"), "").unwrap();
    assert!(said(backup(&place, &other, &mut quiet)).contains("letter.txt"));
    backup(&place, &to, &mut quiet).unwrap();
    let segment = std::fs::read_dir(to.join("segments")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let error = restore(&to, &back, &mut quiet).unwrap_err().to_string();
    assert!(error.contains(segment.to_str().unwrap()) && !back.exists(), "{error}");
}

//! Two faults at once: nothing that could not be read is deleted, and no answer is silently shorter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracewell_model::TimeRange;

use super::disk::Disk;
use super::disk::simulated::{Faults, SimulatedDisk};
use super::fault_tests::{Sent, found, live};
use super::fsck::{FsckChanges, FsckReport, change_on};
use super::log_read::LogReader;
use super::replay_mark::ReplayMark;
use super::{EmbeddedOptions, EmbeddedStore};
use crate::{LeftOut, Missing, Projection, Scan, SpanStore, StoreError, Tenant};

const FOLDER: &str = "/data";

fn open(disk: &SimulatedDisk) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open_on(Arc::new(disk.clone()), Path::new(FOLDER), EmbeddedOptions::default())
}

fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

fn has(disk: &SimulatedDisk, name: &str) -> bool {
    disk.files().iter().any(|(known, _)| *known == path(name))
}

fn length(disk: &SimulatedDisk, name: &str) -> usize {
    disk.files().iter().find(|(known, _)| *known == path(name)).unwrap().1
}

/// What an answer has, and what it says that it lacks.
async fn answer(store: &EmbeddedStore, is_partial: bool) -> Result<(BTreeMap<u64, usize>, Missing), StoreError> {
    let left_out = Arc::new(LeftOut::new(is_partial));
    let view = store.view(left_out.clone()).unwrap();
    let scan =
        Scan { time: TimeRange::ALL, predicates: vec![], projection: Projection::Ids, after: None, limit: 100_000 };
    let page = view.scan(&Tenant::default(), &scan).await?;
    let mut counts = BTreeMap::new();
    page.spans.iter().for_each(|span| *counts.entry(span.span_id().as_u64()).or_default() += 1);
    Ok((counts, left_out.missing()))
}

/// That every acknowledged span is in the answers, or that they say that something is missing; refused is as good.
async fn check(store: &EmbeddedStore, sent: &Sent, what: &str) {
    let partial = answer(store, true).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let strict = match answer(store, false).await {
        Ok(answer) => Some(answer),
        Err(StoreError::Unavailable(_)) => None,
        Err(other) => panic!("{what}: {other}"),
    };
    // What looks like an append that a crash cut off is named, and is in no answer.
    let stats = store.stats(&Tenant::default()).await.unwrap();
    let is_end = stats.damages.iter().any(|damage| damage.contains("never acknowledged"));
    if let Some((_, missing)) = &strict {
        assert!(missing.parts.iter().all(|part| part.is_damaged), "{what}: {missing:?}");
    }
    for (found, missing) in std::iter::once(partial).chain(strict) {
        let lacks = sent.acknowledged.iter().any(|id| !found.contains_key(id));
        assert!(!lacks || !missing.parts.is_empty() || is_end, "{what}: silently shorter: {found:?}");
        for id in found.keys() {
            assert!(sent.acknowledged.contains(id) || sent.refused.contains(id), "{what}: span {id} was never sent");
        }
    }
}

/// Waits, a bounded while, until nothing is missing any more.
async fn whole(store: &EmbeddedStore, what: &str) {
    for _ in 0..1000 {
        let stats = store.stats(&Tenant::default()).await.unwrap();
        if stats.unavailable.is_empty() {
            return;
        }
        store.settle().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what}: {:?}", store.stats(&Tenant::default()).await.unwrap().unavailable);
}

fn fsck(disk: &SimulatedDisk, adopt: bool, repair: bool) -> Result<FsckReport, StoreError> {
    change_on(Arc::new(disk.clone()), Path::new(FOLDER), FsckChanges { adopt, repair })
}

/// A store of three segments with four spans each, which is closed.
async fn three_segments() -> (SimulatedDisk, Sent) {
    let disk = SimulatedDisk::default();
    let mut sent = Sent::default();
    let store = open(&disk).unwrap();
    for number in 0..12 {
        sent.send(&store).await.unwrap();
        if number % 4 == 3 {
            store.flush().await.unwrap();
        }
    }
    drop(store);
    (disk, sent)
}

/// A store of four requests that are in its log alone, which is closed.
async fn four_in_the_log() -> (SimulatedDisk, Sent) {
    let disk = SimulatedDisk::default();
    let mut sent = Sent::default();
    let store = open(&disk).unwrap();
    for _ in 0..4 {
        sent.send(&store).await.unwrap();
    }
    drop(store);
    (disk, sent)
}

#[tokio::test]
async fn a_segment_that_a_rebuilt_catalog_does_not_know_is_set_aside_and_taken_in_again() {
    // A byte of the footer, of its length, of the checksum, of the magic; of the catalog, all along.
    for from_end in [30, 15, 10, 3] {
        for mask in [0x01u8, 0xff] {
            let what = format!("byte {from_end} from the end, mask {mask:#x}");
            let (disk, sent) = three_segments().await;
            let name = "segments/0000000001.segment";
            let at = length(&disk, name) - from_end;
            (0..8).filter(|bit| mask >> bit & 1 == 1).for_each(|bit| disk.flip(&path(name), at * 8 + bit));
            disk.flip(&path("catalog.json"), 20 * 8);
            for start in 0..4 {
                let store = open(&disk).unwrap();
                let _ = store.settle().await;
                let (found, missing) = answer(&store, false).await.unwrap();
                assert_eq!(found.len(), 8, "{what}, start {start}");
                assert!(!missing.parts.is_empty(), "{what}, start {start}");
                let stats = store.stats(&Tenant::default()).await.unwrap();
                assert!(
                    stats.damages.iter().any(|damage| damage.contains("0000000001")),
                    "{what}: {:?}",
                    stats.damages
                );
                drop(store);
                assert!(has(&disk, name) || has(&disk, "damaged/0000000001.segment"), "{what}, start {start}");
            }
            let report = fsck(&disk, false, false).unwrap();
            assert!(report.set_aside.iter().any(|aside| aside.contains("0000000001")), "{what}: {report:?}");
            let report = fsck(&disk, true, false).unwrap();
            assert!(report.set_aside.is_empty(), "{what}: {report:?}");
            let store = open(&disk).unwrap();
            sent.check(&found(&store).await, &format!("{what}, adopted: {report:?}"));
            let (_, missing) = answer(&store, false).await.unwrap();
            assert_eq!(missing, Missing::default(), "{what}, adopted");
            assert!(store.damages().is_empty(), "{what}: {:?}", store.damages());
            drop(store);
            // A second time there is nothing to do.
            assert_eq!(fsck(&disk, true, false).unwrap().repairs, Vec::<String>::new(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_while_the_catalog_is_rebuilt_is_served_when_it_can() {
    let (disk, sent) = three_segments().await;
    disk.flip(&path("catalog.json"), 20 * 8);
    disk.fail_reads_of(&path("segments/0000000001.segment"), None);
    for start in 0..3 {
        let store = open(&disk).unwrap();
        let _ = store.settle().await;
        let refused = answer(&store, false).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "start {start}: {refused:?}");
        let (found, missing) = answer(&store, true).await.unwrap();
        assert_eq!((found.len(), missing.parts.len()), (8, 1), "start {start}");
        let stats = store.stats(&Tenant::default()).await.unwrap();
        assert_eq!(stats.unavailable.len(), 1, "start {start}");
        assert!(has(&disk, "segments/0000000001.segment"), "start {start}");
    }
    let store = open(&disk).unwrap();
    disk.heal();
    whole(&store, "healed").await;
    sent.check(&found(&store).await, "healed");
}

#[tokio::test]
async fn reads_that_fail_for_a_moment_are_not_noticed_and_those_that_go_on_are_refused() {
    let (disk, sent) = three_segments().await;
    let store = open(&disk).unwrap();
    let name = path("segments/0000000001.segment");
    disk.fail_reads_of(&name, Some(2));
    sent.check(&found(&store).await, "tried again");
    disk.heal();
    disk.fail_reads_of(&name, None);
    let (tenant, time) = (Tenant::default(), TimeRange::ALL);
    let ids = [tracewell_model::TraceId::from_u128(1)];
    let is_refused = |error: Option<StoreError>| matches!(error, Some(StoreError::Unavailable(_)));
    store.shared.state().segments.iter().for_each(|segment| segment.forget());
    assert!(is_refused(store.traces(&tenant, &ids).await.err()));
    assert!(is_refused(store.trace_ids(&tenant, time, &[]).await.err()));
    assert!(is_refused(answer(&store, false).await.err()));
    let (found_so_far, missing) = answer(&store, true).await.unwrap();
    assert_eq!((found_so_far.len(), missing.parts.len()), (8, 1));
    assert!(store.damages().is_empty(), "{:?}", store.damages());
    disk.heal();
    sent.check(&found(&store).await, "whole again");
}

#[tokio::test]
async fn a_segment_that_failed_to_open_is_tried_again() {
    let (disk, sent) = three_segments().await;
    disk.fail_reads_of(&path("segments/0000000001.segment"), Some(7));
    let store = open(&disk).unwrap();
    whole(&store, "after some tries").await;
    sent.check(&found(&store).await, "after some tries");
}

#[tokio::test]
async fn a_repair_moves_nothing_while_something_cannot_be_read() {
    for name in ["segments/0000000001.segment", "catalog.json", "segments", "log"] {
        let (disk, sent) = three_segments().await;
        // Another one is damaged indeed.
        disk.flip(&path("segments/0000000000.segment"), 8 * 40);
        disk.fail_reads_of(&path(name), None);
        let before = disk.files();
        for (adopt, repair) in [(false, true), (true, false), (true, true)] {
            let refused = fsck(&disk, adopt, repair);
            let is_refused = matches!(refused, Err(StoreError::Unavailable(_) | StoreError::Io { .. }));
            assert!(is_refused, "{name}: {refused:?}");
            let is_gone = |(path, _): &&(PathBuf, usize)| !disk.files().iter().any(|(known, _)| known == path);
            assert_eq!(before.iter().find(is_gone), None, "{name}: something was moved or deleted");
        }
        disk.heal();
        let store = open(&disk).unwrap();
        check(&store, &sent, name).await;
    }
}

#[tokio::test]
async fn a_log_file_that_cannot_be_read_is_kept_and_read_later() {
    let (disk, mut sent) = four_in_the_log().await;
    disk.fail_reads_of(&path("log/0000000000.log"), None);
    for _ in 0..3 {
        let store = open(&disk).unwrap();
        assert!(matches!(answer(&store, false).await, Err(StoreError::Unavailable(_))));
        // How much of the file was acknowledged is not known, and the next file has to say it.
        let refused = sent.send(&store).await;
        assert!(matches!(refused, Err(StoreError::Busy(_))), "{refused:?}");
        check(&store, &sent, "unreadable").await;
    }
    let store = open(&disk).unwrap();
    disk.heal();
    sent.send(&store).await.unwrap();
    while store.flush().await.is_err() {}
    whole(&store, "healed").await;
    sent.check(&found(&store).await, "healed");
}

#[tokio::test]
async fn a_damaged_log_file_is_kept_when_the_rest_of_it_is_in_a_segment() {
    let (disk, sent) = four_in_the_log().await;
    let name = path("log/0000000000.log");
    let bit = 8 * 100;
    disk.flip(&name, bit);
    let file = disk.number_of(&name);
    for start in 0..3 {
        let store = open(&disk).unwrap();
        store.flush().await.unwrap();
        let (found, missing) = answer(&store, false).await.unwrap();
        assert_eq!(found.len(), 3, "start {start}");
        assert!(!missing.parts.is_empty(), "start {start}");
        assert!(store.damages().iter().any(|damage| damage.contains("0000000000.log")), "{:?}", store.damages());
    }
    // Its bytes are all there still.
    disk.flip_file(file, bit);
    let report = fsck(&disk, true, false).unwrap();
    let store = open(&disk).unwrap();
    sent.check(&found(&store).await, &format!("{report:?}"));
    assert!(store.damages().is_empty(), "{:?}", store.damages());
}

#[tokio::test]
async fn a_request_that_was_set_aside_is_taken_in_again() {
    let (disk, sent) = four_in_the_log().await;
    let mut reader = LogReader::open(&disk, &path("log/0000000000.log"), None).unwrap();
    let offset = [reader.next().unwrap().unwrap(), reader.next().unwrap().unwrap()][1].offset;
    let disk_as_read: Arc<dyn Disk> = Arc::new(disk.clone());
    // A small record is marked from the second start on, and set aside after four.
    for _ in 0..5 {
        let mut mark = ReplayMark::begin(&disk_as_read, Path::new(FOLDER), true).unwrap();
        mark.begin_record(0, offset, 1);
        // So it is when a process ends.
        std::mem::forget(mark);
    }
    let store = open(&disk).unwrap();
    store.flush().await.unwrap();
    let (found, missing) = answer(&store, false).await.unwrap();
    assert_eq!((found.len(), missing.parts.len()), (3, 1));
    let name = format!("damaged/0000000000-{offset}.record");
    let stats = store.stats(&Tenant::default()).await.unwrap();
    assert_eq!(stats.set_aside.iter().map(|aside| &aside.name).collect::<Vec<_>>(), [&name]);
    drop(store);
    let report = fsck(&disk, false, false).unwrap();
    assert!(report.set_aside[0].starts_with(&name), "{report:?}");
    let report = fsck(&disk, true, false).unwrap();
    assert!(!has(&disk, &name), "{report:?}");
    let store = open(&disk).unwrap();
    sent.check(&self::found(&store).await, &format!("{report:?}"));
    assert!(store.damages().is_empty(), "{:?}", store.damages());
}

/// A fault, and how it is undone.
#[derive(Debug)]
enum Fault {
    Bit { file: u64, bit: usize },
    Reads,
}

fn inject(disk: &SimulatedDisk, random: &mut fastrand::Rng) -> Option<Fault> {
    let files: Vec<(PathBuf, usize)> =
        disk.files().into_iter().filter(|(path, length)| *length > 0 && !path.ends_with("lock")).collect();
    // The catalog takes part more often than one file of many would.
    let is_catalog = random.u8(0..4) == 0;
    let choice: Vec<&(PathBuf, usize)> =
        files.iter().filter(|(path, _)| !is_catalog || path.ends_with("catalog.json")).collect();
    let (path, length) = choice.get(random.usize(0..choice.len().max(1)))?;
    if random.bool() {
        let (file, bit) = (disk.number_of(path), random.usize(0..length * 8));
        disk.flip_file(file, bit);
        Some(Fault::Bit { file, bit })
    } else {
        let times = random.bool().then(|| random.u64(1..20));
        let path = if random.u8(0..8) == 0 { path.parent()? } else { path };
        disk.fail_reads_of(path, times);
        Some(Fault::Reads)
    }
}

#[tokio::test]
async fn after_a_crash_and_two_faults_every_acknowledged_span_is_found_or_named_and_its_bytes_are_there() {
    let seeds = std::env::var("TRACEWELL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1500u64);
    let begin = std::env::var("TRACEWELL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0u64);
    let (mut lacking, mut refused) = (0, 0);
    for seed in begin..begin + seeds {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimulatedDisk::default();
        let mut sent = Sent::default();
        live(open(&disk), &mut sent, seed).await;
        disk.set_faults(Faults { crash_at: Some(disk.operations() + random.u64(0..150)), ..Faults::default() });
        live(open(&disk), &mut sent, seed + 1).await;
        let disk = disk.after_crash(&mut random);
        let faults: Vec<Fault> = (0..2).filter_map(|_| inject(&disk, &mut random)).collect();
        let what = format!("seed {seed}, {faults:?}");
        for start in 0..3 {
            let what = format!("{what}, start {start}");
            match open(&disk) {
                Ok(store) => {
                    check(&store, &sent, &what).await;
                    if random.bool() {
                        let _ = store.settle().await;
                        check(&store, &sent, &format!("{what}, settled")).await;
                    }
                    lacking += usize::from(answer(&store, true).await.unwrap().0.len() < sent.acknowledged.len());
                }
                // Not without the catalog or a list of the files; a catalog may say that it is of a later version.
                Err(StoreError::Io { .. } | StoreError::Unavailable(_) | StoreError::Invalid(_)) => refused += 1,
                Err(other) => panic!("{what}: {other}"),
            }
        }
        // With the disk well again, and the very bits as they were, everything is there.
        disk.heal();
        for fault in &faults {
            if let Fault::Bit { file, bit } = fault {
                disk.flip_file(*file, *bit);
            }
        }
        let store = open(&disk).unwrap_or_else(|error| panic!("{what}, healed: {error}"));
        whole(&store, &what).await;
        drop(store);
        let report = fsck(&disk, true, false).unwrap_or_else(|error| panic!("{what}, adopted: {error}"));
        let store = open(&disk).unwrap();
        let (found, _) = answer(&store, false).await.unwrap_or_else(|error| panic!("{what}, adopted: {error}"));
        let lost: Vec<&u64> = sent.acknowledged.iter().filter(|id| !found.contains_key(id)).collect();
        assert!(lost.is_empty(), "{what}: {lost:?} are lost: {report:?}, {:?}", disk.files());
    }
    assert!(
        lacking > 20 && refused > 5 || seeds < 1500,
        "{lacking} answers lacked something, {refused} starts were refused"
    );
}

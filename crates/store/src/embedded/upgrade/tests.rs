//! A directory that format 2 wrote, in `tests/format-2`: two segments of two spans each, two spans in the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracewell_model::{TimeRange, TraceId};

use crate::conformance::{append_of, batch_of};
use crate::embedded::catalog::Catalog;
use crate::embedded::disk::Disk;
use crate::embedded::disk::simulated::{Faults, SimulatedDisk};
use crate::embedded::fsck::check_on;
use crate::embedded::upgrade::FORMAT;
use crate::embedded::{EmbeddedOptions, EmbeddedStore};
use crate::{Projection, Scan, SpanStore, StoreError, Tenant};

const FOLDER: &str = "/data";

/// The directory, on a simulated disk.
fn directory() -> SimulatedDisk {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/format-2");
    let disk = SimulatedDisk::default();
    for folder in ["", "log", "segments"] {
        let target = Path::new(FOLDER).join(folder);
        for entry in std::fs::read_dir(source.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let mut file = disk.create(&target.join(path.file_name().unwrap())).unwrap();
                file.append(&std::fs::read(path).unwrap()).unwrap();
                file.sync().unwrap();
            }
        }
    }
    disk.copy()
}

fn open(disk: &SimulatedDisk) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open_on(Arc::new(disk.clone()), Path::new(FOLDER), EmbeddedOptions::default())
}

/// The ids and users of all spans; and of each trace as many as it has.
async fn check_spans(store: &EmbeddedStore, what: &str) {
    let tenant = Tenant::default();
    let scan = Scan { time: TimeRange::ALL, predicates: vec![], projection: Projection::All, after: None, limit: 100 };
    let page = store.scan(&tenant, &scan).await.unwrap();
    let mut found: Vec<(u64, String)> = page
        .spans
        .iter()
        .filter(|span| span.span_id().as_u64() < 100)
        .map(|span| {
            let (_, user) = span.attributes().iter().find(|(key, _)| *key == "user").unwrap();
            (span.span_id().as_u64(), format!("{} {} {user}", span.service(), span.name()))
        })
        .collect();
    found.sort();
    let expected: Vec<(u64, String)> = (1..=6).map(|id| (id, format!("cart GET /cart u-{id}"))).collect();
    assert_eq!(found, expected, "{what}");
    for (trace, spans) in [(1, 3), (2, 2), (3, 1)] {
        let trace = store.traces(&tenant, &[TraceId::from_u128(trace)]).await.unwrap();
        assert_eq!(trace.len(), spans, "{what}");
    }
}

fn format_of(disk: &SimulatedDisk) -> u64 {
    let bytes = disk.read(&Path::new(FOLDER).join("catalog.json")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (json, _) = text.split_once("\ncrc32").unwrap();
    serde_json::from_str::<serde_json::Value>(json).unwrap()["format"].as_u64().unwrap()
}

#[tokio::test]
async fn a_directory_of_format_2_is_upgraded_and_every_span_is_there() {
    let disk = directory();
    assert_eq!(format_of(&disk), 2);
    let store = open(&disk).unwrap();
    check_spans(&store, "opened").await;
    store.settle().await.unwrap();
    check_spans(&store, "settled").await;
    assert_eq!(format_of(&disk), u64::from(FORMAT));
    assert!(store.damages().is_empty(), "{:?}", store.damages());
    drop(store);
    check_spans(&open(&disk).unwrap(), "opened again").await;
    let report = check_on(Arc::new(disk), Path::new(FOLDER), false).unwrap();
    assert_eq!((report.damages.len(), report.segment_spans), (0, 6));
}

#[tokio::test]
async fn a_crash_at_any_operation_of_an_upgrade_leaves_every_span() {
    let whole = directory();
    open(&whole).unwrap().settle().await.unwrap();
    let operations = whole.operations();
    assert!(operations > 10, "{operations} operations");
    for crash in 0..operations {
        let what = format!("crash at operation {crash}");
        let disk = directory();
        disk.set_faults(Faults { crash_at: Some(crash), ..Faults::default() });
        if let Ok(store) = open(&disk) {
            let _ = store.settle().await;
        }
        let disk = disk.after_crash(&mut fastrand::Rng::with_seed(crash));
        let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        check_spans(&store, &what).await;
        store.append(&Tenant::default(), append_of(batch_of(9, &[100]))).await.unwrap();
        store.settle().await.unwrap();
        check_spans(&store, &format!("{what}, settled")).await;
        assert_eq!(format_of(&disk), u64::from(FORMAT), "{what}");
    }
}

#[test]
fn a_catalog_that_is_no_object_is_damaged_though_its_checksum_holds() {
    for json in ["111", "null", "true", "\"catalog\"", "[{\"format\": 4}]"] {
        let file = format!("{json}\ncrc32 {:08x}\n", crc32fast::hash(json.as_bytes()));
        let refused = Catalog::decode(file.as_bytes(), "catalog.json");
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{json}: {refused:?}");
    }
}

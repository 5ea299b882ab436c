//! A store looked at from outside, at one moment, while a process may be changing it.

use std::path::Path;
use std::sync::Arc;

use tracewell_model::SpanBatch;

use super::catalog::Catalog;
use super::disk::{Disk, LocalDisk};
use super::log_read::{LogReader, acknowledged_before};
use super::open::open_all;
use super::place::Opened;
use super::replay::{TORN_LOG, decode, set_aside_in};
use super::segment::Segment;
use super::{Place, log_path, logs_in};
use crate::{CacheStats, StoreError, Tenant};

/// So often it is looked again when the store changed in the midst of it.
const TRIES: usize = 10;

/// What a store holds.
pub(super) struct Snapshot {
    /// Where its catalog is.
    pub(super) place: String,
    /// The segments that can be read.
    pub(super) segments: Vec<Segment>,
    /// Segments that are still to be moved into the bucket, and their bytes.
    pub(super) unmoved: (u64, u64),
    /// How a bucket's cache is used.
    pub(super) cache: Option<CacheStats>,
    pub(super) log: LogReport,
    /// What cannot be read.
    pub(super) damages: Vec<String>,
}

/// What the log files hold that count.
#[derive(Default)]
pub(super) struct LogReport {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) spans: u64,
    pub(super) damages: Vec<String>,
}

/// Looks at a store. `each` gets the spans of the log by file, and is told with `None` when all it got is void because
/// the store changed.
pub(super) fn look(
    place: &Place,
    mut each: impl FnMut(Option<(u64, Tenant, SpanBatch)>),
) -> Result<Snapshot, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let place = place.clone().with_known_bucket(&*disk)?;
    for _ in 0..TRIES {
        let Opened { files, catalog, damage, .. } = place.look(&disk)?;
        let log = read_log(&*disk, &place.folder, catalog.first_log, &mut |number, tenant, batch| {
            each(Some((number, tenant, batch)));
        });
        let (mut segments, mut damages) = (Vec::new(), Vec::new());
        for opened in open_all(&*files, &catalog.segments) {
            match opened {
                Ok(segment) => segments.push(segment),
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => damages.push(error.to_string()),
            }
        }
        let is_changed = damage.is_none() && {
            let after = Catalog::open(&*files)?;
            let has_failed = !damages.is_empty() || log.is_err();
            after.first_log != catalog.first_log || has_failed && after.segments != catalog.segments
        };
        if !is_changed {
            let log = log?;
            damages.splice(0..0, damage);
            damages.extend(log.damages.iter().cloned());
            let mut unmoved = (0, 0);
            for entry in catalog.segments.iter().filter(|entry| files.is_to_be_moved(entry.number)) {
                unmoved = (unmoved.0 + 1, unmoved.1 + entry.bytes);
            }
            let cache = place.cache_stats(&*disk);
            return Ok(Snapshot { place: files.catalog_name(), segments, unmoved, cache, log, damages });
        }
        each(None);
    }
    Err(StoreError::Busy("it changes faster than it can be looked at".to_owned()))
}

/// Reads the log files that count. What comes last may be an append that is just being written.
pub(super) fn read_log(
    disk: &dyn Disk,
    folder: &Path,
    first: u64,
    each: &mut dyn FnMut(u64, Tenant, SpanBatch),
) -> Result<LogReport, StoreError> {
    let mut report = LogReport::default();
    for number in logs_in(disk, folder)? {
        if number < first {
            continue;
        }
        let path = log_path(folder, number);
        let acknowledged = acknowledged_before(disk, &log_path(folder, number + 1));
        let mut reader = LogReader::open(disk, &path, acknowledged)?;
        let rules = *reader.rules();
        while let Some(record) = reader.next()? {
            let damaged = |why: &str| format!("log {} at offset {}: {why}", path.display(), record.offset);
            let Some(body) = reader.body(&record)? else {
                report.damages.push(damaged("its body does not unpack"));
                continue;
            };
            let decoded = decode(&record, &body, &rules, &mut |batch| {
                report.spans += batch.len() as u64;
                each(number, record.tenant.clone(), batch);
            });
            if let Err(why) = decoded {
                report.damages.push(damaged(&why));
            }
        }
        let end = reader.end().clone();
        report.files += 1;
        report.bytes += end.bytes;
        for (from, to) in end.unreadable.into_iter().filter(|(from, to)| from < to) {
            report.damages.push(format!("log {} at offset {from}: {} bytes are no records", path.display(), to - from));
        }
    }
    for path in set_aside_in(disk, folder).into_iter().filter(|path| !path.to_string_lossy().ends_with(TORN_LOG)) {
        report.damages.push(format!("{}: a part of the log that could not be read back", path.display()));
    }
    Ok(report)
}

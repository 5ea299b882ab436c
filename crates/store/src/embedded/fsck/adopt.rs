//! Taking in what was set aside: spans that can be read and that the store does not have.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use tracewell_model::{SpanBatch, SpanRef, TraceId};

use super::{FsckChanges, FsckReport, Writing};
use crate::embedded::catalog::{Catalog, SegmentEntry};
use crate::embedded::damage::{Damages, Tolerance};
use crate::embedded::disk::{Disk, retried};
use crate::embedded::files::{self, Aside, DAMAGED_FOLDER, SegmentFiles};
use crate::embedded::log_read::LogReader;
use crate::embedded::look::read_log;
use crate::embedded::replay::{TORN_LOG, decode};
use crate::embedded::segment::Segment;
use crate::{Projection, StoreError, Tenant};

/// The extensions of log files, and of single records, that were set aside.
const LOGS: [&str; 2] = ["log", "record"];

/// A span, as far as it takes to know it again: trace, span, start.
type Key = (TraceId, u64, u64);

/// What was set aside and not repaired, with what is known of it.
pub(super) fn list(disk: &dyn Disk, folder: &Path, files: &dyn SegmentFiles) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for aside in segments_aside(files)? {
        let said = match open(files, &aside) {
            Ok(segment) => format!("{} spans", segment.entry.spans),
            Err(error) => error.to_string(),
        };
        found.push(format!("{DAMAGED_FOLDER}/{}: {said}", aside.name));
    }
    for aside in logs_aside(disk, folder)? {
        let what = if aside.name.ends_with(TORN_LOG) {
            "a log file whose end was never acknowledged, or is damaged"
        } else if aside.name.ends_with(".record") {
            "a request that could not be read back"
        } else {
            "a log file with damaged records"
        };
        found.push(format!("{DAMAGED_FOLDER}/{}: {what}", aside.name));
    }
    Ok(found)
}

/// An error if something cannot be listed or read at the moment that a change would look at.
pub(super) fn check_readable(disk: &dyn Disk, folder: &Path, files: &dyn SegmentFiles) -> Result<(), StoreError> {
    let context = |error| StoreError::io(format!("list beside {}", files.catalog_name()), error);
    let is_readable = |read: Result<(), StoreError>| match read {
        Err(StoreError::Corrupt(_)) => Ok(()),
        read => read,
    };
    for number in files.list().map_err(context)? {
        is_readable(Segment::find(files, number).map(drop))?;
    }
    for aside in segments_aside(files)? {
        is_readable(open(files, &aside).and_then(|segment| segment.verify(|_| {})).map(drop))?;
    }
    for aside in logs_aside(disk, folder)? {
        let path = folder.join(DAMAGED_FOLDER).join(&aside.name);
        is_readable(read_log_aside(disk, &path, &mut |_, _| {}).map(drop))?;
    }
    Ok(())
}

/// Takes in what the store does not have.
pub(super) fn adopt(
    disk: &dyn Disk,
    folder: &Path,
    files: &dyn SegmentFiles,
    catalog: &mut Catalog,
    changes: FsckChanges,
    report: &mut FsckReport,
) -> Result<(), StoreError> {
    set_unnamed_aside(files, catalog, report)?;
    let segments = segments_aside(files)?;
    let logs = logs_aside(disk, folder)?;
    if segments.is_empty() && logs.is_empty() {
        return Ok(());
    }
    let known = Known::new(disk, folder, files, catalog)?;
    for aside in segments {
        let (mut adopted, mut damaged) = (0, 0);
        let mut read = |segment: &Segment, catalog: &mut Catalog| -> Result<(), StoreError> {
            let tenant = Tenant::new(&segment.entry.tenant)?;
            let mut writing = Writing::new(files, &tenant, Vec::new(), segment.entry.dates());
            segment.every_span(|batch| writing.add(known.new_spans(&tenant, batch)?, catalog), |_| damaged += 1)?;
            adopted = writing.finish(catalog)?;
            Ok(())
        };
        let read = open(files, &aside).and_then(|segment| read(&segment, catalog));
        let is_whole = match read {
            Ok(()) => damaged == 0,
            Err(StoreError::Corrupt(_)) => false,
            Err(other) => return Err(other),
        };
        if adopted > 0 {
            catalog.commit(files)?;
        }
        let name = format!("{DAMAGED_FOLDER}/{}", aside.name);
        note(report, &name, adopted, is_whole, changes);
        let moved = match (is_whole, changes.repair) {
            (true, _) => files.remove_aside(&aside),
            (false, true) => files.retire_aside(&aside),
            (false, false) => Ok(()),
        };
        moved.map_err(|error| StoreError::io(format!("move {name}"), error))?;
    }
    for aside in logs {
        let name = format!("{DAMAGED_FOLDER}/{}", aside.name);
        let path = folder.join(DAMAGED_FOLDER).join(&aside.name);
        let mut batches: BTreeMap<Tenant, Vec<SpanBatch>> = BTreeMap::new();
        let is_whole =
            read_log_aside(disk, &path, &mut |tenant, batch| batches.entry(tenant).or_default().push(batch))?;
        let mut adopted = 0;
        for (tenant, batches) in batches {
            let mut writing = Writing::new(files, &tenant, Vec::new(), None);
            for batch in batches {
                writing.add(known.new_spans(&tenant, batch)?, catalog)?;
            }
            adopted += writing.finish(catalog)?;
        }
        if adopted > 0 {
            catalog.commit(files)?;
        }
        note(report, &name, adopted, is_whole, changes);
        let moved = match (is_whole, changes.repair) {
            (true, _) => disk.remove(&path),
            (false, true) => files::retire_aside(disk, folder, &aside),
            (false, false) => Ok(()),
        };
        moved.map_err(|error| StoreError::io(format!("move {name}"), error))?;
    }
    Ok(())
}

fn note(report: &mut FsckReport, name: &str, adopted: u64, is_whole: bool, changes: FsckChanges) {
    let rest = match (is_whole, changes.repair) {
        (true, _) => "it was read as a whole and is deleted",
        (false, true) => "the rest cannot be read, and is marked as repaired",
        (false, false) => "the rest cannot be read, and stays",
    };
    report.repairs.push(format!("{name}: {adopted} spans were taken in that the store did not have; {rest}"));
}

/// Moves segments that no catalog names to what was set aside, as far as they can be read: the others are for the server.
fn set_unnamed_aside(files: &dyn SegmentFiles, catalog: &Catalog, report: &mut FsckReport) -> Result<(), StoreError> {
    let context = |error| StoreError::io(format!("list beside {}", files.catalog_name()), error);
    let named: BTreeSet<u64> = catalog.segments.iter().map(|entry| entry.number).collect();
    for number in files.list().map_err(context)? {
        let is_known = named.contains(&number) || catalog.dropped.contains(&number) || catalog.unread.contains(&number);
        if is_known || Segment::find(files, number).is_err() {
            continue;
        }
        let name = files.name(number);
        let place = files.set_aside(number, false).map_err(|error| StoreError::io(format!("move {name}"), error))?;
        report.repairs.push(format!("{name}, which the catalog does not name, is now {place}"));
    }
    Ok(())
}

fn segments_aside(files: &dyn SegmentFiles) -> Result<Vec<Aside>, StoreError> {
    let context = |error| StoreError::io(format!("list {DAMAGED_FOLDER} beside {}", files.catalog_name()), error);
    let mut found = retried(|| files.list_aside()).map_err(context)?;
    found.retain(|aside| !aside.is_repaired());
    Ok(found)
}

fn logs_aside(disk: &dyn Disk, folder: &Path) -> Result<Vec<Aside>, StoreError> {
    let context = |error| StoreError::io(format!("list {}", folder.join(DAMAGED_FOLDER).display()), error);
    let mut found = Vec::new();
    for extension in LOGS {
        found.extend(retried(|| files::list_aside(disk, folder, extension)).map_err(&context)?);
    }
    found.retain(|aside| !aside.is_repaired());
    Ok(found)
}

/// Reads the spans of a log file, or of a record, that was set aside; says whether all of it could be read.
fn read_log_aside(disk: &dyn Disk, path: &Path, each: &mut dyn FnMut(Tenant, SpanBatch)) -> Result<bool, StoreError> {
    let mut reader = LogReader::open(disk, path, None)?;
    let rules = *reader.rules();
    let mut is_whole = true;
    while let Some(record) = reader.next()? {
        let Some(body) = reader.body(&record)? else {
            is_whole = false;
            continue;
        };
        is_whole &= decode(&record, &body, &rules, &mut |batch| each(record.tenant.clone(), batch)).is_ok();
    }
    Ok(is_whole && reader.end().unreadable.iter().all(|(from, to)| from == to))
}

fn open(files: &dyn SegmentFiles, aside: &Aside) -> Result<Segment, StoreError> {
    let name = format!("{DAMAGED_FOLDER}/{}", aside.name);
    let file = retried(|| files.open_aside(aside)).map_err(|error| StoreError::read(format!("open {name}"), error))?;
    Segment::mended(aside.number, name, file)
}

/// The spans that the store has.
struct Known {
    segments: Vec<Segment>,
    in_log: HashSet<(Tenant, Key)>,
}

impl Known {
    fn new(disk: &dyn Disk, folder: &Path, files: &dyn SegmentFiles, catalog: &Catalog) -> Result<Self, StoreError> {
        let mut in_log = HashSet::new();
        read_log(disk, folder, catalog.first_log, &mut |_, tenant, batch| {
            in_log.extend(batch.iter().map(|span| (tenant.clone(), key_of(span))));
        })?;
        let open = |entry: &SegmentEntry| match Segment::open(files, entry.clone()) {
            // A damaged one is told of elsewhere.
            Err(StoreError::Corrupt(_)) => None,
            opened => Some(opened),
        };
        let segments = catalog.segments.iter().filter_map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { segments, in_log })
    }

    /// Those of some spans that are new.
    fn new_spans(&self, tenant: &Tenant, batch: SpanBatch) -> Result<SpanBatch, StoreError> {
        let mut ids: Vec<TraceId> = batch.iter().map(SpanRef::trace_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let damages = Damages::default();
        let tolerance = Tolerance::new(&damages, None);
        let mut held = SpanBatch::new();
        for segment in self.segments.iter().filter(|segment| segment.entry.tenant == tenant.as_str()) {
            let read = segment.traces(&ids, Projection::Ids, &tolerance, &mut held);
            tolerance.tolerate(segment.entry.number, || segment.as_part(), read)?;
        }
        let held: HashSet<Key> = held.iter().map(key_of).collect();
        let is_new = |span: &SpanRef<'_>| {
            let key = key_of(*span);
            !held.contains(&key) && !self.in_log.contains(&(tenant.clone(), key))
        };
        let rows: Vec<usize> = batch.iter().enumerate().filter(|(_, span)| is_new(span)).map(|(row, _)| row).collect();
        Ok(if rows.len() == batch.len() { batch } else { batch.select(rows) })
    }
}

fn key_of(span: SpanRef<'_>) -> Key {
    (span.trace_id(), span.span_id().as_u64(), span.start_unix_nano())
}

//! A store's directory looked at from outside: what is in it, whether it is whole, and mending what is not.

mod adopt;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tracewell_model::SpanBatch;

use super::catalog::{Catalog, SegmentEntry};
use super::disk::{Disk, LocalDisk};
use super::files::SegmentFiles;
use super::look::{look, read_log};
use super::open;
use super::place::{Opened, Place};
use super::segment::{self, Origin, Segment};
use crate::{CacheStats, StoreError, Tenant};

/// A segment that a repair writes has about so many spans at most.
const REPAIRED_SPANS: usize = 200_000;

/// What a check of a directory found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Segments that were read.
    pub segments: u64,
    /// Spans in them that can be read.
    pub segment_spans: u64,
    /// Log files that were read.
    pub log_files: u64,
    /// Spans in them that can be read.
    pub log_spans: u64,
    /// What is damaged: file, offset, what is lost.
    pub damages: Vec<String>,
    /// Files in the folder `damaged`, with what is known of them, but for those that were repaired.
    pub set_aside: Vec<String>,
    /// What was done about it.
    pub repairs: Vec<String>,
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// Where its catalog is.
    pub place: String,
    /// The segments, the oldest first.
    pub segments: Vec<SegmentReport>,
    /// Bytes of the segments by column, the most first.
    pub columns: Vec<(String, u64)>,
    /// Segments that are still in the directory, on their way into the bucket.
    pub unmoved_segments: u64,
    /// Their bytes.
    pub unmoved_bytes: u64,
    /// How the cache of a bucket's segments is used, as the server wrote it down last.
    pub cache: Option<CacheStats>,
    /// Log files.
    pub log_files: u64,
    /// Bytes of the log files.
    pub log_bytes: u64,
    /// Spans in the log files.
    pub log_spans: u64,
    /// What cannot be read, as far as this look tells: `fsck` reads every byte.
    pub damages: Vec<String>,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SegmentReport {
    pub number: u64,
    pub tenant: String,
    pub spans: u64,
    pub traces: u64,
    pub bytes: u64,
    pub first_start_unix_nano: u64,
    pub last_start_unix_nano: u64,
}

/// What a check changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsckChanges {
    /// Takes in the spans of files that were set aside, and of those that no catalog names, as far as they can be read and
    /// the store does not have them.
    pub adopt: bool,
    /// Takes out what is damaged: what of it can be read becomes a new segment, and the damaged file is moved into the
    /// folder `damaged`, where it counts as missing no longer.
    pub repair: bool,
}

impl FsckChanges {
    fn any(self) -> bool {
        self.adopt || self.repair
    }
}

/// Reads every byte of a store that no process has open, and changes what is asked for.
///
/// # Errors
/// [`StoreError::Invalid`] when a process has the store open or a newer version wrote it; [`StoreError::Unavailable`] or
/// [`StoreError::Io`] when something cannot be read at the moment, as a bucket that does not answer: then nothing was moved
/// or deleted.
pub fn fsck(place: &Place, changes: FsckChanges) -> Result<FsckReport, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    // Who only looks into a bucket needs no directory, and makes none.
    let has_folder = changes.any() || place.bucket.is_none() || place.folder.is_dir();
    let _lock = has_folder.then(|| open::lock(&*disk, &place.folder)).transpose()?;
    let place = place.clone().with_known_bucket(&*disk)?;
    let opened = if changes.any() { place.open(&disk)? } else { place.look(&disk)? };
    check(&*disk, &place.folder, opened, changes)
}

#[cfg(test)]
pub(super) fn check_on(disk: Arc<dyn Disk>, folder: &Path, repair: bool) -> Result<FsckReport, StoreError> {
    change_on(disk, folder, FsckChanges { repair, ..FsckChanges::default() })
}

#[cfg(test)]
pub(super) fn change_on(disk: Arc<dyn Disk>, folder: &Path, changes: FsckChanges) -> Result<FsckReport, StoreError> {
    let _lock = open::lock(&*disk, folder)?;
    check(&*disk, folder, Place::from(folder).open(&disk)?, changes)
}

pub(super) fn check(
    disk: &dyn Disk,
    folder: &Path,
    opened: Opened,
    changes: FsckChanges,
) -> Result<FsckReport, StoreError> {
    let Opened { files, catalog, damage, late_claim } = opened;
    if let Some(late) = late_claim {
        return Err(StoreError::Unavailable(late.why));
    }
    let files = &*files;
    let repair = changes.repair;
    let is_rebuilt = damage.is_some();
    let mut report = FsckReport::default();
    report.damages.extend(damage.map(|what| StoreError::Corrupt(what).to_string()));
    let mut next = catalog.clone();
    let mut damaged = Vec::new();
    for entry in &catalog.segments {
        let before = report.damages.len();
        let opened = Segment::open(files, entry.clone());
        match opened.and_then(|segment| segment.verify(|error| report.damages.push(error.to_string()))) {
            Ok(spans) => {
                report.segments += 1;
                report.segment_spans += spans;
            }
            // What cannot be read at the moment is not damaged, and must not be repaired.
            Err(error @ (StoreError::Unavailable(_) | StoreError::Io { .. })) => return Err(error),
            // A bucket's owner may have merged it away meanwhile.
            Err(_) if !changes.any() && !is_rebuilt && !Catalog::open(files)?.segments.contains(entry) => {}
            Err(error) => report.damages.push(format!("{error}: its {} spans are lost", entry.spans)),
        }
        if report.damages.len() > before {
            damaged.push(entry);
        }
    }
    let mut unread = Vec::new();
    for number in &catalog.unread {
        match Segment::find(files, *number) {
            // The server takes it in.
            Ok(_) => {}
            Err(error @ (StoreError::Unavailable(_) | StoreError::Io { .. })) => return Err(error),
            Err(error) => {
                report.damages.push(format!("{error}: its spans are lost"));
                unread.push(*number);
            }
        }
    }
    // Everything is read before anything is changed, so that an error leaves all as it was.
    let log = read_log(disk, folder, catalog.first_log, &mut |_, _, _| {})?;
    report.log_files = log.files;
    report.log_spans = log.spans;
    if changes.any() {
        adopt::check_readable(disk, folder, files)?;
    }
    if repair && (is_rebuilt || !damaged.is_empty()) {
        let mut kept = Vec::new();
        for entry in &damaged {
            kept.push(rewrite(files, entry, &mut next)?);
        }
        for (entry, kept) in damaged.iter().zip(kept) {
            next.segments.retain(|other| other.number != entry.number);
            report.repairs.push(format!("segment {}: {kept} of {} spans were kept", entry.number, entry.spans));
        }
        // Those that could not be moved after the commit are kept by it until they are.
        let replaced: Vec<u64> = damaged.iter().map(|entry| entry.number).chain(unread).collect();
        next.unread.extend(damaged.iter().map(|entry| entry.number));
        next.commit(files)?;
        if is_rebuilt {
            report.repairs.push(format!("{} was made again from the segments", files.catalog_name()));
        }
        for number in replaced {
            match files.set_aside(number, true) {
                Ok(place) => {
                    next.unread.retain(|other| *other != number);
                    report.repairs.push(format!("{} is now {place}", files.name(number)));
                }
                // Of a file that is missing, there is nothing to move.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    next.unread.retain(|other| *other != number);
                }
                Err(error) => report.damages.push(format!("cannot move {}: {error}", files.name(number))),
            }
        }
        next.commit(files)?;
    }
    if changes.any() {
        adopt::adopt(disk, folder, files, &mut next, changes, &mut report)?;
    }
    report.damages.extend(log.damages);
    report.set_aside = adopt::list(disk, folder, files)?;
    Ok(report)
}

/// Writes what can be read of a segment as new ones; returns the number of spans.
fn rewrite(files: &dyn SegmentFiles, entry: &SegmentEntry, catalog: &mut Catalog) -> Result<u64, StoreError> {
    let name = files.name(entry.number);
    let opened =
        files.open(entry.number, None).map_err(|error| StoreError::read(format!("open segment {name}"), error));
    let segment = match opened.and_then(|file| Segment::mended(entry.number, name, file)) {
        Ok(segment) => segment,
        Err(StoreError::Corrupt(_)) => return Ok(0),
        Err(other) => return Err(other),
    };
    let tenant = Tenant::new(&entry.tenant)?;
    let mut writing = Writing::new(files, &tenant, vec![entry.number], entry.dates());
    let read = segment.every_span(|batch| writing.add(batch, catalog), |_| {});
    match read {
        Ok(()) => {}
        // The table cannot be read, and with it no span.
        Err(StoreError::Corrupt(_)) => {}
        Err(other) => return Err(other),
    }
    writing.finish(catalog)
}

/// Spans on their way into new segments.
struct Writing<'a> {
    files: &'a dyn SegmentFiles,
    tenant: &'a Tenant,
    replaces: Vec<u64>,
    dates: Option<(u64, u64)>,
    batches: Vec<SpanBatch>,
    written: u64,
}

impl<'a> Writing<'a> {
    fn new(files: &'a dyn SegmentFiles, tenant: &'a Tenant, replaces: Vec<u64>, dates: Option<(u64, u64)>) -> Self {
        Self { files, tenant, replaces, dates, batches: Vec::new(), written: 0 }
    }

    fn add(&mut self, batch: SpanBatch, catalog: &mut Catalog) -> Result<(), StoreError> {
        self.batches.push(batch);
        let spans: usize = self.batches.iter().map(SpanBatch::len).sum();
        if spans >= REPAIRED_SPANS { self.write(catalog) } else { Ok(()) }
    }

    fn write(&mut self, catalog: &mut Catalog) -> Result<(), StoreError> {
        let all: Vec<&SpanBatch> = self.batches.iter().filter(|batch| !batch.is_empty()).collect();
        let spans: usize = all.iter().map(|batch| batch.len()).sum();
        if spans > 0 {
            let origin = Origin { merged: self.replaces.clone(), dates: self.dates, ..Origin::default() };
            catalog.segments.push(segment::write(self.files, catalog.next_segment, self.tenant, origin, &all)?);
            catalog.next_segment += 1;
        }
        self.written += spans as u64;
        self.batches.clear();
        Ok(())
    }

    /// Writes the rest; returns the number of spans.
    fn finish(mut self, catalog: &mut Catalog) -> Result<u64, StoreError> {
        self.write(catalog)?;
        Ok(self.written)
    }
}

/// Says what is in a store, which a process may have open.
pub fn store_report(place: &Place) -> Result<StoreReport, StoreError> {
    let found = look(place, |_| {})?;
    let mut columns = BTreeMap::new();
    let mut report = StoreReport {
        place: found.place,
        unmoved_segments: found.unmoved.0,
        unmoved_bytes: found.unmoved.1,
        cache: found.cache,
        log_files: found.log.files,
        log_bytes: found.log.bytes,
        log_spans: found.log.spans,
        damages: found.damages,
        ..StoreReport::default()
    };
    for segment in found.segments {
        match segment.bytes_by_column(&mut columns) {
            Ok(()) => {}
            Err(error @ StoreError::Corrupt(_)) => report.damages.push(error.to_string()),
            Err(other) => return Err(other),
        }
        let entry = &segment.entry;
        report.segments.push(SegmentReport {
            number: entry.number,
            tenant: entry.tenant.clone(),
            spans: entry.spans,
            traces: segment.traces_held(),
            bytes: entry.bytes,
            first_start_unix_nano: entry.first_start_unix_nano,
            last_start_unix_nano: entry.last_start_unix_nano,
        });
    }
    report.segments.sort_by_key(|segment| (segment.first_start_unix_nano, segment.number));
    report.columns = columns.into_iter().collect();
    report.columns.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    Ok(report)
}

//! Reading the log back at the start: record by record, within the memory that the store may take.
//!
//! What does not fit is written as segments while the rest of its file is still to be read; one commit at the end of the
//! file makes them count and the file not. What cannot be written then waits in its file, and is tried again: until
//! then no question is answered as if it were not there.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracewell_model::SpanBatch;

use super::flush::Flusher;
use super::log::{Arrival, Rules};
use super::log_read::{LogEnd, LogReader, LogState, Record, UNKNOWN_END, acknowledged_before};
use super::replay_mark::{LARGE_BODY_BYTES, ReplayMark};
use super::segment::{self, Origin};
use super::{Frozen, SegmentEntry, Shared, log_path, logs_in};
use crate::memtable::{Kept, Memtable, sent_unix_nano};
use crate::{StoreError, Tenant};

/// So much of a body is decoded at once.
const PART_BYTES: usize = 512 * 1024;
/// A record that ended the process so often while it was read is set aside.
const MAX_DEATHS: u32 = 2;
/// How many rounds of the flush thread try a read that fails before what lies there is passed over: ten seconds and more.
const MAX_READ_FAILURES: usize = 20;

/// Log files that are still to be read back.
#[derive(Default)]
pub(super) struct Replay {
    left: VecDeque<u64>,
    /// How often in a row a file could not be read.
    failures: usize,
    mark: Option<ReplayMark>,
}

impl Replay {
    /// Files before this one are in segments.
    pub(super) fn forget_before(&mut self, first_log: u64) {
        self.left.retain(|number| *number >= first_log);
    }
}

/// How the log ends.
pub(super) struct ReplayedTo {
    /// The number of the next file.
    pub(super) next: u64,
    /// How much of the file before it counts, if that can be read.
    pub(super) before: Option<u64>,
}

/// A file's spans, as far as they are read.
#[derive(Default)]
struct Gathered {
    tables: HashMap<Tenant, Memtable>,
    bytes: usize,
    spans: u64,
    /// What did not fit and is in segments that no catalog names yet.
    written: Vec<SegmentEntry>,
    /// Whether some of the file could not be read, so that it is to be kept.
    is_damaged: bool,
    /// Whether a record was set aside.
    has_set_aside: bool,
}

impl Flusher {
    /// Reads the log files that are not in segments into frozen memtables, or into segments where they do not fit.
    pub(super) fn replay(&mut self, shared: &Shared) -> Result<ReplayedTo, StoreError> {
        let first = self.catalog.first_log;
        let mut numbers = logs_in(&*shared.disk, &shared.folder)?;
        numbers.retain(|number| *number >= first);
        for (place, number) in numbers.iter().enumerate() {
            let expected = if place == 0 { first } else { numbers[place - 1] + 1 };
            if *number != expected {
                let path = log_path(&shared.folder, expected);
                shared.damages.note(&format!("{} is missing: its spans are lost", path.display()));
            }
        }
        let next = numbers.last().map_or(first, |last| last + 1);
        // Found when the catalog was rebuilt.
        numbers.retain(|number| !self.catalog.in_segments.contains(number));
        let mark = ReplayMark::begin(&shared.disk, &shared.folder, !numbers.is_empty());
        self.replay = Replay { left: numbers.into(), failures: 0, mark };
        // The file may be in segments, and not there any more, once it is read back.
        let before = if next > first { whole_bytes(shared, next - 1) } else { Some(0) };
        let replayed = self.replay_rest(shared);
        if let Err(error) = replayed {
            tracing::error!(%error, "cannot read all of the log back yet; trying again until it can be done");
        }
        Ok(ReplayedTo { next, before })
    }

    /// Reads back what is left of the log.
    pub(super) fn replay_rest(&mut self, shared: &Shared) -> Result<(), StoreError> {
        while let Some(number) = self.replay.left.front().copied() {
            let outcome = self.replay_file(shared, number);
            let mut state = shared.state_mut();
            match outcome {
                Ok(()) => {
                    self.replay.left.pop_front();
                    // As long as there is another one, something is missing.
                    state.unread_log = self
                        .replay
                        .left
                        .front()
                        .map(|next| format!("{} is not read back yet", log_path(&shared.folder, *next).display()));
                }
                Err(error) => {
                    let path = log_path(&shared.folder, number);
                    state.unread_log = Some(format!("{} is not read back yet: {error}", path.display()));
                    return Err(error);
                }
            }
        }
        self.replay.mark = None;
        Ok(())
    }

    fn replay_file(&mut self, shared: &Shared, number: u64) -> Result<(), StoreError> {
        let path = log_path(&shared.folder, number);
        let acknowledged = acknowledged_before(&*shared.disk, &log_path(&shared.folder, number + 1));
        let mut gathered = Gathered::default();
        let read = self.gather(shared, number, acknowledged, &mut gathered);
        let end = match read {
            Ok(end) => end,
            Err(error) => {
                self.abandon(shared, gathered);
                return Err(error);
            }
        };
        note_damage(shared, &path, &end, acknowledged);
        if gathered.spans > 0 {
            tracing::info!(path = %path.display(), spans = gathered.spans, "read the log back");
        }
        if gathered.has_set_aside {
            shared.look_aside();
        }
        let Gathered { tables, written, is_damaged, .. } = gathered;
        let log_state = if is_damaged { LogState::Damaged } else { end.state(acknowledged) };
        let frozen = Arc::new(Frozen { log_number: number, log_bytes: end.bytes, log_state, tables, written });
        if frozen.written.is_empty() {
            let mut state = shared.state_mut();
            state.log_bytes += end.bytes;
            // Those that were received since have larger numbers.
            let place = state.frozen.partition_point(|other| other.log_number < number);
            state.frozen.insert(place, frozen);
            return Ok(());
        }
        shared.state_mut().log_bytes += end.bytes;
        let flushed = self.flush(shared, &frozen);
        if flushed.is_err() {
            shared.release(frozen.bytes());
            let mut state = shared.state_mut();
            state.log_bytes = state.log_bytes.saturating_sub(end.bytes);
        }
        flushed
    }

    /// Reads the records of a file.
    fn gather(
        &mut self,
        shared: &Shared,
        number: u64,
        acknowledged: Option<u64>,
        gathered: &mut Gathered,
    ) -> Result<LogEnd, StoreError> {
        let path = log_path(&shared.folder, number);
        let mut reader = match LogReader::open(&*shared.disk, &path, acknowledged) {
            Err(error @ StoreError::Io { .. }) if is_missing(&error) => {
                shared.damages.note(&format!("{} is missing: its spans are lost", path.display()));
                return Ok(LogEnd::default());
            }
            opened => opened?,
        };
        let rules = *reader.rules();
        loop {
            let record = match reader.next() {
                Ok(Some(record)) => record,
                Ok(None) => {
                    self.replay.failures = 0;
                    return Ok(reader.end().clone());
                }
                Err(error) if self.replay.failures < MAX_READ_FAILURES => {
                    self.replay.failures += 1;
                    return Err(error);
                }
                Err(error) => {
                    // The bytes stay where they are: the file is kept.
                    shared.damages.note(&error.to_string());
                    gathered.is_damaged = true;
                    reader.skip_unreadable();
                    continue;
                }
            };
            let mark = self.replay.mark.as_mut();
            let deaths = mark.as_ref().map_or(0, |mark| mark.deaths_of(number, record.offset));
            // A small record may have been read by chance whenever somebody stopped the process.
            let max_deaths = if record.body_bytes >= LARGE_BODY_BYTES { MAX_DEATHS } else { 2 * MAX_DEATHS };
            if deaths >= max_deaths {
                let why = format!("reading it has ended the process {deaths} times");
                set_aside(shared, number, &mut reader, &record, &why, gathered);
                continue;
            }
            if let Some(mark) = mark {
                mark.begin_record(number, record.offset, record.body_bytes);
            }
            self.read_record(shared, number, &rules, &mut reader, &record, gathered)?;
            if let Some(mark) = &mut self.replay.mark {
                mark.end_record();
            }
        }
    }

    fn read_record(
        &mut self,
        shared: &Shared,
        number: u64,
        rules: &Rules,
        reader: &mut LogReader,
        record: &Record,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        let Some(body) = reader.body(record)? else {
            set_aside(shared, number, reader, record, "its body does not unpack", gathered);
            return Ok(());
        };
        let mut kept = Ok(());
        let decoded = decode(record, &body, rules, &mut |batch| {
            if kept.is_ok() {
                kept = self.keep(shared, number, record, batch, gathered);
            }
        });
        match decoded {
            Ok(()) => {}
            Err(why) => set_aside(shared, number, reader, record, &why, gathered),
        }
        kept
    }

    /// Puts spans of a record into memory, after making room for them.
    fn keep(
        &mut self,
        shared: &Shared,
        number: u64,
        record: &Record,
        batch: SpanBatch,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let kept =
            Arc::new(Kept::new(batch, record.arrival.and_then(Arrival::believed), shared.options.times.future_nanos));
        let bytes = kept.bytes();
        self.make_room(shared, number, bytes, gathered)?;
        shared.table_bytes.fetch_add(bytes, Ordering::SeqCst);
        gathered.bytes += bytes;
        gathered.spans += kept.batch.len() as u64;
        shared.clock().note_sent(sent_unix_nano(&kept.batch), (shared.options.now_unix_nano)());
        gathered.tables.entry(record.tenant.clone()).or_default().insert(kept);
        if bytes > shared.options.replay_bytes() && !self.is_to_claim() {
            // Writing it takes memory, too, and is to be done while it is known which record it is for.
            if let Err(error) = self.spill(shared, number, gathered) {
                tracing::warn!(%error, "a large request stays in memory");
            }
        }
        Ok(())
    }

    /// Flushes what is in memory, the oldest first, until so many bytes more fit.
    fn make_room(
        &mut self,
        shared: &Shared,
        number: u64,
        bytes: usize,
        gathered: &mut Gathered,
    ) -> Result<(), StoreError> {
        let deaths = self.replay.mark.as_ref().map_or(0, ReplayMark::deaths);
        // A start whose predecessors ended in the midst of it takes less, or it would end as they did.
        let budget = shared.options.replay_bytes() >> deaths.min(4);
        while shared.table_bytes.load(Ordering::SeqCst) + bytes > budget {
            let older = shared.state().frozen.first().filter(|frozen| frozen.log_number < number).cloned();
            if older.is_none() && gathered.bytes == 0 {
                // What is in memory was received since, and waits behind this.
                return Ok(());
            }
            if let Some(mark) = &mut self.replay.mark {
                mark.pause();
            }
            let made = self.check_can_flush().and_then(|()| match older {
                Some(oldest) => self.flush(shared, &oldest),
                None => self.spill(shared, number, gathered),
            });
            if let Some(mark) = &mut self.replay.mark {
                mark.resume();
            }
            if let Err(error) = made {
                // What a process held in memory while its disk was full fits again, with what a lone batch is over it.
                let used = shared.table_bytes.load(Ordering::SeqCst) + bytes;
                if deaths == 0 && used <= shared.options.memory_bytes.max(2 * budget) && gathered.written.is_empty() {
                    return Ok(());
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn check_can_flush(&self) -> Result<(), StoreError> {
        if self.is_to_claim() {
            return Err(StoreError::Unavailable(
                "its spans need more memory than there is while the bucket is away".to_owned(),
            ));
        }
        Ok(())
    }

    /// Writes what is gathered as segments, which the end of the file's commit names.
    fn spill(&mut self, shared: &Shared, number: u64, gathered: &mut Gathered) -> Result<(), StoreError> {
        let mut entries = Vec::new();
        for (tenant, table) in &gathered.tables {
            match self.write_table(shared, tenant, table, number, true) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    entries.iter().for_each(|entry| self.discard(shared, entry.number));
                    return Err(error);
                }
            }
        }
        gathered.written.append(&mut entries);
        gathered.tables.clear();
        shared.release(std::mem::take(&mut gathered.bytes));
        Ok(())
    }

    /// Writes a memtable as a segment. `has_more` says that others of the same log file follow.
    pub(super) fn write_table(
        &mut self,
        shared: &Shared,
        tenant: &Tenant,
        table: &Memtable,
        log_number: u64,
        has_more: bool,
    ) -> Result<SegmentEntry, StoreError> {
        let files = &*shared.files;
        let batches: Vec<_> = table.batches().collect();
        let number = self.next_number();
        // What arrived by a doubtful clock has arrived by now.
        let reading = shared.read_clock();
        let now = reading.is_confirmed.then_some(reading.safe_unix_nano);
        let by_now = || table.starts().zip(now).map(|((first, last), now)| (first.min(now), last.min(now)));
        let dates = table.dates().or_else(by_now);
        let origin = Origin { log: Some(log_number), merged: Vec::new(), has_more, dates };
        segment::write(files, number, tenant, origin, &batches).inspect_err(|error| {
            // What was sent to a bucket that is away now is swept when it is back; in a directory what was written so far
            // takes space that may be what is missing.
            if matches!(error, StoreError::Unavailable(_)) {
                self.note_dropped(number);
            } else {
                self.discard(shared, number);
            }
        })
    }

    /// Forgets what was read of a file, which is read again later.
    fn abandon(&mut self, shared: &Shared, gathered: Gathered) {
        let Gathered { tables, bytes, written, .. } = gathered;
        drop(tables);
        shared.release(bytes);
        written.iter().for_each(|entry| self.discard(shared, entry.number));
    }
}

/// The spans of a record in parts; an error says why there are none, or not all.
pub(super) fn decode(
    record: &Record,
    body: &[u8],
    rules: &Rules,
    each: &mut dyn FnMut(SpanBatch),
) -> Result<(), String> {
    // Whatever is in the log must not keep the server from starting.
    let decoded = std::panic::catch_unwind(AssertUnwindSafe(|| {
        tracewell_wire::decode_in_parts(record.format, body, &rules.limits, PART_BYTES, &mut |batch| {
            each(rules.times.apply(batch, record.arrival.map(|arrival| arrival.unix_nano)).0);
        })
    }));
    match decoded {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("it does not decode: {error}")),
        Err(_) => Err("decoding it panicked".to_owned()),
    }
}

/// Keeps the bytes of a record that cannot be read back in the directory `damaged`.
fn set_aside(
    shared: &Shared,
    number: u64,
    reader: &mut LogReader,
    record: &Record,
    why: &str,
    gathered: &mut Gathered,
) {
    let log = log_path(&shared.folder, number);
    let path = shared.folder.join(DAMAGED_FOLDER).join(format!("{number:010}-{}.{RECORD}", record.offset));
    let kept = reader.raw(record).and_then(|bytes| {
        let io = |source| StoreError::io(format!("write {}", path.display()), source);
        shared.disk.create_folder(&shared.folder.join(DAMAGED_FOLDER)).map_err(io)?;
        let temporary = path.with_extension("new");
        shared.disk.replace(&temporary, &path, bytes).map_err(io)
    });
    let place = match kept {
        Ok(()) => {
            gathered.has_set_aside = true;
            path.display().to_string()
        }
        Err(error) => {
            tracing::error!(%error, "cannot set a record aside; its file is kept instead");
            gathered.is_damaged = true;
            log.display().to_string()
        }
    };
    shared.damages.note(&format!(
        "log {} at offset {}: {why}: the spans in {} bytes are left out, the bytes are kept in {place}",
        log.display(),
        record.offset,
        record.bytes
    ));
}

/// Where what cannot be read is put.
pub(super) const DAMAGED_FOLDER: &str = "damaged";
const RECORD: &str = "record";
const LOG: &str = "log";
/// What only may be missing: the file ends with what was never acknowledged, or is damaged.
pub(super) const TORN_LOG: &str = "torn.log";

/// The parts of the log that were set aside.
pub(super) fn set_aside_in(disk: &dyn super::Disk, folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths = disk.list(&folder.join(DAMAGED_FOLDER)).unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == RECORD || extension == LOG));
    paths.sort();
    paths
}

/// Removes a log file that is in segments; keeps it, if some of it could not be read.
pub(super) fn retire_log(shared: &Shared, number: u64, state: LogState) {
    let path = log_path(&shared.folder, number);
    let kept_as = match state {
        LogState::Whole => None,
        LogState::Torn => Some(TORN_LOG),
        LogState::Damaged => Some(LOG),
    };
    let retired = match kept_as {
        None => shared.disk.remove(&path),
        Some(extension) => {
            super::files::set_aside(&*shared.disk, &shared.folder, &path, number, extension, false).map(|place| {
                tracing::warn!(path = %path.display(), place, "a log file with unreadable parts was set aside");
                shared.look_aside();
            })
        }
    };
    if let Err(error) = retired {
        tracing::warn!(path = %path.display(), %error, "cannot delete a log file that is in a segment");
    }
}

fn is_missing(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// How much of the last file counts, if that can be read. What lies behind its last whole record was never acknowledged, or is
/// damaged: then every record that can be read counts, now and later.
pub(super) fn whole_bytes(shared: &Shared, number: u64) -> Option<u64> {
    let mut reader = match LogReader::open(&*shared.disk, &log_path(&shared.folder, number), None) {
        // It is in segments.
        Err(error) if is_missing(&error) => return Some(0),
        opened => opened.ok()?,
    };
    while reader.next().ok()?.is_some() {}
    let end = reader.end();
    Some(if end.state(None) == LogState::Torn { UNKNOWN_END } else { end.whole_bytes() })
}

/// Says which parts of a log file cannot be read. `acknowledged` is how much of it was, if that is known.
fn note_damage(shared: &Shared, path: &Path, end: &LogEnd, acknowledged: Option<u64>) {
    let path = path.display();
    if let Some(acknowledged) = acknowledged.filter(|acknowledged| *acknowledged > end.bytes) {
        let bytes = acknowledged - end.bytes;
        shared
            .damages
            .note(&format!("log {path} at offset {}: it is cut off: the spans in {bytes} bytes are lost", end.bytes));
    }
    for (from, to) in end.unreadable.iter().filter(|(from, to)| from < to) {
        let bytes = to - from;
        let is_end = *to == end.bytes && acknowledged.is_none();
        let what = if is_end { "the end, which was never acknowledged, or is damaged" } else { "damaged" };
        shared.damages.note(&format!("log {path} at offset {from}: {what}: the spans in {bytes} bytes are lost"));
    }
}

//! The flush thread: memtables become segments, old segments go. What else it does is in `merging`, `moving` and `adopt`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::aside::SetAside;
use super::log_read::LogState;
use super::moving::Moving;
use super::place::LateClaim;
use super::replay::{Replay, retire_log};
use super::reserve::Reserve;
use super::segment::{self, Segment};
use super::signal::Failed;
use super::{Catalog, Frozen, SegmentEntry, Shared, log_path};
use crate::StoreError;
use crate::memtable::Memtable;

/// How often files that no catalog names are looked for: what could not be deleted, or was being written by a process that
/// this one took over from.
const SWEEP: Duration = Duration::from_secs(3600);
/// How long a segment that cannot be read is not merged or moved.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// When a damaged segment is read again: for the first time, and at the latest.
const RECHECK: Duration = Duration::from_secs(10);
const MAX_RECHECK: Duration = Duration::from_secs(3600);
/// How often it is written down how the cache is used.
const SAVE: Duration = Duration::from_secs(10);

/// What is received is written as a segment at least so often within the time of retention, so that it is not kept for longer
/// because there is little of it.
const RETENTION_PARTS: u32 = 8;
/// How soon after another what is too old already is written.
const MIN_FREEZE: Duration = Duration::from_secs(5);

/// The thread's own state.
pub(super) struct Flusher {
    pub(super) catalog: Catalog,
    /// The `next_segment` of the catalog that was committed last: a segment from there on was never named by one.
    pub(super) committed_next: u64,
    /// How the bucket is claimed. Until it is, nothing is changed: another process may own it.
    pub(super) late_claim: Option<LateClaim>,
    /// Segments that could not be merged or moved, because they are damaged.
    pub(super) left_alone: BTreeSet<u64>,
    /// Those that could not be because they cannot be read at the moment, with when they are tried again.
    left_until: BTreeMap<u64, Instant>,
    /// Damaged segments that are read again, with how often they were and when they are next.
    rechecks: BTreeMap<u64, (u32, Instant)>,
    /// What the catalog no longer names and is still to be deleted.
    pub(super) dropped: Vec<Dropped>,
    /// Segments of commits of which it is not known whether they happened: kept until the next one has.
    pub(super) in_doubt: Vec<u64>,
    pub(super) swept: Instant,
    /// When the use of the cache was written down last.
    saved: Instant,
    pub(super) moving: Option<Moving>,
    /// Whether the last round ended because the bucket could not be reached.
    is_away: bool,
    pub(super) replay: Replay,
    pub(super) reserve: Reserve,
    /// Whether it was said that the clock is not believed.
    is_in_doubt: bool,
}

/// What is to be deleted.
pub(super) enum Dropped {
    /// A segment that is open, and that readers may be in the midst of.
    Segment(Arc<Segment>),
    /// A file that nobody has opened.
    File(u64),
}

impl Dropped {
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Segment(segment) => segment.entry.number,
            Self::File(number) => *number,
        }
    }
}

impl Flusher {
    /// One that has adopted no catalog yet.
    pub(super) fn new(late_claim: Option<LateClaim>) -> Self {
        Self {
            catalog: Catalog::default(),
            committed_next: 0,
            late_claim,
            left_alone: BTreeSet::new(),
            left_until: BTreeMap::new(),
            rechecks: BTreeMap::new(),
            dropped: Vec::new(),
            in_doubt: Vec::new(),
            swept: Instant::now(),
            saved: Instant::now(),
            moving: None,
            is_away: false,
            replay: Replay::default(),
            reserve: Reserve::default(),
            is_in_doubt: false,
        }
    }

    /// Whether the bucket is still to be claimed.
    pub(super) fn is_to_claim(&self) -> bool {
        self.late_claim.is_some()
    }

    pub(super) fn run(mut self, shared: &Shared) {
        let mut was_failing = false;
        loop {
            shared.flush.begin_round();
            let mut failed = None;
            let steps = [
                Self::claim_late,
                Self::check_reachable,
                Self::retain,
                Self::flush_all,
                Self::merge_all,
                Self::move_one,
                Self::open_rest,
                Self::recheck,
            ];
            for step in steps {
                if let Err(error) = step(&mut self, shared) {
                    // Said once, not at every try.
                    if !was_failing && failed.is_none() && !shared.closed.load(Ordering::SeqCst) {
                        tracing::error!(%error, "cannot flush; trying again until it can be done");
                    }
                    self.is_away = matches!(error, StoreError::Unavailable(_));
                    failed = Some(Failed::from(&error));
                    if self.is_away || self.is_to_claim() || shared.health.is_lost() {
                        break;
                    }
                }
            }
            if was_failing && failed.is_none() {
                tracing::info!("flushing again");
            }
            was_failing = failed.is_some();
            self.remove_dropped(shared);
            if !shared.health.is_lost() {
                self.reserve.keep(shared, self.catalog.segments.len());
            }
            if !was_failing && self.swept.elapsed() > SWEEP {
                self.sweep(shared);
            }
            let is_closed = shared.closed.load(Ordering::SeqCst);
            if is_closed || self.saved.elapsed() > SAVE {
                shared.files.save_cache_stats();
                self.saved = Instant::now();
            }
            shared.flush.finish_round(failed, self.has_to_move(shared));
            if is_closed {
                shared.flush.end();
                return;
            }
            shared.flush.wait_for_work(shared.options.retention_age, shared.next_try());
        }
    }

    /// The number of a new segment. None is given out twice: a commit that reported an error may have happened, and then
    /// the catalog on the disk names the segments of that attempt.
    pub(super) fn next_number(&mut self) -> u64 {
        self.catalog.next_segment += 1;
        self.catalog.next_segment - 1
    }

    /// Changes the catalog on disk and then in memory. On an error nothing has changed.
    pub(super) fn commit(
        &mut self,
        shared: &Shared,
        add: Vec<SegmentEntry>,
        drop: &[u64],
        flushed: Option<&Frozen>,
    ) -> Result<(), StoreError> {
        shared.health.check_folder(&*shared.disk)?;
        let files = &*shared.files;
        let opened =
            add.iter().map(|entry| Segment::open(files, entry.clone()).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let mut next = self.catalog.clone();
        next.segments.retain(|entry| !drop.contains(&entry.number));
        next.segments.extend(add);
        next.dropped.extend(drop);
        // Should this commit happen, no catalog that names them can come about any more.
        next.dropped.extend(&self.in_doubt);
        if let Some(frozen) = flushed {
            next.first_log = next.first_log.max(frozen.log_number + 1);
            let first_log = next.first_log;
            next.in_segments.retain(|log| *log >= first_log);
        }
        // Counted even if it fails, so that no two attempts are the same.
        self.catalog.writes += 1;
        let reading = shared.read_clock();
        if reading.is_believed {
            next.written_unix_nano = Some(reading.safe_unix_nano);
        }
        self.write_catalog(shared, &mut next)?;
        self.catalog = next;
        self.committed_next = self.catalog.next_segment;
        self.dropped.extend(self.in_doubt.drain(..).map(Dropped::File));

        let mut state = shared.state_mut();
        let (gone, kept) =
            std::mem::take(&mut state.segments).into_iter().partition(|segment| drop.contains(&segment.entry.number));
        let gone: Vec<Arc<Segment>> = gone;
        let is_open = |number: &u64| gone.iter().any(|segment| segment.entry.number == *number);
        drop.iter().for_each(|number| shared.damages.forget(*number));
        self.dropped.extend(drop.iter().filter(|number| !is_open(number)).map(|number| Dropped::File(*number)));
        self.dropped.extend(gone.into_iter().map(Dropped::Segment));
        state.segments = kept;
        state.segments.extend(opened);
        state.unopened.retain(|unopened| !drop.contains(&unopened.number));
        if let Some(frozen) = flushed {
            state.frozen.retain(|other| other.log_number != frozen.log_number);
            state.log_bytes = state.log_bytes.saturating_sub(frozen.log_bytes);
        }
        Ok(())
    }

    /// Replaces the catalog. Where that fails for want of space, the reserve makes room for it: a full disk is emptied by
    /// what the new catalog no longer names.
    fn write_catalog(&mut self, shared: &Shared, next: &mut Catalog) -> Result<(), StoreError> {
        let files = &*shared.files;
        match next.commit(files) {
            Err(error @ StoreError::Io { .. }) if next.segments.len() < self.catalog.segments.len() => {
                if !self.reserve.give_up(&*shared.disk, &shared.folder) {
                    return Err(error);
                }
                tracing::warn!(%error, "the reserve makes room for the catalog");
                next.commit(files)
            }
            other => other,
        }
    }

    /// An error if nothing can be written: then no segment is made in vain.
    fn check_reachable(&mut self, shared: &Shared) -> Result<(), StoreError> {
        shared.check_owned()?;
        shared.health.check_folder(&*shared.disk)?;
        if self.is_away {
            Catalog::open(&*shared.files)?;
            self.is_away = false;
        }
        Ok(())
    }

    pub(super) fn flush_all(&mut self, shared: &Shared) -> Result<(), StoreError> {
        // What is in memory was received later.
        self.replay_rest(shared)?;
        loop {
            let oldest = shared.state().frozen.first().cloned();
            let Some(frozen) = oldest else { return Ok(()) };
            let begun = Instant::now();
            let flushed = self.flush(shared, &frozen);
            shared.work.flushed(begun, &flushed);
            flushed?;
        }
    }

    /// Writes a frozen memtable as segments, one for each tenant.
    pub(super) fn flush(&mut self, shared: &Shared, frozen: &Frozen) -> Result<(), StoreError> {
        let mut entries = frozen.written.clone();
        let mut written = Ok(());
        for (place, (tenant, table)) in frozen.tables.iter().enumerate() {
            let has_more = place + 1 < frozen.tables.len();
            match self.write_table(shared, tenant, table, frozen.log_number, has_more) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    written = Err(error);
                    break;
                }
            }
        }
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
        if frozen.log_state == LogState::Damaged {
            // Until the file is set aside nobody else knows that something is missing.
            shared.state_mut().aside.push(SetAside::damaged_log(&log_path(&shared.folder, frozen.log_number)));
        }
        if let Err(error) = written.and_then(|()| self.commit(shared, entries, &[], Some(frozen))) {
            self.remove_unless_live(shared, &numbers);
            if frozen.log_state == LogState::Damaged {
                shared.look_aside();
            }
            return Err(error);
        }
        shared.release(frozen.bytes());
        retire_log(shared, frozen.log_number, frozen.log_state);
        shared.flush.tell();
        Ok(())
    }

    /// Removes segments whose commit failed, unless the catalog names them all the same.
    pub(super) fn remove_unless_live(&mut self, shared: &Shared, numbers: &[u64]) {
        let files = &*shared.files;
        // A swap that reported an error may have happened, or may still come: then the next commit replaces that
        // catalog, and until then the files must stay.
        let is_undone = !files.swap_may_come_late()
            && Catalog::open(files).is_ok_and(|found| {
                found.first_log == self.catalog.first_log && found.segments == self.catalog.segments
            });
        if is_undone {
            numbers.iter().for_each(|number| self.discard(shared, *number));
        } else {
            self.in_doubt.extend(numbers);
        }
    }

    /// Leaves segments alone that cannot be read at the moment.
    pub(super) fn leave_alone_for_now(&mut self, numbers: &[u64]) {
        let until = Instant::now() + LEFT_ALONE;
        self.left_until.extend(numbers.iter().map(|number| (*number, until)));
    }

    pub(super) fn is_left_alone(&self, number: u64) -> bool {
        self.left_alone.contains(&number) || self.left_until.get(&number).is_some_and(|until| Instant::now() < *until)
    }

    /// Notes what is damaged of segments.
    pub(super) fn note_damage_of(&self, shared: &Shared, numbers: &[u64]) {
        let segments = shared.state().segments.clone();
        for segment in segments.iter().filter(|segment| numbers.contains(&segment.entry.number)) {
            let note = |error: &StoreError| {
                if matches!(error, StoreError::Corrupt(_)) {
                    shared.damages.note_in(Some(segment.entry.number), &error.to_string());
                }
            };
            if let Err(error) = segment.verify(|error| note(&error)) {
                note(&error);
            }
        }
    }

    /// Reads damaged segments again, less and less often: what a cable or a controller did may have passed.
    fn recheck(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let damaged = shared.damages.segments();
        self.rechecks.retain(|number, _| damaged.contains(number));
        let now = Instant::now();
        for number in damaged {
            let (tries, due) = self.rechecks.entry(number).or_insert((0, now + RECHECK));
            if *due > now {
                continue;
            }
            *tries += 1;
            *due = now + (RECHECK * 2u32.pow((*tries).min(16))).min(MAX_RECHECK);
            let segment = shared.state().segments.iter().find(|segment| segment.entry.number == number).cloned();
            let Some(segment) = segment else { continue };
            segment.forget();
            let mut is_whole = true;
            if segment.verify(|_| is_whole = false).is_ok() && is_whole {
                tracing::info!(segment = shared.files.name(number), "a damaged segment can be read again");
                shared.damages.forget(number);
                self.left_alone.remove(&number);
            }
        }
        Ok(())
    }

    /// Deletes a segment's file whose spans are elsewhere. One that cannot be deleted now, or that a request on its way may
    /// yet write, is noted in the next catalog.
    pub(super) fn discard(&mut self, shared: &Shared, number: u64) {
        let may_come_late =
            shared.files.is_remote(number) && self.catalog.was_never_committed(number, self.committed_next);
        if segment::remove(&*shared.files, number) && !may_come_late {
            self.catalog.dropped.retain(|other| *other != number);
        } else {
            self.note_dropped(number);
        }
    }

    /// Notes that a segment's file may be deleted when it is found.
    pub(super) fn note_dropped(&mut self, number: u64) {
        if !self.catalog.dropped.contains(&number) {
            self.catalog.dropped.push(number);
        }
    }

    /// Deletes what the catalog no longer names, as soon as nobody reads it.
    pub(super) fn remove_dropped(&mut self, shared: &Shared) {
        if shared.health.is_lost() {
            return;
        }
        for dropped in std::mem::take(&mut self.dropped) {
            let number = dropped.number();
            match dropped {
                Dropped::Segment(segment) if Arc::strong_count(&segment) > 1 => {
                    self.dropped.push(Dropped::Segment(segment));
                }
                Dropped::Segment(_) | Dropped::File(_) => self.discard(shared, number),
            }
        }
    }

    /// Gives segments from before arrivals were kept the dates that are known by now: no span arrived later.
    fn date_segments(&mut self, now_unix_nano: u64) {
        for entry in self.catalog.segments.iter_mut().filter(|entry| entry.dates().is_none()) {
            entry.first_date_unix_nano = Some(entry.first_start_unix_nano.min(now_unix_nano));
            entry.last_date_unix_nano = Some(entry.last_start_unix_nano.min(now_unix_nano));
        }
    }

    /// Says once that the clock is not believed, and once that it is again.
    fn note_doubt(&mut self, doubt: Option<&str>) {
        match doubt {
            Some(why) if !self.is_in_doubt => {
                tracing::warn!(why, "retention deletes nothing by this clock (--trust-clock does)");
            }
            None if self.is_in_doubt => tracing::info!("retention goes by the clock again"),
            _ => {}
        }
        self.is_in_doubt = doubt.is_some();
    }

    /// Drops segments all of whose spans are too old, and the oldest ones while all together are too large.
    fn retain(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let options = &shared.options;
        let reading = shared.read_clock();
        self.note_doubt(reading.doubt.as_deref());
        if reading.is_confirmed {
            self.date_segments(reading.safe_unix_nano);
        }
        let mut kept: Vec<&SegmentEntry> = self.catalog.segments.iter().collect();
        kept.sort_by_key(|entry| (entry.last_date(), entry.number));
        let mut dropped = Vec::new();
        if let Some(age) = options.retention_age {
            let oldest = reading.safe_unix_nano.saturating_sub(age.as_nanos() as u64);
            dropped.extend(kept.iter().filter(|entry| entry.last_date() < oldest).map(|entry| entry.number));
            kept.retain(|entry| entry.last_date() >= oldest);
        }
        if let Some(most) = options.retention_bytes {
            let mut bytes: u64 = kept.iter().map(|entry| entry.bytes).sum();
            for entry in kept {
                if bytes <= most {
                    break;
                }
                bytes -= entry.bytes;
                dropped.push(entry.number);
            }
        }
        if dropped.is_empty() {
            return Ok(());
        }
        tracing::info!(segments = dropped.len(), "retention drops segments");
        self.commit(shared, Vec::new(), &dropped, None)?;
        shared.work.retired(dropped.len());
        self.remove_dropped(shared);
        Ok(())
    }
}

impl Shared {
    /// Whether what is received is to be written as a segment though it is not much, because retention deletes only segments:
    /// all of it is too old already, or some of it has been there for an eighth of that time.
    pub(super) fn is_in_memory_too_long(&self, since_freeze: Duration) -> bool {
        let Some(age) = self.options.retention_age else { return false };
        let mut dates = None;
        for (first, last) in self.state().active.values().filter_map(Memtable::dates) {
            let (earliest, latest) = dates.get_or_insert((first, last));
            (*earliest, *latest) = (first.min(*earliest), last.max(*latest));
        }
        let Some((earliest, latest)) = dates else { return false };
        let now = self.read_clock().safe_unix_nano;
        let is_older =
            |date: u64, age: Duration| now.saturating_sub(date) > u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let part = age / RETENTION_PARTS;
        since_freeze > part.min(MIN_FREEZE) && is_older(latest, age) || since_freeze > part && is_older(earliest, part)
    }
}

//! The flush thread: memtables become segments, old segments go. What else it does is in `merging`, `moving` and `adopt`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::moving::Moving;
use super::place::LateClaim;
use super::replay::{Replay, retire_log};
use super::reserve::Reserve;
use super::segment::{self, Segment};
use super::signal::Failed;
use super::{Catalog, Frozen, SegmentEntry, Shared};
use crate::StoreError;

/// How often files that no catalog names are looked for: what could not be deleted, or was being written by a process that
/// this one took over from.
const SWEEP: Duration = Duration::from_secs(3600);
/// How often it is written down how the cache is used.
const SAVE: Duration = Duration::from_secs(10);

/// The thread's own state.
pub(super) struct Flusher {
    pub(super) catalog: Catalog,
    /// How the bucket is claimed. Until it is, nothing is changed: another process may own it.
    pub(super) late_claim: Option<LateClaim>,
    /// Segments that could not be merged or moved, because they are damaged.
    pub(super) left_alone: BTreeSet<u64>,
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
            late_claim,
            left_alone: BTreeSet::new(),
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
            shared.flush.wait_for_work(shared.options.retention_age);
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
        if let Some(frozen) = flushed {
            next.first_log = frozen.log_number + 1;
        }
        // Counted even if it fails, so that no two attempts are the same.
        self.catalog.writes += 1;
        let reading = shared.read_clock();
        if reading.is_believed {
            next.written_unix_nano = Some(reading.safe_unix_nano);
        }
        self.write_catalog(shared, &mut next)?;
        self.catalog = next;
        // No catalog that names them can come about any more.
        self.dropped.extend(self.in_doubt.drain(..).map(Dropped::File));

        let mut state = shared.state_mut();
        let (gone, kept) =
            std::mem::take(&mut state.segments).into_iter().partition(|segment| drop.contains(&segment.entry.number));
        let gone: Vec<Arc<Segment>> = gone;
        self.dropped.extend(gone.into_iter().map(Dropped::Segment));
        state.segments = kept;
        state.segments.extend(opened);
        state.unopened.retain(|unopened| !drop.contains(&unopened.entry.number));
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
        if let Err(error) = written.and_then(|()| self.commit(shared, entries, &[], Some(frozen))) {
            self.remove_unless_live(shared, &numbers);
            return Err(error);
        }
        shared.release(frozen.bytes());
        retire_log(shared, frozen.log_number, frozen.is_damaged);
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
            numbers.iter().for_each(|number| segment::remove(files, *number));
        } else {
            self.in_doubt.extend(numbers);
        }
    }

    /// Deletes what the catalog no longer names, as soon as nobody reads it.
    pub(super) fn remove_dropped(&mut self, shared: &Shared) {
        if shared.health.is_lost() {
            return;
        }
        self.dropped.retain(|dropped| match dropped {
            Dropped::Segment(segment) if Arc::strong_count(segment) > 1 => true,
            Dropped::Segment(segment) => {
                segment::remove(&*shared.files, segment.entry.number);
                false
            }
            Dropped::File(number) => {
                segment::remove(&*shared.files, *number);
                false
            }
        });
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

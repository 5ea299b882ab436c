//! Going by a catalog: when a store is opened, and when a bucket that was away then is claimed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::catalog::{EPOCH_BITS, is_whole};
use super::flush::{Dropped, Flusher};
use super::open::open_segments;
use super::segment::Segment;
use super::{Catalog, Frozen, SegmentEntry, Shared, Unopened, log_path, logs_in};
use crate::StoreError;

/// Number of starts after which no request of an earlier process is on its way any more.
const LATE_EPOCHS: u64 = 3;

impl Flusher {
    /// Claims a bucket that was away when the store was opened. What was known of it gives way to what is there, at one
    /// moment for every reader.
    pub(super) fn claim_late(&mut self, shared: &Shared) -> Result<(), StoreError> {
        shared.check_owned()?;
        let Some(late) = &mut self.late_claim else { return Ok(()) };
        let claimed = (late.claim)()?;
        self.late_claim = None;
        self.adopt(shared, claimed.catalog, claimed.damage);
        Ok(())
    }

    /// Goes by a catalog from now on: opens its segments, lets go of others, and of what was read from log files that are
    /// in segments. Deletes what a crash left, as far as its spans are known to be elsewhere.
    pub(super) fn adopt(&mut self, shared: &Shared, catalog: Catalog, damage: Option<String>) {
        if let Some(what) = damage {
            shared.damages.note(&format!("{what}; it was made again from the segments"));
        }
        let held: BTreeMap<u64, SegmentEntry> =
            shared.state().segments.iter().map(|segment| (segment.entry.number, segment.entry.clone())).collect();
        let is_held = |entry: &&SegmentEntry| held.get(&entry.number) == Some(entry);
        let new: Vec<SegmentEntry> = catalog.segments.iter().filter(|entry| !is_held(entry)).cloned().collect();
        let (opened, mut unopened) = open_segments(&*shared.files, &new);
        unopened
            .extend(catalog.unread.iter().map(|number| Unopened::unknown(*number, "it was not read yet".to_owned())));
        let live: BTreeMap<u64, &SegmentEntry> = catalog.segments.iter().map(|entry| (entry.number, entry)).collect();
        let flushed: Vec<Arc<Frozen>> = {
            let mut state = shared.state_mut();
            let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut state.segments)
                .into_iter()
                .partition(|segment| live.get(&segment.entry.number) == Some(&&segment.entry));
            state.segments = kept;
            state.segments.extend(opened);
            state.unopened = unopened;
            let gone = gone.into_iter().filter(|segment| !live.contains_key(&segment.entry.number));
            self.dropped.extend(gone.map(Dropped::Segment));
            let (flushed, waiting) =
                std::mem::take(&mut state.frozen).into_iter().partition(|frozen| frozen.log_number < catalog.first_log);
            state.frozen = waiting;
            flushed
        };
        for frozen in flushed {
            let mut state = shared.state_mut();
            state.log_bytes = state.log_bytes.saturating_sub(frozen.log_bytes);
            drop(state);
            shared.release(frozen.bytes());
        }
        self.committed_next = catalog.next_segment;
        self.catalog = catalog;
        self.replay.forget_before(self.catalog.first_log);
        self.expect_time(shared);
        shared.look_aside();
        if !self.is_to_claim() {
            let unread: Vec<Unopened> =
                shared.state().unopened.iter().filter(|unopened| unopened.entry.is_none()).cloned().collect();
            for unread in unread {
                if let Err(error) = self.take_in(shared, &unread) {
                    tracing::warn!(%error, "cannot take in a segment; trying again later");
                }
            }
            self.sweep(shared);
            self.remove_flushed_logs(shared);
        }
    }

    /// Lets the clock know at what time the store was written last.
    fn expect_time(&self, shared: &Shared) {
        let (wall, passing) = ((shared.options.now_unix_nano)(), (shared.options.passing)());
        match self.catalog.written_unix_nano {
            Some(written) => shared.clock().expect(written, passing),
            // The catalog is from before that was kept. Segments tell it, too, but those with spans of the future.
            None => {
                let dates = self.catalog.segments.iter().map(SegmentEntry::last_date);
                let plausible = dates.filter(|date| *date <= wall.saturating_add(shared.options.times.future_nanos));
                if let Some(last) = plausible.max() {
                    shared.clock().note_sent(last, wall);
                }
            }
        }
    }

    /// Opens what could not be opened before, each after a pause that grows. Nothing waits for it but the questions that
    /// need it.
    pub(super) fn open_rest(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let now = Instant::now();
        // What is in a bucket that is back is tried at once.
        let is_due = |unopened: &&Unopened| {
            unopened.next_try <= now || !unopened.is_damaged && shared.files.is_remote(unopened.number)
        };
        let due: Vec<Unopened> = shared.state().unopened.iter().filter(is_due).cloned().collect();
        let (known, unknown): (Vec<_>, Vec<_>) = due.into_iter().partition(|unopened| unopened.entry.is_some());
        let entries: Vec<SegmentEntry> = known.iter().filter_map(|unopened| unopened.entry.clone()).collect();
        if !entries.is_empty() {
            let (opened, unopened) = open_segments(&*shared.files, &entries);
            let mut state = shared.state_mut();
            for again in unopened {
                if let Some(before) = state.unopened.iter_mut().find(|before| before.number == again.number) {
                    before.failed_again(again);
                }
            }
            let is_open = |number: u64| opened.iter().any(|segment| segment.entry.number == number);
            // At once: no question may come between, which would find it in neither.
            state.unopened.retain(|unopened| !is_open(unopened.number));
            state.segments.extend(opened.iter().cloned());
            drop(state);
            for segment in opened {
                tracing::info!(segment = shared.files.name(segment.entry.number), "a segment can be read again");
            }
        }
        for unread in unknown {
            self.take_in(shared, &unread)?;
        }
        let state = shared.state();
        let away =
            state.unopened.iter().find(|unopened| shared.files.is_remote(unopened.number) && !unopened.is_damaged);
        away.map_or(Ok(()), |away| Err(StoreError::Unavailable(away.why.clone())))
    }

    /// Takes in a segment that could not be read when the catalog was rebuilt. One that is damaged is set aside.
    fn take_in(&mut self, shared: &Shared, unread: &Unopened) -> Result<(), StoreError> {
        let number = unread.number;
        let files = &*shared.files;
        let (entry, origin) = match Segment::find(files, number) {
            Ok(found) => found,
            Err(StoreError::Corrupt(why)) => return self.set_aside(shared, number, false, &why),
            Err(error) => {
                let again = Unopened::unknown(number, error.to_string());
                let mut state = shared.state_mut();
                if let Some(before) = state.unopened.iter_mut().find(|before| before.number == number) {
                    before.failed_again(again);
                }
                return Ok(());
            }
        };
        let segments = shared.state().segments.clone();
        if segments.iter().any(|segment| segment.origin().merged.contains(&number)) {
            if !is_whole(files, &entry)? {
                // What could be read of it was written anew by a repair that ended too early to move it.
                return self.set_aside(shared, number, true, "it is damaged, and was repaired");
            }
            self.catalog.dropped.push(number);
            self.forget_unread(shared, number);
            self.discard(shared, number);
            return Ok(());
        }
        let is_live = |number: &u64| self.catalog.segments.iter().any(|entry| entry.number == *number);
        let replaced: Vec<u64> = origin.merged.iter().copied().filter(is_live).collect();
        if !replaced.is_empty() && !is_whole(files, &entry)? {
            return self.set_aside(shared, number, false, "it is damaged, and what it was merged from is served");
        }
        let unread = std::mem::take(&mut self.catalog.unread);
        self.catalog.unread = unread.iter().copied().filter(|other| *other != number).collect();
        if let Err(error) = self.commit(shared, vec![entry], &replaced, None) {
            self.catalog.unread = unread;
            return Err(error);
        }
        shared.state_mut().unopened.retain(|unopened| unopened.number != number);
        tracing::info!(segment = files.name(number), "a segment that could not be read is taken in");
        Ok(())
    }

    fn forget_unread(&mut self, shared: &Shared, number: u64) {
        self.catalog.unread.retain(|other| *other != number);
        shared.state_mut().unopened.retain(|unopened| unopened.number != number);
    }

    /// Moves a segment's file to where nothing is deleted: it may hold spans that are nowhere else. What it holds is not
    /// served, and is said to be missing.
    fn set_aside(&mut self, shared: &Shared, number: u64, is_repaired: bool, why: &str) -> Result<(), StoreError> {
        let name = shared.files.name(number);
        match shared.files.set_aside(number, is_repaired) {
            Ok(place) => {
                tracing::error!(
                    segment = name,
                    place,
                    why,
                    "a segment was set aside; `tracewell fsck --adopt` takes it in"
                );
                // It is known as set aside before it is forgotten as unread.
                shared.look_aside();
                self.forget_unread(shared, number);
                Ok(())
            }
            // Nothing is lost: it is tried again.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.forget_unread(shared, number);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(segment = name, %error, "cannot set a segment aside; trying again later");
                Ok(())
            }
        }
    }

    /// Deletes the files of segments whose spans are known to be elsewhere, or to go. Others that no catalog names are set
    /// aside, but for those that a reader has, that a later owner has written, or that wait to be read.
    pub(super) fn sweep(&mut self, shared: &Shared) {
        self.swept = Instant::now();
        if !self.in_doubt.is_empty() {
            return;
        }
        // What cannot be listed now can be later.
        let Ok(found) = shared.files.list() else { return };
        let open: BTreeSet<u64> = self.dropped.iter().map(Dropped::number).collect();
        let live: BTreeSet<u64> = self.catalog.segments.iter().map(|entry| entry.number).collect();
        let segments = shared.state().segments.clone();
        let replaced: BTreeSet<u64> =
            segments.iter().flat_map(|segment| segment.origin().merged.iter().copied()).collect();
        drop(segments);
        let is_current = self.is_current(shared, &found);
        for number in &found {
            let number = *number;
            let is_later_owners = number >> EPOCH_BITS > self.catalog.next_segment >> EPOCH_BITS;
            let is_waited_for = self.catalog.unread.contains(&number);
            if is_later_owners || is_waited_for || live.contains(&number) || open.contains(&number) {
                continue;
            }
            let is_needless = self.catalog.dropped.contains(&number)
                || replaced.contains(&number)
                || is_current && self.is_left_over(shared, number);
            if is_needless {
                self.discard(shared, number);
            } else {
                // An error is logged, and the next sweep tries again.
                let _ = self.set_aside(
                    shared,
                    number,
                    false,
                    "no catalog names it, and no segment says that it holds its spans",
                );
            }
        }
        // What an earlier process began to upload may come yet.
        let epoch = self.catalog.next_segment >> EPOCH_BITS;
        let may_come_late =
            |number: u64| shared.files.is_remote(number) && (number >> EPOCH_BITS) + LATE_EPOCHS > epoch;
        self.catalog.dropped.retain(|number| found.contains(number) || may_come_late(*number));
    }

    /// Whether the catalog is the last that was committed: an older one, as from a backup, names segments or a log file
    /// that were deleted since.
    fn is_current(&self, shared: &Shared, found: &[u64]) -> bool {
        let first_log = self.catalog.first_log;
        let has_log = logs_in(&*shared.disk, &shared.folder)
            .is_ok_and(|logs| logs.contains(&first_log) || logs.iter().all(|log| *log < first_log));
        has_log && self.catalog.segments.iter().all(|entry| found.binary_search(&entry.number).is_ok())
    }

    /// Whether a file is of a flush, a merge or a move that was not finished: what it was made from is still there.
    fn is_left_over(&self, shared: &Shared, number: u64) -> bool {
        if !self.catalog.was_never_committed(number, self.committed_next) {
            return false;
        }
        // A bucket's catalog is swapped on condition, so that its numbers say it all.
        if shared.files.is_remote(number) {
            return true;
        }
        match Segment::find(&*shared.files, number) {
            Ok((entry, origin)) => {
                let is_live = |number: &u64| self.catalog.segments.iter().any(|entry| entry.number == *number);
                let is_in_log = |log: u64| {
                    log >= self.catalog.first_log && shared.disk.open(&log_path(&shared.folder, log)).is_ok()
                };
                let is_merge = !origin.merged.is_empty() && origin.merged.iter().all(is_live);
                let is_flush = origin.merged.is_empty() && origin.log.is_some_and(is_in_log);
                let is_copy = || {
                    let is_same = |other: &SegmentEntry| SegmentEntry { number, ..other.clone() } == entry;
                    self.catalog.segments.iter().any(is_same)
                };
                is_merge || is_flush || is_copy()
            }
            // It was not written to its end.
            Err(StoreError::Corrupt(_)) => true,
            Err(_) => false,
        }
    }
}

//! Going by a catalog: when a store is opened, and when a bucket that was away then is claimed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::catalog::EPOCH_BITS;
use super::flush::{Dropped, Flusher};
use super::open::open_segments;
use super::segment;
use super::{Catalog, Frozen, SegmentEntry, Shared, log_path, logs_in};
use crate::StoreError;

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
    /// in segments. Deletes what a crash left, unless the catalog was made again: what it does not name may be what could
    /// not be read.
    pub(super) fn adopt(&mut self, shared: &Shared, catalog: Catalog, damage: Option<String>) {
        let is_rebuilt = damage.is_some();
        if let Some(what) = damage {
            shared.damages.note(&format!("{what}; it was made again from the segments"));
        }
        let held: BTreeMap<u64, SegmentEntry> =
            shared.state().segments.iter().map(|segment| (segment.entry.number, segment.entry.clone())).collect();
        let is_held = |entry: &&SegmentEntry| held.get(&entry.number) == Some(entry);
        let new: Vec<SegmentEntry> = catalog.segments.iter().filter(|entry| !is_held(entry)).cloned().collect();
        let (opened, unopened) = open_segments(&*shared.files, &new, &shared.damages);
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
        self.catalog = catalog;
        self.replay.forget_before(self.catalog.first_log);
        self.expect_time(shared);
        if !is_rebuilt && !self.is_to_claim() {
            self.sweep(shared);
            remove_flushed_logs(shared, self.catalog.first_log);
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

    /// Opens what could not be opened before. Nothing waits for it but the questions that need it.
    pub(super) fn open_rest(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let wanted: Vec<SegmentEntry> = shared.state().unopened.iter().map(|unopened| unopened.entry.clone()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let (opened, unopened) = open_segments(&*shared.files, &wanted, &shared.damages);
        let why = unopened.first().map(|unopened| unopened.why.clone());
        let mut state = shared.state_mut();
        state.segments.extend(opened);
        state.unopened = unopened;
        why.map_or(Ok(()), |why| Err(StoreError::Unavailable(why)))
    }

    /// Deletes segments that neither the catalog names nor a reader has, nor a later owner has written.
    pub(super) fn sweep(&mut self, shared: &Shared) {
        self.swept = Instant::now();
        if !self.in_doubt.is_empty() {
            return;
        }
        let open: BTreeSet<u64> = self.dropped.iter().map(Dropped::number).collect();
        let live: BTreeSet<u64> = self.catalog.segments.iter().map(|entry| entry.number).collect();
        // What cannot be listed now can be later.
        for number in shared.files.list().unwrap_or_default() {
            let is_later_owners = number >> EPOCH_BITS > self.catalog.next_segment >> EPOCH_BITS;
            if !is_later_owners && !live.contains(&number) && !open.contains(&number) {
                segment::remove(&*shared.files, number);
            }
        }
    }
}

/// Deletes log files that are in segments.
fn remove_flushed_logs(shared: &Shared, first_log: u64) {
    for number in logs_in(&*shared.disk, &shared.folder).unwrap_or_default() {
        if number < first_log
            && let Err(error) = shared.disk.remove(&log_path(&shared.folder, number))
        {
            tracing::warn!(number, %error, "cannot delete a log file that is in a segment");
        }
    }
}

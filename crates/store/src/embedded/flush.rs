//! The flush thread: memtables become segments, small segments become larger ones, old ones go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::catalog::EPOCH_BITS;
use super::clock::Clock;
use super::moving::Moving;
use super::open::open_segments;
use super::place::LateClaim;
use super::segment::{self, Merge, Origin, Segment};
use super::signal::Failed;
use super::{Catalog, Frozen, SegmentEntry, Shared, log_path, logs_in};
use crate::{StoreError, Tenant};

/// How often files that no catalog names are looked for: what could not be deleted, or was being written by a process that
/// this one took over from.
const SWEEP: Duration = Duration::from_secs(3600);
/// How often it is written down how the cache is used.
const SAVE: Duration = Duration::from_secs(10);
/// So many segments of about one size become one: each span is written once more for each eightfold of data.
const MERGE_SEGMENTS: usize = 8;
/// Segments are not merged beyond this many spans: larger ones are not read faster.
const MOST_MERGED_SPANS: u64 = 8_000_000;
/// A merged segment reaches over this part of the retention's age, and takes this part of its size, at most: old spans do
/// not wait for long for those they share a segment with, nor take many newer ones with them.
const RETENTION_PARTS: u64 = 16;

/// The thread's own state.
pub(super) struct Flusher {
    pub(super) catalog: Catalog,
    /// How the bucket is claimed. Until it is, nothing is changed: another process may own it.
    late_claim: Option<LateClaim>,
    /// Segments that could not be merged or moved, because they are damaged.
    pub(super) left_alone: BTreeSet<u64>,
    /// What the catalog no longer names and is still to be deleted.
    dropped: Vec<Dropped>,
    /// Segments of commits of which it is not known whether they happened: kept until the next one has.
    in_doubt: Vec<u64>,
    swept: Instant,
    /// When the use of the cache was written down last.
    saved: Instant,
    pub(super) moving: Option<Moving>,
    /// Whether the last round ended because the bucket could not be reached.
    is_away: bool,
    clock: Clock,
}

/// What is to be deleted.
enum Dropped {
    /// A segment that is open, and that readers may be in the midst of.
    Segment(Arc<Segment>),
    /// A file that nobody has opened.
    File(u64),
}

impl Dropped {
    fn number(&self) -> u64 {
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
            clock: Clock::default(),
        }
    }

    /// Whether the bucket is still to be claimed.
    pub(super) fn is_to_claim(&self) -> bool {
        self.late_claim.is_some()
    }

    pub(super) fn run(mut self, shared: &Shared) {
        let mut was_failing = false;
        loop {
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
                    if self.is_away || self.is_to_claim() {
                        break;
                    }
                }
            }
            if was_failing && failed.is_none() {
                tracing::info!("flushing again");
            }
            was_failing = failed.is_some();
            self.remove_dropped(shared);
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
            shared.flush.wait_for_work();
        }
    }

    /// Claims a bucket that was away when the store was opened. What was known of it gives way to what is there, at one
    /// moment for every reader.
    fn claim_late(&mut self, shared: &Shared) -> Result<(), StoreError> {
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
        if !is_rebuilt && !self.is_to_claim() {
            self.sweep(shared);
            remove_flushed_logs(shared, self.catalog.first_log);
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
        next.commit(files)?;
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

    /// An error if nothing can be written: then no segment is made in vain.
    fn check_reachable(&mut self, shared: &Shared) -> Result<(), StoreError> {
        shared.check_owned()?;
        if self.is_away {
            Catalog::open(&*shared.files)?;
            self.is_away = false;
        }
        Ok(())
    }

    /// Opens what could not be opened before. Nothing waits for it but the questions that need it.
    fn open_rest(&mut self, shared: &Shared) -> Result<(), StoreError> {
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

    pub(super) fn flush_all(&mut self, shared: &Shared) -> Result<(), StoreError> {
        loop {
            let oldest = shared.state().frozen.first().cloned();
            let Some(frozen) = oldest else { return Ok(()) };
            self.flush(shared, &frozen)?;
        }
    }

    /// Writes a frozen memtable as segments, one for each tenant.
    pub(super) fn flush(&mut self, shared: &Shared, frozen: &Frozen) -> Result<(), StoreError> {
        let files = &*shared.files;
        let mut entries = Vec::new();
        let mut written = Ok(());
        for (tenant, table) in &frozen.tables {
            let batches: Vec<_> = table.batches().collect();
            let number = self.next_number();
            let origin = Origin { log: Some(frozen.log_number), merged: Vec::new() };
            match segment::write(files, number, tenant, origin, &batches) {
                Ok(entry) => entries.push(entry),
                // What was sent so far is swept when the bucket is back.
                Err(error @ StoreError::Unavailable(_)) => {
                    written = Err(error);
                    break;
                }
                Err(error) => {
                    // What was written so far takes space that may be what is missing.
                    segment::remove(files, number);
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
        let path = log_path(&shared.folder, frozen.log_number);
        if let Err(error) = shared.disk.remove(&path) {
            tracing::warn!(path = %path.display(), %error, "cannot delete a log file that is in a segment");
        }
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
    fn remove_dropped(&mut self, shared: &Shared) {
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

    fn merge_all(&mut self, shared: &Shared) -> Result<(), StoreError> {
        while !shared.closed.load(Ordering::SeqCst) {
            let Some((tenant, segments)) = self.find_mergeable(shared) else { return Ok(()) };
            let merged = self.merge(shared, &tenant, &segments);
            let numbers: Vec<u64> = segments.iter().map(|segment| segment.entry.number).collect();
            drop(segments);
            self.remove_dropped(shared);
            match merged {
                Ok(()) => {}
                Err(StoreError::Closed) => return Ok(()),
                Err(error @ StoreError::Corrupt(_)) => {
                    // They are read as they are, as far as they can be.
                    shared.damages.note(&error.to_string());
                    self.left_alone.extend(numbers);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Segments of one tenant and about one size that lie together in time; `None` if there are too few.
    fn find_mergeable(&mut self, shared: &Shared) -> Option<(Tenant, Vec<Arc<Segment>>)> {
        let open = shared.state().segments.clone();
        let mut tiers: BTreeMap<(String, u32), Vec<Arc<Segment>>> = BTreeMap::new();
        for segment in open {
            let number = segment.entry.number;
            if !self.left_alone.contains(&number) && !shared.files.is_to_be_moved(number) {
                let tier = segment.entry.spans.max(1).ilog2() / MERGE_SEGMENTS.ilog2();
                tiers.entry((segment.entry.tenant.clone(), tier)).or_default().push(segment);
            }
        }
        for ((tenant, _), mut tier) in tiers {
            if tier.len() < MERGE_SEGMENTS {
                continue;
            }
            tier.sort_by_key(|segment| (segment.entry.first_start_unix_nano, segment.entry.number));
            tier.truncate(MERGE_SEGMENTS);
            let spans: u64 = tier.iter().map(|segment| segment.entry.spans).sum();
            let first = tier.iter().map(|segment| segment.entry.first_start_unix_nano).min()?;
            let last = tier.iter().map(|segment| segment.entry.last_start_unix_nano).max()?;
            let most_nanos = shared.options.retention_age.map(|age| age.as_nanos() as u64 / RETENTION_PARTS);
            let bytes: u64 = tier.iter().map(|segment| segment.entry.bytes).sum();
            let most_bytes = shared.options.retention_bytes.map(|most| most / RETENTION_PARTS);
            let mut fits = spans <= MOST_MERGED_SPANS
                && most_bytes.is_none_or(|most| bytes <= most)
                && most_nanos.is_none_or(|most| last - first <= most);
            if fits {
                fits = match Merge::fits(&tier) {
                    // Later, when they can be reached.
                    Err(StoreError::Unavailable(_)) => continue,
                    fits => fits.unwrap_or(false),
                };
            }
            if !fits {
                // The oldest of them is as large as it gets.
                self.left_alone.insert(tier[0].entry.number);
                continue;
            }
            if let Ok(tenant) = Tenant::new(&tenant) {
                return Some((tenant, tier));
            }
        }
        None
    }

    fn merge(&mut self, shared: &Shared, tenant: &Tenant, segments: &[Arc<Segment>]) -> Result<(), StoreError> {
        let files = &*shared.files;
        let number = self.next_number();
        let merged = Merge::new(files, number, tenant, segments).and_then(|merge| {
            merge.run(|| {
                if shared.closed.load(Ordering::SeqCst) {
                    return Err(StoreError::Closed);
                }
                self.flush_all(shared)
            })
        });
        let numbers: Vec<u64> = segments.iter().map(|segment| segment.entry.number).collect();
        let entry = match merged {
            Ok(entry) => entry,
            Err(error) => {
                segment::remove(files, number);
                return Err(error);
            }
        };
        if let Err(error) = self.commit(shared, vec![entry], &numbers, None) {
            self.remove_unless_live(shared, &[number]);
            return Err(error);
        }
        Ok(())
    }

    /// Drops segments all of whose spans are too old, and the oldest ones while all together are too large.
    fn retain(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let options = &shared.options;
        let mut kept: Vec<&SegmentEntry> = self.catalog.segments.iter().collect();
        kept.sort_by_key(|entry| entry.last_start_unix_nano);
        let mut dropped = Vec::new();
        if let Some(age) = options.retention_age {
            let now = self.clock.now((options.now_unix_nano)(), Instant::now());
            let oldest = now.saturating_sub(age.as_nanos() as u64);
            dropped.extend(kept.iter().filter(|entry| entry.last_start_unix_nano < oldest).map(|entry| entry.number));
            kept.retain(|entry| entry.last_start_unix_nano >= oldest);
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
        self.remove_dropped(shared);
        Ok(())
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

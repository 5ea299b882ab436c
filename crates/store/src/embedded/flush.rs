//! The flush thread: memtables become segments, small segments become larger ones, old ones go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::segment::{self, Merge, Origin, Segment};
use super::{Catalog, Frozen, SegmentEntry, Shared, log_path, logs_in};
use crate::{StoreError, Tenant};

/// How often retention is looked at when nothing else happens.
const TICK: Duration = Duration::from_secs(10);
/// How soon what failed is tried again: a full disk may have space by then.
const RETRY: Duration = Duration::from_millis(500);
/// So many segments of about one size become one: each span is written once more for each eightfold of data.
const MERGE_SEGMENTS: usize = 8;
/// Segments are not merged beyond this many spans: larger ones are not read faster.
const MOST_MERGED_SPANS: u64 = 8_000_000;
/// A merged segment reaches over this part of the retention's age, and takes this part of its size, at most: old spans do
/// not wait for long for those they share a segment with, nor take many newer ones with them.
const RETENTION_PARTS: u64 = 16;

/// Wakes the flush thread, and lets others wait for it.
#[derive(Default)]
pub(super) struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default)]
struct SignalState {
    awake: bool,
    /// What the last round could not do.
    failed: Option<String>,
    rounds: u64,
}

impl Signal {
    pub(super) fn wake(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).awake = true;
        self.changed.notify_all();
    }

    fn wait_for_work(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let most = if state.failed.is_some() { RETRY } else { TICK };
        let (mut state, _) =
            self.changed.wait_timeout_while(state, most, |state| !state.awake).unwrap_or_else(PoisonError::into_inner);
        state.awake = false;
    }

    fn finish_round(&self, failed: Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed = failed;
        state.rounds += 1;
        self.changed.notify_all();
    }

    /// Waits until a round that begins after this has ended.
    fn wait_for_a_round(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The round that is under way may have looked before.
        let wanted = state.rounds + 2;
        let mut state = state;
        while state.rounds < wanted {
            state.awake = true;
            self.changed.notify_all();
            let before = state.rounds;
            state =
                self.changed.wait_while(state, |state| state.rounds == before).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.clone()
    }

    /// Waits until no frozen memtable is left, or until a round failed to write one.
    pub(super) fn wait_until_flushed(&self, shared: &Shared) -> Result<(), StoreError> {
        loop {
            if shared.state().frozen.is_empty() {
                return Ok(());
            }
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let rounds = state.rounds;
            drop(state);
            self.wake();
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // A flush in the midst of a round wakes everyone, too.
            let (state, _) = self
                .changed
                .wait_timeout_while(state, Duration::from_millis(50), |state| state.rounds == rounds)
                .unwrap_or_else(PoisonError::into_inner);
            if state.rounds != rounds
                && let Some(reason) = &state.failed
            {
                return Err(StoreError::Busy(reason.clone()));
            }
        }
    }

    /// Waits until nothing is left to merge.
    pub(super) fn wait_until_merged(&self) -> Result<(), StoreError> {
        self.wait_for_a_round().map_or(Ok(()), |reason| Err(StoreError::Busy(reason)))
    }
}

/// The thread's own state.
pub(super) struct Flusher {
    pub(super) catalog: Catalog,
    /// Segments that could not be merged, because they are damaged.
    left_alone: BTreeSet<u64>,
    /// What the catalog no longer names and is still to be deleted.
    dropped: Vec<Dropped>,
    /// Segments of commits of which it is not known whether they happened: kept until the next one has.
    in_doubt: Vec<u64>,
    clock: Clock,
}

/// What is to be deleted.
enum Dropped {
    /// A segment that is open, and that readers may be in the midst of.
    Segment(Arc<Segment>),
    /// A file that nobody has opened.
    File(u64),
}

impl Flusher {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self {
            catalog,
            left_alone: BTreeSet::new(),
            dropped: Vec::new(),
            in_doubt: Vec::new(),
            clock: Clock::default(),
        }
    }

    pub(super) fn run(mut self, shared: &Shared) {
        let mut was_failing = false;
        loop {
            let mut failed = None;
            let steps = [Self::check_owned, Self::retain, Self::flush_all, Self::merge_all];
            for step in steps {
                if failed.is_some() && shared.files.taken_over().is_some() {
                    break;
                }
                if let Err(error) = step(&mut self, shared) {
                    // Said once, not at every try.
                    if !was_failing && failed.is_none() && !shared.closed.load(Ordering::SeqCst) {
                        tracing::error!(%error, "cannot flush; trying again until it can be done");
                    }
                    failed = Some(error.to_string());
                }
            }
            if was_failing && failed.is_none() {
                tracing::info!("flushing again");
            }
            was_failing = failed.is_some();
            self.remove_dropped(shared);
            shared.flush.finish_round(failed);
            if shared.closed.load(Ordering::SeqCst) {
                return;
            }
            shared.flush.wait_for_work();
        }
    }

    /// The number of a new segment. None is given out twice: a commit that reported an error may have happened, and then
    /// the catalog on the disk names the segments of that attempt.
    fn next_number(&mut self) -> u64 {
        self.catalog.next_segment += 1;
        self.catalog.next_segment - 1
    }

    /// Changes the catalog on disk and then in memory. On an error nothing has changed.
    fn commit(
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
        if let Some(frozen) = flushed {
            state.frozen.retain(|other| other.log_number != frozen.log_number);
            state.log_bytes = state.log_bytes.saturating_sub(frozen.log_bytes);
        }
        Ok(())
    }

    fn check_owned(&mut self, shared: &Shared) -> Result<(), StoreError> {
        shared.check_owned()
    }

    fn flush_all(&mut self, shared: &Shared) -> Result<(), StoreError> {
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
        shared.flush.changed.notify_all();
        Ok(())
    }

    /// Removes segments whose commit failed, unless the catalog names them all the same.
    fn remove_unless_live(&mut self, shared: &Shared, numbers: &[u64]) {
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
            if !self.left_alone.contains(&segment.entry.number) {
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

/// Deletes what a crash left: segments that never came into the catalog or were dropped, log files that are in segments.
pub(super) fn remove_strays(shared: &Shared, catalog: &Catalog) {
    for number in shared.files.list().unwrap_or_default() {
        if !catalog.segments.iter().any(|entry| entry.number == number) {
            segment::remove(&*shared.files, number);
        }
    }
    for number in logs_in(&*shared.disk, &shared.folder).unwrap_or_default() {
        if number < catalog.first_log
            && let Err(error) = shared.disk.remove(&log_path(&shared.folder, number))
        {
            tracing::warn!(number, %error, "cannot delete a log file that is in a segment");
        }
    }
}

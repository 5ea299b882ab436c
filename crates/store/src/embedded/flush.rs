//! The flush thread: memtables become segments, small segments become larger ones, old ones go.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Catalog, Frozen, Segment, SegmentEntry, Shared, log_path, segment};
use crate::{StoreError, Tenant};

/// How often retention is looked at when nothing else happens.
const TICK: Duration = Duration::from_secs(10);
/// So many segments of about one size become one.
const MERGE_SEGMENTS: usize = 4;
/// Segments are not merged beyond this many spans, which bounds the memory of a merge.
const MOST_MERGED_SPANS: u64 = 400_000;

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
        let (mut state, _) =
            self.changed.wait_timeout_while(state, TICK, |state| !state.awake).unwrap_or_else(PoisonError::into_inner);
        state.awake = false;
    }

    fn finish_round(&self, failed: Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed = failed;
        state.rounds += 1;
        self.changed.notify_all();
    }

    /// Waits until no frozen memtable is left, or until a round failed to write one.
    pub(super) fn wait_until_idle(&self, shared: &Shared) -> Result<(), StoreError> {
        loop {
            let rounds = self.state.lock().unwrap_or_else(PoisonError::into_inner).rounds;
            if shared.state().frozen.is_empty() {
                return Ok(());
            }
            self.wake();
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let state =
                self.changed.wait_while(state, |state| state.rounds == rounds).unwrap_or_else(PoisonError::into_inner);
            if let Some(reason) = &state.failed {
                return Err(StoreError::Busy(reason.clone()));
            }
        }
    }
}

pub(super) fn run(shared: &Shared, mut catalog: Catalog) {
    loop {
        let mut failed = None;
        if let Err(error) = round(shared, &mut catalog) {
            tracing::error!(%error, "cannot flush; trying again");
            failed = Some(error.to_string());
        }
        shared.flush.finish_round(failed);
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        shared.flush.wait_for_work();
    }
}

fn round(shared: &Shared, catalog: &mut Catalog) -> Result<(), StoreError> {
    loop {
        let oldest = shared.state().frozen.first().cloned();
        let Some(frozen) = oldest else { break };
        flush(shared, catalog, &frozen)?;
    }
    while merge(shared, catalog)? {}
    retain(shared, catalog)
}

/// Changes the catalog on disk and then in memory. On an error nothing has changed.
fn commit(
    shared: &Shared,
    catalog: &mut Catalog,
    add: Vec<SegmentEntry>,
    drop: &[u64],
    flushed: Option<&Frozen>,
) -> Result<(), StoreError> {
    let folder = shared.folder.join("segments");
    let opened =
        add.iter().map(|entry| Segment::open(&folder, entry.clone()).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    let mut next = catalog.clone();
    next.segments.retain(|entry| !drop.contains(&entry.number));
    next.next_segment = add.iter().map(|entry| entry.number + 1).max().unwrap_or(0).max(next.next_segment);
    next.segments.extend(add);
    if let Some(frozen) = flushed {
        next.first_log = frozen.log_number + 1;
    }
    next.commit(&shared.folder)?;
    *catalog = next;

    let mut state = shared.state_mut();
    state.segments.retain(|segment| !drop.contains(&segment.entry.number));
    state.segments.extend(opened);
    if let Some(frozen) = flushed {
        state.frozen.retain(|other| other.log_number != frozen.log_number);
        state.log_bytes = state.log_bytes.saturating_sub(frozen.log_bytes);
    }
    Ok(())
}

fn flush(shared: &Shared, catalog: &mut Catalog, frozen: &Frozen) -> Result<(), StoreError> {
    let folder = shared.folder.join("segments");
    let mut entries = Vec::new();
    for (tenant, table) in &frozen.tables {
        let number = catalog.next_segment + entries.len() as u64;
        entries.push(segment::write(&folder, number, tenant, table.batches())?);
    }
    commit(shared, catalog, entries, &[], Some(frozen))?;
    let path = log_path(&shared.folder, frozen.log_number);
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(path = %path.display(), %error, "cannot delete a log file that is in a segment");
    }
    Ok(())
}

/// Joins segments of one tenant and about one size; false if there are none to join.
fn merge(shared: &Shared, catalog: &mut Catalog) -> Result<bool, StoreError> {
    let mut tiers: BTreeMap<(&str, u32), Vec<&SegmentEntry>> = BTreeMap::new();
    for entry in &catalog.segments {
        // A tier holds segments that differ in size by up to four times.
        tiers.entry((&entry.tenant, entry.spans.max(1).ilog2() / 2)).or_default().push(entry);
    }
    let candidates = tiers.into_values().find(|tier| {
        let spans: u64 = tier.iter().take(MERGE_SEGMENTS).map(|entry| entry.spans).sum();
        tier.len() >= MERGE_SEGMENTS && spans <= MOST_MERGED_SPANS
    });
    let Some(tier) = candidates else { return Ok(false) };
    let numbers: Vec<u64> = tier.iter().take(MERGE_SEGMENTS).map(|entry| entry.number).collect();
    let tenant = Tenant::new(&tier[0].tenant)?;
    let segments: Vec<Arc<Segment>> =
        shared.state().segments.iter().filter(|segment| numbers.contains(&segment.entry.number)).cloned().collect();
    let mut batches = Vec::new();
    for segment in &segments {
        segment.read_all(|batch| batches.push(batch))?;
    }
    let folder = shared.folder.join("segments");
    let entry = segment::write(&folder, catalog.next_segment, &tenant, &batches)?;
    commit(shared, catalog, vec![entry], &numbers, None)?;
    numbers.iter().for_each(|number| segment::remove(&folder, *number));
    Ok(true)
}

/// Drops segments all of whose spans are too old, and the oldest ones while all together are too large.
fn retain(shared: &Shared, catalog: &mut Catalog) -> Result<(), StoreError> {
    let options = &shared.options;
    let mut kept: Vec<&SegmentEntry> = catalog.segments.iter().collect();
    kept.sort_by_key(|entry| entry.last_start_unix_nano);
    let mut dropped = Vec::new();
    if let Some(age) = options.retention_age {
        let oldest = (options.now_unix_nano)().saturating_sub(age.as_nanos() as u64);
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
    commit(shared, catalog, Vec::new(), &dropped, None)?;
    dropped.iter().for_each(|number| segment::remove(&shared.folder.join("segments"), *number));
    Ok(())
}

/// The numbers of the files `NUMBER.EXTENSION` in a folder, sorted.
pub(super) fn numbers_in(folder: &Path, extension: &str) -> Result<Vec<u64>, StoreError> {
    let context = |source| StoreError::Io { context: format!("list {}", folder.display()), source };
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(context)? {
        let path = entry.map_err(context)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            numbers.extend(path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()));
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Deletes what a crash left: segments that never came into the catalog or were dropped, log files that are in segments.
pub(super) fn remove_strays(folder: &Path, catalog: &Catalog) {
    let segments = folder.join("segments");
    for extension in ["parquet", "traces", "names"] {
        for number in numbers_in(&segments, extension).unwrap_or_default() {
            if !catalog.segments.iter().any(|entry| entry.number == number) {
                segment::remove(&segments, number);
            }
        }
    }
    for number in numbers_in(&folder.join("log"), "log").unwrap_or_default() {
        if number < catalog.first_log
            && let Err(error) = std::fs::remove_file(log_path(folder, number))
        {
            tracing::warn!(number, %error, "cannot delete a log file that is in a segment");
        }
    }
}

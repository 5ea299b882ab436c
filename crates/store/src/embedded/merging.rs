//! Small segments become larger ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::flush::Flusher;
use super::segment::{Merge, Segment};
use super::{SegmentEntry, Shared};
use crate::{StoreError, Tenant};

/// So many segments of about one size become one: each span is written once more for each eightfold of data.
const MERGE_SEGMENTS: usize = 8;
/// Segments are not merged beyond this many spans: larger ones are not read faster.
const MOST_MERGED_SPANS: u64 = 8_000_000;
/// A merged segment reaches over this part of the retention's age, and takes this part of its size, at most: old spans do
/// not wait for long for those they share a segment with, nor take many newer ones with them.
const RETENTION_PARTS: u64 = 16;

impl Flusher {
    pub(super) fn merge_all(&mut self, shared: &Shared) -> Result<(), StoreError> {
        while !shared.closed.load(Ordering::SeqCst) {
            let Some((tenant, segments)) = self.find_mergeable(shared) else { return Ok(()) };
            let begun = Instant::now();
            let merged = self.merge(shared, &tenant, &segments);
            shared.work.merged(begun, &merged);
            let numbers: Vec<u64> = segments.iter().map(|segment| segment.entry.number).collect();
            drop(segments);
            self.remove_dropped(shared);
            match merged {
                Ok(()) => {}
                Err(StoreError::Closed) => return Ok(()),
                Err(StoreError::Corrupt(_)) => {
                    // They are read as they are, as far as they can be.
                    self.note_damage_of(shared, &numbers);
                    self.left_alone.extend(numbers);
                }
                // One file that cannot be read at the moment does not keep the others from being merged.
                Err(StoreError::Unavailable(why)) if numbers.iter().all(|number| !shared.files.is_remote(*number)) => {
                    shared.damages.note_read_error(&why);
                    self.leave_alone_for_now(&numbers);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Segments of one tenant and about one size that lie together in time; `None` if there are too few.
    fn find_mergeable(&mut self, shared: &Shared) -> Option<(Tenant, Vec<Arc<Segment>>)> {
        let open = shared.state().segments.clone();
        // Those without dates get them as soon as the clock is believed, and until then are merged by themselves.
        let dates: BTreeMap<u64, (bool, u64)> = self
            .catalog
            .segments
            .iter()
            .map(|entry| (entry.number, (entry.dates().is_some(), entry.last_date())))
            .collect();
        let mut tiers: BTreeMap<(String, u32, bool), Vec<Arc<Segment>>> = BTreeMap::new();
        for segment in open {
            let number = segment.entry.number;
            if let Some((is_dated, _)) = dates.get(&number)
                && !self.is_left_alone(number)
                && !shared.files.is_to_be_moved(number)
            {
                let tier = segment.entry.spans.max(1).ilog2() / MERGE_SEGMENTS.ilog2();
                tiers.entry((segment.entry.tenant.clone(), tier, *is_dated)).or_default().push(segment);
            }
        }
        for ((tenant, ..), mut tier) in tiers {
            if tier.len() < MERGE_SEGMENTS {
                continue;
            }
            // By the date by which they will be deleted: a single span of an odd time says nothing of its neighbours.
            let last_date = |segment: &Arc<Segment>| dates.get(&segment.entry.number).map_or(0, |(_, last)| *last);
            tier.sort_by_key(|segment| (last_date(segment), segment.entry.number));
            tier.truncate(MERGE_SEGMENTS);
            let spans: u64 = tier.iter().map(|segment| segment.entry.spans).sum();
            let first = tier.iter().map(last_date).min()?;
            let last = tier.iter().map(last_date).max()?;
            let most_nanos = shared.options.retention_age.map(|age| age.as_nanos() as u64 / RETENTION_PARTS);
            let bytes: u64 = tier.iter().map(|segment| segment.entry.bytes).sum();
            let most_bytes = shared.options.retention_bytes.map(|most| most / RETENTION_PARTS);
            let mut fits = spans <= MOST_MERGED_SPANS
                && most_bytes.is_none_or(|most| bytes <= most)
                && most_nanos.is_none_or(|most| last - first <= most);
            if fits {
                fits = match Merge::fits(&tier) {
                    // Later, when they can be read.
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

    /// The earliest and the latest date of a span in some segments.
    fn dates_of(&self, segments: &[Arc<Segment>]) -> Option<(u64, u64)> {
        let numbers: Vec<u64> = segments.iter().map(|segment| segment.entry.number).collect();
        let entries = self.catalog.segments.iter().filter(|entry| numbers.contains(&entry.number));
        entries.map(SegmentEntry::dates).reduce(|ours, theirs| {
            let ((first, last), (other_first, other_last)) = (ours?, theirs?);
            Some((first.min(other_first), last.max(other_last)))
        })?
    }

    fn merge(&mut self, shared: &Shared, tenant: &Tenant, segments: &[Arc<Segment>]) -> Result<(), StoreError> {
        let files = &*shared.files;
        let number = self.next_number();
        let dates = self.dates_of(segments);
        let merged = Merge::new(files, number, tenant, segments, dates).and_then(|merge| {
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
                self.discard(shared, number);
                return Err(error);
            }
        };
        if let Err(error) = self.commit(shared, vec![entry], &numbers, None) {
            self.remove_unless_live(shared, &[number]);
            return Err(error);
        }
        Ok(())
    }
}

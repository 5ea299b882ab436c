//! Reading traces of any size from memtables and segments, a portion at a time.

use std::sync::Arc;

use async_trait::async_trait;
use tracewell_model::{SpanBatch, TimeRange, TraceId};

use super::Shared;
use super::reads::Reading;
use super::segment::{HeldTraces, Segment};
use crate::memtable::{Memtable, TablePlace};
use crate::{LeftOut, Projection, StoreError, Tenant, TracePortion, TraceReader, stop};

/// Reads the spans of some traces as they were when it was opened: memtables and segments do not change, and the file of a
/// segment that was merged away can be read for as long as it is open.
pub(super) struct PortionReader {
    shared: Arc<Shared>,
    left_out: Option<Arc<LeftOut>>,
    parts: Arc<Parts>,
    projection: Projection,
    place: Place,
}

/// Where the spans lie.
struct Parts {
    /// Sorted.
    ids: Vec<TraceId>,
    tables: Vec<Memtable>,
    segments: Vec<Arc<Segment>>,
}

/// Where the next portion begins.
#[derive(Default)]
struct Place {
    /// The memtables, then the segments, in order.
    part: usize,
    table: TablePlace,
    /// The blocks of the segment that are still to be read, once they are known; the next one last.
    blocks: Option<Vec<HeldTraces>>,
}

impl PortionReader {
    pub(super) fn open(
        shared: Arc<Shared>,
        left_out: Option<Arc<LeftOut>>,
        tenant: &Tenant,
        ids: &[TraceId],
    ) -> Result<Self, StoreError> {
        shared.check_owned()?;
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let reading = Reading { shared: &shared, left_out: left_out.as_deref() };
        let (tables, segments) = reading.parts(tenant, TimeRange::ALL)?;
        let parts = Arc::new(Parts { ids, tables, segments });
        Ok(Self { shared, left_out, parts, projection: Projection::All, place: Place::default() })
    }
}

#[async_trait]
impl TraceReader for PortionReader {
    async fn next(&mut self, max_bytes: usize) -> Result<TracePortion, StoreError> {
        let (parts, projection) = (self.parts.clone(), self.projection);
        // One trace is mostly read quicker than a thread is got for it.
        let is_first_of_one = parts.ids.len() == 1 && self.place.is_at_the_beginning();
        let mut place = std::mem::take(&mut self.place);
        let read = move |reading: &Reading<'_>| {
            let portion = parts.next(reading, projection, max_bytes, &mut place)?;
            Ok((portion, place))
        };
        let (shared, left_out) = (&self.shared, self.left_out.clone());
        let (portion, place) = if is_first_of_one {
            shared.read_little(left_out, read).await?
        } else {
            shared.read_off(left_out, read).await?
        };
        self.place = place;
        Ok(portion)
    }

    fn restart(&mut self, projection: Projection) {
        self.projection = projection;
        self.place = Place::default();
    }
}

impl Place {
    fn is_at_the_beginning(&self) -> bool {
        self.part == 0 && self.blocks.is_none() && self.table == TablePlace::default()
    }
}

impl Parts {
    fn next(
        &self,
        reading: &Reading<'_>,
        projection: Projection,
        max_bytes: usize,
        place: &mut Place,
    ) -> Result<TracePortion, StoreError> {
        let mut spans = SpanBatch::new();
        while spans.content_bytes() < max_bytes {
            stop::check()?;
            if let Some(table) = self.tables.get(place.part) {
                if table.traces_from(&self.ids, projection, max_bytes, &mut place.table, &mut spans) {
                    place.table = TablePlace::default();
                    place.part += 1;
                }
                continue;
            }
            let Some(segment) = self.segments.get(place.part - self.tables.len()) else { break };
            let tolerance = reading.tolerance();
            let blocks = match &mut place.blocks {
                Some(blocks) => blocks,
                None => {
                    let held = reading.tolerate(segment, segment.holding(&self.ids, &tolerance))?;
                    let mut held = held.unwrap_or_default();
                    held.reverse();
                    place.blocks.insert(held)
                }
            };
            let read = segment.traces_of(blocks, projection, &tolerance, max_bytes, &mut spans);
            reading.tolerate(segment, read)?;
            if blocks.is_empty() || spans.content_bytes() < max_bytes {
                place.blocks = None;
                place.part += 1;
            }
        }
        let is_last = place.part >= self.tables.len() + self.segments.len();
        Ok(TracePortion { spans, is_last })
    }
}

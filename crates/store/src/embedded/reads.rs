//! What is asked of memtables and segments together.

use std::sync::Arc;

use tracewell_model::{SpanBatch, TraceId};

use super::Shared;
use super::segment::Segment;
use crate::memtable::Memtable;
use crate::names::Names;
use crate::scan::{Found, Top};
use crate::{Projection, Scan, ScanPage, StoreError, Tenant};

/// Bytes of templates and dictionaries that open segments hold together, to be read faster.
const MOST_HELD_BYTES: usize = 48 << 20;

impl Shared {
    /// The memtables and the segments of a tenant: together one moment's state, to be read without a lock.
    pub(super) fn look(&self, tenant: &Tenant) -> (Vec<Memtable>, Vec<Arc<Segment>>) {
        let state = self.state();
        let frozen = state.frozen.iter().filter_map(|frozen| frozen.tables.get(tenant));
        let tables = frozen.chain(state.active.get(tenant)).cloned().collect();
        let is_own = |segment: &&Arc<Segment>| segment.entry.tenant == tenant.as_str();
        (tables, state.segments.iter().filter(is_own).cloned().collect())
    }

    pub(super) fn names(&self, tenant: &Tenant) -> Result<Names, StoreError> {
        let mut names = Names::default();
        let (tables, segments) = self.look(tenant);
        tables.iter().for_each(|table| names.merge(&table.names()));
        for segment in segments {
            if let Some(own) = self.damages.tolerate(segment.names())? {
                names.merge(&own);
            }
        }
        Ok(names)
    }

    pub(super) fn traces(
        &self,
        tenant: &Tenant,
        ids: &[TraceId],
        projection: Projection,
    ) -> Result<SpanBatch, StoreError> {
        let mut out = SpanBatch::new();
        let (tables, segments) = self.look(tenant);
        tables.iter().for_each(|table| table.traces(ids, projection, &mut out));
        for segment in segments {
            self.damages.tolerate(segment.traces(ids, projection, &self.damages, &mut out))?;
        }
        Ok(out)
    }

    pub(super) fn scan(&self, tenant: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError> {
        let mut top = Top::new(scan);
        let (tables, mut segments) = self.look(tenant);
        for (part, table) in tables.iter().enumerate() {
            table.scan(scan, part as u32, &mut top);
        }
        segments.retain(|segment| {
            scan.time.overlaps(segment.entry.first_start_unix_nano, segment.entry.last_start_unix_nano)
        });
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.entry.last_start_unix_nano));
        for (place, segment) in segments.iter().enumerate() {
            if top.worst().is_some_and(|worst| segment.entry.last_start_unix_nano < worst.start_unix_nano) {
                break;
            }
            let part = (tables.len() + place) as u32;
            self.damages.tolerate(segment.scan(scan, part, &self.damages, &mut top))?;
        }
        let (found, next) = top.page();
        let spans = self.fetch(&tables, &segments, &found, scan.projection)?;
        Ok(ScanPage { spans, next })
    }

    /// The rows that a scan found, in its order, each part read once.
    fn fetch(
        &self,
        tables: &[Memtable],
        segments: &[Arc<Segment>],
        found: &[Found],
        projection: Projection,
    ) -> Result<SpanBatch, StoreError> {
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_unstable_by_key(|place| (found[*place].source, found[*place].row));
        let mut spans = SpanBatch::new();
        // Where each row of the page came to lie; a damaged row lies nowhere.
        let mut places = vec![usize::MAX; found.len()];
        for part in order.chunk_by(|left, right| found[*left].source.part == found[*right].source.part) {
            let number = found[part[0]].source.part as usize;
            let mut wanted: Vec<(u32, Vec<usize>)> = Vec::new();
            for place in part {
                let Found { source, row, .. } = found[*place];
                match wanted.last_mut() {
                    Some((block, rows)) if *block == source.place => rows.push(row as usize),
                    _ => wanted.push((source.place, vec![row as usize])),
                }
            }
            let before = spans.len();
            let appended: Vec<usize> = match tables.get(number) {
                Some(table) => {
                    for (block, rows) in &wanted {
                        table.rows(*block, rows, projection, &mut spans);
                    }
                    wanted.iter().map(|(_, rows)| rows.len()).collect()
                }
                None => {
                    let segment = &segments[number - tables.len()];
                    segment.rows(&wanted, projection, &self.damages, &mut spans)?
                }
            };
            let (mut at, mut first) = (before, 0);
            for ((_, rows), appended) in wanted.iter().zip(appended) {
                for (place, row) in part[first..first + appended].iter().zip(at..) {
                    places[*place] = row;
                }
                at += appended;
                first += rows.len();
            }
        }
        places.retain(|place| *place != usize::MAX);
        Ok(if places.is_sorted() { spans } else { spans.select(places) })
    }

    /// Keeps what segments hold to be read faster within its bound.
    pub(super) fn forget_least_used(&self) {
        let segments = self.state().segments.clone();
        let mut held: Vec<(u64, usize, &Arc<Segment>)> =
            segments.iter().filter_map(|segment| segment.held().map(|(used, bytes)| (used, bytes, segment))).collect();
        let mut bytes: usize = held.iter().map(|(_, bytes, _)| bytes).sum();
        if bytes <= MOST_HELD_BYTES {
            return;
        }
        held.sort_unstable_by_key(|(used, ..)| *used);
        for (_, own, segment) in held {
            if bytes <= MOST_HELD_BYTES {
                break;
            }
            segment.forget();
            bytes -= own;
        }
    }
}

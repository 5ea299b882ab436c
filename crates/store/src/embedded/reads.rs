//! What is asked of memtables and segments together.

use std::sync::Arc;

use tracewell_model::{SpanBatch, TimeRange, TraceId, TraceSummary};

use super::segment::Segment;
use super::{SegmentEntry, Shared, Unopened};
use crate::memtable::Memtable;
use crate::names::Names;
use crate::scan::{MAX_PAGE_BYTES, Top, fetch_page, ids_of};
use crate::{Predicate, Projection, Scan, ScanPage, StoreError, Tenant, stop};

/// Bytes of templates and dictionaries that open segments hold together, to be read faster.
const MOST_HELD_BYTES: usize = 48 << 20;

/// The memtables and the segments of a tenant: together one moment's state, to be read without a lock.
pub(super) struct Looked {
    pub(super) tables: Vec<Memtable>,
    pub(super) segments: Vec<Arc<Segment>>,
    /// What is there, too, and cannot be read.
    pub(super) unopened: Vec<Unopened>,
    /// Why a part of the log is missing, if so.
    pub(super) unread_log: Option<String>,
}

impl Looked {
    /// Those of which spans may start in a time, if all of them can be read.
    pub(super) fn whole(mut self, time: TimeRange) -> Result<(Vec<Memtable>, Vec<Arc<Segment>>), StoreError> {
        if let Some(why) = self.unread_log {
            return Err(StoreError::Unavailable(why));
        }
        self.restrict(time);
        match self.unopened.pop() {
            Some(unopened) => Err(StoreError::Unavailable(unopened.why)),
            None => Ok((self.tables, self.segments)),
        }
    }

    /// Leaves out segments of which no span starts in a time.
    fn restrict(&mut self, time: TimeRange) {
        let overlaps = |entry: &SegmentEntry| time.overlaps(entry.first_start_unix_nano, entry.last_start_unix_nano);
        self.segments.retain(|segment| overlaps(&segment.entry));
        self.unopened.retain(|unopened| overlaps(&unopened.entry));
    }
}

impl Shared {
    /// Reads, if what is here is this process's to read.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.check_owned()?;
        let result = read(self);
        self.forget_least_used();
        result
    }

    pub(super) fn look(&self, tenant: &Tenant) -> Looked {
        let state = self.state();
        let frozen = state.frozen.iter().filter_map(|frozen| frozen.tables.get(tenant));
        let is_own = |entry: &SegmentEntry| entry.tenant == tenant.as_str();
        Looked {
            tables: frozen.chain(state.active.get(tenant)).cloned().collect(),
            segments: state.segments.iter().filter(|segment| is_own(&segment.entry)).cloned().collect(),
            unopened: state.unopened.iter().filter(|unopened| is_own(&unopened.entry)).cloned().collect(),
            unread_log: state.unread_log.clone(),
        }
    }

    pub(super) fn names(&self, tenant: &Tenant) -> Result<Names, StoreError> {
        let limits = self.options.names;
        let mut names = Names::new(limits);
        let (tables, segments) = self.look(tenant).whole(TimeRange::ALL)?;
        tables.iter().for_each(|table| names.merge(&table.names(limits)));
        for segment in segments {
            stop::check()?;
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
        let (tables, segments) = self.look(tenant).whole(TimeRange::ALL)?;
        tables.iter().for_each(|table| table.traces(ids, projection, &mut out));
        for segment in segments {
            self.damages.tolerate(segment.traces(ids, projection, &self.damages, &mut out))?;
        }
        Ok(out)
    }

    /// The summaries that are kept, of traces that lie in one segment alone.
    pub(super) fn summaries(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<Vec<TraceSummary>, StoreError> {
        let (tables, segments) = self.look(tenant).whole(TimeRange::ALL)?;
        let mut holders: Vec<Vec<(&Segment, Vec<usize>)>> = vec![Vec::new(); ids.len()];
        for segment in &segments {
            stop::check()?;
            let blocks = self.damages.tolerate(segment.blocks_of(ids, &self.damages))?;
            for (holders, blocks) in holders.iter_mut().zip(blocks.unwrap_or_default()) {
                if !blocks.is_empty() {
                    holders.push((segment, blocks));
                }
            }
        }
        let mut summaries = Vec::new();
        for (id, holders) in ids.iter().zip(holders) {
            if let [(segment, blocks)] = &holders[..]
                && tables.iter().all(|table| !table.has_trace(*id))
                && let Some(summary) = self.damages.tolerate(segment.summary(*id, blocks))?
            {
                summaries.extend(summary);
            }
        }
        Ok(summaries)
    }

    pub(super) fn trace_ids(
        &self,
        tenant: &Tenant,
        time: TimeRange,
        predicates: Vec<Predicate>,
    ) -> Result<Vec<TraceId>, StoreError> {
        let scan = Scan { time, predicates, projection: Projection::Ids, after: None, limit: usize::MAX };
        let mut ids = Vec::new();
        let (tables, segments) = self.look(tenant).whole(time)?;
        for table in tables {
            stop::check()?;
            let mut top = Top::new(&scan);
            table.scan(&scan, 0, &mut top);
            top.trace_ids(&mut ids);
        }
        for segment in segments {
            self.damages.tolerate(segment.trace_ids(&scan, &self.damages, &mut ids))?;
        }
        Ok(ids)
    }

    pub(super) fn scan(&self, tenant: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError> {
        let mut top = Top::new(scan);
        let mut looked = self.look(tenant);
        looked.restrict(scan.time);
        let Looked { tables, mut segments, mut unopened, unread_log } = looked;
        if let Some(why) = unread_log {
            return Err(StoreError::Unavailable(why));
        }
        for (part, table) in tables.iter().enumerate() {
            stop::check()?;
            table.scan(scan, part as u32, &mut top);
        }
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.entry.last_start_unix_nano));
        let is_too_old = |top: &Top, entry: &SegmentEntry| {
            top.worst().is_some_and(|worst| entry.last_start_unix_nano < worst.start_unix_nano)
        };
        for (place, segment) in segments.iter().enumerate() {
            if is_too_old(&top, &segment.entry) {
                break;
            }
            let part = (tables.len() + place) as u32;
            self.damages.tolerate(segment.scan(scan, part, &self.damages, &mut top))?;
        }
        unopened.retain(|unopened| !is_too_old(&top, &unopened.entry));
        if let Some(needed) = unopened.pop() {
            return Err(StoreError::Unavailable(needed.why));
        }
        let (found, next) = top.page();
        if scan.projection == Projection::Ids {
            return Ok(ScanPage { spans: ids_of(&found), next });
        }
        fetch_page((found, next), MAX_PAGE_BYTES, |part, wanted, max_bytes, spans| match tables.get(part) {
            Some(table) => Ok(table.rows(wanted, scan.projection, max_bytes, spans)),
            None => segments[part - tables.len()].rows(wanted, scan.projection, &self.damages, max_bytes, spans),
        })
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

//! What is asked of memtables and segments together.

use std::sync::Arc;

use tracewell_model::{SpanBatch, TimeRange, TraceId, TraceSummary};

use super::damage::Tolerance;
use super::log_read::LogState;
use super::segment::Segment;
use super::{Frozen, SegmentEntry, Shared};
use crate::memtable::Memtable;
use crate::names::Names;
use crate::scan::{MAX_PAGE_BYTES, Top, fetch_page, ids_of};
use crate::{LeftOut, MissingPart, Predicate, Projection, Scan, ScanPage, StoreError, Tenant, stop};

/// Bytes of templates and dictionaries that open segments hold together, to be read faster.
const MOST_HELD_BYTES: usize = 48 << 20;

/// One question to the store.
pub(super) struct Reading<'a> {
    pub(super) shared: &'a Shared,
    /// What the answer is made without, if who asks wants to know.
    pub(super) left_out: Option<&'a LeftOut>,
}

/// The memtables and the segments of a tenant: together one moment's state, to be read without a lock.
pub(super) struct Looked {
    pub(super) tables: Vec<Memtable>,
    pub(super) segments: Vec<Arc<Segment>>,
    /// What is there, too, and cannot be read.
    pub(super) unread: Vec<Unread>,
}

/// A file that may hold spans of the tenant and is not read.
pub(super) struct Unread {
    pub(super) name: String,
    pub(super) why: String,
    /// What is known of its spans.
    pub(super) entry: Option<SegmentEntry>,
    pub(super) is_damaged: bool,
}

impl Looked {
    /// Leaves out what has no span that starts in a time.
    pub(super) fn restrict(&mut self, time: TimeRange) {
        let overlaps = |entry: &SegmentEntry| time.overlaps(entry.first_start_unix_nano, entry.last_start_unix_nano);
        self.segments.retain(|segment| overlaps(&segment.entry));
        self.unread.retain(|unread| unread.entry.as_ref().is_none_or(overlaps));
    }
}

impl Unread {
    fn as_part(&self) -> MissingPart {
        MissingPart {
            file: self.name.clone(),
            spans: self.entry.as_ref().map(|entry| entry.spans),
            starts_unix_nano: self.entry.as_ref().map(SegmentEntry::starts),
            is_damaged: self.is_damaged,
        }
    }
}

impl Shared {
    /// Reads, if what is here is this process's to read.
    pub(super) fn read<T>(
        &self,
        left_out: Option<&LeftOut>,
        read: impl FnOnce(&Reading<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.check_owned()?;
        let result = read(&Reading { shared: self, left_out });
        self.forget_least_used();
        result
    }

    /// What there is of a tenant, and what there may be of it and cannot be read.
    pub(super) fn look(&self, tenant: &Tenant) -> Looked {
        let state = self.state();
        let frozen = state.frozen.iter().filter_map(|frozen| frozen.tables.get(tenant));
        let is_own = |entry: &SegmentEntry| entry.tenant == tenant.as_str();
        let unopened = state.unopened.iter().map(|unopened| Unread {
            name: self.files.name(unopened.number),
            why: unopened.why.clone(),
            entry: unopened.entry.clone(),
            is_damaged: unopened.is_damaged,
        });
        let unread_log = state.unread_log.iter().map(|why| Unread {
            name: self.folder.join("log").display().to_string(),
            why: why.clone(),
            entry: None,
            is_damaged: false,
        });
        // Until it is flushed, and then set aside, what is lost of a log file is known from reading it back.
        let is_damaged = |frozen: &&Arc<Frozen>| frozen.log_state == LogState::Damaged;
        let damaged_logs = state.frozen.iter().filter(is_damaged).map(|frozen| Unread {
            name: super::log_path(&self.folder, frozen.log_number).display().to_string(),
            why: "some of it is damaged".to_owned(),
            entry: None,
            is_damaged: true,
        });
        let aside = state.aside.iter().filter(|aside| aside.is_missing).map(|aside| Unread {
            name: aside.name.clone(),
            why: "it was set aside".to_owned(),
            entry: aside.entry.clone(),
            is_damaged: true,
        });
        let unread = unopened.chain(unread_log).chain(damaged_logs).chain(aside);
        Looked {
            tables: frozen.chain(state.active.get(tenant)).cloned().collect(),
            segments: state.segments.iter().filter(|segment| is_own(&segment.entry)).cloned().collect(),
            unread: unread.filter(|unread| unread.entry.as_ref().is_none_or(is_own)).collect(),
        }
    }
}

impl Reading<'_> {
    pub(super) fn tolerance(&self) -> Tolerance<'_> {
        Tolerance::new(&self.shared.damages, self.left_out)
    }

    /// Goes on without a segment that is damaged, or if that is accepted, not available.
    pub(super) fn tolerate<T>(
        &self,
        segment: &Segment,
        result: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.tolerance().tolerate(segment.entry.number, || segment.as_part(), result)
    }

    /// What may have spans of a tenant that start in a time.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if some of it cannot be read at the moment, unless that is accepted.
    pub(super) fn parts(
        &self,
        tenant: &Tenant,
        time: TimeRange,
    ) -> Result<(Vec<Memtable>, Vec<Arc<Segment>>), StoreError> {
        let mut looked = self.shared.look(tenant);
        looked.restrict(time);
        looked.unread.iter().try_for_each(|unread| self.miss(unread))?;
        Ok((looked.tables, looked.segments))
    }

    fn miss(&self, unread: &Unread) -> Result<(), StoreError> {
        let tolerance = self.tolerance();
        if unread.is_damaged {
            tolerance.miss(|| unread.as_part());
            Ok(())
        } else {
            tolerance.miss_unavailable(&unread.why, || unread.as_part())
        }
    }

    pub(super) fn names(&self, tenant: &Tenant) -> Result<Names, StoreError> {
        let limits = self.shared.options.names;
        let mut names = Names::new(limits);
        let (tables, segments) = self.parts(tenant, TimeRange::ALL)?;
        tables.iter().for_each(|table| names.merge(&table.names(limits)));
        for segment in segments {
            stop::check()?;
            if let Some(own) = self.tolerate(&segment, segment.names())? {
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
        let (tables, segments) = self.parts(tenant, TimeRange::ALL)?;
        tables.iter().for_each(|table| table.traces(ids, projection, &mut out));
        for segment in segments {
            let read = segment.traces(ids, projection, &self.tolerance(), &mut out);
            self.tolerate(&segment, read)?;
        }
        Ok(out)
    }

    /// The summaries that are kept, of traces that lie in one segment alone.
    pub(super) fn summaries(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<Vec<TraceSummary>, StoreError> {
        let (tables, segments) = self.parts(tenant, TimeRange::ALL)?;
        let mut holders: Vec<Vec<(&Segment, Vec<usize>)>> = vec![Vec::new(); ids.len()];
        for segment in &segments {
            stop::check()?;
            let blocks = self.tolerate(segment, segment.blocks_of(ids, &self.tolerance()))?;
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
                && let Some(summary) = self.tolerate(segment, segment.summary(*id, blocks))?
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
        let (tables, segments) = self.parts(tenant, time)?;
        for table in tables {
            stop::check()?;
            let mut top = Top::new(&scan);
            table.scan(&scan, 0, &mut top);
            top.trace_ids(&mut ids);
        }
        for segment in segments {
            let read = segment.trace_ids(&scan, &self.tolerance(), &mut ids);
            self.tolerate(&segment, read)?;
        }
        Ok(ids)
    }

    pub(super) fn scan(&self, tenant: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError> {
        let mut top = Top::new(scan);
        let mut looked = self.shared.look(tenant);
        looked.restrict(scan.time);
        let Looked { tables, mut segments, unread } = looked;
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
            let read = segment.scan(scan, part, &self.tolerance(), &mut top);
            self.tolerate(segment, read)?;
        }
        for unread in unread {
            if unread.entry.as_ref().is_none_or(|entry| !is_too_old(&top, entry)) {
                self.miss(&unread)?;
            }
        }
        let (found, next) = top.page();
        if scan.projection == Projection::Ids {
            return Ok(ScanPage { spans: ids_of(&found), next });
        }
        fetch_page((found, next), MAX_PAGE_BYTES, |part, wanted, max_bytes, spans| match tables.get(part) {
            Some(table) => Ok(table.rows(wanted, scan.projection, max_bytes, spans)),
            None => {
                let segment = &segments[part - tables.len()];
                let read = segment.rows(wanted, scan.projection, &self.tolerance(), max_bytes, spans);
                Ok(self.tolerate(segment, read)?.unwrap_or_else(|| Some(vec![0; wanted.len()])))
            }
        })
    }
}

impl Shared {
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

//! Spans in memory, visible the moment they are in.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use tracewell_model::{BatchCopier, NewSpan, SpanBatch, TraceId};

use crate::names::{NameLimits, Names};
use crate::scan::{Source, Top, offer_rows};
use crate::values::ValuesOf;
use crate::{Projection, Scan};

/// The spans of one tenant, in the batches they came in. Batches do not change, so a reader holds a copy of the list and
/// no lock.
#[derive(Clone, Default)]
pub(crate) struct Memtable {
    batches: Vec<Arc<Kept>>,
    spans: usize,
    bytes: usize,
    /// The earliest and the latest start.
    starts: Option<(u64, u64)>,
    /// The earliest and the latest date; none if one of the batches has none.
    dates: Option<(u64, u64)>,
}

/// A place among the spans of a memtable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TablePlace {
    batch: usize,
    row: usize,
}

/// A batch with what finds its spans.
pub(crate) struct Kept {
    pub(crate) batch: SpanBatch,
    starts: (u64, u64),
    /// The earliest and the latest date of a span: the earlier of its start and its arrival. A span of the future has the date
    /// of those that it came with. None if the arrival is not known.
    dates: Option<(u64, u64)>,
    traces: TraceFilter,
    names: OnceLock<Names>,
}

impl Kept {
    /// A span that starts more than `future_nanos` after it arrived says nothing of how old it is.
    pub(crate) fn new(batch: SpanBatch, arrival_unix_nano: Option<u64>, future_nanos: u64) -> Self {
        let starts = &batch.spans().start_unix_nano;
        let first = starts.iter().copied().min().unwrap_or(0);
        let last = starts.iter().copied().max().unwrap_or(0);
        let dates = arrival_unix_nano.map(|arrival| {
            let last_plausible = arrival.saturating_add(future_nanos);
            let last_date = match last <= last_plausible {
                true => last,
                false => starts.iter().copied().filter(|start| *start <= last_plausible).max().unwrap_or(arrival),
            };
            (first.min(arrival), last_date.min(arrival))
        });
        Self { starts: (first, last), dates, traces: TraceFilter::new(&batch), names: OnceLock::new(), batch }
    }

    /// Bytes held, for budgets.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.batch.size_bytes() + self.traces.0.capacity() * size_of::<u64>()
    }

    fn names(&self) -> &Names {
        self.names.get_or_init(|| {
            let mut names = Names::default();
            names.add(&self.batch);
            names
        })
    }
}

/// When a batch was sent, as its senders say: the start of one span of three, neither the earliest nor the latest of them, so
/// that a few of odd times do not count.
pub(crate) fn sent_unix_nano(batch: &SpanBatch) -> u64 {
    let starts = &batch.spans().start_unix_nano;
    let (Some(first), Some(last)) = (starts.first(), starts.last()) else { return 0 };
    let mut three = [*first, starts[starts.len() / 2], *last];
    three.sort_unstable();
    three[1]
}

impl Memtable {
    pub(crate) fn insert(&mut self, kept: Arc<Kept>) {
        self.dates = match (self.dates, kept.dates) {
            (None, dates) if self.batches.is_empty() => dates,
            (Some(ours), Some(theirs)) => Some((ours.0.min(theirs.0), ours.1.max(theirs.1))),
            _ => None,
        };
        let (first, last) = self.starts.get_or_insert(kept.starts);
        *first = (*first).min(kept.starts.0);
        *last = (*last).max(kept.starts.1);
        self.spans += kept.batch.len();
        self.bytes += kept.bytes();
        self.batches.push(kept);
    }

    pub(crate) fn spans(&self) -> usize {
        self.spans
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn starts(&self) -> Option<(u64, u64)> {
        self.starts
    }

    pub(crate) fn dates(&self) -> Option<(u64, u64)> {
        self.dates
    }

    pub(crate) fn names(&self, limits: NameLimits) -> Names {
        let mut names = Names::new(limits);
        self.batches.iter().for_each(|kept| names.merge(kept.names()));
        names
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = &SpanBatch> {
        self.batches.iter().map(|kept| &kept.batch)
    }

    /// Appends the spans of some traces to `out`.
    pub(crate) fn traces(&self, ids: &[TraceId], projection: Projection, out: &mut SpanBatch) {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        self.traces_from(&ids, projection, usize::MAX, &mut TablePlace::default(), out);
    }

    /// Appends spans of some traces, given sorted, from a place on until there are `max_bytes`; true if no more are left.
    pub(crate) fn traces_from(
        &self,
        ids: &[TraceId],
        projection: Projection,
        max_bytes: usize,
        place: &mut TablePlace,
        out: &mut SpanBatch,
    ) -> bool {
        while let Some(kept) = self.batches.get(place.batch) {
            let here: Vec<TraceId> = ids.iter().copied().filter(|id| kept.traces.may_have(*id)).collect();
            if !here.is_empty() {
                let mut copier = Projector::new(&kept.batch, projection);
                let mut before: Option<(TraceId, bool)> = None;
                let trace_ids = &kept.batch.spans().trace_id;
                while let Some(id) = trace_ids.get(place.row) {
                    // Spans of a trace mostly follow one another.
                    let (_, is_wanted) = match before {
                        Some(known) if known.0 == *id => known,
                        _ => *before.insert((*id, here.binary_search(id).is_ok())),
                    };
                    if is_wanted {
                        if out.content_bytes() >= max_bytes {
                            return false;
                        }
                        copier.copy_span(place.row, out);
                    }
                    place.row += 1;
                }
            }
            *place = TablePlace { batch: place.batch + 1, row: 0 };
        }
        true
    }

    /// Whether there is a span of a trace.
    pub(crate) fn has_trace(&self, id: TraceId) -> bool {
        self.batches.iter().any(|kept| kept.traces.may_have(id) && kept.batch.spans().trace_id.contains(&id))
    }

    /// Offers the rows of a scan.
    pub(crate) fn scan(&self, scan: &Scan, part: u32, top: &mut Top) {
        let Some((first, last)) = self.starts else { return };
        if !scan.time.overlaps(first, last) {
            return;
        }
        for (place, kept) in self.batches.iter().enumerate() {
            let (first, last) = kept.starts;
            let is_late = top.worst().is_some_and(|worst| last < worst.start_unix_nano);
            let is_early = scan.after.is_some_and(|after| first > after.start_unix_nano);
            if !is_late && !is_early && scan.time.overlaps(first, last) {
                offer_rows(scan, &kept.batch, Source { part, place: place as u32 }, top);
            }
        }
    }

    /// Appends rows of some of the batches and says how many of each, or nothing if that is too much.
    pub(crate) fn rows(
        &self,
        wanted: &[(u32, Vec<usize>)],
        projection: Projection,
        max_bytes: usize,
        out: &mut SpanBatch,
    ) -> Option<Vec<usize>> {
        for (place, rows) in wanted {
            let mut copier = Projector::new(&self.batches[*place as usize].batch, projection);
            for row in rows {
                if out.content_bytes() > max_bytes {
                    return None;
                }
                copier.copy_span(*row, out);
            }
        }
        Some(wanted.iter().map(|(_, rows)| rows.len()).collect())
    }

    /// Adds values of an attribute as text.
    pub(crate) fn values(&self, wanted: &ValuesOf<'_>, out: &mut BTreeSet<String>) {
        for kept in &self.batches {
            if wanted.time.overlaps(kept.starts.0, kept.starts.1) {
                wanted.collect(&kept.batch, out);
            }
        }
    }
}

/// Copies rows of a batch as far as a projection asks for them.
struct Projector<'a> {
    from: &'a SpanBatch,
    copier: BatchCopier<'a>,
    projection: Projection,
}

impl<'a> Projector<'a> {
    fn new(from: &'a SpanBatch, projection: Projection) -> Self {
        Self { from, copier: BatchCopier::new(from), projection }
    }

    fn copy_span(&mut self, row: usize, to: &mut SpanBatch) {
        let spans = self.from.spans();
        let (resource, scope) = match self.projection {
            Projection::All => {
                self.copier.copy_span(row, to);
                return;
            }
            Projection::Ids => (to.add_resource(&[], 0, ""), to.add_scope("", "", &[], 0, "")),
            Projection::Outline(_) => {
                let attributes = self.from.span(row).attributes();
                for (key, value) in attributes.raw_keys().iter().zip(attributes.raw_values()) {
                    if self.projection.has_attribute(self.from.string(*key)) {
                        let key = self.copier.string(*key, to);
                        let value = self.copier.value(*value, to);
                        to.push_attribute(key, value);
                    }
                }
                (self.copier.resource(spans.resource[row], to), to.add_scope("", "", &[], 0, ""))
            }
            Projection::Tree => {
                let service = crate::embedded::service_only(to, self.from.span(row).service());
                (service, to.add_scope("", "", &[], 0, ""))
            }
            Projection::Core => {
                let resource = crate::embedded::service_only(to, self.from.span(row).service());
                (resource, self.copier.scope(spans.scope[row], to))
            }
        };
        let ids = NewSpan {
            trace_id: spans.trace_id[row],
            span_id: spans.span_id[row],
            start_unix_nano: spans.start_unix_nano[row],
            end_unix_nano: spans.start_unix_nano[row],
            ..NewSpan::new(resource, scope)
        };
        let outline = || NewSpan {
            parent_span_id: spans.parent_span_id[row],
            end_unix_nano: spans.end_unix_nano[row],
            kind: spans.kind[row],
            status_code: spans.status_code[row],
            ..ids
        };
        let span = match self.projection {
            Projection::Ids => ids,
            Projection::Tree => outline(),
            Projection::Outline(_) => NewSpan { name: self.copier.string(spans.name[row], to), ..outline() },
            _ => NewSpan {
                name: self.copier.string(spans.name[row], to),
                status_message: self.copier.string(spans.status_message[row], to),
                trace_state: self.copier.string(spans.trace_state[row], to),
                flags: spans.flags[row],
                dropped_attributes_count: spans.dropped_attributes_count[row],
                dropped_events_count: spans.dropped_events_count[row],
                dropped_links_count: spans.dropped_links_count[row],
                ..outline()
            },
        };
        to.push_span(span);
    }
}

/// Which traces a batch may have: a bit for each, of eight bits a span.
struct TraceFilter(Vec<u64>);

impl TraceFilter {
    fn new(batch: &SpanBatch) -> Self {
        let mut filter = Self(vec![0; (batch.len() / 8).next_power_of_two()]);
        let mut before = None;
        for id in &batch.spans().trace_id {
            if before != Some(*id) {
                let (word, bit) = filter.place(*id);
                filter.0[word] |= bit;
                before = Some(*id);
            }
        }
        filter
    }

    fn place(&self, id: TraceId) -> (usize, u64) {
        let number = id.as_u128();
        let hash = ((number >> 64) as u64 ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bit = (hash >> 32) as usize & (self.0.len() * 64 - 1);
        (bit / 64, 1 << (bit % 64))
    }

    fn may_have(&self, id: TraceId) -> bool {
        let (word, bit) = self.place(id);
        self.0[word] & bit != 0
    }
}

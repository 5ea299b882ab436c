//! The store that keeps nothing on disk: for tests and for trying things out.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tracewell_model::{SpanBatch, TimeRange, TraceId};

use crate::memtable::{Kept, Memtable, TablePlace};
use crate::scan::{MAX_PAGE_BYTES, Top, fetch_page};
use crate::values::ValuesOf;
use crate::{
    Append, AttributeScope, Capabilities, Listed, NameLimits, Operation, Projection, Scan, ScanPage, SpanStore,
    StoreError, StoreStats, Tenant, TimeRules, TracePortion, TraceReader,
};

/// How a [`MemoryStore`] behaves.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Over this many bytes, appends are answered with [`StoreError::Busy`]: nothing is evicted behind anyone's back.
    pub most_bytes: usize,
    /// Where it is counted how much of it is taken, for others to see.
    pub used_bytes: Arc<AtomicUsize>,
    /// How many names of services, operations and attributes are told.
    pub names: NameLimits,
}

impl Default for MemoryOptions {
    /// 1 GiB.
    fn default() -> Self {
        Self { most_bytes: 1 << 30, used_bytes: Arc::default(), names: NameLimits::default() }
    }
}

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore {
    options: MemoryOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tenants: HashMap<Tenant, Memtable>,
    closed: bool,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(options: MemoryOptions) -> Self {
        Self { options, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a look at a tenant's spans gives; of one that has none, the default.
    fn read<T: Default>(&self, tenant: &Tenant, read: impl FnOnce(&Memtable) -> T) -> Result<T, StoreError> {
        Ok(self.state().tenants.get(tenant).map(read).unwrap_or_default())
    }
}

/// Reads traces of a memtable as it was.
struct TableReader {
    table: Memtable,
    ids: Vec<TraceId>,
    projection: Projection,
    place: TablePlace,
}

#[async_trait]
impl TraceReader for TableReader {
    async fn next(&mut self, max_bytes: usize) -> Result<TracePortion, StoreError> {
        let mut spans = SpanBatch::new();
        let is_last = self.table.traces_from(&self.ids, self.projection, max_bytes, &mut self.place, &mut spans);
        Ok(TracePortion { spans, is_last })
    }

    fn restart(&mut self, projection: Projection) {
        (self.projection, self.place) = (projection, TablePlace::default());
    }
}

#[async_trait]
impl SpanStore for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { survives_restart: false, evaluates_predicates: true }
    }

    async fn append(&self, tenant: &Tenant, append: Append) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.closed {
            return Err(StoreError::Closed);
        }
        let kept = Kept::new(append.batch, Some(append.arrival_unix_nano), TimeRules::default().future_nanos);
        if kept.bytes() > self.options.most_bytes {
            return Err(StoreError::too_large(kept.bytes(), self.options.most_bytes));
        }
        let used: usize = state.tenants.values().map(Memtable::bytes).sum::<usize>() + kept.bytes();
        if used > self.options.most_bytes {
            return Err(StoreError::Busy(format!("the memory budget of {} bytes is used up", self.options.most_bytes)));
        }
        state.tenants.entry(tenant.clone()).or_default().insert(Arc::new(kept));
        self.options.used_bytes.store(used, Ordering::Relaxed);
        Ok(())
    }

    async fn traces(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<SpanBatch, StoreError> {
        self.traces_with(tenant, ids, Projection::All).await
    }

    async fn traces_with(
        &self,
        tenant: &Tenant,
        ids: &[TraceId],
        projection: Projection,
    ) -> Result<SpanBatch, StoreError> {
        self.read(tenant, |table| {
            let mut out = SpanBatch::new();
            table.traces(ids, projection, &mut out);
            out
        })
    }

    async fn open_traces(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<Box<dyn TraceReader>, StoreError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        let table = self.read(tenant, Memtable::clone)?;
        Ok(Box::new(TableReader { table, ids, projection: Projection::All, place: TablePlace::default() }))
    }

    async fn scan(&self, tenant: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError> {
        self.read(tenant, |table| {
            let mut top = Top::new(scan);
            table.scan(scan, 0, &mut top);
            let page = fetch_page(top.page(), MAX_PAGE_BYTES, |_, wanted, max_bytes, spans| {
                Ok(table.rows(wanted, scan.projection, max_bytes, spans))
            });
            // Memory is always there to be read.
            page.unwrap_or_default()
        })
    }

    async fn services(&self, tenant: &Tenant) -> Result<Listed<String>, StoreError> {
        let limits = self.options.names;
        self.read(tenant, |table| table.names(limits).services())
    }

    async fn operations(
        &self,
        tenant: &Tenant,
        service: Option<&str>,
        limit: usize,
    ) -> Result<Listed<Operation>, StoreError> {
        let limits = self.options.names;
        self.read(tenant, |table| table.names(limits).operations(service, limit))
    }

    async fn attribute_keys(
        &self,
        tenant: &Tenant,
        limit: usize,
    ) -> Result<Listed<(AttributeScope, String)>, StoreError> {
        let limits = self.options.names;
        self.read(tenant, |table| table.names(limits).keys(limit))
    }

    async fn attribute_values(
        &self,
        tenant: &Tenant,
        key: &str,
        prefix: &str,
        time: TimeRange,
        limit: usize,
    ) -> Result<Listed<String>, StoreError> {
        self.read(tenant, |table| {
            let mut out = BTreeSet::new();
            let wanted = ValuesOf::new(key, prefix, time, limit);
            table.values(&wanted, &mut out);
            wanted.listed(out)
        })
    }

    async fn stats(&self, tenant: &Tenant) -> Result<StoreStats, StoreError> {
        self.read(tenant, |table| StoreStats {
            spans: table.spans() as u64,
            bytes: table.bytes() as u64,
            memtable_bytes: table.bytes() as u64,
            oldest_unix_nano: table.starts().map(|(first, _)| first),
            newest_unix_nano: table.starts().map(|(_, last)| last),
            ..StoreStats::default()
        })
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.state().closed = true;
        Ok(())
    }
}

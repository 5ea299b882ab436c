//! The store as the contract has it: what is appended, what is asked, and an orderly end.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tracewell_model::{SpanBatch, TimeRange, TraceId, TraceSummary};

use super::portions::PortionReader;
use super::reads::{Looked, Reading};
use super::{EmbeddedStore, MOST_WAITING_APPENDS, Request, Waiting, log};
use crate::memtable::Kept;
use crate::values::ValuesOf;
use crate::{
    Append, AttributeScope, Capabilities, LeftOut, Listed, Operation, Predicate, Projection, Scan, ScanPage, SpanStore,
    StoreError, StoreStats, Tenant, TraceReader,
};

/// How long a flush at the end may take when segments are in a bucket: what is not in it stays in the log.
const MOST_CLOSING: Duration = Duration::from_secs(10);

#[async_trait]
impl SpanStore for EmbeddedStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities { survives_restart: true, evaluates_predicates: true }
    }

    async fn append(&self, tenant: &Tenant, append: Append) -> Result<(), StoreError> {
        if append.batch.is_empty() {
            return Ok(());
        }
        self.shared.check_owned()?;
        self.shared.health.check_taking()?;
        let arrival = self.shared.arrival(&append);
        let kept = Arc::new(Kept::new(append.batch, arrival.believed(), self.shared.options.times.future_nanos));
        let bytes = kept.bytes();
        self.reserve(bytes).await?;
        let record = log::encode_record(tenant, append.format, &append.body, arrival);
        drop(append.body);
        let (done, answer) = oneshot::channel();
        let request = Request::Append(Waiting { tenant: tenant.clone(), kept, record, done });
        let sent = self.sender().and_then(|sender| {
            sender.try_send(request).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    StoreError::Busy(format!("{MOST_WAITING_APPENDS} appends are waiting for the log"))
                }
                mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
            })
        });
        if let Err(error) = sent {
            self.shared.release(bytes);
            return Err(error);
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
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
        let (tenant, ids) = (tenant.clone(), ids.to_vec());
        let is_one = ids.len() == 1;
        let read = move |reading: &Reading<'_>| reading.traces(&tenant, &ids, projection);
        if is_one { self.shared.read_little(self.left_out.clone(), read).await } else { self.read(read).await }
    }

    async fn open_traces(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<Box<dyn TraceReader>, StoreError> {
        Ok(Box::new(PortionReader::open(self.shared.clone(), self.left_out.clone(), tenant, ids)?))
    }

    async fn summaries(&self, tenant: &Tenant, ids: &[TraceId]) -> Result<Vec<TraceSummary>, StoreError> {
        let (tenant, ids) = (tenant.clone(), ids.to_vec());
        self.read(move |reading| reading.summaries(&tenant, &ids)).await
    }

    async fn scan(&self, tenant: &Tenant, scan: &Scan) -> Result<ScanPage, StoreError> {
        let (tenant, scan) = (tenant.clone(), scan.clone());
        self.read(move |reading| reading.scan(&tenant, &scan)).await
    }

    async fn trace_ids(
        &self,
        tenant: &Tenant,
        time: TimeRange,
        predicates: &[Predicate],
    ) -> Result<Vec<TraceId>, StoreError> {
        let (tenant, predicates) = (tenant.clone(), predicates.to_vec());
        self.read(move |reading| reading.trace_ids(&tenant, time, predicates)).await
    }

    async fn services(&self, tenant: &Tenant) -> Result<Listed<String>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reading| Ok(reading.names(&tenant)?.services())).await
    }

    async fn operations(
        &self,
        tenant: &Tenant,
        service: Option<&str>,
        limit: usize,
    ) -> Result<Listed<Operation>, StoreError> {
        let (tenant, service) = (tenant.clone(), service.map(str::to_owned));
        self.read(move |reading| Ok(reading.names(&tenant)?.operations(service.as_deref(), limit))).await
    }

    async fn attribute_keys(
        &self,
        tenant: &Tenant,
        limit: usize,
    ) -> Result<Listed<(AttributeScope, String)>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |reading| Ok(reading.names(&tenant)?.keys(limit))).await
    }

    async fn attribute_values(
        &self,
        tenant: &Tenant,
        key: &str,
        prefix: &str,
        time: TimeRange,
        limit: usize,
    ) -> Result<Listed<String>, StoreError> {
        let (tenant, key, prefix) = (tenant.clone(), key.to_owned(), prefix.to_owned());
        self.read(move |reading| {
            let wanted = ValuesOf::new(&key, &prefix, time, limit);
            let mut out = BTreeSet::new();
            let (tables, mut segments) = reading.parts(&tenant, time)?;
            segments.sort_by_key(|segment| std::cmp::Reverse(segment.entry.last_start_unix_nano));
            tables.iter().for_each(|table| table.values(&wanted, &mut out));
            for segment in segments {
                let read = segment.values(&wanted, &reading.tolerance(), &mut out);
                reading.tolerate(&segment, read)?;
            }
            Ok(wanted.listed(out))
        })
        .await
    }

    fn view(&self, left_out: Arc<LeftOut>) -> Option<Arc<dyn SpanStore>> {
        Some(Arc::new(Self { shared: self.shared.clone(), inner: self.inner.clone(), left_out: Some(left_out) }))
    }

    async fn stats(&self, tenant: &Tenant) -> Result<StoreStats, StoreError> {
        let mut stats = StoreStats::default();
        let mut starts: Vec<(u64, u64)> = Vec::new();
        let Looked { tables, segments, .. } = self.shared.look(tenant);
        for table in tables {
            stats.spans += table.spans() as u64;
            stats.memtable_bytes += table.bytes() as u64;
            starts.extend(table.starts());
        }
        let unopened = self.shared.state().unopened.clone();
        let unopened = unopened.iter().filter_map(|unopened| unopened.entry.as_ref());
        let unopened = unopened.filter(|entry| entry.tenant == tenant.as_str());
        for entry in segments.iter().map(|segment| &segment.entry).chain(unopened) {
            stats.segments += 1;
            stats.spans += entry.spans;
            stats.bytes += entry.bytes;
            starts.push(entry.starts());
        }
        stats.log_bytes = self.shared.state().log_bytes;
        stats.bytes += stats.log_bytes;
        stats.damages = self.damages();
        stats.set_aside = self.shared.set_aside_files();
        stats.unavailable = self.shared.unavailable_files();
        stats.last_read_error = self.shared.damages.last_read_error();
        stats.failing_read = self.shared.damages.failing_read();
        stats.bucket = self.bucket_stats();
        stats.work = self.work_stats();
        stats.disk = self.shared.health.disk();
        stats.refusing = self.shared.health.refusing();
        stats.retention = self.retention_stats();
        stats.oldest_unix_nano = starts.iter().map(|(first, _)| *first).min();
        stats.newest_unix_nano = starts.iter().map(|(_, last)| *last).max();
        Ok(stats)
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.sender()?.send(Request::Freeze { done }).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))?;
        self.read(|reading| reading.shared.flush.wait_until_flushed(reading.shared)).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let is_bucket = self.shared.files.bucket_stats().is_some();
        let flushed = if is_bucket {
            let slow = || format!("it takes longer than {MOST_CLOSING:?}");
            let flushed = tokio::time::timeout(MOST_CLOSING, self.flush()).await;
            flushed.unwrap_or_else(|_| Err(StoreError::Unavailable(slow())))
        } else {
            self.flush().await
        };
        self.inner.appends.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.closed.store(true, Ordering::SeqCst);
        if flushed.is_err() {
            self.shared.files.give_up();
        }
        self.shared.flush.wake();
        match flushed {
            Err(StoreError::Closed) => Ok(()),
            // What is in the log is found by the next start, unless another directory owns the bucket by now.
            Err(StoreError::Unavailable(why)) if self.shared.files.taken_over().is_none() => {
                let log_bytes = self.shared.state().log_bytes;
                tracing::warn!(
                    why,
                    log_bytes,
                    "the bucket is away; what is not in it stays in the log for the next start"
                );
                Ok(())
            }
            other => other,
        }
    }
}

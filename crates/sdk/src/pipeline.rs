//! The way of a finished span: its thread's buffer, the bounded queue, batches, the exporter.
//!
//! ```text
//! thread 1: buffer of 64 ─┐
//! thread 2: buffer of 64 ─┼─> queue (bounded, drops counted) ─> batches ─> exporter, with retries
//! thread 3: buffer of 64 ─┘
//! ```
//!
//! A thread's buffer has its own lock, which only the exporter's thread contends for, once an interval. The queue's
//! lock is taken once in 64 spans.

use crate::exporter::ExportError;
use crate::span::Limits;
use crate::{Clock, Config, Error, Exporter, Resource, Sampler, SpanData, id};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Spans that a thread gathers before it takes the queue's lock.
const THREAD_BUFFER_SPANS: usize = 64;

/// What has happened to the spans that ended, since the tracer started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Accepted by the exporter.
    pub exported: u64,
    /// Dropped because the queue was full.
    pub dropped_queue_full: u64,
    /// Dropped because the receiver refused them.
    pub dropped_rejected: u64,
    /// Dropped because the receiver could not be reached, or was overloaded, for too long.
    pub dropped_unreachable: u64,
    /// Dropped because they ended after the shutdown, or it did not leave the time.
    pub dropped_shutdown: u64,
    /// Why the latest attempt failed; `None` when it did not.
    pub last_error: Option<String>,
}

/// When to try again, and when to give up.
#[derive(Clone)]
pub(crate) struct RetryPolicy {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    pub(crate) max_attempts: u32,
    /// In tests, called instead of waiting.
    pub(crate) wait: Option<Arc<dyn Fn(Duration) + Send + Sync>>,
}

impl Default for RetryPolicy {
    /// Waits about 0.5, 1, 2, 4, 8, 16 and 30 seconds, then gives the batch up after about a minute.
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(30), max_attempts: 8, wait: None }
    }
}

impl RetryPolicy {
    /// No receiver may stop the exporter for longer than this.
    const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

    /// How long to wait after failed attempt number `attempt` (from 1), `None` to give up. What the receiver asked for
    /// is a lower bound. Up to a quarter of the wait is added at `random`, so that many senders do not come at once.
    pub(crate) fn delay(&self, attempt: u32, retry_after: Option<Duration>, random: u64) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let backoff = self.first.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest);
        let wait = retry_after.map_or(backoff, |after| after.min(Self::LONGEST_RETRY_AFTER).max(backoff));
        Some(wait + wait.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64 / 4.0))
    }
}

pub(crate) struct Pipeline {
    pub(crate) limits: Limits,
    pub(crate) sampler: Sampler,
    pub(crate) clock: Arc<dyn Clock>,
    /// Tells pipelines apart in a thread's list of buffers.
    id: u64,
    max_queue_spans: usize,
    max_batch_spans: usize,
    max_batch_bytes: usize,
    state: Mutex<State>,
    /// For the exporter's thread: there is something to do.
    work: Condvar,
    /// For those who flush or shut down.
    done: Condvar,
    /// Set before the last drain, so that a span is either in it or counted as dropped.
    closed: AtomicBool,
    exported: AtomicU64,
    dropped_queue_full: AtomicU64,
    dropped_rejected: AtomicU64,
    dropped_unreachable: AtomicU64,
    dropped_shutdown: AtomicU64,
}

#[derive(Default)]
struct State {
    queue: VecDeque<SpanData>,
    threads: Vec<Arc<Buffer>>,
    /// Tickets of those who flush: given out, and served.
    flush_asked: u64,
    flush_done: u64,
    stop_before: Option<Instant>,
    stopped: bool,
    last_error: Option<String>,
}

#[derive(Default)]
struct Buffer(Mutex<Vec<SpanData>>);

thread_local! {
    /// This thread's buffers, one for each pipeline it has ended spans of.
    static BUFFERS: RefCell<Vec<(u64, Arc<Buffer>)>> = const { RefCell::new(Vec::new()) };
}

impl Pipeline {
    pub(crate) fn start(mut config: Config) -> Result<Arc<Self>, Error> {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let exporter = config.take_exporter()?;
        let pipeline = Arc::new(Self {
            limits: config.limits,
            sampler: config.sampler,
            clock: config.clock,
            id: LAST_ID.fetch_add(1, Ordering::Relaxed),
            max_queue_spans: config.max_queue_spans,
            max_batch_spans: config.max_batch_spans,
            max_batch_bytes: config.max_batch_bytes,
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            closed: AtomicBool::new(false),
            exported: AtomicU64::new(0),
            dropped_queue_full: AtomicU64::new(0),
            dropped_rejected: AtomicU64::new(0),
            dropped_unreachable: AtomicU64::new(0),
            dropped_shutdown: AtomicU64::new(0),
        });
        let worker = Worker {
            pipeline: Arc::clone(&pipeline),
            exporter,
            resource: config.resource,
            retry: config.retry,
            interval: config.export_interval,
        };
        std::thread::Builder::new().name("tracewell-export".to_owned()).spawn(move || worker.run())?;
        Ok(pipeline)
    }

    /// Takes a finished span. Never blocks on the exporter.
    pub(crate) fn push(&self, span: SpanData) {
        let mut span = Some(span);
        let full = BUFFERS.try_with(|buffers| {
            let buffers = &mut *buffers.try_borrow_mut().ok()?;
            let at = buffers.iter().position(|(id, _)| *id == self.id);
            let buffer = match at {
                Some(at) => &buffers[at].1,
                None => self.register(buffers)?,
            };
            let mut spans = lock(&buffer.0);
            if self.closed.load(Ordering::Relaxed) {
                return None;
            }
            spans.extend(span.take());
            if spans.len() < THREAD_BUFFER_SPANS {
                return None;
            }
            Some(std::mem::replace(&mut *spans, Vec::with_capacity(THREAD_BUFFER_SPANS)))
        });
        if let Ok(Some(spans)) = full {
            self.offer(&mut lock(&self.state), spans);
        }
        // Still here when the tracer is shut down, or when the thread is ending and has no buffers any more.
        if let Some(span) = span {
            if self.closed.load(Ordering::Relaxed) {
                self.dropped_shutdown.fetch_add(1, Ordering::Relaxed);
            } else {
                self.offer(&mut lock(&self.state), vec![span]);
            }
        }
    }

    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), Error> {
        let mut state = lock(&self.state);
        if state.stopped {
            return Ok(());
        }
        state.flush_asked += 1;
        let ticket = state.flush_asked;
        self.work.notify_all();
        self.wait_until(state, timeout, |state| state.flush_done >= ticket || state.stopped)
    }

    pub(crate) fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        let mut state = lock(&self.state);
        let already = state.stopped;
        let now = Instant::now();
        // A timeout without end is one of a day.
        state.stop_before.get_or_insert(now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400)));
        self.closed.store(true, Ordering::Relaxed);
        self.work.notify_all();
        self.wait_until(state, timeout, |state| state.stopped)?;
        let lost = self.dropped_shutdown.load(Ordering::Relaxed) > 0;
        if lost && !already { Err(Error::Timeout) } else { Ok(()) }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            exported: self.exported.load(Ordering::Relaxed),
            dropped_queue_full: self.dropped_queue_full.load(Ordering::Relaxed),
            dropped_rejected: self.dropped_rejected.load(Ordering::Relaxed),
            dropped_unreachable: self.dropped_unreachable.load(Ordering::Relaxed),
            dropped_shutdown: self.dropped_shutdown.load(Ordering::Relaxed),
            last_error: lock(&self.state).last_error.clone(),
        }
    }

    fn wait_until(
        &self,
        state: MutexGuard<'_, State>,
        timeout: Duration,
        done: impl Fn(&State) -> bool,
    ) -> Result<(), Error> {
        let waited = self.done.wait_timeout_while(state, timeout, |state| !done(state));
        let (_state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() { Err(Error::Timeout) } else { Ok(()) }
    }

    /// Gives this thread a buffer; `None` after the shutdown.
    fn register<'a>(&self, buffers: &'a mut Vec<(u64, Arc<Buffer>)>) -> Option<&'a Arc<Buffer>> {
        // Buffers that only this thread knows belong to pipelines that have ended.
        buffers.retain(|(_, buffer)| Arc::strong_count(buffer) > 1);
        let mut state = lock(&self.state);
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        // Buffers of threads that have ended are bounded too, while the exporter is busy with retries.
        if state.threads.len() >= 128 && state.threads.len().is_power_of_two() {
            self.collect(&mut state);
        }
        let buffer = Arc::new(Buffer::default());
        state.threads.push(Arc::clone(&buffer));
        buffers.push((self.id, buffer));
        buffers.last().map(|(_, buffer)| buffer)
    }

    /// Puts spans into the queue as far as there is room.
    fn offer(&self, state: &mut State, spans: Vec<SpanData>) {
        if state.stopped {
            self.dropped_shutdown.fetch_add(spans.len() as u64, Ordering::Relaxed);
            return;
        }
        let room = self.max_queue_spans.saturating_sub(state.queue.len());
        let dropped = spans.len().saturating_sub(room);
        state.queue.extend(spans.into_iter().take(room));
        self.dropped_queue_full.fetch_add(dropped as u64, Ordering::Relaxed);
        if state.queue.len() >= self.max_batch_spans {
            self.work.notify_all();
        }
    }

    /// Moves what all threads have gathered into the queue, and forgets threads that have ended.
    fn collect(&self, state: &mut State) {
        let mut threads = std::mem::take(&mut state.threads);
        threads.retain(|buffer| {
            // Counted before the spans are taken: the last ones of an ending thread are then not missed.
            let alive = Arc::strong_count(buffer) > 1;
            let spans = std::mem::take(&mut *lock(&buffer.0));
            self.offer(state, spans);
            alive
        });
        state.threads = threads;
    }

    fn next_batch(&self, state: &mut State) -> Vec<SpanData> {
        let mut bytes = 0;
        let fitting = state.queue.iter().take(self.max_batch_spans).take_while(|span| {
            bytes += span.size_bytes();
            bytes <= self.max_batch_bytes
        });
        let count = fitting.count().max(1).min(state.queue.len());
        state.queue.drain(..count).collect()
    }
}

/// Spans and contexts may be used on both sides of a caught panic: the pipeline's locks ignore poison, see [`lock`],
/// and what users put in (clock, sampler) is only ever called by shared reference.
impl RefUnwindSafe for Pipeline {}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

/// The exporter's thread.
struct Worker {
    pipeline: Arc<Pipeline>,
    exporter: Box<dyn Exporter>,
    resource: Resource,
    retry: RetryPolicy,
    interval: Duration,
}

impl Worker {
    fn run(mut self) {
        let pipeline = Arc::clone(&self.pipeline);
        loop {
            let state = lock(&pipeline.state);
            let waited = pipeline.work.wait_timeout_while(state, self.interval, |state| {
                let full = state.queue.len() >= pipeline.max_batch_spans;
                !full && state.flush_asked == state.flush_done && state.stop_before.is_none()
            });
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let (ticket, stopping) = (state.flush_asked, state.stop_before.is_some());
            pipeline.collect(&mut state);
            // What comes in meanwhile waits for the next round, so that a flush ends under any load. When stopping
            // there is no next round, and nothing comes in but what other threads were just about to hand over.
            let mut left = if stopping { usize::MAX } else { state.queue.len() };
            while left > 0 && !state.queue.is_empty() {
                let batch = pipeline.next_batch(&mut state);
                left = left.saturating_sub(batch.len());
                drop(state);
                self.export(&batch);
                state = lock(&pipeline.state);
            }
            state.flush_done = ticket;
            state.stopped = stopping;
            if stopping {
                state.threads.clear();
            }
            pipeline.done.notify_all();
            if stopping {
                return;
            }
        }
    }

    /// Exports a batch, with retries, and counts what became of it.
    fn export(&mut self, batch: &[SpanData]) {
        let spans = batch.len() as u64;
        let pipeline = Arc::clone(&self.pipeline);
        let count = |counter: &AtomicU64, spans: u64| {
            counter.fetch_add(spans, Ordering::Relaxed);
        };
        for attempt in 1.. {
            if lock(&pipeline.state).stop_before.is_some_and(|deadline| Instant::now() >= deadline) {
                return count(&pipeline.dropped_shutdown, spans);
            }
            let (exporter, resource) = (&mut self.exporter, &self.resource);
            let result = catch_unwind(AssertUnwindSafe(|| exporter.export(resource, batch)))
                .unwrap_or_else(|_| Err(ExportError::Rejected("the exporter panicked".to_owned())));
            let Err(error) = result else {
                if lock(&pipeline.state).last_error.take().is_some() {
                    log::info!(target: "tracewell", "export of spans works again");
                }
                return count(&pipeline.exported, spans);
            };
            if lock(&pipeline.state).last_error.replace(error.to_string()).is_none() {
                log::warn!(target: "tracewell", "export of spans fails: {error}");
            }
            match error {
                ExportError::Rejected(_) => return count(&pipeline.dropped_rejected, spans),
                ExportError::PartlyRejected { rejected, .. } => {
                    let rejected = rejected.min(spans);
                    count(&pipeline.dropped_rejected, rejected);
                    return count(&pipeline.exported, spans - rejected);
                }
                ExportError::Retry { after, .. } => match self.retry.delay(attempt, after, id::random_u64()) {
                    None => return count(&pipeline.dropped_unreachable, spans),
                    Some(delay) => self.wait(delay),
                },
            }
        }
    }

    /// Waits, but no longer than a shutdown allows; one that begins meanwhile has the next attempt made at once.
    fn wait(&self, delay: Duration) {
        if let Some(wait) = &self.retry.wait {
            return wait(delay);
        }
        let state = lock(&self.pipeline.state);
        match state.stop_before {
            Some(deadline) => {
                drop(state);
                std::thread::sleep(delay.min(deadline.saturating_duration_since(Instant::now())));
            }
            None => {
                drop(self.pipeline.work.wait_timeout_while(state, delay, |state| state.stop_before.is_none()));
            }
        }
    }
}

/// A panic elsewhere leaves these locks' data whole: only moves of whole spans happen under them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The way of a finished span: its thread's buffer, the bounded queue, batches, the exporter.
//!
//! ```text
//! thread 1: chunk of 64 ─┐
//! thread 2: chunk of 64 ─┼─> queue (bounded, drops counted) ─> batches ─> exporter, with retries
//! thread 3: chunk of 64 ─┘
//! ```
//!
//! Spans are bytes from their end on. A thread's buffer has its own lock, which only the exporter's thread contends
//! for, once an interval. The queue's lock is taken once in 64 spans.

use crate::clock::{TimeSource, to_unix_nanos};
use crate::exporter::{Batch, ExportError, Report};
use crate::limits::Limits;
use crate::otlp::Envelope;
use crate::recording::{Open, Recording};
use crate::retry::RetryPolicy;
use crate::{Config, Error, Exporter, Resource, Sampler, Stats, id, otlp};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Spans, and bytes of them, that a thread gathers before it takes the queue's lock.
const CHUNK_SPANS: usize = 64;
const CHUNK_BYTES: usize = 16 << 10;
/// Emptied chunks that are kept for the next.
const MOST_FREE_CHUNKS: usize = 64;
/// How often the exporter's thread looks around when nobody calls it: the clocks are compared then.
const ROUND: Duration = Duration::from_secs(1);
/// How often the exporter is told what has become of spans.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// The first round is shorter: the counter that spans are timed by is measured meanwhile.
const FIRST_ROUND: Duration = Duration::from_millis(60);

pub(crate) struct Pipeline {
    pub(crate) limits: Limits,
    pub(crate) sampler: Sampler,
    pub(crate) clock: TimeSource,
    /// Tells pipelines apart in a thread's list of buffers.
    id: u64,
    max_queue_spans: usize,
    max_queue_bytes: usize,
    max_batch_spans: usize,
    max_batch_bytes: usize,
    /// Report spans that are open for longer than this.
    pending_after: Option<Duration>,
    state: Mutex<State>,
    /// Held while the buffers are looked at, so that a flush sees them all.
    collecting: Mutex<()>,
    /// For the exporter's thread: there is something to do.
    work: Condvar,
    /// For those who flush or shut down.
    done: Condvar,
    /// Set before the last drain, so that a span is either in it or counted as dropped.
    closed: AtomicBool,
    counts: Counts,
}

/// See [`Stats`].
#[derive(Default)]
struct Counts {
    exported: AtomicU64,
    exported_bytes: AtomicU64,
    export_nanos: AtomicU64,
    dropped_queue_full: AtomicU64,
    dropped_rejected: AtomicU64,
    dropped_unreachable: AtomicU64,
    dropped_shutdown: AtomicU64,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Chunk>,
    queued_spans: usize,
    queued_bytes: usize,
    /// Emptied, to be filled again.
    free: Vec<Vec<u8>>,
    threads: Vec<Arc<Buffer>>,
    /// Tickets of those who flush: given out, and served.
    flush_asked: u64,
    flush_done: u64,
    stop_before: Option<Instant>,
    stopped: bool,
    last_error: Option<String>,
}

/// Encoded spans.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    spans: usize,
    /// How many of them are not finished: they are copies of spans that are still open.
    pending: usize,
}

/// A thread's own.
#[derive(Default)]
struct Buffer(Mutex<Own>);

#[derive(Default)]
struct Own {
    chunk: Chunk,
    /// Every recording that this thread has made and that is still in use, when pending spans are reported.
    recordings: Vec<Arc<Recording>>,
    forget_at: usize,
}

impl Own {
    /// Forgets recordings that nobody else knows any more.
    fn forget(&mut self) {
        self.recordings.retain(|recording| Arc::strong_count(recording) > 1);
        self.forget_at = (2 * self.recordings.len()).max(256);
    }
}

thread_local! {
    /// This thread's buffers, one for each pipeline it has ended spans of.
    static BUFFERS: RefCell<Vec<(u64, Arc<Buffer>)>> = const { RefCell::new(Vec::new()) };
}

impl Pipeline {
    pub(crate) fn start(mut config: Config) -> Result<Arc<Self>, Error> {
        static LAST_ID: AtomicU64 = AtomicU64::new(0);
        let exporter = config.take_exporter()?;
        config.clock.check();
        let pipeline = Arc::new(Self {
            limits: config.limits,
            sampler: config.sampler,
            clock: config.clock,
            id: LAST_ID.fetch_add(1, Ordering::Relaxed),
            max_queue_spans: config.max_queue_spans,
            max_queue_bytes: config.max_queue_bytes,
            max_batch_spans: config.max_batch_spans,
            max_batch_bytes: config.max_batch_bytes,
            pending_after: config.pending_after,
            state: Mutex::default(),
            collecting: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            closed: AtomicBool::new(false),
            counts: Counts::default(),
        });
        let worker = Worker {
            pipeline: Arc::clone(&pipeline),
            exporter,
            envelope: Envelope::new(&config.resource),
            resource: config.resource,
            retry: config.retry,
            interval: config.export_interval,
            body: Vec::new(),
            started_unix_nanos: unix_nanos(),
            reported: Stats::default(),
            next_report: Instant::now() + REPORT_INTERVAL,
        };
        std::thread::Builder::new().name("tracewell-export".to_owned()).spawn(move || worker.run())?;
        Ok(pipeline)
    }

    /// Takes a span that ended. Never blocks on the exporter.
    pub(crate) fn push(&self, open: &Open, end_unix_nanos: u64) {
        let taken = self.with_buffer(|own| {
            if self.closed.load(Ordering::Relaxed) {
                return false;
            }
            let before = own.chunk.bytes.len();
            otlp::span(&mut own.chunk.bytes, open, end_unix_nanos);
            if before > 0 && own.chunk.bytes.len() > self.chunk_bytes() {
                // The span begins the next chunk.
                let next = own.chunk.bytes.split_off(before);
                self.hand_over(&mut own.chunk);
                own.chunk.bytes.extend_from_slice(&next);
            }
            own.chunk.spans += 1;
            if own.chunk.spans >= CHUNK_SPANS.min(self.max_batch_spans) || own.chunk.bytes.len() >= self.chunk_bytes() {
                self.hand_over(&mut own.chunk);
            }
            true
        });
        if taken == Some(true) {
            return;
        }
        // The tracer is shut down, or the thread is ending and has no buffers any more.
        if self.closed.load(Ordering::Relaxed) {
            self.counts.dropped_shutdown.fetch_add(1, Ordering::Relaxed);
        } else {
            let mut chunk = Chunk { bytes: Vec::new(), spans: 1, pending: 0 };
            otlp::span(&mut chunk.bytes, open, end_unix_nanos);
            self.offer(&mut lock(&self.state), chunk);
        }
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn reports_pending(&self) -> bool {
        self.pending_after.is_some()
    }

    /// Remembers a new recording, to look at it when its span is open for long; whether it did.
    pub(crate) fn register(&self, recording: &Arc<Recording>) -> bool {
        let register = |own: &mut Own| {
            if own.recordings.len() >= own.forget_at {
                own.forget();
            }
            own.recordings.push(Arc::clone(recording));
        };
        self.with_buffer(register).is_some()
    }

    fn chunk_bytes(&self) -> usize {
        CHUNK_BYTES.min(self.max_batch_bytes)
    }

    /// Runs `work` on this thread's buffer; `None` when there is none, because the thread is ending or the tracer shut
    /// down.
    #[inline]
    fn with_buffer<R>(&self, work: impl FnOnce(&mut Own) -> R) -> Option<R> {
        BUFFERS
            .try_with(|buffers| {
                let buffers = &mut *buffers.try_borrow_mut().ok()?;
                let buffer = match buffers.iter().find(|(id, _)| *id == self.id) {
                    Some((_, buffer)) => buffer,
                    None => self.new_buffer(buffers)?,
                };
                Some(work(&mut lock(&buffer.0)))
            })
            .ok()
            .flatten()
    }

    /// Puts the chunk into the queue, and an empty one into its place.
    fn hand_over(&self, chunk: &mut Chunk) {
        let mut state = lock(&self.state);
        let bytes = state.free.pop();
        let full = std::mem::replace(chunk, Chunk { bytes: bytes.unwrap_or_default(), spans: 0, pending: 0 });
        self.offer(&mut state, full);
        drop(state);
        // Once, outside of the lock, rather than in steps.
        chunk.bytes.reserve(self.chunk_bytes());
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
        let lost = self.counts.dropped_shutdown.load(Ordering::Relaxed) > 0;
        if lost && !already { Err(Error::Timeout) } else { Ok(()) }
    }

    pub(crate) fn stats(&self) -> Stats {
        let counts = &self.counts;
        Stats {
            exported: counts.exported.load(Ordering::Relaxed),
            exported_bytes: counts.exported_bytes.load(Ordering::Relaxed),
            export_time: Duration::from_nanos(counts.export_nanos.load(Ordering::Relaxed)),
            dropped_queue_full: counts.dropped_queue_full.load(Ordering::Relaxed),
            dropped_rejected: counts.dropped_rejected.load(Ordering::Relaxed),
            dropped_unreachable: counts.dropped_unreachable.load(Ordering::Relaxed),
            dropped_shutdown: counts.dropped_shutdown.load(Ordering::Relaxed),
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
    #[cold]
    fn new_buffer<'a>(&self, buffers: &'a mut Vec<(u64, Arc<Buffer>)>) -> Option<&'a Arc<Buffer>> {
        // Buffers that only this thread knows belong to pipelines that have ended.
        buffers.retain(|(_, buffer)| Arc::strong_count(buffer) > 1);
        // Buffers of threads that have ended are bounded too, while the exporter is busy with retries.
        let threads = lock(&self.state).threads.len();
        if threads >= 128 && threads.is_power_of_two() {
            self.collect();
        }
        let mut state = lock(&self.state);
        if self.closed.load(Ordering::Relaxed) {
            return None;
        }
        let buffer = Arc::new(Buffer::default());
        state.threads.push(Arc::clone(&buffer));
        buffers.push((self.id, buffer));
        buffers.last().map(|(_, buffer)| buffer)
    }

    /// Puts a chunk into the queue if there is room.
    fn offer(&self, state: &mut State, chunk: Chunk) {
        if chunk.spans == 0 {
            return;
        }
        let (spans, bytes) = (state.queued_spans + chunk.spans, state.queued_bytes + chunk.bytes.len());
        let counter = if state.stopped {
            &self.counts.dropped_shutdown
        } else if spans > self.max_queue_spans || (bytes > self.max_queue_bytes && !state.queue.is_empty()) {
            &self.counts.dropped_queue_full
        } else {
            (state.queued_spans, state.queued_bytes) = (spans, bytes);
            state.queue.push_back(chunk);
            if spans >= self.max_batch_spans || bytes >= self.max_batch_bytes {
                self.work.notify_all();
            }
            return;
        };
        counter.fetch_add((chunk.spans - chunk.pending) as u64, Ordering::Relaxed);
        self.reuse(state, chunk.bytes);
    }

    fn reuse(&self, state: &mut State, mut bytes: Vec<u8>) {
        if state.free.len() < MOST_FREE_CHUNKS && bytes.capacity() <= 2 * CHUNK_BYTES {
            bytes.clear();
            state.free.push(bytes);
        }
    }

    /// Moves what all threads have gathered into the queue, and forgets threads that have ended.
    ///
    /// The order of locks is: a span's, its thread's buffer, the queue's. So the queue's is not held here while buffers
    /// are looked at.
    fn collect(&self) {
        let _one_at_a_time = lock(&self.collecting);
        let mut threads = std::mem::take(&mut lock(&self.state).threads);
        let mut chunks = Vec::new();
        threads.retain(|buffer| {
            // Counted before the spans are taken: the last ones of an ending thread are then not missed.
            let alive = Arc::strong_count(buffer) > 1;
            let (chunk, recordings) = {
                let mut own = lock(&buffer.0);
                own.forget();
                (std::mem::take(&mut own.chunk), own.recordings.clone())
            };
            chunks.push(chunk);
            chunks.push(self.pending(&recordings));
            alive || !recordings.is_empty()
        });
        let mut state = lock(&self.state);
        chunks.into_iter().for_each(|chunk| self.offer(&mut state, chunk));
        // Those of threads that have begun meanwhile are there.
        state.threads.append(&mut threads);
    }

    /// What there is to report of spans that are open for long. No lock of a thread's buffer is held: a span that ends
    /// locks itself first and the buffer then.
    fn pending(&self, recordings: &[Arc<Recording>]) -> Chunk {
        let mut chunk = Chunk::default();
        let Some(after) = self.pending_after else { return chunk };
        let (now, after) = (self.clock.monotonic_nanos(), u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
        for recording in recordings {
            chunk.pending += usize::from(recording.report_pending(&mut chunk.bytes, now, after));
        }
        chunk.spans = chunk.pending;
        chunk
    }

    /// Takes what goes into one export: `bytes` of chunks, emptied into `body` after `envelope`.
    fn next_batch(&self, state: &mut State) -> Vec<Chunk> {
        let (mut spans, mut bytes) = (0, 0);
        let fitting = state.queue.iter().take_while(|chunk| {
            spans += chunk.spans;
            bytes += chunk.bytes.len();
            spans <= self.max_batch_spans && bytes <= self.max_batch_bytes
        });
        let count = fitting.count().max(1).min(state.queue.len());
        let batch: Vec<Chunk> = state.queue.drain(..count).collect();
        for chunk in &batch {
            state.queued_spans -= chunk.spans;
            state.queued_bytes -= chunk.bytes.len();
        }
        batch
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
    envelope: Envelope,
    retry: RetryPolicy,
    interval: Duration,
    body: Vec<u8>,
    started_unix_nanos: u64,
    /// What the exporter was told last.
    reported: Stats,
    next_report: Instant,
}

impl Worker {
    fn run(mut self) {
        let pipeline = Arc::clone(&self.pipeline);
        let mut round = FIRST_ROUND;
        let mut next_export = Instant::now() + self.interval;
        loop {
            let state = lock(&pipeline.state);
            let has_work = |state: &State| {
                let full =
                    state.queued_spans >= pipeline.max_batch_spans || state.queued_bytes >= pipeline.max_batch_bytes;
                full || state.flush_asked != state.flush_done || state.stop_before.is_some()
            };
            let wait = next_export.saturating_duration_since(Instant::now()).min(round);
            let waited = pipeline.work.wait_timeout_while(state, wait, |state| !has_work(state));
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if Instant::now() < next_export && !has_work(&state) {
                drop(state);
                pipeline.clock.check();
                round = ROUND;
                continue;
            }
            let (ticket, stopping) = (state.flush_asked, state.stop_before.is_some());
            drop(state);
            pipeline.collect();
            state = lock(&pipeline.state);
            // What comes in meanwhile waits for the next round, so that a flush ends under any load. When stopping
            // there is no next round, and nothing comes in but what other threads were just about to hand over.
            let mut left = if stopping { usize::MAX } else { state.queue.len() };
            while left > 0 && !state.queue.is_empty() {
                let batch = pipeline.next_batch(&mut state);
                left = left.saturating_sub(batch.len());
                drop(state);
                let spans = self.assemble(&batch);
                state = lock(&pipeline.state);
                for chunk in batch {
                    pipeline.reuse(&mut state, chunk.bytes);
                }
                drop(state);
                self.export(spans);
                state = lock(&pipeline.state);
            }
            if stopping || Instant::now() >= self.next_report {
                drop(state);
                self.report();
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
            drop(state);
            pipeline.clock.check();
            next_export = Instant::now() + self.interval;
        }
    }

    /// Tells the exporter what has become of spans, if there is news.
    fn report(&mut self) {
        self.next_report = Instant::now() + REPORT_INTERVAL;
        let stats = self.pipeline.stats();
        // A shutdown that is out of time has none for this either.
        let late = lock(&self.pipeline.state).stop_before.is_some_and(|deadline| Instant::now() >= deadline);
        if late || stats == self.reported {
            return;
        }
        let otlp = otlp::metrics(&self.envelope, &stats, self.started_unix_nanos, unix_nanos());
        let (exporter, report) = (&mut self.exporter, Report { stats: &stats, otlp: &otlp });
        // One that panics has been told, too.
        let _ = catch_unwind(AssertUnwindSafe(|| exporter.report(&report)));
        self.reported = stats;
    }

    /// Writes the request into the body.
    fn assemble(&mut self, batch: &[Chunk]) -> Spans {
        let bytes: usize = batch.iter().map(|chunk| chunk.bytes.len()).sum();
        self.body.clear();
        self.body.shrink_to(2 * self.pipeline.max_batch_bytes);
        self.body.reserve(bytes + self.envelope.len());
        self.envelope.begin(&mut self.body, bytes);
        let at = self.body.len();
        for chunk in batch {
            self.body.extend_from_slice(&chunk.bytes);
        }
        let spans: usize = batch.iter().map(|chunk| chunk.spans).sum();
        let pending: usize = batch.iter().map(|chunk| chunk.pending).sum();
        Spans { at, all: spans, ended: (spans - pending) as u64 }
    }

    /// Exports the body, with retries, and counts what became of it.
    fn export(&mut self, spans: Spans) {
        let begin = Instant::now();
        self.attempt(spans);
        let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.pipeline.counts.export_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn attempt(&mut self, spans: Spans) {
        let pipeline = Arc::clone(&self.pipeline);
        let counts = &pipeline.counts;
        let count = |counter: &AtomicU64, spans: u64| {
            counter.fetch_add(spans, Ordering::Relaxed);
        };
        for attempt in 1.. {
            if lock(&pipeline.state).stop_before.is_some_and(|deadline| Instant::now() >= deadline) {
                return count(&counts.dropped_shutdown, spans.ended);
            }
            let batch = Batch { resource: &self.resource, otlp: &self.body, spans_at: spans.at, len: spans.all };
            let exporter = &mut self.exporter;
            let result = catch_unwind(AssertUnwindSafe(|| exporter.export(&batch)))
                .unwrap_or_else(|_| Err(ExportError::Rejected("the exporter panicked".to_owned())));
            let Err(error) = result else {
                if lock(&pipeline.state).last_error.take().is_some() {
                    log::info!(target: "tracewell", "export of spans works again");
                }
                count(&counts.exported_bytes, self.body.len() as u64);
                return count(&counts.exported, spans.ended);
            };
            if lock(&pipeline.state).last_error.replace(error.to_string()).is_none() {
                log::warn!(target: "tracewell", "export of spans fails: {error}");
            }
            match error {
                ExportError::Rejected(_) => return count(&counts.dropped_rejected, spans.ended),
                ExportError::PartlyRejected { rejected, .. } => {
                    let rejected = rejected.min(spans.ended);
                    count(&counts.dropped_rejected, rejected);
                    return count(&counts.exported, spans.ended - rejected);
                }
                ExportError::Retry { after, .. } => match self.retry.delay(attempt, after, id::random_u64()) {
                    None => return count(&counts.dropped_unreachable, spans.ended),
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

fn unix_nanos() -> u64 {
    to_unix_nanos(std::time::SystemTime::now())
}

/// What is in the worker's body.
#[derive(Clone, Copy)]
struct Spans {
    /// Where they begin.
    at: usize,
    all: usize,
    /// Without those that are pending, which are counted when they end.
    ended: u64,
}

/// A panic elsewhere leaves these locks' data whole: only moves of whole spans happen under them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

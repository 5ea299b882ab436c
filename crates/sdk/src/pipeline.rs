//! The way of a finished span: its thread's buffer, the bounded queue, batches, the exporter.
//!
//! ```text
//! thread 1: chunk of 64 ─┐
//! thread 2: chunk of 64 ─┼─> queue (bounded, drops counted) ─> batches ─> exporter, with retries
//! thread 3: chunk of 64 ─┘
//! ```
//!
//! Spans are bytes from their end on. A thread's buffer has its own lock, which only the exporter's thread contends
//! for, once an interval. The queue's lock is taken once in 64 spans. `crates/sdk-loom` tries every order in which
//! threads, the exporter's thread, flushes and shutdowns can meet here.

mod buffer;
mod hooks;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use crate::clock::TimeSource;
use crate::limits::Limits;
use crate::recording::{Open, Recording};
use crate::sync::{self, Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, lock};
use crate::{Config, Error, Propagators, Sampler, ShutdownReport, Stats, fork, notice, otlp, panics};
use buffer::{BUFFERS, Buffer, CHUNK_SPANS, Own};
use queue::{Bounds, Chunk, Queue};
use std::fmt;
use std::panic::RefUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use worker::Worker;

pub(crate) struct Pipeline {
    pub(crate) limits: Limits,
    pub(crate) sampler: Sampler,
    pub(crate) clock: TimeSource,
    pub(crate) propagators: Propagators,
    /// Tells pipelines apart in a thread's list of buffers.
    id: u64,
    /// In the process that started it, and has its exporter's thread, this is what [`fork::count`] says.
    forks: u32,
    bounds: Bounds,
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
    /// Says nothing on stderr.
    is_quiet: bool,
}

/// See [`Stats`].
#[derive(Default)]
struct Counts {
    exported: AtomicU64,
    exported_bytes: AtomicU64,
    export_nanos: AtomicU64,
    dropped_on_end: AtomicU64,
    dropped_queue_full: AtomicU64,
    dropped_rejected: AtomicU64,
    dropped_unreachable: AtomicU64,
    dropped_shutdown: AtomicU64,
}

struct State {
    queue: Queue,
    threads: Vec<Arc<Buffer>>,
    /// Spans in the batch that is being exported.
    in_flight: u64,
    /// It was said that exports fail.
    is_said: bool,
    /// Tickets of those who flush: given out, and served.
    flush_asked: u64,
    flush_done: u64,
    stop_before: Option<Instant>,
    /// The last span has gone out.
    stopped: bool,
    /// And the exporter was told what has become of them.
    ended: bool,
    last_error: Option<String>,
}

impl Pipeline {
    pub(crate) fn start(mut config: Config) -> Result<Arc<Self>, Error> {
        // Not one of `sync`'s: it only counts.
        static LAST_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        config.check()?;
        let exporter = config.take_exporter()?;
        config.clock.check();
        fork::watch();
        panics::watch();
        let bounds = Bounds {
            queue_spans: config.max_queue_spans,
            queue_bytes: config.max_queue_bytes,
            batch_spans: config.max_batch_spans,
            batch_bytes: config.max_batch_bytes,
        };
        let pipeline = Arc::new(Self {
            limits: config.limits,
            sampler: config.sampler,
            clock: config.clock,
            propagators: config.propagators,
            id: LAST_ID.fetch_add(1, Ordering::Relaxed),
            forks: fork::count(),
            bounds,
            pending_after: config.pending_after,
            state: Mutex::new(State {
                queue: Queue::new(bounds),
                threads: Vec::new(),
                in_flight: 0,
                is_said: false,
                flush_asked: 0,
                flush_done: 0,
                stop_before: None,
                stopped: false,
                ended: false,
                last_error: None,
            }),
            collecting: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            closed: AtomicBool::new(false),
            counts: Counts::default(),
            is_quiet: config.is_quiet,
        });
        let mut worker =
            Worker::new(Arc::clone(&pipeline), exporter, config.resource, config.retry, config.export_interval);
        worker.hooks = config.on_end;
        sync::Builder::new().name("tracewell-export".to_owned()).spawn(move || worker.run())?;
        Ok(pipeline)
    }

    /// Takes a span that ended. Never blocks on the exporter.
    pub(crate) fn push(&self, open: &Open, end_unix_nanos: u64) {
        let taken = self.with_buffer(|own| {
            if self.is_closed() {
                return false;
            }
            let before = own.chunk.bytes.len();
            otlp::span(&mut own.chunk.bytes, open, end_unix_nanos);
            if before > 0 && own.chunk.bytes.len() > self.bounds.chunk_bytes() {
                // The span begins the next chunk.
                let next = own.chunk.bytes.split_off(before);
                self.hand_over(&mut own.chunk);
                own.chunk.bytes.extend_from_slice(&next);
            }
            own.chunk.spans += 1;
            if own.chunk.spans >= CHUNK_SPANS.min(self.bounds.batch_spans)
                || own.chunk.bytes.len() >= self.bounds.chunk_bytes()
            {
                self.hand_over(&mut own.chunk);
            }
            true
        });
        if taken == Some(true) {
            return;
        }
        // The tracer is shut down, or the thread is ending and has no buffers any more.
        if self.is_closed() {
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

    /// Whether this is another process than the one that started it. Its exporter's thread is not here, and threads that
    /// are not here may hold any of its locks: nothing may be done with it.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.forks != fork::count()
    }

    pub(crate) fn reports_pending(&self) -> bool {
        self.pending_after.is_some()
    }

    /// Remembers a new recording, to look at it when its span is open for long; whether it did.
    pub(crate) fn register(&self, recording: &Arc<Recording>) -> bool {
        self.with_buffer(|own| own.register(recording)).is_some()
    }

    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), Error> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        let mut state = lock(&self.state);
        if state.stopped {
            return Ok(());
        }
        state.flush_asked += 1;
        let ticket = state.flush_asked;
        self.work.notify_all();
        self.wait_until(state, timeout, |state| state.flush_done >= ticket || state.stopped).map(drop)
    }

    pub(crate) fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, Error> {
        if self.is_forked() {
            return Err(Error::Forked);
        }
        let mut state = lock(&self.state);
        let already = state.stopped;
        let now = Instant::now();
        // A timeout without end is one of a day.
        let until = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400));
        state.stop_before.get_or_insert(until);
        self.closed.store(true, Ordering::Relaxed);
        self.work.notify_all();
        let unfinished = match self.wait_until(state, timeout, |state| state.stopped) {
            Ok(state) => {
                // What is left of the time is for what the exporter is told of the library itself; no span depends on it.
                let left = until.saturating_duration_since(Instant::now());
                drop(self.wait_until(state, left, |state| state.ended));
                0
            }
            Err(_) => {
                self.collect();
                let mut state = lock(&self.state);
                if state.stopped {
                    // It has come to its end in the meantime: nothing of it is needed any more.
                    state.threads.clear();
                    0
                } else {
                    state.queue.ended() + state.in_flight
                }
            }
        };
        let report = ShutdownReport { stats: self.stats(), unfinished };
        if report.lost() > 0 && !already {
            self.say(&report);
        }
        Ok(report)
    }

    /// Says what is wrong, on stderr only once.
    fn say(&self, problem: &dyn fmt::Display) {
        let is_said = std::mem::replace(&mut lock(&self.state).is_said, true);
        notice::say(self.is_quiet || is_said, format_args!("{problem}"));
    }

    pub(crate) fn stats(&self) -> Stats {
        let counts = &self.counts;
        Stats {
            exported: counts.exported.load(Ordering::Relaxed),
            exported_bytes: counts.exported_bytes.load(Ordering::Relaxed),
            export_time: Duration::from_nanos(counts.export_nanos.load(Ordering::Relaxed)),
            dropped_on_end: counts.dropped_on_end.load(Ordering::Relaxed),
            dropped_queue_full: counts.dropped_queue_full.load(Ordering::Relaxed),
            dropped_rejected: counts.dropped_rejected.load(Ordering::Relaxed),
            dropped_unreachable: counts.dropped_unreachable.load(Ordering::Relaxed),
            dropped_shutdown: counts.dropped_shutdown.load(Ordering::Relaxed),
            last_error: if self.is_forked() { None } else { lock(&self.state).last_error.clone() },
        }
    }

    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, State>,
        timeout: Duration,
        done: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'a, State>, Error> {
        let (state, in_time) = sync::wait_while(&self.done, state, timeout, |state| !done(state));
        if in_time { Ok(state) } else { Err(Error::Timeout) }
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
        if self.is_closed() {
            return None;
        }
        let buffer = Arc::new(Buffer::default());
        state.threads.push(Arc::clone(&buffer));
        buffers.push((self.id, buffer));
        buffers.last().map(|(_, buffer)| buffer)
    }

    /// Puts the chunk into the queue, and an empty one into its place.
    fn hand_over(&self, chunk: &mut Chunk) {
        let mut state = lock(&self.state);
        let bytes = state.queue.free_bytes();
        let full = std::mem::replace(chunk, Chunk { bytes, spans: 0, pending: 0 });
        self.offer(&mut state, full);
        drop(state);
        // Once, outside of the lock, rather than in steps.
        chunk.bytes.reserve(self.bounds.chunk_bytes());
    }

    /// Puts a chunk into the queue if there is room, and counts its spans as dropped if there is not.
    fn offer(&self, state: &mut State, chunk: Chunk) {
        if chunk.spans == 0 {
            return;
        }
        let (chunk, counter) = if state.stopped {
            (chunk, &self.counts.dropped_shutdown)
        } else if let Err(chunk) = state.queue.push(chunk) {
            (chunk, &self.counts.dropped_queue_full)
        } else {
            if state.queue.has_batch() {
                self.work.notify_all();
            }
            return;
        };
        counter.fetch_add(chunk.ended(), Ordering::Relaxed);
        state.queue.reuse(chunk.bytes);
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
}

/// Spans and contexts may be used on both sides of a caught panic: the pipeline's locks ignore poison, see
/// [`crate::sync::lock`], and what users put in (clock, sampler) is only ever called by shared reference.
impl RefUnwindSafe for Pipeline {}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

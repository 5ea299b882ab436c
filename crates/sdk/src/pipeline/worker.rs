//! The exporter's thread.

use super::hooks::show;
use super::queue::Chunk;
use super::{Pipeline, State};
use crate::clock::to_unix_nanos;
use crate::exporter::{Batch, ExportError, Hook, Report};
use crate::otlp::Envelope;
use crate::retry::RetryPolicy;
use crate::sync::{Arc, AtomicU64, lock, wait_while};
use crate::{Exporter, Resource, Stats, id, otlp};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the exporter's thread looks around when nobody calls it: the clocks are compared then.
const ROUND: Duration = Duration::from_secs(1);
/// How often the exporter is told what has become of spans.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// The first round is shorter: the counter that spans are timed by is measured meanwhile.
const FIRST_ROUND: Duration = Duration::from_millis(60);

pub(super) struct Worker {
    pipeline: Arc<Pipeline>,
    exporter: Box<dyn Exporter>,
    resource: Resource,
    envelope: Envelope,
    /// What is to see each span, in this order.
    pub(super) hooks: Vec<Hook>,
    retry: RetryPolicy,
    interval: Duration,
    body: Vec<u8>,
    /// Nobody listens, and the program ends: nothing is tried any more.
    has_given_up: bool,
    started_unix_nanos: u64,
    /// What the exporter was told last.
    reported: Stats,
    next_report: Instant,
}

impl Worker {
    pub(super) fn new(
        pipeline: Arc<Pipeline>,
        exporter: Box<dyn Exporter>,
        resource: Resource,
        retry: RetryPolicy,
        interval: Duration,
    ) -> Self {
        Self {
            pipeline,
            exporter,
            envelope: Envelope::new(&resource),
            resource,
            hooks: Vec::new(),
            retry,
            interval,
            body: Vec::new(),
            has_given_up: false,
            started_unix_nanos: unix_nanos(),
            reported: Stats::default(),
            next_report: Instant::now() + REPORT_INTERVAL,
        }
    }

    /// Exports until the shutdown.
    pub(super) fn run(mut self) {
        let pipeline = Arc::clone(&self.pipeline);
        let mut round = FIRST_ROUND;
        let mut next_export = Instant::now() + self.interval;
        loop {
            let wait = next_export.saturating_duration_since(Instant::now()).min(round);
            let (state, _) = wait_while(&pipeline.work, lock(&pipeline.state), wait, |state| !state.has_work());
            if Instant::now() < next_export && !state.has_work() {
                drop(state);
                pipeline.clock.check();
                round = ROUND;
                continue;
            }
            let (ticket, stopping) = (state.flush_asked, state.stop_before.is_some());
            drop(state);
            self.drain(stopping);
            if stopping {
                return self.end();
            }
            if Instant::now() >= self.next_report {
                self.report();
            }
            lock(&pipeline.state).flush_done = ticket;
            pipeline.done.notify_all();
            pipeline.clock.check();
            next_export = Instant::now() + self.interval;
        }
    }

    /// Exports what there is. What comes in meanwhile waits for the next round, so that a flush ends under any load. When
    /// stopping there is no next round, and nothing comes in but what other threads were just about to hand over.
    fn drain(&mut self, stopping: bool) {
        let pipeline = Arc::clone(&self.pipeline);
        pipeline.collect();
        let mut state = lock(&pipeline.state);
        let mut left = if stopping { usize::MAX } else { state.queue.len() };
        while left > 0 {
            let batch = state.queue.next_batch();
            if batch.is_empty() {
                break;
            }
            left = left.saturating_sub(batch.len());
            state.in_flight = batch.iter().map(Chunk::ended).sum();
            drop(state);
            let spans = self.assemble(&batch);
            state = lock(&pipeline.state);
            batch.into_iter().for_each(|chunk| state.queue.reuse(chunk.bytes));
            drop(state);
            self.export(spans);
            state = lock(&pipeline.state);
            state.in_flight = 0;
        }
        if stopping {
            // Under the same lock under which the queue was found empty: nothing is left in it.
            state.stopped = true;
            state.threads.clear();
        }
    }

    /// Spans are done: who waits for a shutdown hears of it before the exporter is told, which may take long.
    fn end(&mut self) {
        self.pipeline.done.notify_all();
        self.report();
        lock(&self.pipeline.state).ended = true;
        self.pipeline.done.notify_all();
    }

    /// Tells the exporter what has become of spans, if there is news.
    fn report(&mut self) {
        self.next_report = Instant::now() + REPORT_INTERVAL;
        let stats = self.pipeline.stats();
        // A shutdown that is out of time has none for this either.
        let late = lock(&self.pipeline.state).is_late();
        if late || self.has_given_up || stats == self.reported {
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
        if !self.hooks.is_empty() {
            return self.assemble_shown(batch);
        }
        let bytes: usize = batch.iter().map(|chunk| chunk.bytes.len()).sum();
        self.body.clear();
        self.body.shrink_to(2 * self.pipeline.bounds.batch_bytes);
        self.body.reserve(bytes + self.envelope.len());
        self.envelope.begin(&mut self.body, bytes);
        let at = self.body.len();
        for chunk in batch {
            self.body.extend_from_slice(&chunk.bytes);
        }
        let all = batch.iter().map(|chunk| chunk.spans).sum();
        Spans { at, all, ended: batch.iter().map(Chunk::ended).sum() }
    }

    /// As [`Self::assemble`], of what the hooks keep.
    fn assemble_shown(&mut self, batch: &[Chunk]) -> Spans {
        let (mut encoded, mut all, mut ended) = (Vec::new(), 0, 0);
        for chunk in batch {
            let shown = show(&mut self.hooks, &chunk.bytes, &mut encoded);
            all += shown.kept;
            ended += shown.kept_ended;
            self.pipeline.counts.dropped_on_end.fetch_add(shown.dropped_ended, Ordering::Relaxed);
        }
        self.body.clear();
        self.envelope.begin(&mut self.body, encoded.len());
        let at = self.body.len();
        self.body.extend_from_slice(&encoded);
        Spans { at, all, ended }
    }

    /// Exports the body, with retries, and counts what became of it.
    fn export(&mut self, spans: Spans) {
        if spans.all == 0 {
            return;
        }
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
        let begin = Instant::now();
        for attempt in 1.. {
            if self.has_given_up {
                return count(&counts.dropped_unreachable, spans.ended);
            }
            if lock(&pipeline.state).is_late() {
                return count(&counts.dropped_shutdown, spans.ended);
            }
            let (resource, otlp) = (&self.resource, &self.body[..]);
            let batch = Batch { resource, otlp, spans_at: spans.at, len: spans.all, attempt };
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
                pipeline.say(&format_args!("export of spans fails: {error}"));
            }
            let after = match error {
                ExportError::Rejected(_) => return count(&counts.dropped_rejected, spans.ended),
                ExportError::PartlyRejected { rejected, .. } => {
                    let rejected = rejected.min(spans.ended);
                    count(&counts.dropped_rejected, rejected);
                    return count(&counts.exported, spans.ended - rejected);
                }
                ExportError::Unreachable(_) => {
                    self.has_given_up = lock(&pipeline.state).stop_before.is_some();
                    None
                }
                ExportError::Retry { after, .. } => after,
            };
            if self.has_given_up {
                return count(&counts.dropped_unreachable, spans.ended);
            }
            let delay = self.retry.delay(attempt, after, id::random_u64());
            let in_time = |delay: &Duration| self.retry.max_elapsed.is_none_or(|most| begin.elapsed() + *delay <= most);
            match delay.filter(in_time) {
                None => return count(&counts.dropped_unreachable, spans.ended),
                Some(delay) => self.wait(delay),
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
            None => drop(wait_while(&self.pipeline.work, state, delay, |state| state.stop_before.is_none())),
        }
    }
}

impl State {
    /// Whether the exporter's thread has something to do.
    fn has_work(&self) -> bool {
        self.queue.has_batch() || self.flush_asked != self.flush_done || self.stop_before.is_some()
    }

    /// Whether a shutdown is out of time.
    fn is_late(&self) -> bool {
        self.stop_before.is_some_and(|deadline| Instant::now() >= deadline)
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

//! What holds in every order in which threads, the exporter's thread, flushes and a shutdown can meet: loom runs each
//! model again and again, once for every order (and every value that the memory model lets a thread see) with up to so
//! many preemptions. Panics of the program's own threads are not here but in `tests/interleavings.rs` of the library: loom's
//! threads are one to what unwinds.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::HashSet;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use loom::thread;
use tracewell_loom::{Batch, Config, ExportError, Exporter, Report, SpanData, Stats, Tracer};

const LONG: Duration = Duration::from_secs(3600);

/// Thread switches that nothing forces. Nearly all faults of concurrent code show with two, which takes ten seconds; three
/// (`LOOM_MAX_PREEMPTIONS=3`) take two minutes.
const PREEMPTIONS: usize = 2;

fn every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound.get_or_insert(PREEMPTIONS);
    loom.max_branches = 10_000;
    loom.check(model);
}

/// Keeps what it is given, and answers what it is told to.
#[derive(Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<SpanData>>>,
    reported: Arc<Mutex<Option<Stats>>>,
}

impl Exporter for Kept {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        self.spans.lock().unwrap().extend(batch.spans());
        Ok(())
    }

    fn report(&mut self, report: &Report<'_>) {
        *self.reported.lock().unwrap() = Some(report.stats().clone());
    }
}

impl Kept {
    /// How many spans were exported that have ended, each once.
    fn ended(&self) -> u64 {
        let spans = self.spans.lock().unwrap();
        let ended = spans.iter().filter(|span| span.tag_value("tracewell.pending").is_none());
        let ids: Vec<_> = ended.map(|span| span.context.span_id).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "a span twice");
        ids.len() as u64
    }
}

/// Exports when told to, or when there are `batch` spans.
fn tracer(batch: usize, exporter: impl Exporter) -> Tracer {
    let config = Config::new("test").exporter(exporter).export_interval(LONG).max_batch_spans(batch);
    Tracer::new(config).unwrap()
}

fn dropped(stats: &Stats) -> u64 {
    stats.dropped_queue_full + stats.dropped_rejected + stats.dropped_unreachable + stats.dropped_shutdown
}

#[test]
fn spans_that_meet_the_shutdown_are_exported_or_counted() {
    // Spans that go to the queue one by one, and those that wait in their thread's buffer.
    for batch in [1, 8] {
        every_order(move || spans_meet_the_shutdown(batch));
    }
    fn spans_meet_the_shutdown(batch: usize) {
        let kept = Kept::default();
        let tracer = tracer(batch, kept.clone());
        let other = tracer.clone();
        let recorder = thread::spawn(move || (0..2).for_each(|_| other.span("span").start().end()));
        tracer.shutdown(LONG).ok();
        recorder.join().unwrap();
        let stats = tracer.stats();
        assert_eq!(stats.exported, kept.ended());
        assert_eq!(stats.exported + stats.dropped_shutdown, 2);
        assert_eq!(dropped(&stats), stats.dropped_shutdown);
    }
}

#[test]
fn what_ended_before_a_flush_is_exported_when_it_returns() {
    every_order(|| {
        let kept = Kept::default();
        let tracer = tracer(8, kept.clone());
        let other = tracer.clone();
        // A thread that has ended, and one that goes on meanwhile.
        thread::spawn(move || other.span("span").start().end()).join().unwrap();
        let other = tracer.clone();
        let recorder = thread::spawn(move || (0..2).for_each(|_| other.span("span").start().end()));
        tracer.flush(LONG).unwrap();
        assert!(kept.ended() >= 1);
        recorder.join().unwrap();
        tracer.shutdown(LONG).unwrap();
        assert_eq!((kept.ended(), tracer.stats().exported), (3, 3));
        assert_eq!(kept.reported.lock().unwrap().as_ref().map(|stats| stats.exported), Some(3));
    });
}

#[test]
fn two_that_flush_at_once_and_a_shutdown_all_return() {
    every_order(|| {
        let kept = Kept::default();
        let tracer = tracer(8, kept.clone());
        tracer.span("span").start().end();
        let (other, exported) = (tracer.clone(), kept.clone());
        let flusher = thread::spawn(move || {
            let span = other.span("flushed").start();
            let id = span.span_context().span_id;
            span.end();
            if other.flush(LONG).is_ok() && other.stats().dropped_shutdown == 0 {
                let spans = exported.spans.lock().unwrap();
                assert!(spans.iter().any(|span| span.context.span_id == id), "a flush that did not see it");
            }
        });
        tracer.flush(LONG).unwrap();
        tracer.shutdown(LONG).ok();
        flusher.join().unwrap();
        assert_eq!(kept.ended() + tracer.stats().dropped_shutdown, 2);
    });
}

#[test]
fn a_queue_without_room_counts_every_span() {
    every_order(|| {
        let kept = Kept::default();
        let config = Config::new("test").exporter(kept.clone()).export_interval(LONG);
        let tracer = Tracer::new(config.max_batch_spans(1).max_queue_spans(1)).unwrap();
        let other = tracer.clone();
        let recorder = thread::spawn(move || other.span("span").start().end());
        (0..2).for_each(|_| tracer.span("span").start().end());
        recorder.join().unwrap();
        tracer.shutdown(LONG).unwrap();
        let stats = tracer.stats();
        assert!(stats.exported >= 1);
        assert_eq!(stats.exported, kept.ended());
        assert_eq!(stats.exported + stats.dropped_queue_full, 3);
    });
}

#[test]
fn a_span_that_two_threads_know_ends_once_with_what_both_set() {
    /// The other thread's context is the span's, or one of its own, which has only the recording in common.
    fn two_threads_know_a_span(is_apart: bool, reports_pending: bool) {
        let kept = Kept::default();
        let mut config = Config::new("test").exporter(kept.clone()).export_interval(LONG).max_batch_spans(8);
        if reports_pending {
            config = config.report_pending_after(LONG);
        }
        let tracer = Tracer::new(config).unwrap();
        let span = tracer.span("shared").start();
        let mut context = span.context();
        if is_apart {
            context = context.with_baggage_value("user", "7");
        }
        let other = tracer.clone();
        let helper = thread::spawn(move || {
            context.tag("there", 1);
            // What the two threads knew may serve this one again: it must not be what is still in use.
            drop(context);
            other.span("next").start().end();
        });
        span.tag("here", 1);
        span.end();
        tracer.span("next").start().end();
        helper.join().unwrap();
        tracer.shutdown(LONG).unwrap();
        assert_eq!(kept.ended(), 3);
        let spans = kept.spans.lock().unwrap();
        let shared: Vec<_> = spans.iter().filter(|span| span.name == "shared").collect();
        assert_eq!(shared.len(), 1);
        assert_eq!(shared[0].tag_value("here"), Some(&1.into()));
        for next in spans.iter().filter(|span| span.name == "next") {
            assert!(next.tag_value("here").is_none() && next.tag_value("there").is_none(), "{next:?}");
        }
    }
    for (is_apart, reports_pending) in [(false, false), (true, false), (true, true)] {
        every_order(move || two_threads_know_a_span(is_apart, reports_pending));
    }
}

#[test]
fn a_span_that_is_reported_as_pending_is_exported_whole_when_it_ends() {
    every_order(|| {
        let kept = Kept::default();
        let config = Config::new("test").exporter(kept.clone()).export_interval(LONG);
        let tracer = Tracer::new(config.report_pending_after(Duration::ZERO)).unwrap();
        let other = tracer.clone();
        let recorder = thread::spawn(move || {
            other.span("first").start().end();
            // It may be recorded where the first one was.
            other.span("second").start().end();
        });
        tracer.flush(LONG).unwrap();
        recorder.join().unwrap();
        tracer.shutdown(LONG).unwrap();
        assert_eq!((kept.ended(), tracer.stats().exported), (2, 2));
        let spans = kept.spans.lock().unwrap();
        let pending = spans.iter().filter(|span| span.tag_value("tracewell.pending").is_some());
        let ids: Vec<_> = pending.map(|span| span.context.span_id).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "pending twice");
    });
}

#[test]
fn an_exporter_that_panics_loses_its_batch_alone_and_counts_it() {
    struct Panics(Kept, bool);
    impl Exporter for Panics {
        fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
            if std::mem::replace(&mut self.1, false) {
                resume_unwind(Box::new("planned"));
            }
            self.0.export(batch)
        }
    }
    every_order(|| {
        let kept = Kept::default();
        let tracer = tracer(1, Panics(kept.clone(), true));
        let other = tracer.clone();
        let recorder = thread::spawn(move || other.span("span").start().end());
        tracer.flush(LONG).unwrap();
        tracer.span("span").start().end();
        recorder.join().unwrap();
        tracer.shutdown(LONG).unwrap();
        let stats = tracer.stats();
        assert_eq!((stats.exported, kept.ended()), (2 - stats.dropped_rejected, stats.exported));
        assert!((1..=2).contains(&stats.dropped_rejected));
    });
}

#[test]
fn a_batch_that_is_to_be_sent_again_waits_for_no_longer_than_the_shutdown() {
    /// Busy until it is asked again.
    struct Busy(Kept, bool);
    impl Exporter for Busy {
        fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
            if std::mem::replace(&mut self.1, false) {
                return Err(ExportError::Retry { after: None, reason: "busy".to_owned() });
            }
            self.0.export(batch)
        }
    }
    every_order(|| {
        let kept = Kept::default();
        let tracer = tracer(1, Busy(kept.clone(), true));
        let other = tracer.clone();
        let recorder = thread::spawn(move || other.span("span").start().end());
        recorder.join().unwrap();
        // No time passes in a model: only this call ends the wait before the second attempt, for which there is no time.
        tracer.shutdown(Duration::ZERO).ok();
        tracer.flush(LONG).unwrap();
        let stats = tracer.stats();
        assert_eq!(stats.exported, kept.ended());
        assert_eq!(stats.exported + stats.dropped_shutdown, 1);
    });
}

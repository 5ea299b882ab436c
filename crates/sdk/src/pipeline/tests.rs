use super::*;
use crate::exporter::{Batch, ExportError};
use crate::{Exporter, SpanData};
use std::sync::mpsc;

const LONG: Duration = Duration::from_secs(30);

/// Answers what the test tells it, and tells the test what it was offered.
struct Scripted {
    offered: mpsc::Sender<Vec<SpanData>>,
    answers: mpsc::Receiver<Result<(), ExportError>>,
}

impl Exporter for Scripted {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        assert_eq!(batch.spans().len(), batch.len());
        self.offered.send(batch.spans()).ok();
        // The test is over when nobody answers any more.
        self.answers.recv().unwrap_or(Ok(()))
    }
}

struct Rig {
    tracer: crate::Tracer,
    offered: mpsc::Receiver<Vec<SpanData>>,
    answer: mpsc::Sender<Result<(), ExportError>>,
    waits: mpsc::Receiver<Duration>,
}

/// Exports only when told to or when a batch is full, and waits for nothing between attempts.
fn rig(configure: impl FnOnce(Config) -> Config) -> Rig {
    let (offer, offered) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let (wait, waits) = mpsc::channel();
    let config = Config::new("test").export_interval(Duration::from_secs(3600));
    let mut config = configure(config.exporter(Scripted { offered: offer, answers }));
    let wait = Mutex::new(wait);
    config.retry.wait = Some(Arc::new(move |delay| lock(&wait).send(delay).unwrap()));
    Rig { tracer: crate::Tracer::new(config).unwrap(), offered, answer, waits }
}

impl Rig {
    fn record(&self, spans: usize) {
        for n in 0..spans {
            self.tracer.span(format!("span {n}")).start().end();
        }
    }
}

fn dropped(stats: &Stats) -> u64 {
    stats.dropped_queue_full + stats.dropped_rejected + stats.dropped_unreachable + stats.dropped_shutdown
}

fn retry(after_seconds: Option<u64>) -> Result<(), ExportError> {
    Err(ExportError::Retry { after: after_seconds.map(Duration::from_secs), reason: "busy".to_owned() })
}

#[test]
fn batches_keep_to_the_number_of_spans() {
    let rig = rig(|config| config.max_batch_spans(100));
    rig.record(250);
    drop(rig.answer);
    rig.tracer.shutdown(LONG).unwrap();
    let batches: Vec<usize> = rig.offered.iter().map(|batch| batch.len()).collect();
    assert_eq!(batches.iter().sum::<usize>(), 250);
    assert!(batches.iter().all(|batch| *batch <= 100), "{batches:?}");
    let stats = rig.tracer.stats();
    assert_eq!((stats.exported, dropped(&stats)), (250, 0));
}

#[test]
fn batches_keep_to_the_number_of_bytes_and_a_larger_span_goes_alone() {
    let rig = rig(|config| config.max_batch_bytes(5_000));
    for size in [2_000, 2_000, 9_000, 2_000] {
        rig.tracer.span("span").tag("text", "x".repeat(size)).start().end();
    }
    drop(rig.answer);
    rig.tracer.shutdown(LONG).unwrap();
    assert_eq!(rig.offered.iter().map(|batch| batch.len()).collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn a_full_batch_is_exported_without_waiting_for_the_interval() {
    let rig = rig(|config| config.max_batch_spans(128));
    rig.record(128);
    assert_eq!(rig.offered.recv_timeout(LONG).unwrap().len(), 128);
    drop(rig.answer);
    rig.tracer.shutdown(LONG).unwrap();
}

#[test]
fn spans_are_exported_after_the_interval_though_their_thread_is_idle() {
    let rig = rig(|config| config.export_interval(Duration::from_millis(1)));
    rig.record(1);
    assert_eq!(rig.offered.recv_timeout(LONG).unwrap().len(), 1);
    drop(rig.answer);
    rig.tracer.shutdown(LONG).unwrap();
}

#[test]
fn a_batch_is_offered_again_after_the_wait_that_the_receiver_asked_for() {
    let rig = rig(|config| config);
    for answer in [retry(Some(7)), retry(None), Ok(())] {
        rig.answer.send(answer).unwrap();
    }
    rig.record(3);
    rig.tracer.flush(LONG).unwrap();
    let offered: Vec<_> = rig.offered.try_iter().collect();
    assert_eq!(offered.len(), 3);
    assert!(offered.iter().all(|batch| *batch == offered[0]), "the same spans each time");
    let waits: Vec<_> = rig.waits.try_iter().collect();
    assert!(waits[0] >= Duration::from_secs(7) && waits[0] < Duration::from_secs(9), "{waits:?}");
    assert!(waits[1] >= Duration::from_secs(1) && waits[1] < Duration::from_millis(1_250), "{waits:?}");
    let stats = rig.tracer.stats();
    assert_eq!((stats.exported, dropped(&stats), stats.last_error), (3, 0, None));
    drop(rig.answer);
    rig.tracer.shutdown(LONG).unwrap();
}

#[test]
fn an_unreachable_receiver_costs_bounded_memory_and_each_lost_span_is_counted() {
    let rig = rig(|config| config.max_queue_spans(640).max_batch_spans(64));
    rig.record(64);
    // The exporter is now busy with the first batch; everything else has to wait.
    assert_eq!(rig.offered.recv_timeout(LONG).unwrap().len(), 64);
    rig.record(64 * 20);
    assert_eq!(rig.tracer.with_pipeline(|pipeline| lock(&pipeline.unwrap().state).queue.spans()), 640);
    assert_eq!(rig.tracer.stats().dropped_queue_full, 64 * 10);
    // Eight attempts, then the batch is given up.
    for _ in 0..8 {
        rig.answer.send(retry(None)).unwrap();
    }
    drop(rig.answer);
    rig.tracer.shutdown(LONG).unwrap();
    let stats = rig.tracer.stats();
    assert_eq!((stats.dropped_unreachable, stats.exported, stats.dropped_queue_full), (64, 640, 640));
    assert_eq!(rig.waits.try_iter().count(), 7);
}

#[test]
fn buffers_of_threads_that_ended_are_bounded_while_the_exporter_is_busy() {
    let rig = rig(|config| config.max_queue_spans(100).max_batch_spans(1));
    rig.record(64);
    rig.offered.recv_timeout(LONG).unwrap();
    for _ in 0..400 {
        let tracer = rig.tracer.clone();
        std::thread::spawn(move || tracer.span("short").start().end()).join().unwrap();
    }
    assert!(rig.tracer.with_pipeline(|pipeline| lock(&pipeline.unwrap().state).threads.len()) <= 129);
    drop(rig.answer);
    rig.tracer.shutdown(LONG).unwrap();
    let stats = rig.tracer.stats();
    assert_eq!(stats.exported + stats.dropped_queue_full, 464);
}

#[test]
fn refused_spans_are_counted_and_not_offered_again() {
    let rig = rig(|config| config);
    rig.answer.send(Err(ExportError::Rejected("no".to_owned()))).unwrap();
    rig.record(3);
    rig.tracer.flush(LONG).unwrap();
    rig.answer.send(Err(ExportError::PartlyRejected { rejected: 2, reason: "bad".to_owned() })).unwrap();
    rig.record(5);
    rig.tracer.flush(LONG).unwrap();
    assert_eq!(rig.offered.try_iter().count(), 2);
    let stats = rig.tracer.stats();
    assert_eq!((stats.exported, stats.dropped_rejected), (3, 5));
    assert_eq!(stats.last_error.as_deref(), Some("2 spans rejected: bad"));
    drop(rig.answer);
    rig.tracer.shutdown(LONG).unwrap();
}

#[test]
fn an_exporter_that_panics_loses_its_batch_alone() {
    struct Panics(u32);
    impl Exporter for Panics {
        fn export(&mut self, _batch: &Batch<'_>) -> Result<(), ExportError> {
            self.0 += 1;
            if self.0 == 1 { std::panic::resume_unwind(Box::new("broken")) } else { Ok(()) }
        }
    }
    let tracer = crate::Tracer::new(Config::new("test").exporter(Panics(0))).unwrap();
    tracer.span("lost").start().end();
    tracer.flush(LONG).unwrap();
    tracer.span("kept").start().end();
    tracer.shutdown(LONG).unwrap();
    let stats = tracer.stats();
    assert_eq!((stats.exported, stats.dropped_rejected), (1, 1));
}

#[test]
fn a_shutdown_ends_in_time_though_the_receiver_does_not_answer() {
    let rig = rig(|config| config);
    rig.record(2);
    assert!(matches!(rig.tracer.flush(Duration::from_millis(1)), Err(Error::Timeout)));
    rig.offered.recv_timeout(LONG).unwrap();
    rig.record(1);
    let report = rig.tracer.shutdown(Duration::from_millis(1)).unwrap();
    assert_eq!((report.lost(), report.unfinished), (3, 3), "one that was not even handed over, too");
    // The exporter's answer comes when the time is over.
    rig.answer.send(retry(None)).unwrap();
    rig.tracer.shutdown(LONG).ok();
    assert_eq!(rig.tracer.stats().dropped_shutdown, 3);
}

#[test]
fn a_receiver_that_is_not_there_is_not_waited_for_at_the_end() {
    let rig = rig(|config| config.max_batch_spans(1_000));
    rig.answer.send(Err(ExportError::Unreachable("refused".to_owned()))).unwrap();
    rig.record(640);
    // Nothing else answers: a second attempt would wait for ever.
    let report = rig.tracer.shutdown(LONG).unwrap();
    assert_eq!(rig.offered.try_iter().count(), 1);
    assert_eq!((report.lost(), report.unfinished), (640, 0));
    assert_eq!(report.stats.last_error.as_deref(), Some("refused"));
    assert_eq!(report.to_string(), "640 of 640 spans were not exported: refused");
}

#[test]
fn the_attempts_of_a_batch_end_when_its_time_is_over() {
    let rig = rig(|config| config.batch_timeout(Duration::from_millis(700)));
    for _ in 0..2 {
        rig.answer.send(retry(None)).unwrap();
    }
    rig.record(1);
    rig.tracer.flush(LONG).unwrap();
    // The first wait of half a second fits in, the second of a second does not.
    assert_eq!((rig.waits.try_iter().count(), rig.tracer.stats().dropped_unreachable), (1, 1));
    drop(rig.answer);
    rig.tracer.shutdown(LONG).unwrap();
}

#[test]
fn spans_that_end_after_the_shutdown_are_counted() {
    let rig = rig(|config| config);
    drop(rig.answer.clone());
    let late = rig.tracer.span("late").start();
    rig.tracer.shutdown(LONG).unwrap();
    late.end();
    rig.tracer.span("later").start().end();
    assert_eq!(rig.tracer.stats().dropped_shutdown, 2);
    rig.tracer.shutdown(LONG).unwrap();
    rig.tracer.flush(LONG).unwrap();
}

#[test]
fn no_span_is_lost_or_doubled_between_threads_flushes_and_shutdown() {
    let exporter = crate::InMemoryExporter::new();
    let config = Config::new("test").exporter(exporter.clone()).max_queue_spans(1_000_000);
    let tracer = crate::Tracer::new(config.export_interval(Duration::from_millis(1))).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..2_000 {
                    tracer.span("work").start().end();
                    if n % 500 == 0 {
                        tracer.flush(LONG).unwrap();
                    }
                }
            });
        }
        scope.spawn(|| {
            tracer.flush(LONG).unwrap();
            tracer.shutdown(LONG).ok();
        });
    });
    let stats = tracer.stats();
    assert_eq!(stats.exported + stats.dropped_shutdown, 8_000);
    let spans = exporter.spans();
    assert_eq!(spans.len() as u64, stats.exported);
    let ids: std::collections::HashSet<_> = spans.iter().map(|span| span.context.span_id).collect();
    assert_eq!(ids.len(), spans.len());
}

#[test]
fn a_report_that_hangs_does_not_make_a_shutdown_fail() {
    /// Takes spans, and does not return from a report before the test ends.
    struct Hangs(mpsc::Sender<()>, mpsc::Receiver<()>);
    impl Exporter for Hangs {
        fn export(&mut self, _batch: &Batch<'_>) -> Result<(), ExportError> {
            Ok(())
        }
        fn report(&mut self, _report: &crate::Report<'_>) {
            self.0.send(()).unwrap();
            self.1.recv().unwrap_err();
        }
    }
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let tracer = crate::Tracer::new(Config::new("test").exporter(Hangs(begin, ended))).unwrap();
    tracer.span("span").start().end();
    std::thread::scope(|scope| {
        let patient = scope.spawn(|| tracer.shutdown(LONG));
        begun.recv_timeout(LONG).unwrap();
        tracer.shutdown(Duration::from_millis(1)).unwrap();
        assert_eq!(tracer.stats().exported, 1);
        drop(end);
        patient.join().unwrap().unwrap();
    });
}

//! Whatever is recorded comes out once and with the right parent, however tasks, threads, cancellation and panics
//! interleave.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use proptest::prelude::*;
use std::collections::HashMap;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Waker};
use std::time::Duration;
use tracewell::{Config, Context, FutureExt as _, InMemoryExporter, SpanId, Tracer};

/// What a piece of work does, in turn.
#[derive(Clone, Debug)]
enum Step {
    /// A span around work in the same task.
    Span(Vec<Step>),
    /// A task that takes the context along, and is waited for.
    Task(Vec<Step>),
    /// A task that is not waited for until the end.
    Detached(Vec<Step>),
    /// A thread that takes the context along, with synchronous spans of its own.
    Thread(u8),
    /// A span of work that is polled so often and then dropped.
    Cancelled(u8, Vec<Step>),
    /// Synchronous spans, entered one in the other, left in the order they were made in.
    Entered(u8),
    Event,
    Yield,
    Flush,
    /// Unwinds to the task's beginning.
    Panic,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![
        3 => Just(Step::Yield),
        1 => Just(Step::Event),
        1 => Just(Step::Flush),
        1 => Just(Step::Panic),
        1 => (1_u8..80).prop_map(Step::Thread),
        1 => (1_u8..5).prop_map(Step::Entered),
    ];
    let step = leaf.prop_recursive(4, 40, 5, |inner| {
        let several = || prop::collection::vec(inner.clone(), 0..5);
        prop_oneof![
            4 => several().prop_map(Step::Span),
            2 => several().prop_map(Step::Task),
            1 => several().prop_map(Step::Detached),
            1 => (0_u8..4, several()).prop_map(|(polls, steps)| Step::Cancelled(polls, steps)),
        ]
    });
    prop::collection::vec(step, 1..8)
}

#[derive(Clone)]
struct World {
    tracer: Tracer,
    /// The parent of every span that was started.
    expected: Arc<Mutex<HashMap<SpanId, Option<SpanId>>>>,
    detached: Arc<Mutex<Vec<tokio::task::JoinHandle<()>>>>,
}

impl World {
    fn span(&self) -> tracewell::Span {
        let parent = Some(Context::current().span_context().span_id).filter(|id| id.is_valid());
        let span = self.tracer.span("span").tag("n", 1).start();
        let before = self.expected.lock().unwrap().insert(span.span_context().span_id, parent);
        assert!(before.is_none(), "an id twice");
        span
    }

    fn run(self, steps: Vec<Step>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            for step in steps {
                match step {
                    Step::Span(steps) => self.clone().run(steps).in_span(self.span()).await,
                    Step::Task(steps) => {
                        let task = tokio::spawn(self.clone().run(steps).with_context(Context::current()));
                        // A panic ends there.
                        drop(task.await);
                    }
                    Step::Detached(steps) => {
                        let task = tokio::spawn(self.clone().run(steps).with_context(Context::current()));
                        self.detached.lock().unwrap().push(task);
                    }
                    Step::Thread(spans) => {
                        let (world, context) = (self.clone(), Context::current());
                        let work = move || context.in_scope(|| (0..spans).for_each(|_| world.span().end()));
                        std::thread::spawn(work).join().unwrap();
                    }
                    Step::Cancelled(polls, steps) => {
                        let mut work = Box::pin(self.clone().run(steps).in_span(self.span()));
                        for _ in 0..polls {
                            if work.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_ready() {
                                break;
                            }
                        }
                    }
                    Step::Entered(depth) => {
                        let mut entered = Vec::new();
                        for _ in 0..depth {
                            let span = self.span();
                            let guard = span.enter();
                            entered.push((guard, span));
                        }
                        // Oldest first: not the order they would be left in by nesting.
                        drop(entered);
                    }
                    Step::Event => tracewell::event("event"),
                    Step::Yield => tokio::task::yield_now().await,
                    Step::Flush => drop(self.tracer.flush(Duration::from_millis(1))),
                    Step::Panic => resume_unwind(Box::new("planned")),
                }
            }
        })
    }
}

fn holds(steps: Vec<Step>, report_pending: bool) {
    let exporter = InMemoryExporter::new();
    let mut config = Config::new("test").exporter(exporter.clone()).export_interval(Duration::from_millis(1));
    if report_pending {
        config = config.report_pending_after(Duration::ZERO);
    }
    let world = World { tracer: Tracer::new(config).unwrap(), expected: Arc::default(), detached: Arc::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
    runtime.block_on(async {
        drop(tokio::spawn(world.clone().run(steps)).await);
        loop {
            // Tasks that are waited for here may have begun others.
            let Some(task) = world.detached.lock().unwrap().pop() else { break };
            drop(task.await);
        }
    });
    // A task whose waiter was cancelled goes on by itself. It ends here, and the spans in it with it.
    drop(runtime);
    world.tracer.shutdown(Duration::from_secs(30)).unwrap();
    let expected = world.expected.lock().unwrap();
    let mut seen = HashMap::new();
    for span in exporter.spans() {
        if span.tag_value("tracewell.pending").is_some() {
            assert!(report_pending);
            continue;
        }
        let before = seen.insert(span.context.span_id, span.parent_span_id);
        assert!(before.is_none(), "a span twice");
    }
    assert_eq!(seen, *expected);
    assert_eq!(world.tracer.stats().exported, expected.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_span_comes_out_once_under_its_parent(steps in steps(), report_pending: bool) {
        holds(steps, report_pending);
    }
}

#[test]
fn threads_that_hand_over_and_others_that_flush_do_not_wait_for_each_other() {
    let exporter = InMemoryExporter::new();
    let config = Config::new("test").exporter(exporter.clone()).max_queue_spans(usize::MAX).max_queue_bytes(usize::MAX);
    let tracer = Tracer::new(config.report_pending_after(Duration::ZERO)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..20_000).for_each(|_| tracer.span("span").start().end()));
        }
        scope.spawn(|| (0..500).for_each(|_| tracer.flush(Duration::from_secs(30)).unwrap()));
    });
    tracer.shutdown(Duration::from_secs(30)).unwrap();
    assert_eq!(tracer.stats().exported, 60_000);
    let ended = exporter.spans().into_iter().filter(|span| span.tag_value("tracewell.pending").is_none());
    assert_eq!(ended.count(), 60_000);
}

#[test]
fn a_span_that_stays_open_is_reported_once_and_whole_when_it_ends() {
    let exporter = InMemoryExporter::new();
    let config = Config::new("test").exporter(exporter.clone()).report_pending_after(Duration::ZERO);
    let tracer = Tracer::new(config.export_interval(Duration::from_secs(3600))).unwrap();
    let flush = || tracer.flush(Duration::from_secs(30)).unwrap();
    let span = tracer.span("hangs").tag("before", 1).start();
    flush();
    flush();
    span.tag("after", 2);
    let (id, parent) = (span.span_context().span_id, span.context());
    tracer.span("child").parent(&parent).start().end();
    span.end();
    flush();
    let spans = exporter.spans();
    let hangs: Vec<_> = spans.iter().filter(|span| span.name == "hangs").collect();
    assert_eq!(hangs.iter().map(|span| span.context.span_id).collect::<Vec<_>>(), [id, id]);
    assert_eq!(hangs[0].tag_value("tracewell.pending"), Some(&true.into()));
    assert_eq!((hangs[1].tag_value("tracewell.pending"), hangs[1].tag_value("after")), (None, Some(&2.into())));
    assert_eq!(hangs[0].start_unix_nanos, hangs[1].start_unix_nanos);
    assert_eq!(tracer.stats().exported, 2, "what is pending is not counted as exported");
}

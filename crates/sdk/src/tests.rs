//! Spans, context and sampling, seen through the in-memory exporter.

use crate::{
    Clock, Config, Context, FutureExt as _, InMemoryExporter, Sampler, Span, SpanData, SpanId, SpanKind, Status,
    TraceId, Tracer, Value,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

const LONG: Duration = Duration::from_secs(30);

/// A tracer into memory, and what it exported.
fn tracer(configure: impl FnOnce(Config) -> Config) -> (Tracer, InMemoryExporter) {
    let exporter = InMemoryExporter::new();
    let config = configure(Config::new("test").exporter(exporter.clone()));
    (Tracer::new(config).unwrap(), exporter)
}

fn spans(tracer: &Tracer, exporter: &InMemoryExporter) -> Vec<SpanData> {
    tracer.shutdown(LONG).unwrap();
    exporter.spans()
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let mut named = spans.iter().filter(|span| span.name == name);
    let span = named.next().unwrap_or_else(|| panic!("no span {name}"));
    assert!(named.next().is_none(), "several spans {name}");
    span
}

fn assert_child(spans: &[SpanData], child: &str, parent: &str) {
    let (child, parent) = (named(spans, child), named(spans, parent));
    assert_eq!(child.context.trace_id, parent.context.trace_id);
    assert_eq!(child.parent_span_id, Some(parent.context.span_id));
}

#[test]
fn spans_inherit_the_tracer_of_the_current_context() {
    let (one, spans_of_one) = tracer(|config| config.propagators(crate::Propagators::B3));
    let (other, spans_of_other) = tracer(|config| config);
    one.span("outer").start().in_scope(|| {
        crate::span("inner").start().in_scope(|| {
            let mut headers: Vec<(String, String)> = Vec::new();
            crate::inject(&Context::current(), &mut headers);
            assert_eq!(headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b3"]);
            other.span("of another").start().in_scope(|| crate::db::call("sqlite", "SELECT").start().end());
        });
        // A parent of another process has no tracer of its own.
        crate::messaging::process("kafka", "uploads", &Context::new()).end();
        crate::tracer().flush(LONG).unwrap();
        assert_eq!(spans_of_one.spans().len(), 2);
    });
    one.flush(LONG).unwrap();
    other.flush(LONG).unwrap();
    assert_eq!(spans_of_one.tree(&[]), "outer\n  inner\nprocess uploads\n");
    assert_eq!(spans_of_other.tree(&[]), "of another\n  SELECT\n");
    spans_of_one.clear();
    assert!(spans_of_one.spans().is_empty());
}

#[test]
fn the_order_in_which_a_span_is_described_loses_nothing() {
    let (tracer, exporter) = tracer(|config| config);
    let (parent, linked) = (tracer.span("parent").start(), tracer.span("linked").start().span_context().clone());
    let context = parent.context();
    let child = tracer.span("child").tag("before", 1).link(&linked).parent(&context).tag("after", 2);
    child.kind(SpanKind::Client).start().end();
    // Not recorded under the first parent: what was set there is counted.
    let unsampled = Context::new().with_span_context(crate::SpanContext {
        trace_id: TraceId::random(),
        span_id: SpanId::random(),
        ..Default::default()
    });
    let late = unsampled.in_scope(|| tracer.span("late").tag("lost", 1).link(&linked).parent(&context).tag("kept", 2));
    late.start().end();
    parent.end();
    let spans = spans(&tracer, &exporter);
    assert_child(&spans, "child", "parent");
    let child = named(&spans, "child");
    assert_eq!(child.tags, [("before".into(), 1.into()), ("after".into(), 2.into())]);
    assert_eq!((child.kind, &child.links[..]), (SpanKind::Client, &[linked][..]));
    assert_child(&spans, "late", "parent");
    let late = named(&spans, "late");
    assert_eq!((&late.tags[..], late.dropped_tags, late.dropped_links), (&[("kept".into(), 2.into())][..], 1, 1));
}

#[test]
fn integers_that_otlp_has_no_type_for_keep_their_value_as_text() {
    let (tracer, exporter) = tracer(|config| config);
    let span =
        tracer.span("work").tag("a", u64::MAX).tag("b", u64::MAX - 1).tag("c", 1_u128 << 100).tag("d", i128::MIN);
    let span = span.tag("small", 7_u64).tag("list", [1, u64::MAX]).tag("pointed", Box::new('é')).start();
    span.tag("value", Value::from(u64::MAX));
    span.end();
    let spans = spans(&tracer, &exporter);
    let value = |key: &str| named(&spans, "work").tag_value(key).cloned().unwrap();
    assert_eq!(value("a"), "18446744073709551615".into());
    assert_eq!(value("b"), "18446744073709551614".into());
    assert_eq!(value("c"), (1_u128 << 100).to_string().into());
    assert_eq!(value("d"), i128::MIN.to_string().into());
    assert_eq!(value("value"), "18446744073709551615".into());
    assert_eq!(value("small"), 7.into());
    assert_eq!(value("list"), ["1", "18446744073709551615"].into());
    assert_eq!(value("pointed"), "é".into());
}

/// Both clocks advance by hand.
#[derive(Clone, Default)]
struct ManualClock {
    unix: Arc<AtomicU64>,
    monotonic: Arc<AtomicU64>,
}

impl ManualClock {
    fn advance(&self, nanos: u64) {
        self.unix.fetch_add(nanos, Ordering::Relaxed);
        self.monotonic.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn unix_nanos(&self) -> u64 {
        self.unix.load(Ordering::Relaxed)
    }

    fn monotonic_nanos(&self) -> u64 {
        self.monotonic.load(Ordering::Relaxed)
    }
}

#[test]
fn an_entered_span_is_the_parent_until_it_is_left() {
    let (tracer, exporter) = tracer(|config| config);
    {
        let outer = tracer.span("outer").start();
        {
            let _entered = outer.enter();
            let inner = tracer.span("inner").start();
            inner.in_scope(|| drop(tracer.span("innermost").start()));
            drop(tracer.span("second").start());
        }
        drop(tracer.span("elsewhere").start());
    }
    let spans = spans(&tracer, &exporter);
    assert_child(&spans, "inner", "outer");
    assert_child(&spans, "innermost", "inner");
    assert_child(&spans, "second", "outer");
    assert_eq!(named(&spans, "elsewhere").parent_span_id, None);
    assert_ne!(named(&spans, "elsewhere").context.trace_id, named(&spans, "outer").context.trace_id);
}

#[test]
fn guards_dropped_in_any_order_leave_the_youngest_living_context_current() {
    let context = |key: &str| Context::new().with_baggage_value(key, "1");
    let current = || Context::current().baggage().iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
    let a = context("a").enter();
    let b = context("b").enter();
    let c = context("c").enter();
    drop(b);
    assert_eq!(current(), ["c"]);
    drop(c);
    assert_eq!(current(), ["a"]);
    let d = context("d").enter();
    drop(a);
    assert_eq!(current(), ["d"]);
    drop(d);
    assert!(current().is_empty());
}

#[test]
fn what_is_set_on_a_span_is_what_is_exported() {
    let clock = ManualClock::default();
    clock.unix.store(1_000_000, Ordering::Relaxed);
    clock.monotonic.store(77, Ordering::Relaxed);
    let (tracer, exporter) = tracer(|config| config.clock(clock.clone()));
    let other = tracer.span("other").start();
    let span =
        tracer.span("work").kind(SpanKind::Producer).tag("text", "a").tag("flag", true).link(other.span_context());
    let span = span.start();
    clock.advance(5);
    span.tag("number", 7).tag("text", "b").tag_with("ratio", || 0.5).tag("list", ["x", "y"]).tag("", "no key");
    span.event("plain").event_with("detailed", |event| {
        event.tag("bytes", 3_u64).tag("name", "n");
    });
    clock.advance(5);
    span.error("it broke");
    let (id, other_context) = (span.span_context().clone(), other.span_context().clone());
    span.end();
    other.end_at(UNIX_EPOCH);
    let spans = spans(&tracer, &exporter);
    let work = named(&spans, "work");
    assert_eq!(work.context, id);
    assert_eq!(work.kind, SpanKind::Producer);
    assert_eq!((work.start_unix_nanos, work.end_unix_nanos), (1_000_000, 1_000_010));
    let tags: Vec<_> = work.tags.iter().map(|(key, value)| (key.as_ref(), value.clone())).collect();
    let expected: [(&str, Value); 5] = [
        ("text", "b".into()),
        ("flag", true.into()),
        ("number", 7.into()),
        ("ratio", 0.5.into()),
        ("list", ["x", "y"].into()),
    ];
    assert_eq!(tags, expected);
    assert_eq!(work.links, [other_context]);
    assert_eq!(work.status, Status::Error("it broke".into()));
    assert_eq!(
        work.events.iter().map(|event| (&*event.name, event.unix_nanos)).collect::<Vec<_>>(),
        [("plain", 1_000_005), ("detailed", 1_000_005)]
    );
    assert_eq!(work.events[1].tags, [("bytes".into(), 3.into()), ("name".into(), "n".into())]);
    let other = named(&spans, "other");
    assert_eq!(other.end_unix_nanos, other.start_unix_nanos, "a span never ends before it starts");
}

#[test]
fn a_corrected_wall_clock_moves_no_child_out_of_its_parent() {
    let clock = ManualClock::default();
    clock.unix.store(1_000_000, Ordering::Relaxed);
    let (tracer, exporter) = tracer(|config| config.clock(clock.clone()));
    let parent = tracer.span("parent").start();
    clock.monotonic.fetch_add(10, Ordering::Relaxed);
    clock.unix.store(500, Ordering::Relaxed);
    tracer.span("child").parent(&parent.context()).start().end();
    clock.monotonic.fetch_add(10, Ordering::Relaxed);
    parent.end();
    let spans = spans(&tracer, &exporter);
    assert_eq!(named(&spans, "child").start_unix_nanos, 1_000_010);
    assert_eq!(named(&spans, "parent").end_unix_nanos, 1_000_020);
}

#[test]
fn tags_of_a_span_that_is_not_sampled_are_not_evaluated_and_its_context_is_passed_on() {
    let (tracer, exporter) = tracer(|config| config.sampler(Sampler::never()));
    let forbidden = || -> Value { panic!("evaluated") };
    let span = tracer.span("root").tag_with("a", forbidden).start();
    span.tag_with("b", forbidden).event_with("c", |_| panic!("evaluated"));
    assert!(!span.is_recording());
    assert!(span.span_context().is_valid() && !span.span_context().is_sampled());
    let child = tracer.span("child").parent(&span.context()).start();
    assert_eq!(child.span_context().trace_id, span.span_context().trace_id);
    drop((span, child));
    assert!(spans(&tracer, &exporter).is_empty());
}

#[test]
fn samplers_decide_by_trace_id_and_parent() {
    // The threshold of a quarter is 0xc0000000000000 of 56 bits.
    let (below, at) = (0x00bf_ffff_ffff_ffff_u64, 0xffc0_0000_0000_0000_u64);
    let decide = |sampler: &Sampler, low: u64, parent: Option<bool>| {
        let mut bytes = [0xff; 16];
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        let mut span = crate::SpanContext::default();
        if let Some(sampled) = parent {
            span.trace_id = TraceId::from_bytes(bytes);
            span.span_id = SpanId::random();
            span.flags = span.flags.with_sampled(sampled);
        }
        sampler.sample(&crate::SamplingInput {
            parent: &span,
            trace_id: TraceId::from_bytes(bytes),
            name: "n",
            kind: SpanKind::Internal,
        }) != crate::Decision::DROP
    };
    let quarter = Sampler::probabilistic(0.25);
    assert!(!decide(&quarter, below, None) && decide(&quarter, at, None));
    assert!(!decide(&quarter, below, Some(true)), "the probabilistic sampler does not ask the parent");
    assert!(decide(&Sampler::probabilistic(1.0), 0, None));
    assert!(!decide(&Sampler::probabilistic(0.0), u64::MAX, None));
    assert!(!decide(&Sampler::probabilistic(f64::NAN), u64::MAX, None));
    let based = Sampler::parent_based(Sampler::never());
    assert!(decide(&based, 0, Some(true)) && !decide(&based, 0, Some(false)) && !decide(&based, 0, None));
}

#[test]
fn a_disabled_tracer_passes_the_parent_through() {
    let tracer = Tracer::new(Config::new("test").disabled(true)).unwrap();
    let headers =
        vec![("traceparent".to_owned(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned())];
    let span = tracer.span("anything").parent(&crate::extract(&headers)).start();
    let mut onward: Vec<(String, String)> = Vec::new();
    crate::inject(&span.context(), &mut onward);
    assert_eq!(onward, headers);
    assert!(!span.is_recording());
}

#[test]
fn a_span_that_a_panic_unwinds_is_an_error() {
    let (tracer, exporter) = tracer(|config| config);
    let result = std::panic::catch_unwind(|| {
        let _span = tracer.span("work").start();
        std::panic::resume_unwind(Box::new("broken"));
    });
    assert!(result.is_err());
    assert!(!Context::current().span_context().is_valid());
    assert_eq!(named(&spans(&tracer, &exporter), "work").status, Status::Error("panicked".into()));
}

#[test]
fn a_span_holds_a_bounded_number_of_everything_and_counts_the_rest() {
    let (tracer, exporter) = tracer(|config| config);
    let mut span = tracer.span("work");
    for _ in 0..130 {
        span = span.link(&crate::SpanContext {
            trace_id: TraceId::random(),
            span_id: SpanId::random(),
            ..Default::default()
        });
    }
    let span = span.start();
    for n in 0..130 {
        span.tag(format!("tag {n}"), n).event("event");
    }
    span.tag("tag 0", "é".repeat(20_000));
    span.end();
    let spans = spans(&tracer, &exporter);
    let work = named(&spans, "work");
    assert_eq!((work.tags.len(), work.events.len(), work.links.len()), (128, 128, 128));
    assert_eq!((work.dropped_tags, work.dropped_events, work.dropped_links), (2, 2, 2));
    assert_eq!(work.tag_value("tag 0").unwrap().as_str().unwrap(), "é".repeat(16_384));
}

#[test]
fn a_context_continues_on_another_thread_and_spans_there_are_not_lost_with_it() {
    let (tracer, exporter) = tracer(|config| config);
    let parent = tracer.span("parent").start();
    let context = parent.context().with_baggage_value("user", "7");
    let there = tracer.clone();
    let baggage = std::thread::spawn(move || {
        let _entered = context.enter();
        there.span("child").start().end();
        Context::current().baggage().get("user").map(str::to_owned)
    });
    assert_eq!(baggage.join().unwrap().as_deref(), Some("7"));
    parent.end();
    assert_child(&spans(&tracer, &exporter), "child", "parent");
}

#[test]
fn a_span_kept_in_a_thread_local_is_counted_though_its_thread_ends() {
    thread_local! {
        static KEPT: std::cell::RefCell<Option<Span>> = const { std::cell::RefCell::new(None) };
    }
    let (tracer, exporter) = tracer(|config| config);
    let there = tracer.clone();
    std::thread::spawn(move || KEPT.set(Some(there.span("kept").start()))).join().unwrap();
    assert_eq!(spans(&tracer, &exporter).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_tasks_keep_their_own_spans() {
    let (tracer, exporter) = tracer(|config| config);
    let mut tasks = Vec::new();
    for n in 0..50 {
        let span = tracer.span(format!("task {n}")).start();
        let tracer = tracer.clone();
        let work = async move {
            for step in 0..5 {
                tokio::task::yield_now().await;
                let child = tracer.span(format!("task {n} step {step}")).start();
                let inner = tracer.clone();
                let nested = async move {
                    tokio::task::yield_now().await;
                    inner.span(format!("task {n} step {step} inner")).start().end();
                };
                nested.in_span(child).await;
            }
            // A spawned task takes the context along when told to.
            let spawned = tracer.clone();
            let continued = async move { spawned.span(format!("task {n} spawned")).start().end() };
            tokio::spawn(continued.with_context(Context::current())).await.unwrap();
        };
        tasks.push(tokio::spawn(work.in_span(span)));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(!Context::current().span_context().is_valid());
    let spans = spans(&tracer, &exporter);
    assert_eq!(spans.len(), 50 * (1 + 5 * 2 + 1));
    for n in 0..50 {
        assert_child(&spans, &format!("task {n} spawned"), &format!("task {n}"));
        for step in 0..5 {
            assert_child(&spans, &format!("task {n} step {step}"), &format!("task {n}"));
            assert_child(&spans, &format!("task {n} step {step} inner"), &format!("task {n} step {step}"));
        }
    }
}

#[tokio::test]
async fn a_future_dropped_before_it_is_ready_says_that_it_was_cancelled() {
    let (tracer, exporter) = tracer(|config| config);
    {
        let mut work = std::pin::pin!(std::future::pending::<()>().in_span(tracer.span("waits").start()));
        assert!(std::future::poll_fn(|task| std::task::Poll::Ready(work.as_mut().poll(task).is_pending())).await);
    }
    async {}.in_span(tracer.span("completes").start()).await;
    let spans = spans(&tracer, &exporter);
    assert_eq!(named(&spans, "waits").events[0].name, "cancelled");
    assert!(named(&spans, "completes").events.is_empty());
}

#[tokio::test]
async fn a_task_that_panics_ends_its_span_as_an_error() {
    let (tracer, exporter) = tracer(|config| config);
    let work = async { std::panic::resume_unwind(Box::new("broken")) };
    let task: tokio::task::JoinHandle<()> = tokio::spawn(work.in_span(tracer.span("panics").start()));
    assert!(task.await.unwrap_err().is_panic());
    let spans = spans(&tracer, &exporter);
    let span = named(&spans, "panics");
    assert_eq!(span.status, Status::Error("panicked".into()));
    assert!(span.events.is_empty());
}

#[test]
fn random_ids_differ_between_threads() {
    let ids: Vec<_> = (0..8).map(|_| std::thread::spawn(|| (0..1000).map(|_| TraceId::random()).collect())).collect();
    let ids: Vec<TraceId> = ids.into_iter().flat_map(|thread| -> Vec<TraceId> { thread.join().unwrap() }).collect();
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 8_000);
}

#[test]
fn the_tree_shows_parents_tags_events_and_errors() {
    let (tracer, exporter) = tracer(|config| config);
    let root = tracer.span("GET /images/{id}").tag("image.id", 7).tag("other", 1).start();
    let entered = root.enter();
    let query = tracer.span("SELECT images").start();
    query.event("retried").error("no such table");
    query.end();
    tracer.span("render").tag("absent", None::<i64>).tag("text", crate::debug(Some("a"))).start().end();
    drop(entered);
    root.end();
    spans(&tracer, &exporter);
    assert_eq!(
        exporter.tree(&["image.id", "absent", "text"]),
        "\
GET /images/{id} image.id=7
  SELECT images error=\"no such table\"
    * retried
  render text=\"Some(\\\"a\\\")\"
"
    );
}

#[test]
fn a_request_id_goes_down_with_the_context_and_into_log_lines() {
    assert_eq!(crate::ids().to_string(), "");
    for (sampler, flags) in [(Sampler::always(), "03"), (Sampler::never(), "02")] {
        let (tracer, _exporter) = tracer(|config| config.sampler(sampler.clone()));
        let request = Context::new().with_request_id("r-1").with_baggage_value("user", "7");
        let outer = tracer.span("outer").parent(&request).start();
        let inner = tracer.span("inner").parent(&outer.context()).start();
        assert_eq!(inner.context().request_id(), Some("r-1"));
        assert_eq!(inner.context().baggage().get("user"), Some("7"));
        let (trace_id, span_id) = (inner.span_context().trace_id, inner.span_context().span_id);
        let line = inner.in_scope(|| crate::ids().to_string());
        assert_eq!(line, format!("trace_id={trace_id} span_id={span_id} trace_flags={flags} request_id=r-1"));
    }
    // What is used again has nothing of its past.
    assert_eq!(Context::new().with_span_context(crate::SpanContext::default()).request_id(), None);
}

#[test]
fn a_builder_that_is_given_up_leaves_nothing_to_the_next_span() {
    let (tracer, exporter) = tracer(|config| config);
    drop(tracer.span("given up").tag("secret", 1).link(tracer.span("linked").start().span_context()));
    tracer.span("next").start().end();
    let spans = spans(&tracer, &exporter);
    let next = named(&spans, "next");
    assert!(next.tags.is_empty() && next.links.is_empty());
    assert_eq!(spans.len(), 2, "linked and next");
}

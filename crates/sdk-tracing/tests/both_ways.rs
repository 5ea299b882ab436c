//! Spans of `tracing` and Tracewell's own, in one trace; ids in log lines.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracewell::{Config, Context, FutureExt as _, InMemoryExporter, SpanData, SpanKind, Status, Tracer};
use tracing::Instrument as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{JsonFields, format};
use tracing_subscriber::layer::SubscriberExt as _;

fn tracer() -> (Tracer, InMemoryExporter) {
    let exporter = InMemoryExporter::new();
    (Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap(), exporter)
}

fn flush(tracer: &Tracer) {
    tracer.shutdown(Duration::from_secs(30)).unwrap();
}

fn parent_of(exporter: &InMemoryExporter, name: &str) -> Option<String> {
    let spans = exporter.spans();
    let span = spans.iter().find(|span| span.name == name).unwrap();
    let parent = spans.iter().find(|other| Some(other.context.span_id) == span.parent_span_id)?;
    assert_eq!(parent.context.trace_id, span.context.trace_id);
    Some(parent.name.to_string())
}

fn text<'a>(span: &'a SpanData, key: &str) -> Option<&'a str> {
    span.tag_value(key).and_then(|value| value.as_str())
}

#[test]
fn the_two_kinds_of_spans_nest_in_each_other() {
    let (tracer, exporter) = tracer();
    let subscriber = tracing_subscriber::registry().with(tracewell_tracing::layer().tracer(tracer.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let request = tracer.span("request").start();
        request.in_scope(|| {
            let library = tracing::info_span!("library");
            let _entered = library.enter();
            let own = tracer.span("own").start();
            own.in_scope(|| tracing::info_span!("deep").in_scope(|| {}));
            tracing::info_span!(parent: None, "apart").in_scope(|| {});
            let elsewhere = tracing::info_span!(parent: &library, "told");
            drop(elsewhere);
        });
        assert!(!Context::current().span_context().is_valid(), "what was entered was left");
    });
    flush(&tracer);
    let parent = |name| parent_of(&exporter, name);
    assert_eq!(parent("library").as_deref(), Some("request"));
    assert_eq!(parent("own").as_deref(), Some("library"));
    assert_eq!(parent("deep").as_deref(), Some("own"));
    assert_eq!(parent("told").as_deref(), Some("library"));
    assert_eq!(parent("apart"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_take_turns_keep_their_own_spans() {
    let (tracer, exporter) = tracer();
    let subscriber = tracing_subscriber::registry().with(tracewell_tracing::layer().tracer(tracer.clone()));
    let dispatch = tracing::Dispatch::new(subscriber);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (dispatch, own) = (dispatch.clone(), tracer.clone());
            let span = tracing::dispatcher::with_default(&dispatch, || tracing::info_span!("task", n));
            let work = async move {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                async { tokio::task::yield_now().await }.in_span(own.span(format!("in {n}")).start()).await;
            };
            tokio::spawn(tracing::instrument::WithSubscriber::with_subscriber(work.instrument(span), dispatch))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    flush(&tracer);
    let spans = exporter.spans();
    for n in 0..20_i64 {
        let task = spans.iter().find(|span| span.tag_value("n") == Some(&n.into())).unwrap();
        let own = spans.iter().find(|span| *span.name == format!("in {n}")).unwrap();
        assert_eq!(own.parent_span_id, Some(task.context.span_id), "task {n}");
    }
}

#[test]
fn fields_are_tags_events_are_events_and_errors_are_errors() {
    let (tracer, exporter) = tracer();
    let subscriber = tracing_subscriber::registry().with(tracewell_tracing::layer().tracer(tracer.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let cause = tracing::info_span!("cause");
        let span = tracing::info_span!(
            target: "shop::catalog",
            "query",
            otel.name = "find image",
            otel.kind = "client",
            rows = tracing::field::Empty,
            large = u64::MAX,
            share = 0.5,
            cached = true,
            path = ?std::path::Path::new("/a"),
        );
        span.follows_from(&cause);
        span.record("rows", 3);
        span.in_scope(|| {
            tracing::info!(attempt = 2, "cache {}", "miss");
            tracing::error!(error = "disk full", "cannot write");
        });
        let own = tracer.span("own").start();
        own.in_scope(|| tracing::info!(by = "own", "seen from within"));
    });
    flush(&tracer);
    let span = exporter.span("find image").unwrap();
    assert_eq!(span.kind, SpanKind::Client);
    assert_eq!(text(&span, "tracing.target"), Some("shop::catalog"));
    assert_eq!(span.tag_value("rows"), Some(&3.into()));
    assert_eq!(text(&span, "large"), Some("18446744073709551615"));
    assert_eq!(span.tag_value("share"), Some(&0.5.into()));
    assert_eq!(span.tag_value("cached"), Some(&true.into()));
    assert_eq!(text(&span, "path"), Some("\"/a\""));
    assert!(span.tags.iter().all(|(key, _)| !key.starts_with("otel.")), "{span:#?}");
    assert_eq!(span.links, [exporter.span("cause").unwrap().context]);
    assert_eq!(span.events.iter().map(|event| &*event.name).collect::<Vec<_>>(), ["cache miss", "cannot write"]);
    assert!(span.events[0].tags.contains(&("attempt".into(), 2.into())), "{:?}", span.events[0]);
    assert!(span.events[0].tags.contains(&("level".into(), "INFO".into())));
    assert_eq!(span.status, Status::Error("disk full".into()));
    let own = exporter.span("own").unwrap();
    assert_eq!((&*own.events[0].name, own.events[0].tags.len()), ("seen from within", 2));
}

/// A place for log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn every_log_line_within_a_span_names_it() {
    let (tracer, _exporter) = tracer();
    let span = tracer.span("request").start();
    let (trace_id, span_id) = (span.span_context().trace_id.to_string(), span.span_context().span_id.to_string());
    let context = span.context().with_request_id("r-\"7");
    let log = || {
        context.clone().in_scope(|| tracing::info!(image = 7, "found"));
        tracing::info!("outside");
    };

    let lines = Lines::default();
    let text = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false);
    tracing::subscriber::with_default(text.event_format(tracewell_tracing::with_ids(format())).finish(), log);
    let written = lines.text();
    let (within, outside) = written.trim_end().split_once('\n').unwrap();
    assert!(
        within
            .ends_with(&format!("found image=7 trace_id={trace_id} span_id={span_id} trace_flags=03 request_id=r-\"7")),
        "{within}"
    );
    assert!(outside.ends_with("outside"), "{outside}");

    let lines = Lines::default();
    let json = tracing_subscriber::fmt().with_writer(lines.clone()).fmt_fields(JsonFields::new());
    tracing::subscriber::with_default(json.event_format(tracewell_tracing::with_ids(format().json())).finish(), log);
    let parsed: Vec<serde_json::Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(parsed[0]["fields"]["message"], "found");
    assert_eq!((&parsed[0]["trace_id"], &parsed[0]["span_id"]), (&trace_id.as_str().into(), &span_id.as_str().into()));
    assert_eq!(parsed[0]["request_id"], "r-\"7");
    assert_eq!(parsed[0]["trace_flags"], "03");
    assert!(parsed[1].get("trace_id").is_none());

    let lines = Lines::default();
    let coloured = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(true);
    tracing::subscriber::with_default(coloured.event_format(tracewell_tracing::with_ids(format())).finish(), log);
    let text = lines.text();
    let within = text.lines().next().unwrap();
    assert!(within.starts_with("\x1b[2m20"), "the time comes first: {within}");
    let ids = format!("\x1b[2mtrace_id={trace_id} span_id={span_id} trace_flags=03 request_id=r-\"7\x1b[0m");
    assert!(within.contains("\x1b[32m INFO\x1b[0m") && within.ends_with(&ids), "{within:?}");
}

#[test]
fn two_layers_keep_apart_what_each_has_opened() {
    let tracers = [tracer(), tracer()];
    let layers = [0, 1].map(|n| tracewell_tracing::layer().tracer(tracers[n].0.clone()));
    let [first, second] = layers;
    let subscriber = tracing_subscriber::registry().with(first).with(second);
    tracing::subscriber::with_default(subscriber, || {
        tracing::info_span!("outer").in_scope(|| {
            tracing::info!("happened");
            tracing::info_span!("inner").in_scope(|| {});
        });
    });
    for (tracer, exporter) in &tracers {
        flush(tracer);
        assert_eq!(exporter.tree(&[]), "outer\n  * happened\n  inner\n");
    }
}

#[test]
fn a_parent_that_is_filtered_out_is_replaced_by_its_own() {
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::filter::LevelFilter;
    let (tracer, exporter) = tracer();
    let layer = tracewell_tracing::layer().tracer(tracer.clone()).with_filter(LevelFilter::INFO);
    // Another layer, which sees all.
    let subscriber =
        tracing_subscriber::registry().with(layer).with(tracing_subscriber::fmt::layer().with_writer(std::io::sink));
    tracing::subscriber::with_default(subscriber, || {
        let seen = tracing::info_span!("seen");
        let filtered = tracing::debug_span!(parent: &seen, "filtered");
        let deeper = tracing::trace_span!(parent: &filtered, "deeper");
        drop(tracing::info_span!(parent: &deeper, "child"));
    });
    flush(&tracer);
    assert_eq!(exporter.tree(&[]), "seen\n  child\n");
}

#[test]
fn libraries_that_move_bytes_are_left_out_unless_asked_for() {
    for (with_transport, expected) in
        [(false, "request\n  * own\n"), (true, "request\n  * own\n  Connection\n    * frame\n")]
    {
        let (tracer, exporter) = tracer();
        let layer = tracewell_tracing::layer().tracer(tracer.clone());
        let layer = if with_transport { layer.with_transport() } else { layer };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info_span!("request").in_scope(|| {
                tracing::info!("own");
                tracing::info_span!(target: "h2::client", "Connection").in_scope(|| {
                    tracing::info!(target: "hyper_util::client", "frame");
                });
            });
        });
        flush(&tracer);
        assert_eq!(exporter.tree(&[]), expected);
    }
}

#[test]
fn an_error_is_recorded_with_its_causes() {
    #[derive(Debug)]
    struct Failed(std::io::Error);
    impl std::fmt::Display for Failed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("cannot save")
        }
    }
    impl std::error::Error for Failed {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let (tracer, exporter) = tracer();
    let subscriber = tracing_subscriber::registry().with(tracewell_tracing::layer().tracer(tracer.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let error = Failed(std::io::Error::other("disk on fire"));
        tracing::info_span!("save").in_scope(|| {
            tracing::error!(error = &error as &dyn std::error::Error, "failed");
        });
    });
    flush(&tracer);
    let span = exporter.span("save").unwrap();
    assert_eq!(span.status, Status::Error("cannot save".into()));
    let tags = &span.events[0].tags;
    for (key, value) in [
        ("error", "cannot save"),
        ("exception.message", "cannot save"),
        ("exception.stacktrace", "cannot save\ncaused by: disk on fire"),
    ] {
        assert!(tags.contains(&(key.into(), value.into())), "{key}: {tags:?}");
    }
}

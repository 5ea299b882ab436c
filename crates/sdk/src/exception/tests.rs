use crate::{Config, Event, InMemoryExporter, Span, SpanData, Status, Tracer};
use std::error::Error;
use std::fmt;
use std::time::Duration;

#[derive(Debug)]
struct CannotSave(std::io::Error);

impl fmt::Display for CannotSave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot save")
    }
}

impl Error for CannotSave {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn failing() -> CannotSave {
    CannotSave(std::io::Error::other("disk on fire"))
}

/// The span after this was done with it.
fn after(work: impl FnOnce(Span)) -> SpanData {
    let exporter = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    work(tracer.span("work").start());
    tracer.shutdown(Duration::from_secs(30)).unwrap();
    exporter.span("work").unwrap()
}

fn tags(event: &Event) -> Vec<(&str, &str)> {
    event.tags.iter().map(|(key, value)| (&**key, value.as_str().unwrap())).collect()
}

#[test]
fn an_error_is_recorded_with_its_type_and_its_causes() {
    for span in
        [after(|span| _ = span.error(failing())), after(|span| _ = span.exception(&failing()).error("cannot save"))]
    {
        assert_eq!(span.status, Status::Error("cannot save".into()));
        let [event] = &span.events[..] else { panic!("{:?}", span.events) };
        assert_eq!(event.name, "exception");
        let expected = [
            ("exception.type", "tracewell::exception::tests::CannotSave"),
            ("exception.message", "cannot save"),
            ("exception.stacktrace", "cannot save\ncaused by: disk on fire"),
        ];
        assert_eq!(tags(event), expected);
    }
}

#[test]
fn errors_of_any_type_and_texts_are_failures() {
    let boxed: Box<dyn Error + Send + Sync> = failing().into();
    let span = after(|span| _ = span.error(&boxed));
    assert_eq!(span.events[0].tags.len(), 2, "a type that is not known is not told");
    let span = after(|span| _ = span.error(boxed));
    assert_eq!(tags(&span.events[0])[1].1, "cannot save\ncaused by: disk on fire");
    for span in [
        after(|span| _ = span.error("text")),
        after(|span| _ = span.error("text".to_owned())),
        after(|span| _ = span.error("text".to_owned())),
        after(|span| _ = span.error(format_args!("te{}", "xt"))),
        after(|span| _ = span.error(crate::display("text"))),
    ] {
        assert_eq!((span.status, span.events.len()), (Status::Error("text".into()), 0));
    }
}

#[test]
fn a_panic_tells_its_text_on_each_span_that_it_unwinds() {
    let span = after(|span| {
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _span = span;
            panic!("out of {}", "ideas");
        }));
        unwound.unwrap_err();
    });
    assert_eq!(span.status, Status::Error("panicked: out of ideas".into()));
    let tags = tags(&span.events[0]);
    assert_eq!(tags[..2], [("exception.type", "panic"), ("exception.message", "out of ideas")]);
    assert!(tags[2].1.contains("tests.rs:"), "{tags:?}");
}

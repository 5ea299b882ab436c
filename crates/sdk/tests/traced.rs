//! The attribute `#[traced]`.

#![cfg(feature = "macros")]

use std::time::Duration;
use tracewell::{Config, InMemoryExporter, SpanKind, Status, traced};

const LONG: Duration = Duration::from_secs(60);

#[traced]
fn plain() {
    tracewell::event("inside");
}

#[derive(Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it failed")
    }
}

/// With all that the attribute takes, `?` and an early return.
#[traced(name = "resize image", kind = Client, err, tags(width, name, ?mode, %failed, "image.area" = width * 2, user.id = 7))]
fn resize(width: u32, name: String, mode: Option<u8>, failed: Failed) -> Result<String, Failed> {
    if width == 0 {
        return Err(failed);
    }
    let name = check(&name)?.to_owned();
    Ok(name)
}

fn check(name: &str) -> Result<&str, Failed> {
    if name.is_empty() { Err(Failed) } else { Ok(name) }
}

struct Store<T>(T);

impl<T: Clone + Send + Sync> Store<T> {
    #[traced(tags(count))]
    async fn fetch(&self, count: usize) -> Vec<T>
    where
        T: 'static,
    {
        plain();
        tokio::task::yield_now().await;
        vec![self.0.clone(); count]
    }

    #[traced(err)]
    async fn fail(&self) -> Result<(), Failed> {
        tokio::task::yield_now().await;
        Err(Failed)?;
        Ok(())
    }

    #[traced]
    fn first<'a, F: Fn(&'a T) -> u8>(&'a self, f: F) -> impl Fn() -> u8 + use<'a, T, F> {
        move || f(&self.0)
    }
}

#[tokio::test]
async fn each_call_is_a_span_with_what_was_asked_for() {
    let exporter = InMemoryExporter::new();
    let config = Config::new("test").exporter(exporter.clone()).shutdown_timeout(LONG);
    let guard = tracewell::init(config).unwrap();
    let store = Store(1_u8);
    assert_eq!(store.fetch(2).await, [1, 1]);
    store.fail().await.unwrap_err();
    assert_eq!(store.first(|value| *value)(), 1);
    assert_eq!(resize(2, "sea".to_owned(), Some(1), Failed).unwrap(), "sea");
    tracewell::tracer().flush(LONG).unwrap();

    let fetch = exporter.span("fetch").unwrap();
    assert_eq!(fetch.tag_value("count"), Some(&2.into()));
    let inside = exporter.span("plain").unwrap();
    assert_eq!(inside.parent_span_id, Some(fetch.context.span_id));
    assert_eq!(inside.events[0].name, "inside");
    assert_eq!(exporter.span("fail").unwrap().status, Status::Error("it failed".into()));
    assert!(exporter.span("first").is_some());

    let resized = exporter.span("resize image").unwrap();
    assert_eq!((resized.kind, resized.status), (SpanKind::Client, Status::Unset));
    let tags: Vec<_> = resized.tags.iter().map(|(key, value)| (&**key, value.clone())).collect();
    let expected: [(&str, tracewell::Value); 6] = [
        ("width", 2.into()),
        ("name", "sea".into()),
        ("mode", "Some(1)".into()),
        ("failed", "it failed".into()),
        ("image.area", 4.into()),
        ("user.id", 7.into()),
    ];
    assert_eq!(tags, expected);

    resize(0, "sea".to_owned(), None, Failed).unwrap_err();
    resize(1, String::new(), None, Failed).unwrap_err();
    drop(guard);
    let failed = exporter.spans().into_iter().filter(|span| span.status == Status::Error("it failed".into()));
    assert_eq!(failed.filter(|span| span.name == "resize image").count(), 2);
}

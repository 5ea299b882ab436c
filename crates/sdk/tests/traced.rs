//! The attribute `#[traced]`.

#![cfg(feature = "macros")]

use std::future::Future;
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

/// What `#[async_trait]` makes of `async fn load(&self, id: u8) -> u8`.
mod as_async_trait {
    use super::{plain, traced};
    use std::future::Future;
    use std::pin::Pin;

    pub(crate) trait Load {
        fn load<'life0, 'async_trait>(&'life0 self, id: u8) -> Pin<Box<dyn Future<Output = u8> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait;
    }

    impl Load for u8 {
        #[traced(tags(id, "own" = *self))]
        fn load<'life0, 'async_trait>(&'life0 self, id: u8) -> Pin<Box<dyn Future<Output = u8> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async move {
                if let Some(__ret) = None::<u8> {
                    #[allow(unreachable_code)]
                    return __ret;
                }
                let __self = self;
                let id = id;
                let __ret: u8 = {
                    tokio::task::yield_now().await;
                    plain();
                    *__self + id
                };
                #[allow(unreachable_code)]
                __ret
            })
        }
    }
}

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[traced(err)]
fn opaque(fails: bool) -> impl Future<Output = Result<u8, Failed>> {
    let fails = !fails;
    async move {
        tokio::task::yield_now().await;
        plain();
        if fails { Ok(7) } else { Err(Failed) }
    }
}

async fn named(fails: bool) -> Result<u8, Failed> {
    tokio::task::yield_now().await;
    plain();
    if fails { Err(Failed) } else { Ok(7) }
}

#[traced(err)]
fn passed_on(fails: bool) -> impl Future<Output = Result<u8, Failed>> {
    named(fails)
}

#[traced]
fn boxed(name: &str) -> BoxFuture<'_, usize> {
    if name.is_empty() {
        return Box::pin(std::future::ready(0));
    }
    let length = name.len();
    Box::pin(async move {
        tokio::task::yield_now().await;
        plain();
        length
    })
}

#[traced(err)]
fn boxed_elsewhere(fails: bool) -> std::pin::Pin<Box<dyn Future<Output = Result<u8, Failed>> + Send>> {
    let future = named(fails);
    Box::pin(future)
}

trait Shape: Send {}
impl Shape for u8 {}
impl Shape for u16 {}

/// What a function returns is coerced.
#[traced]
async fn shape(large: bool) -> Result<Box<dyn Shape>, String> {
    if large {
        return Ok(Box::new(1_u16));
    }
    Ok(Box::new(1_u8))
}

#[traced(err)]
async fn bytes() -> Result<&'static [u8], String> {
    Ok(&[1, 2, 3])
}

#[traced(err, tags(%url, ?items, name))]
async fn owned<T: std::fmt::Debug>(url: String, items: Vec<T>, name: String) -> Result<usize, String> {
    drop(url);
    Ok(items.len() + name.len())
}

#[traced(err)]
fn entry(entries: &mut [u8]) -> Result<&mut u8, String> {
    entries.last_mut().ok_or_else(|| "none".to_owned())
}

#[traced(err)]
fn evens(all: &[u8]) -> Result<impl Iterator<Item = u8>, Box<dyn std::error::Error + Send + Sync>> {
    Ok(all.iter().copied().filter(|n| n % 2 == 0))
}

#[traced(err)]
fn fails_for_a_reason() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Err(std::io::Error::other(std::fmt::Error))?;
    Ok(())
}

#[traced(tags(job.text = job.text))]
async fn run(job: Job) -> usize {
    job.text.len()
}

struct Job {
    text: String,
}

#[tokio::test]
async fn a_span_covers_the_whole_future_however_it_is_returned() {
    use as_async_trait::Load as _;
    let exporter = InMemoryExporter::new();
    let tracer = tracewell::Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let work = async {
        assert_eq!(1_u8.load(2).await, 3);
        opaque(false).await.unwrap();
        opaque(true).await.unwrap_err();
        passed_on(true).await.unwrap_err();
        assert_eq!(boxed("sea").await, 3);
        assert_eq!(boxed("").await, 0);
        boxed_elsewhere(true).await.unwrap_err();
    };
    tracewell::FutureExt::in_span(work, tracer.span("test").start()).await;
    tracer.flush(LONG).unwrap();
    let expected = "\
test
  load id=2 own=1
    plain
      * inside
  opaque
    plain
      * inside
  opaque error=\"it failed\"
    plain
      * inside
  passed_on error=\"it failed\"
    plain
      * inside
  boxed
    plain
      * inside
  boxed
  boxed_elsewhere error=\"it failed\"
    plain
      * inside
";
    assert_eq!(exporter.tree(&["id", "own"]), expected);
}

#[tokio::test]
async fn functions_compile_as_they_do_without_the_attribute() {
    let exporter = InMemoryExporter::new();
    let tracer = tracewell::Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let work = async {
        shape(true).await.unwrap();
        assert_eq!(bytes().await.unwrap(), [1, 2, 3]);
        assert_eq!(owned("http://x".to_owned(), vec![1], "ab".to_owned()).await.unwrap(), 3);
        *entry(&mut [1]).unwrap() += 1;
        entry(&mut []).unwrap_err();
        assert_eq!(evens(&[1, 2]).unwrap().count(), 1);
        fails_for_a_reason().unwrap_err();
        assert_eq!(run(Job { text: "abc".to_owned() }).await, 3);
    };
    tracewell::FutureExt::in_span(work, tracer.span("test").start()).await;
    tracer.flush(LONG).unwrap();
    let expected = "\
test
  shape
  bytes
  owned url=\"http://x\" items=\"[1]\" name=\"ab\"
  entry
  entry error=\"none\"
  evens
  fails_for_a_reason error=\"an error occurred when formatting an argument\"
    * exception
  run job.text=\"abc\"
";
    assert_eq!(exporter.tree(&["url", "items", "name", "job.text"]), expected);
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

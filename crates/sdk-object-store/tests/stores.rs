//! Files, and a server that speaks S3's protocol, started here on a free port.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload as _, ObjectStore, ObjectStoreExt as _};
use tracewell::{Config, Context, FutureExt as _, InMemoryExporter, SpanKind, Status, Tracer, Value};
use tracewell_parts::S3;

const BUCKET: &str = "pictures";

fn bucket(server: &S3) -> AmazonS3 {
    // The client wants to be told of cryptography, although none is needed here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    AmazonS3Builder::new()
        .with_endpoint(server.url())
        .with_allow_http(true)
        .with_bucket_name(BUCKET)
        .with_region("us-east-1")
        .with_access_key_id("secret-id")
        .with_secret_access_key("secret-key")
        .build()
        .unwrap()
}

fn tracer() -> (Tracer, InMemoryExporter) {
    let exporter = InMemoryExporter::new();
    (Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap(), exporter)
}

/// Everything that a store can do, in a span.
async fn use_all(store: &impl ObjectStore, tracer: &Tracer) {
    let (one, two) = (Path::from("people/1.svg"), Path::from("people/2.svg"));
    let work = async {
        store.put(&one, "secret".into()).await.unwrap();
        assert_eq!(store.get(&one).await.unwrap().bytes().await.unwrap(), "secret");
        assert_eq!(store.head(&one).await.unwrap().size, 6);
        assert_eq!(store.get_ranges(&one, &[0..2, 2..6]).await.unwrap(), ["se", "cret"]);
        store.copy(&one, &two).await.unwrap();
        let mut upload = store.put_multipart(&one).await.unwrap();
        upload.put_part("secret".into()).await.unwrap();
        upload.complete().await.unwrap();
        let listed = store.list_with_delimiter(Some(&Path::from("people"))).await.unwrap();
        assert_eq!(listed.objects.len(), 2);
        let mut all = store.list(None);
        let mut count = 0;
        while let Some(object) = std::future::poll_fn(|task| all.as_mut().poll_next(task)).await {
            object.unwrap();
            count += 1;
        }
        assert_eq!(count, 2);
        store.delete(&two).await.unwrap();
        store.get(&two).await.unwrap_err();
    };
    work.in_span(tracer.span("parent").start()).await;
    tracer.shutdown(Duration::from_secs(30)).unwrap();
}

/// Each operation's name, whether it failed, and the values of a key.
fn operations(exporter: &InMemoryExporter, key: &str) -> Vec<(String, bool, Option<Value>)> {
    let parent = exporter.span("parent").unwrap();
    let spans = exporter.spans();
    let mut children: Vec<_> = spans.iter().filter(|span| span.name != "parent").collect();
    children.sort_by_key(|span| span.start_unix_nanos);
    let seen = children.iter().map(|span| {
        assert_eq!((span.kind, span.parent_span_id), (SpanKind::Client, Some(parent.context.span_id)));
        (span.name.to_string(), matches!(span.status, Status::Error(_)), span.tag_value(key).cloned())
    });
    let seen = seen.collect();
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
    seen
}

#[tokio::test]
async fn each_operation_on_files_is_a_span() {
    let folder = tempfile::tempdir().unwrap();
    let (tracer, exporter) = tracer();
    let files = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    use_all(&tracewell_object_store::traced(files).tracer(tracer.clone()), &tracer).await;
    let (one, two) = (Some(Value::from("people/1.svg")), Some(Value::from("people/2.svg")));
    let expected = [
        ("put object", false, one.clone()),
        ("get object", false, one.clone()),
        ("head object", false, one.clone()),
        ("get object", false, one.clone()),
        ("copy object", false, two.clone()),
        ("start upload object", false, one.clone()),
        ("upload part object", false, one.clone()),
        ("complete upload object", false, one),
        ("list object", false, None),
        ("list object", false, None),
        ("delete object", false, None),
        ("get object", true, two),
    ];
    assert_eq!(operations(&exporter, "object.key"), expected.map(|(name, failed, key)| (name.to_owned(), failed, key)));
    let spans = exporter.spans();
    let with = |key: &str, value: i64| spans.iter().filter(|span| span.tag_value(key) == Some(&value.into())).count();
    assert_eq!((with("object.size", 6), with("object.count", 2), with("object.count", 1)), (4, 2, 1));
    let missing = spans.iter().find(|span| matches!(span.status, Status::Error(_))).unwrap();
    assert_eq!(missing.tag_value("error.type"), Some(&"not found".into()));
}

/// What a store's requests are sent with; each is answered with `404`.
#[derive(Clone, Debug, Default)]
struct Answers(Arc<Mutex<Vec<Headers>>>);

/// `traceparent` and `x-request-id`.
type Headers = (Option<String>, Option<String>);

impl HttpConnector for Answers {
    fn connect(&self, _: &object_store::ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait::async_trait]
impl HttpService for Answers {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        self.0.lock().unwrap().push((header("traceparent"), header("x-request-id")));
        let mut answer = HttpResponse::new(bytes::Bytes::new().into());
        *answer.status_mut() = reqwest::StatusCode::NOT_FOUND;
        Ok(answer)
    }
}

#[tokio::test]
async fn the_context_and_the_request_id_go_along_with_a_stores_requests() {
    let (tracer, exporter) = tracer();
    let sent = Answers::default();
    let store = AmazonS3Builder::new()
        .with_bucket_name(BUCKET)
        .with_access_key_id("id")
        .with_secret_access_key("key")
        .with_http_connector(tracewell_object_store::Propagating::new(sent.clone()));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = tracewell_object_store::traced(store.build().unwrap()).tracer(tracer.clone());
    let get = async { store.get(&Path::from("7.svg")).await.unwrap_err() };
    get.with_context(Context::new().with_request_id("r-42")).await;
    tracer.shutdown(Duration::from_secs(30)).unwrap();
    let span = exporter.span("get object").unwrap().context;
    let parent = format!("00-{}-{}-03", span.trace_id, span.span_id);
    assert_eq!(*sent.0.lock().unwrap(), [(Some(parent), Some("r-42".to_owned()))]);
}

#[tokio::test]
async fn each_operation_of_s3_is_a_span_in_its_own_words() {
    let Some(server) = S3::start(BUCKET) else { return };
    let (tracer, exporter) = tracer();
    let store = tracewell_object_store::traced(bucket(&server)).tracer(tracer.clone()).s3_bucket(BUCKET);
    use_all(&store, &tracer).await;
    let names: Vec<_> = operations(&exporter, "aws.s3.key").into_iter().map(|(name, ..)| name).collect();
    let expected = [
        "PutObject",
        "GetObject",
        "HeadObject",
        "GetObject",
        "CopyObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "ListObjectsV2",
        "ListObjectsV2",
        "DeleteObjects",
        "GetObject",
    ];
    assert_eq!(names, expected.map(|name| format!("S3/{name}")));
    let put = exporter.span("S3/PutObject").unwrap();
    for (key, value) in [
        ("rpc.system.name", "aws-api"),
        ("rpc.method", "S3/PutObject"),
        ("aws.s3.bucket", BUCKET),
        ("aws.s3.key", "people/1.svg"),
    ] {
        assert_eq!(put.tag_value(key), Some(&value.into()), "{key}");
    }
    assert_eq!(exporter.span("S3/UploadPart").unwrap().tag_value("aws.s3.part_number"), Some(&1.into()));
}

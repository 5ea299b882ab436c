//! Spans of object storage: a store that makes one of each operation, and is otherwise the store that it was.
//!
//! ```no_run
//! use object_store::{ObjectStoreExt as _, memory::InMemory, path::Path};
//!
//! # async fn example() -> object_store::Result<()> {
//! let store = tracewell_object_store::traced(InMemory::new()).s3_bucket("pictures");
//! let picture = store.get(&Path::from("7.svg")).await?.bytes().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A span covers the time until the head of the answer; that of a listing or of deletions, the whole of it. Contents are
//! not recorded, and no text of an error, which may quote answers: its kind is.
//!
//! # Features
//! `http`: `Propagating`, which sends the context and the request id along with the requests of a store.

#[cfg(feature = "http")]
mod propagation;
mod upload;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
#[cfg(feature = "http")]
pub use propagation::Propagating;
use tracewell::{Key, Span, SpanKind, Status, StreamExt as _, Tracer, with_outcome};

/// The store with a span of each operation.
pub fn traced<S: ObjectStore>(store: S) -> Traced<S> {
    Traced { store, about: About::default() }
}

/// See [`traced`].
#[derive(Clone, Debug)]
pub struct Traced<S> {
    store: S,
    about: About,
}

/// What is told of a store in each span.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    tracer: Option<Tracer>,
    bucket: Option<Key>,
}

impl<S> Traced<S> {
    /// With this tracer instead of the global one.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.about.tracer = Some(tracer);
        self
    }

    /// Tells that the store is this bucket of S3: spans have `aws.s3.bucket` and `aws.s3.key`.
    #[must_use]
    pub fn s3_bucket(mut self, bucket: impl Into<Key>) -> Self {
        self.about.bucket = Some(bucket.into());
        self
    }
}

impl About {
    /// Of S3 the operation's name is that of its API.
    pub(crate) fn span(&self, operation: &'static str, s3_operation: &'static str, key: Option<&Path>) -> Span {
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let key = key.map(AsRef::<str>::as_ref);
        match &self.bucket {
            Some(bucket) => {
                let span = tracer.span(format!("S3/{s3_operation}")).kind(SpanKind::Client);
                let span = span.tag("rpc.system.name", "aws-api").tag("rpc.method", format!("S3/{s3_operation}"));
                span.tag("aws.s3.bucket", bucket.clone()).tag("aws.s3.key", key).start()
            }
            None => {
                let span = tracer.span(format!("{operation} object")).kind(SpanKind::Client);
                span.tag("object.operation", operation).tag("object.key", key).start()
            }
        }
    }
}

/// Marks the span of what failed.
pub(crate) fn note<T>(span: &Span, result: &Result<T>) {
    if let Err(error) = result {
        let kind = kind(error);
        span.tag("error.type", kind).status(Status::Error(kind.into()));
    }
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::NotFound { .. } => "not found",
        Error::InvalidPath { .. } => "invalid path",
        Error::NotSupported { .. } | Error::NotImplemented { .. } => "not supported",
        Error::AlreadyExists { .. } => "already exists",
        Error::Precondition { .. } => "precondition",
        Error::NotModified { .. } => "not modified",
        Error::PermissionDenied { .. } => "permission denied",
        Error::Unauthenticated { .. } => "unauthenticated",
        _ => "error",
    }
}

fn bytes(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl<S: fmt::Display> fmt::Display for Traced<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Traced<S> {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let span = self.about.span("put", "PutObject", Some(key));
        span.tag("object.size", bytes(payload.content_length()));
        with_outcome(span, self.store.put_opts(key, payload, options), note).await
    }

    async fn put_multipart_opts(&self, key: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let span = self.about.span("start upload", "CreateMultipartUpload", Some(key));
        let upload = with_outcome(span, self.store.put_multipart_opts(key, options), note).await?;
        Ok(Box::new(upload::Upload::new(upload, self.about.clone(), key.clone())))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let names = if options.head { ("head", "HeadObject") } else { ("get", "GetObject") };
        let span = self.about.span(names.0, names.1, Some(key));
        with_outcome(span, self.store.get_opts(key, options), |span, result| {
            note(span, result);
            if let Ok(found) = result {
                span.tag("object.size", i64::try_from(found.range.end - found.range.start).unwrap_or(i64::MAX));
            }
        })
        .await
    }

    async fn get_ranges(&self, key: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let span = self.about.span("get", "GetObject", Some(key));
        span.tag("object.ranges", bytes(ranges.len()));
        with_outcome(span, self.store.get_ranges(key, ranges), note).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let span = self.about.span("delete", "DeleteObjects", None);
        let deletions = span.in_scope(|| self.store.delete_stream(keys));
        counted(span, deletions)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let span = self.about.span("list", "ListObjectsV2", None);
        let listing = span.in_scope(|| self.store.list(prefix));
        counted(span, listing)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let span = self.about.span("list", "ListObjectsV2", None);
        let listing = span.in_scope(|| self.store.list_with_offset(prefix, offset));
        counted(span, listing)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let span = self.about.span("list", "ListObjectsV2", None);
        with_outcome(span, self.store.list_with_delimiter(prefix), |span, result| {
            note(span, result);
            if let Ok(found) = result {
                span.tag("object.count", bytes(found.objects.len()));
            }
        })
        .await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let span = self.about.span("copy", "CopyObject", Some(to));
        with_outcome(span, self.store.copy_opts(from, to, options), note).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let span = self.about.span("rename", "RenameObject", Some(to));
        with_outcome(span, self.store.rename_opts(from, to, options), note).await
    }
}

/// Tells how many there were when there are no more.
fn counted<T: 'static>(span: Span, objects: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
    let mut count = 0;
    Box::pin(objects.in_span_with(span, move |span, object| match object {
        Some(object) => {
            note(span, object);
            count += i64::from(object.is_ok());
        }
        None => _ = span.tag("object.count", count),
    }))
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

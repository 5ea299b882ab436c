//! Spans of object storage through [`object_store`]: S3 and all that speaks its protocol, Google's, Azure's, files.
//!
//! ```
//! # async fn example() -> object_store::Result<()> {
//! use object_store::{ObjectStoreExt as _, memory::InMemory, path::Path};
//!
//! let store = tracewell_object_store::traced(InMemory::new(), "pictures");
//! store.put(&Path::from("7.svg"), "<svg/>".into()).await?; // a span `PUT pictures`
//! # Ok(())
//! # }
//! ```
//!
//! A span is named by the operation and the bucket, and tagged with `aws.s3.bucket` and `aws.s3.key` as the semantic
//! conventions for object stores have it, and with the bytes that were put. Listing ends with its last entry.

mod listing;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use listing::Listing;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use tracewell::{FutureExt as _, Span, SpanKind};

/// Makes a span of each operation of a store, child of the current one. The bucket's name is what the spans are called by.
pub fn traced<S: ObjectStore>(store: S, bucket: impl Into<Arc<str>>) -> Traced<S> {
    Traced { store, bucket: bucket.into() }
}

/// A store with spans; made by [`traced`].
#[derive(Clone, Debug)]
pub struct Traced<S> {
    store: S,
    bucket: Arc<str>,
}

impl<S> Traced<S> {
    fn span(&self, operation: &'static str, key: Option<&Path>) -> Span {
        tracewell::span(format!("{operation} {}", self.bucket))
            .kind(SpanKind::Client)
            .tag("rpc.system", "aws-api")
            .tag("rpc.method", operation)
            .tag("aws.s3.bucket", &*self.bucket)
            .tag("aws.s3.key", key.map(AsRef::<str>::as_ref))
            .start()
    }
}

/// Runs the operation inside its span.
async fn noted<T>(span: Span, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let work = async move {
        let result = work.await;
        if let Err(error) = &result {
            note(error);
        }
        result
    };
    work.in_span(span).await
}

/// Marks the current span as failed. An object that is not there, or there already, is an answer like any other.
fn note(error: &object_store::Error) {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => tracewell::tag("error.type", "not_found"),
        Error::AlreadyExists { .. } => tracewell::tag("error.type", "already_exists"),
        Error::Precondition { .. } => tracewell::tag("error.type", "precondition"),
        Error::NotModified { .. } => tracewell::tag("error.type", "not_modified"),
        other => {
            tracewell::tag("error.type", "object_store::Error");
            tracewell::error(tracewell::http::redact_urls(&other.to_string()));
        }
    }
}

impl<S: fmt::Display> fmt::Display for Traced<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Traced<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let span = self.span("PUT", Some(location));
        span.tag("http.request.body.size", payload.content_length());
        noted(span, self.store.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        noted(self.span("PUT_MULTIPART", Some(location)), self.store.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { "HEAD" } else { "GET" };
        noted(self.span(operation, Some(location)), self.store.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let span = self.span("DELETE", None);
        let deleted = span.in_scope(|| self.store.delete_stream(locations));
        Box::pin(Listing::new(deleted, span))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let span = self.span("LIST", prefix);
        let listed = span.in_scope(|| self.store.list(prefix));
        Box::pin(Listing::new(listed, span))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let span = self.span("LIST", prefix);
        let listed = span.in_scope(|| self.store.list_with_offset(prefix, offset));
        Box::pin(Listing::new(listed, span))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        noted(self.span("LIST", prefix), self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        noted(self.span("COPY", Some(to)), self.store.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        noted(self.span("RENAME", Some(to)), self.store.rename_opts(from, to, options)).await
    }
}

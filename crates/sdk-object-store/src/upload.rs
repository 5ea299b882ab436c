//! Uploads in parts.

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use tracewell::with_outcome;

use crate::{About, bytes, note};

/// An upload with a span of each part and of its end.
#[derive(Debug)]
pub(crate) struct Upload {
    upload: Box<dyn MultipartUpload>,
    about: About,
    key: Path,
    parts: i64,
}

impl Upload {
    pub(crate) fn new(upload: Box<dyn MultipartUpload>, about: About, key: Path) -> Self {
        Self { upload, about, key, parts: 0 }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts += 1;
        let span = self.about.span("upload part", "UploadPart", Some(&self.key));
        span.tag("aws.s3.part_number", self.parts).tag("object.size", bytes(data.content_length()));
        let part = span.in_scope(|| self.upload.put_part(data));
        Box::pin(with_outcome(span, part, note))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let span = self.about.span("complete upload", "CompleteMultipartUpload", Some(&self.key));
        with_outcome(span, self.upload.complete(), note).await
    }

    async fn abort(&mut self) -> Result<()> {
        let span = self.about.span("abort upload", "AbortMultipartUpload", Some(&self.key));
        with_outcome(span, self.upload.abort(), note).await
    }
}

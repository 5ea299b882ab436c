//! Requests to a bucket, waited for by threads that block, with a limit of time.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
    UpdateVersion,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::Sizes;
use crate::error::Unreachable;
use crate::{BucketOptions, StoreError};

/// How long a request is tried again for. A query waits for so long at most for a bucket that does not answer.
const RETRY_TIME: Duration = Duration::from_secs(10);
const MOST_RETRIES: usize = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MOST_BACKOFF: Duration = Duration::from_secs(2);
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long one attempt may take: a part of 8 MiB over a slow line.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How long a request may take with all its attempts, whatever the client does.
const MOST_TIME: Duration = Duration::from_secs(60);
/// The same while a start waits that has something else to go by.
const MOST_TIME_HURRIED: Duration = Duration::from_secs(10);
/// What an error shows of what a server said.
const MOST_SHOWN: usize = 500;

/// Requests are made here, so that the threads of the store may block.
static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("tracewell-bucket").enable_all().build()
});

/// A place in a bucket.
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// What messages call it.
    pub(crate) url: String,
    pub(crate) sizes: Sizes,
    /// Never shown, should a server repeat them in an answer.
    secrets: Vec<String>,
    /// True when no answer is waited for any more.
    given_up: watch::Sender<bool>,
    /// Whether a start waits, which has something else to go by.
    is_hurried: AtomicBool,
}

/// Why an object was not written.
pub(crate) enum PutError {
    /// It is not what the condition wants.
    Condition,
    /// It may have been written or not.
    Other(io::Error),
}

impl Bucket {
    /// A place in a bucket of S3 or of what speaks like it. Credentials and region are those of the variables `AWS_*`.
    /// Nothing is sent yet.
    pub(crate) fn connect(options: &BucketOptions) -> Result<Self, StoreError> {
        let invalid = |what: &str| StoreError::Invalid(format!("segments: {:?} {what}", options.url));
        let place = options.url.strip_prefix("s3://").ok_or_else(|| invalid("is no s3://BUCKET/PREFIX"))?;
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        if name.is_empty() {
            return Err(invalid("names no bucket"));
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|error| invalid(&error.to_string()))?;
        // Fails only if there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(name)
            .with_client_options(
                ClientOptions::new()
                    .with_connect_timeout(CONNECT_TIME)
                    .with_timeout(REQUEST_TIME)
                    .with_allow_http(options.endpoint.as_deref().is_some_and(|url| url.starts_with("http://"))),
            )
            .with_retry(RetryConfig {
                backoff: BackoffConfig { init_backoff: FIRST_BACKOFF, max_backoff: MOST_BACKOFF, base: 2.0 },
                max_retries: MOST_RETRIES,
                retry_timeout: RETRY_TIME,
            });
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| invalid(&error.to_string()))?;
        let mut sizes = Sizes::default();
        if options.cache_bytes == 0 {
            // What is read beyond what is asked for would be thrown away.
            sizes.piece_bytes = sizes.page_bytes;
        }
        let variables = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        let secrets = variables.into_iter().filter_map(|name| std::env::var(name).ok()).filter(|text| text.len() > 3);
        Ok(Self { secrets: secrets.collect(), ..Self::on(Arc::new(store), prefix, &options.url, sizes) })
    }

    pub(crate) fn on(store: Arc<dyn ObjectStore>, prefix: Path, url: &str, sizes: Sizes) -> Self {
        let (given_up, _) = watch::channel(false);
        Self {
            store,
            prefix,
            url: url.trim_end_matches('/').to_owned(),
            sizes,
            secrets: Vec::new(),
            given_up,
            is_hurried: AtomicBool::new(false),
        }
    }

    /// Waits less for each answer, or as long as usual again.
    pub(super) fn hurry(&self, is_hurried: bool) {
        self.is_hurried.store(is_hurried, Ordering::Relaxed);
    }

    /// Ends every request with an error, those that are on their way and those to come.
    pub(super) fn give_up(&self) {
        self.given_up.send_replace(true);
    }

    /// What messages call an object.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }

    fn path(&self, key: &str) -> Path {
        key.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// A whole object with what says which version of it that is; `None` if it is not there.
    pub(crate) fn get(&self, key: &str) -> io::Result<Option<(Bytes, UpdateVersion)>> {
        let (store, path) = (self.store.clone(), self.path(key));
        let got = self.wait(async move {
            let got = store.get(&path).await?;
            let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
            Ok((got.bytes().await?, version))
        });
        match got {
            Ok(got) => Ok(Some(got)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn get_range(&self, key: &str, range: Range<u64>) -> io::Result<Bytes> {
        let (store, path) = (self.store.clone(), self.path(key));
        self.wait(async move { store.get_range(&path, range).await })
    }

    pub(crate) fn length_bytes(&self, key: &str) -> io::Result<u64> {
        let (store, path) = (self.store.clone(), self.path(key));
        self.wait(async move { Ok(store.head(&path).await?.size) })
    }

    /// Writes an object, as far as a condition on what is there holds.
    pub(crate) fn put(&self, key: &str, bytes: Bytes, mode: PutMode) -> Result<UpdateVersion, PutError> {
        let (store, path) = (self.store.clone(), self.path(key));
        let put = self.wait(async move {
            match store.put_opts(&path, PutPayload::from_bytes(bytes), mode.into()).await {
                Ok(put) => Ok(Some(put)),
                Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => Ok(None),
                Err(other) => Err(other),
            }
        });
        match put {
            Ok(Some(put)) => Ok(put.into()),
            Ok(None) => Err(PutError::Condition),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(PutError::Other(self.unreachable("there is no such bucket, or no such object to replace")))
            }
            Err(other) => Err(PutError::Other(other)),
        }
    }

    /// Removes an object, if it is there.
    pub(crate) fn delete(&self, key: &str) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(key));
        match self.wait(async move { store.delete(&path).await }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(crate) fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let (store, from, to) = (self.store.clone(), self.path(from), self.path(to));
        self.wait(async move { store.copy(&from, &to).await })
    }

    /// The names of the objects in a folder.
    pub(crate) fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let (store, path) = (self.store.clone(), self.path(folder));
        let listed = self.wait(async move { store.list_with_delimiter(Some(&path)).await })?;
        Ok(listed.objects.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }

    /// Begins an object that is sent in parts, and is there when the last one is.
    pub(crate) fn begin(&self, key: &str) -> io::Result<Box<dyn MultipartUpload>> {
        let (store, path) = (self.store.clone(), self.path(key));
        self.wait(async move { store.put_multipart(&path).await })
    }

    pub(crate) fn send_part(&self, upload: &mut dyn MultipartUpload, bytes: Bytes) -> io::Result<()> {
        self.wait(upload.put_part(PutPayload::from_bytes(bytes)))
    }

    pub(crate) fn complete(&self, mut upload: Box<dyn MultipartUpload>) -> io::Result<()> {
        self.wait(async move { upload.complete().await.map(drop) })
    }

    /// Takes back the parts of an object that will not be completed. Nobody waits for it: should it fail, the bucket
    /// holds parts that cost and are not listed, which is what a bucket's rule on incomplete uploads is for.
    pub(crate) fn abort(&self, mut upload: Box<dyn MultipartUpload>) {
        if let Ok(runtime) = &*RUNTIME {
            let url = self.url.clone();
            runtime.spawn(async move {
                if upload.abort().await.is_err() {
                    tracing::warn!(bucket = url, "cannot take back an upload that was not completed");
                }
            });
        }
    }

    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        let runtime = RUNTIME.as_ref().map_err(|error| self.unreachable(&error.to_string()))?;
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let mut given_up = self.given_up.subscribe();
        let most_time = if self.is_hurried.load(Ordering::Relaxed) { MOST_TIME_HURRIED } else { MOST_TIME };
        runtime.spawn(async move {
            let answer = tokio::select! {
                biased;
                // An error means that the bucket is gone, and with it who waits.
                _ = given_up.wait_for(|given_up| *given_up) => None,
                answer = tokio::time::timeout(most_time, request) => Some(answer),
            };
            // The receiver is there for as long as this may take.
            let _ = sender.send(answer);
        });
        match receiver.recv() {
            Ok(Some(Ok(Ok(value)))) => Ok(value),
            Ok(Some(Ok(Err(object_store::Error::NotFound { path, .. })))) => {
                Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no object {path}")))
            }
            Ok(Some(Ok(Err(error)))) => Err(self.unreachable(&error.to_string())),
            Ok(Some(Err(_))) => Err(self.unreachable(&format!("no answer within {most_time:?}"))),
            Ok(None) | Err(_) => Err(self.unreachable("the request was given up")),
        }
    }

    fn unreachable(&self, why: &str) -> io::Error {
        io::Error::other(Unreachable(format!("{}: {}", self.url, self.shown(why))))
    }

    /// A message without the XML of an answer but its code and message, and without secrets.
    fn shown(&self, text: &str) -> String {
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(content, _)| content)
        };
        let mut shown = match text.split_once('<') {
            Some((before, _)) => {
                let said: Vec<&str> = ["Code", "Message"].into_iter().filter_map(element).collect();
                format!("{}{}", before, said.join(": "))
            }
            None => text.to_owned(),
        };
        for secret in &self.secrets {
            shown = shown.replace(secret, "***");
        }
        match shown.char_indices().nth(MOST_SHOWN) {
            Some((end, _)) => format!("{}...", &shown[..end]),
            None => shown,
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn bucket() -> Bucket {
        let bucket = Bucket::on(Arc::new(InMemory::new()), Path::default(), "s3://spans", Sizes::default());
        Bucket { secrets: vec!["wJalrXUtnFEMI".to_owned()], ..bucket }
    }

    #[test]
    fn no_error_shows_a_secret_or_the_whole_of_an_answer() {
        let said = "Error performing GET http://host/spans in 10ms - Server returned non-2xx status code: 403 Forbidden: \
                    <?xml version=\"1.0\"?><Error><Code>InvalidToken</Code><Message>The token wJalrXUtnFEMI is \
                    malformed</Message><Token-0>wJalrXUtnFEMI</Token-0></Error>";
        let shown = bucket().shown(said);
        assert!(shown.ends_with("403 Forbidden: InvalidToken: The token *** is malformed"), "{shown}");
        assert!(bucket().shown(&"x".repeat(5_000)).len() < 600);
        assert_eq!(bucket().shown("error sending request wJalrXUtnFEMI"), "error sending request ***");
    }

    #[test]
    fn what_is_no_bucket_is_refused_by_name() {
        for url in ["spans/prefix", "s3://", "s3:///prefix", "gs://spans"] {
            let options = BucketOptions::new(url.to_owned(), None);
            let Err(StoreError::Invalid(message)) = Bucket::connect(&options) else { panic!("{url} is a bucket") };
            assert!(message.contains(url), "{message}");
        }
    }
}

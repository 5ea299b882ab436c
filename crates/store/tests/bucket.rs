//! The conformance suite on real servers of buckets.

#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use tracewell_parts::S3;
use tracewell_store::{BucketOptions, EmbeddedOptions, EmbeddedStore, SpanStore, conformance};

/// The only test of this program, so that nothing else looks at the environment while it is set.
#[test]
#[allow(unsafe_code, reason = "credentials are taken from the environment only")]
fn a_store_in_a_bucket_of_a_real_server_conforms() {
    for (name, value) in S3::CREDENTIALS {
        // SAFETY: the only other thread is the one that waits for this test, which does not look at the environment.
        unsafe { std::env::set_var(name, value) };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for s3 in [S3::start("spans"), S3::start_versitygw("spans")].into_iter().flatten() {
        for (round, cache_bytes) in [0, 1 << 30].into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("s3://spans/conformance/{round}");
            let bucket = BucketOptions { cache_bytes, ..BucketOptions::new(url, Some(s3.url())) };
            let options = EmbeddedOptions { segments: Some(bucket), ..EmbeddedOptions::default() };
            let store = EmbeddedStore::open(folder.path(), options).unwrap();
            runtime.block_on(async {
                conformance::check(&store, true).await;
                store.close().await.unwrap();
            });
            assert_eq!(store.damages(), Vec::<String>::new());
        }
    }
}

//! The page as scrapers read it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use tower::ServiceExt;
use tracewell_store::{EmbeddedOptions, EmbeddedStore};

use super::text::{Dialect, Kind, Text};
use super::*;
use crate::api;

const NAMES: &str = include_str!("../../../../docs/metrics.md");

async fn page(router: &Router, accept: &str) -> (String, String) {
    let request = Request::get("/metrics").header(header::ACCEPT, accept).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (content_type, String::from_utf8(body.to_vec()).unwrap())
}

fn described(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next()).collect()
}

#[tokio::test]
async fn every_family_is_in_the_documents_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
    let metrics = Metrics::new(Some(folder.path().to_owned()), Some(Duration::from_secs(1)));
    let state = ApiState::new(Arc::new(store)).with_metrics(metrics.clone());
    let router = metrics.layer(Port::Http, api::router(state));
    page(&router, "*/*").await;
    let (content_type, text) = page(&router, "*/*").await;
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let told = described(&text);
    let rows = NAMES.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<&str> = rows.clone().filter_map(|line| line.split('`').nth(1)).collect();
    // What depends on what is stored, or on a bucket.
    let sometimes: BTreeSet<&str> =
        rows.filter(|line| line.contains("(only ")).filter_map(|line| line.split('`').nth(1)).collect();
    assert_eq!(told.difference(&documented).collect::<Vec<_>>(), [&""; 0], "not in docs/metrics.md");
    let missing: Vec<&str> = documented.difference(&told).copied().filter(|name| !sometimes.contains(name)).collect();
    assert_eq!(missing, [""; 0], "in docs/metrics.md and not told");
    assert!(text.contains("http_server_request_duration_seconds_count{port=\"http\",http_request_method=\"GET\",http_route=\"/metrics\",http_response_status_code=\"200\"} 1\n"), "{text}");
}

#[tokio::test]
async fn who_asks_for_openmetrics_gets_it() {
    let state = ApiState::new(Arc::new(tracewell_store::MemoryStore::new(tracewell_store::MemoryOptions::default())));
    let (content_type, text) = page(&api::router(state), "application/openmetrics-text;version=1.0.0,text/plain").await;
    assert!(content_type.starts_with("application/openmetrics-text"));
    assert!(text.ends_with("\n# EOF\n") && text.contains("# TYPE tracewell_sdk_recorded_spans counter\n"), "{text}");
    assert!(text.contains("\ntracewell_sdk_recorded_spans_total 0\n"), "{text}");
}

#[test]
fn labels_are_escaped_and_buckets_add_up() {
    let mut text = Text::new(Dialect::Prometheus);
    text.family(Kind::Gauge, "a", "b\\\n\"").sample(&[("l", "x\"y\\z\n")], 1.5);
    text.family(Kind::Histogram, "c_seconds", "d").histogram(&[], &[0.5, 1.0], &[1, 0, 2], 7.25);
    assert_eq!(
        text.finish(),
        "# HELP a b\\\\\\n\"\n# TYPE a gauge\na{l=\"x\\\"y\\\\z\\n\"} 1.5\n# HELP c_seconds d\n# TYPE c_seconds histogram\n\
         # UNIT c_seconds seconds\nc_seconds_bucket{le=\"0.5\"} 1\nc_seconds_bucket{le=\"1\"} 1\n\
         c_seconds_bucket{le=\"+Inf\"} 3\nc_seconds_sum 7.25\nc_seconds_count 3\n"
    );
}

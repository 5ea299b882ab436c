//! Requests of a real client to a real, if small, server.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::Duration;
use tracewell::{Config, Context, FutureExt as _, InMemoryExporter};
use tracewell_reqwest::SendTraced as _;

/// Answers one request with 404, and gives its head.
fn serve_once() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:secret@{}/a?token=secret", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let mut reader = BufReader::new(listener.accept().unwrap().0);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0);
        }
        reader.get_mut().write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").unwrap();
        head
    });
    (url, serving)
}

#[tokio::test]
async fn a_request_is_a_span_and_carries_its_context() {
    let exporter = InMemoryExporter::new();
    let _guard = tracewell::init(Config::new("test").exporter(exporter.clone())).unwrap();
    let (url, serving) = serve_once();
    let parent = tracewell::span("parent").parent(&Context::new().with_request_id("r-1")).start();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let work = async {
        assert_eq!(client.get(&url).send_traced().await.unwrap().status(), 404);
        client.get("http://127.0.0.1:1/?token=secret").send_traced().await.unwrap_err();
    };
    work.in_span(parent).await;
    let head = serving.join().unwrap().to_ascii_lowercase();
    tracewell::tracer().flush(Duration::from_secs(10)).unwrap();

    let spans = exporter.spans();
    let (found, refused) = (&spans[0], &spans[1]);
    let traceparent = format!("traceparent: 00-{}-{}-03\r\n", found.context.trace_id, found.context.span_id);
    assert!(head.contains(&traceparent), "{head}");
    assert!(head.contains("x-request-id: r-1\r\n"), "{head}");
    assert_eq!(found.name, "GET");
    assert_eq!(found.parent_span_id, Some(exporter.span("parent").unwrap().context.span_id));
    assert_eq!(found.tag_value("error.type"), Some(&"404".into()));
    assert_eq!(refused.tag_value("error.type"), Some(&"reqwest::error::Error".into()));
    assert!(spans.iter().all(|span| !format!("{span:?}").contains("secret")), "{spans:#?}");
}

use super::*;
use crate::{Config, InMemoryExporter, Value};
use std::time::Duration;

#[test]
fn secrets_in_urls_are_redacted() {
    for (url, expected) in [
        ("http://host/path?page=2#top", "http://host/path?page=2#top"),
        ("http://user:pass@host:1/p", "http://REDACTED:REDACTED@host:1/p"),
        ("http://token@host", "http://REDACTED@host"),
        ("http://a@b:c@host/x@y", "http://REDACTED:REDACTED@host/x@y"),
        ("https://host?sig=abc&x=1&API_Key=def", "https://host?sig=REDACTED&x=1&API_Key=REDACTED"),
        (
            "https://host/?X-Amz-Signature=a&AWSAccessKeyId=b",
            "https://host/?X-Amz-Signature=REDACTED&AWSAccessKeyId=REDACTED",
        ),
        ("https://host/?access%5Ftoken=a&tokens", "https://host/?access%5Ftoken=REDACTED&tokens"),
        ("/relative?password=x", "/relative?password=REDACTED"),
        ("", ""),
    ] {
        assert_eq!(redact_url(url), expected);
    }
}

#[test]
fn hosts_and_ports_are_told_apart() {
    for (url, host, port) in [
        ("http://host/a:b", Some("host"), Some(80)),
        ("HTTPS://user:p@host?q", Some("host"), Some(443)),
        ("http://[::1]:8080/", Some("::1"), Some(8080)),
        ("http://[::1]/", Some("::1"), Some(80)),
        ("http://host:99999/", Some("host"), Some(80)),
        ("/path", None, None),
        ("http://", None, Some(80)),
    ] {
        assert_eq!(authority(url), (host, port), "{url}");
    }
}

#[test]
fn calls_of_http_and_databases_are_tagged_by_the_conventions() {
    let exporter = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let span = client_span_of(&tracer, "GET", "http://u:p@catalog:8081/images?token=1");
    client_status(&span, 404);
    span.end();
    let span = client_span_of(&tracer, "BREW", "http://pot/");
    client_error(&span, &std::io::Error::other("no coffee from (http://u:p@pot/) now"));
    span.end();
    crate::db::call_of(&tracer, "sqlite", "SELECT").collection("images").query("SELECT 1").start().end();
    tracer.shutdown(Duration::from_secs(30)).unwrap();

    let get = exporter.span("GET").unwrap();
    assert_eq!(get.kind, SpanKind::Client);
    assert_eq!(get.status, Status::Error("".into()));
    let expected: [(&str, Value); 6] = [
        ("http.request.method", "GET".into()),
        ("url.full", "http://REDACTED:REDACTED@catalog:8081/images?token=REDACTED".into()),
        ("server.address", "catalog".into()),
        ("server.port", 8081.into()),
        ("http.response.status_code", 404.into()),
        ("error.type", "404".into()),
    ];
    assert_eq!(get.tags.iter().map(|(key, value)| (&**key, value.clone())).collect::<Vec<_>>(), expected);

    let brew = exporter.span("HTTP").unwrap();
    assert_eq!(brew.tag_value("http.request.method"), Some(&"_OTHER".into()));
    assert_eq!(brew.tag_value("http.request.method_original"), Some(&"BREW".into()));
    assert_eq!(brew.tag_value("error.type"), Some(&"std::io::error::Error".into()));
    assert_eq!(brew.status, Status::Error("no coffee from (http://REDACTED:REDACTED@pot/) now".into()));

    let select = exporter.span("SELECT images").unwrap();
    assert_eq!(select.kind, SpanKind::Client);
    let expected: [(&str, Value); 4] = [
        ("db.system.name", "sqlite".into()),
        ("db.operation.name", "SELECT".into()),
        ("db.collection.name", "images".into()),
        ("db.query.text", "SELECT 1".into()),
    ];
    assert_eq!(select.tags.iter().map(|(key, value)| (&**key, value.clone())).collect::<Vec<_>>(), expected);
}

#[test]
fn a_servers_span_continues_the_trace_and_tells_the_request() {
    let exporter = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers: Vec<(String, String)> =
        [("traceparent", parent), ("host", "shop.example:8080"), ("user-agent", "test/1"), ("x-request-id", "r-1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let span = server_span_of(&tracer, "GET", "/images/7?page=2&token=secret", Some("/images/{id}"), &headers);
    assert_eq!(span.context().request_id(), Some("r-1"));
    server_status(&span, 503);
    span.end();
    // A proxy's request, whose route becomes known later.
    let span = server_span_of(&tracer, "BREW", "https://user:secret@pot.example?strong", None, &Vec::new());
    let made_up = span.context().request_id().unwrap().to_owned();
    assert_eq!(made_up.len(), 32);
    server_route(&span, "BREW", "/{pot}");
    server_status(&span, 404);
    span.end();
    tracer.shutdown(Duration::from_secs(30)).unwrap();
    let spans = exporter.spans();
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
    assert_eq!(spans[0].parent_span_id.unwrap().to_string(), "b7ad6b7169203331");
    let check = |span: &crate::SpanData, name: &str, status: Status, expected: &[(&str, Value)]| {
        assert_eq!((&*span.name, span.kind, &span.status), (name, SpanKind::Server, &status));
        for (key, value) in expected {
            assert_eq!(span.tag_value(key), Some(value), "{key}");
        }
    };
    check(
        &spans[0],
        "GET /images/{id}",
        Status::Error("".into()),
        &[
            ("http.request.method", "GET".into()),
            ("url.path", "/images/7".into()),
            ("url.query", "page=2&token=REDACTED".into()),
            ("url.scheme", "http".into()),
            ("server.address", "shop.example".into()),
            ("server.port", 8080.into()),
            ("http.route", "/images/{id}".into()),
            ("user_agent.original", "test/1".into()),
            ("request.id", "r-1".into()),
            ("http.response.status_code", 503.into()),
            ("error.type", "503".into()),
        ],
    );
    check(
        &spans[1],
        "HTTP /{pot}",
        Status::Unset,
        &[
            ("http.request.method_original", "BREW".into()),
            ("url.path", "/".into()),
            ("url.query", "strong".into()),
            ("url.scheme", "https".into()),
            ("server.address", "pot.example".into()),
            ("http.route", "/{pot}".into()),
            ("request.id", made_up.as_str().into()),
            ("http.response.status_code", 404.into()),
        ],
    );
}

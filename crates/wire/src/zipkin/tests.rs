use tracewell_model::SpanRef;

use crate::{Decoded, Format, Limits, decode};

fn read(body: &str) -> Decoded {
    decode(Format::ZipkinJson, body.as_bytes(), &Limits::default()).unwrap_or_else(|why| panic!("{body}: {why}"))
}

fn said(span: SpanRef<'_>) -> String {
    let mut attributes: Vec<String> = span.attributes().iter().map(|(key, value)| format!("{key}={value}")).collect();
    // The order of an object's members says nothing.
    attributes.sort_unstable();
    format!(
        "{} {} {} {}+{} {} [{}]",
        span.service(),
        span.kind(),
        span.name(),
        span.start_unix_nano() / 1000,
        span.duration_nanos() / 1000,
        span.status_code(),
        attributes.join(" ")
    )
}

#[test]
fn a_span_of_version_2_says_all_of_it() {
    let decoded = read(
        r#"[{"traceId": "5AF7183FB1D4CF5F", "id": "352bff9a74ca9ad2", "parentId": "6b221d5bc9e6496c", "kind": "CLIENT",
            "name": "get /api", "timestamp": 1556604172355737, "duration": 1431, "debug": true,
            "localEndpoint": {"serviceName": "front", "ipv4": "192.168.99.1", "port": 3306},
            "remoteEndpoint": {"serviceName": "back", "ipv6": "::1", "port": "9000"},
            "annotations": [{"timestamp": 1556604172355800, "value": "ws"},
                {"timestamp": 1556604172355900, "value": "retry|{\"attempt\":2}|1"},
                {"timestamp": 1556604172356000, "value": "a|b|c"}],
            "tags": {"http.method": "GET", "error": "refused", "otel.scope.name": "lib", "w3c.tracestate": "a=b"}}]"#,
    );
    assert_eq!((decoded.rejected, decoded.message.as_str()), (0, ""));
    let span = decoded.batch.span(0);
    assert_eq!(
        said(span),
        "front client get /api 1556604172355737+1431 error [error=refused http.method=GET \
         network.local.address=192.168.99.1 network.local.port=3306 network.peer.address=::1 network.peer.port=9000 \
         peer.service=back zipkin.debug=true]"
    );
    assert_eq!(span.trace_id().to_string(), "00000000000000005af7183fb1d4cf5f");
    assert_eq!((span.status_message(), span.trace_state()), ("refused", "a=b"));
    assert_eq!(decoded.batch.string(span.scope().name), "lib");
    let events: Vec<_> = span
        .events()
        .map(|event| (event.name().to_owned(), event.attributes().len(), event.dropped_attributes_count()))
        .collect();
    assert_eq!(events, [("ws".to_owned(), 0, 0), ("retry".to_owned(), 1, 1), ("a|b|c".to_owned(), 0, 0)]);
}

#[test]
fn shared_spans_keep_their_id_and_lists_may_hold_lists() {
    let decoded = read(
        r#"[[{"traceId": "e01", "id": "b1", "kind": "CLIENT", "timestamp": 1, "duration": 10, "localEndpoint": {"serviceName": "front"}},
             {"traceId": "e01", "id": "b1", "kind": "SERVER", "shared": true, "timestamp": 2, "duration": 5, "localEndpoint": {"serviceName": "back"}}],
            [{"traceId": "e02", "id": "c1", "name": null, "timestamp": 7, "localEndpoint": {"ipv6": "::1", "port": 0}}]]"#,
    );
    let all: Vec<String> = decoded.batch.iter().map(said).collect();
    assert_eq!(
        all,
        [
            "front client  1+10 unset []",
            "back server  2+5 unset [zipkin.shared=true]",
            "unknown_service unspecified  7+0 unset [network.local.address=::1 zipkin.unfinished=true]",
        ]
    );
    assert_eq!(decoded.batch.span(0).span_id(), decoded.batch.span(1).span_id());
}

#[test]
fn a_span_of_version_1_with_both_sides_is_two_spans() {
    let decoded = read(
        r#"[{"traceId": "e01", "id": "a1", "name": "get", "annotations": [
              {"timestamp": 1000, "value": "cs", "endpoint": {"serviceName": "front"}},
              {"timestamp": 1100, "value": "sr", "endpoint": {"serviceName": "back"}},
              {"timestamp": 1200, "value": "cache miss", "endpoint": {"serviceName": "back"}},
              {"timestamp": 1800, "value": "ss", "endpoint": {"serviceName": "back"}},
              {"timestamp": 2000, "value": "cr", "endpoint": {"serviceName": "front"}}],
            "binaryAnnotations": [
              {"key": "http.path", "value": "/a", "endpoint": {"serviceName": "front"}},
              {"key": "rows", "value": "12", "type": "I64", "endpoint": {"serviceName": "back"}},
              {"key": "sa", "value": true, "endpoint": {"serviceName": "back", "ipv4": "10.0.0.2"}}]}]"#,
    );
    let all: Vec<String> = decoded.batch.iter().map(said).collect();
    assert_eq!(
        all,
        [
            "front client get 1000+1000 unset [http.path=/a network.peer.address=10.0.0.2 peer.service=back]",
            "back server get 1100+700 unset [rows=12 zipkin.shared=true]",
        ]
    );
    assert_eq!(decoded.batch.span(1).events().next().unwrap().name(), "cache miss");
}

#[test]
fn the_sides_of_version_1_are_told_apart() {
    let one = |annotations: &str, rest: &str| {
        let decoded =
            read(&format!(r#"[{{"traceId": "1", "id": "2", "name": "n", "annotations": {annotations}, {rest}}}]"#));
        decoded.batch.iter().map(said).collect::<Vec<_>>().join("; ")
    };
    let at = |value: &str| format!(r#"[{{"timestamp": 50, "value": "{value}", "endpoint": {{"serviceName": "s"}}}}]"#);
    let whole = r#""timestamp": 40, "duration": 9, "binaryAnnotations": []"#;
    assert_eq!(one(&at("cs"), whole), "s client n 40+9 unset []");
    assert_eq!(one(&at("sr"), whole), "s server n 40+9 unset []");
    assert_eq!(one(&at("ms"), whole), "s producer n 40+9 unset []");
    assert_eq!(one(&at("mr"), whole), "s consumer n 40+9 unset []");
    // Without times of its own, the server joined the client's span.
    assert_eq!(
        one(&at("sr"), r#""binaryAnnotations": null"#),
        "s server n 50+0 unset [zipkin.shared=true zipkin.unfinished=true]"
    );
    let local = r#""timestamp": 40, "duration": 9, "binaryAnnotations": [{"key": "lc", "value": "", "endpoint": {"serviceName": "job"}}]"#;
    assert_eq!(one("[]", local), "job unspecified n 40+9 unset []");
    let address = r#""timestamp": 40, "duration": 9, "binaryAnnotations": [{"key": "sa", "value": "true", "endpoint": {"serviceName": "db"}}]"#;
    assert_eq!(one("null", address), "unknown_service client n 40+9 unset [peer.service=db]");
}

#[test]
fn any_error_tag_is_an_error_and_its_text_is_kept() {
    for (tag, message) in [("\"\"", ""), ("\"false\"", ""), ("\"true\"", ""), ("true", ""), ("\"refused\"", "refused")]
    {
        let decoded = read(&format!(
            r#"{{"traceId": "1", "id": "2", "timestamp": 1, "duration": 1, "tags": {{"error": {tag}}}}}"#
        ));
        let span = decoded.batch.span(0);
        assert_eq!((span.is_error(), span.status_message()), (true, message), "{tag}");
        assert_eq!(span.attributes().len(), 1, "{tag}");
    }
}

#[test]
fn a_span_without_a_time_stands_where_it_arrived() {
    let body = br#"[{"traceId": "1", "id": "2", "kind": "SERVER"}, {"traceId": "1", "id": "3", "annotations": [{"timestamp": 6, "value": "x"}]}]"#;
    let decoded = super::decode(body, &Limits::default(), 5_000_000).unwrap();
    let starts: Vec<u64> = decoded.batch.iter().map(|span| span.start_unix_nano()).collect();
    assert_eq!(starts, [5_000_000, 6_000]);
    assert!(decoded.batch.span(0).attributes().iter().any(|(key, _)| key == "zipkin.no_timestamp"));
    assert!(decoded.message.contains("span.timestamp"), "{}", decoded.message);
}

#[test]
fn a_bad_port_or_endpoint_loses_itself_only() {
    for endpoint in [r#"{"port": "many"}"#, r#"{"port": 70000}"#, r#"{"port": -1}"#, "7", r#"{"serviceName": []}"#] {
        let body = format!(
            r#"[{{"traceId": "1", "id": "2", "timestamp": 1, "duration": 1, "localEndpoint": {endpoint}, "remoteEndpoint": {endpoint}}}]"#
        );
        let decoded = read(&body);
        assert_eq!((decoded.batch.len(), decoded.rejected), (1, 0), "{endpoint}: {}", decoded.message);
        assert!(decoded.message.contains("span endpoint"), "{endpoint}: {}", decoded.message);
    }
}

#[test]
fn payloads_of_others_are_read() {
    // Beside the checkout, where there is one.
    let shared = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/receivers"));
    let Ok(folders) = std::fs::read_dir(shared) else { return };
    for folder in folders.flatten().filter(|folder| folder.file_name().to_string_lossy().starts_with("zipkin-v")) {
        for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            // These are Thrift and Protobuf written as JSON, which no client sends.
            if !name.ends_with(".json") || name.contains("thrift") || name.contains("proto") {
                continue;
            }
            let body = std::fs::read(file.path()).unwrap();
            let decoded = decode(Format::ZipkinJson, &body, &Limits::default()).unwrap();
            assert_eq!(decoded.rejected, 0, "{name}: {}", decoded.message);
            assert!(!decoded.batch.is_empty() || body.len() < 5, "{name}");
        }
    }
}

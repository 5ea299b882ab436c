use super::*;

#[test]
fn flags_go_before_the_file_and_the_file_before_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracewell.toml");
    std::fs::write(&path, "http = \"127.0.0.1:1\"\notlp_http = \"127.0.0.1:2\"\nretention = \"7d\"\n").unwrap();
    let flags = Settings { http: Some("127.0.0.1:9".parse().unwrap()), ..Settings::default() };
    let config = flags.or(Settings::from_file(&path).unwrap()).check().unwrap();
    assert_eq!(config.http.port(), 9);
    assert_eq!(config.otlp_http.port(), 2);
    assert_eq!(config.otlp_grpc.port(), 4317);
    assert_eq!(config.retention_age, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(config.receive, ReceiveLimits::default());
    assert!(config.http.ip().is_loopback());
}

#[test]
fn an_unknown_key_and_a_bad_value_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracewell.toml");
    std::fs::write(&path, "htpp = \"127.0.0.1:1\"\n").unwrap();
    let error = format!("{:#}", Settings::from_file(&path).unwrap_err());
    assert!(error.contains("htpp"), "{error}");
    let settings = Settings { memory: Some("lots".to_owned()), ..Settings::default() };
    let error = format!("{:#}", settings.check().unwrap_err());
    assert!(error.contains("memory") && error.contains("lots"), "{error}");
}

#[test]
fn what_is_done_with_odd_times_can_be_set() {
    let check = |text: &str| toml::from_str::<Settings>(text).unwrap().check();
    let config =
        check("odd_times = \"clamp\"\nfuture = \"2h\"\nmin_free_disk = \"7MiB\"\ntrust_clock = true\n").unwrap();
    let rules = TimeRules { odd: OddTimes::Clamp, future_nanos: 7_200_000_000_000 };
    assert_eq!((config.receive.times, config.min_free_bytes, config.trust_clock), (rules, Some(7 << 20), true));
    let error = format!("{:#}", check("odd_times = \"drop\"\n").unwrap_err());
    assert!(error.contains("odd_times") && error.contains("drop"), "{error}");
    let error = format!("{:#}", check("future = \"soon\"\n").unwrap_err());
    assert!(error.contains("future") && error.contains("soon"), "{error}");
}

#[test]
fn bounds_on_questions_and_names_can_be_set() {
    let text = "query_timeout = \"5s\"\nconcurrent_queries = 2\nlisted_services = 3\nnames_per_service = 4\n";
    let config = toml::from_str::<Settings>(text).unwrap().check().unwrap();
    assert_eq!((config.queries.query_timeout, config.queries.concurrent_queries), (Duration::from_secs(5), 2));
    assert_eq!((config.names.services, config.names.per_service), (3, 4));
    for text in ["query_timeout = \"0s\"", "concurrent_queries = 0", "listed_services = 20001", "names_per_service = 0"]
    {
        let error = toml::from_str::<Settings>(text).unwrap().check().unwrap_err().to_string();
        assert!(text.starts_with(error.split(':').next().unwrap()), "{error}");
    }
}

#[test]
fn every_limit_can_be_set() {
    let text = "body_size = \"1MiB\"\ndecompressed_size = \"2MiB\"\ndecoded_size = \"4MiB\"\nin_flight_size = \"3MiB\"\nspans_per_request = 4\n\
                attributes_per_span = 5\nattribute_size = \"6KiB\"\nevents_per_span = 7\nlinks_per_span = 8\n\
                name_size = \"9KiB\"\n";
    let config = toml::from_str::<Settings>(text).unwrap().check().unwrap();
    assert_eq!(config.budget().ingest().limit_bytes(), 3 << 20);
    let limits = config.receive;
    assert_eq!((limits.body_bytes, limits.decompressed_bytes, limits.decoded_bytes), (1 << 20, 2 << 20, 4 << 20));
    let request = limits.request;
    assert_eq!((request.spans_per_request, request.attributes_per_span, request.attribute_bytes), (4, 5, 6 << 10));
    assert_eq!((request.events_per_span, request.links_per_span, request.name_bytes), (7, 8, 9 << 10));
    let settings = Settings { attribute_size: Some("1TiB".to_owned()), ..Settings::default() };
    assert!(settings.check().unwrap_err().to_string().contains("attribute_size"));
}

#[test]
fn segments_go_into_a_bucket_from_the_file_or_a_flag() {
    let text = "segments = \"s3://spans/a\"\nsegments_endpoint = \"http://127.0.0.1:1\"\nsegments_cache = \"5MiB\"\n\
         segments_move_rate = \"7MB\"\n";
    let settings: Settings = toml::from_str(text).unwrap();
    let flags = Settings { segments: Some("s3://spans/b".to_owned()), segments_take_over: true, ..Settings::default() };
    let bucket = flags.or(settings).check().unwrap().segments.unwrap();
    let expected = BucketOptions {
        cache_bytes: 5 << 20,
        take_over: true,
        move_bytes_per_second: 7_000_000,
        ..BucketOptions::new("s3://spans/b".to_owned(), Some("http://127.0.0.1:1".to_owned()))
    };
    assert_eq!(bucket, expected);
    assert!(toml::from_str::<Settings>("segments_take_over = true").is_err(), "it is no lasting setting");
    let in_memory = "data = \":memory:\"\nsegments = \"s3://spans\"";
    let refused = toml::from_str::<Settings>(in_memory).unwrap().check().unwrap_err();
    assert!(refused.to_string().contains("segments"), "{refused}");
}

#[test]
fn a_password_is_never_shown() {
    let endpoint = "http://user:s3cret@127.0.0.1:9000/path@x";
    let settings = Settings {
        segments: Some("s3://spans".to_owned()),
        segments_endpoint: Some(endpoint.to_owned()),
        ..Settings::default()
    };
    let shown = toml::to_string(&settings).unwrap();
    assert!(!shown.contains("s3cret") && shown.contains("http://***@127.0.0.1:9000/path@x"), "{shown}");
    let refused = format!("{:#}", settings.check().unwrap_err());
    assert!(!refused.contains("s3cret") && refused.contains("segments_endpoint"), "{refused}");
    assert_eq!(without_credentials("http://127.0.0.1:9000/a@b"), None);
}

#[test]
fn an_address_may_be_a_name() {
    let listen = |text: &str| text.parse::<Listen>();
    assert_eq!(listen("localhost:1").unwrap().host(), "localhost");
    assert_eq!(listen("[::1]:1").unwrap().host(), "::1");
    for wrong in ["localhost", "::1:80", ":80", "localhost:x", "localhost:70000"] {
        assert!(listen(wrong).unwrap_err().contains(wrong), "{wrong}");
    }
    let settings = Settings { http: Some("localhost:7".parse().unwrap()), ..Settings::default() };
    let config = settings.check().unwrap();
    assert!(config.http.ip().is_loopback() && config.http.port() == 7);
    assert_eq!(config.http_name, "localhost");
}

#[test]
fn times_and_counts_of_connections_can_be_set_and_a_wrong_one_is_named() {
    let text = "connections = 5\nstreams = 6\nheader_size = \"16KiB\"\nheader_timeout = \"1s\"\nidle_timeout = \"2s\"\n\
                body_timeout = \"3s\"\nbody_rate = \"4KiB\"\nwrite_timeout = \"500ms\"\ndrain = \"0s\"\n";
    let limits = toml::from_str::<Settings>(text).unwrap().check().unwrap().connections;
    assert_eq!((limits.max_connections, limits.max_streams, limits.max_header_bytes), (5, 6, 16 << 10));
    assert_eq!((limits.header_timeout, limits.idle_timeout), (Duration::from_secs(1), Duration::from_secs(2)));
    assert_eq!((limits.body_timeout, limits.min_body_rate), (Duration::from_secs(3), 4 << 10));
    assert_eq!((limits.write_timeout, limits.drain), (Duration::from_millis(500), Duration::ZERO));
    for (text, named) in [
        ("connections = 0", "connections"),
        ("idle_timeout = \"0s\"", "idle_timeout"),
        ("drain = \"soon\"", "drain"),
        ("header_size = \"1KiB\"", "header_size"),
        ("cors_origin = [\"shop.example\"]", "cors_origin"),
    ] {
        let error = format!("{:#}", toml::from_str::<Settings>(text).unwrap().check().unwrap_err());
        assert!(error.contains(named), "{text}: {error}");
    }
}

#[test]
fn sizes_and_ages_have_units() {
    assert_eq!(size("64MiB"), Some(64 << 20));
    assert_eq!(size("1 gb"), Some(1_000_000_000));
    assert_eq!(size("12"), Some(12));
    assert_eq!(size("99999999999TiB"), None);
    assert_eq!(age("90m"), Some(Duration::from_secs(5_400)));
    assert_eq!(age("soon"), None);
}

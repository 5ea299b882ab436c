//! What SDKs know of themselves comes to whoever asks the server: spans that were dropped, and what sending took.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::time::Duration;

use tracewell::{Config, Tracer};
use tracewell_e2e::{Child, Server, clients};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn spans_that_an_sdk_drops_are_told_by_the_server() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let endpoint = format!("http://{}", server.address("otlp_http"));
    // Two processes of one service, and one of another that drops nothing.
    for _ in 0..2 {
        // A thread hands over 64 spans at once, for which there is no room.
        let config = Config::new("lossy").endpoint(&endpoint).max_queue_spans(10);
        // Nothing is taken before the 64, however slowly they are recorded.
        let tracer = Tracer::new(config.export_interval(Duration::from_secs(3600))).unwrap();
        (0..128).for_each(|_| tracer.span("dropped").start().end());
        (0..3).for_each(|_| tracer.span("kept").start().end());
        tracer.shutdown(LONG).unwrap();
    }
    let tracer = Tracer::new(Config::new("whole").endpoint(&endpoint)).unwrap();
    (0..5).for_each(|_| tracer.span("kept").start().end());
    tracer.shutdown(LONG).unwrap();

    let (status, stats) = server.get("/api/v1/stats").unwrap();
    assert_eq!((status, stats["received"]["spans"].as_u64()), (200, Some(11)));
    for name in ["otlp_http", "otlp_grpc"] {
        assert_eq!(stats["addresses"][name].as_str(), Some(server.address(name)), "{stats}");
    }
    let [lossy, whole] = &stats["sdks"].as_array().unwrap()[..] else { panic!("{stats}") };
    assert_eq!((lossy["service"].as_str(), whole["service"].as_str()), (Some("lossy"), Some("whole")));
    assert_eq!((lossy["recorded"].as_u64(), lossy["exported"].as_u64()), (Some(262), Some(6)));
    assert_eq!(lossy["dropped"], serde_json::json!([{"reason": "queue_full", "spans": 256}]));
    assert_eq!((whole["recorded"].as_u64(), whole["dropped"].as_array().map(Vec::len)), (Some(5), Some(0)));
    for sdk in [lossy, whole] {
        assert!(sdk["exported_bytes"].as_u64() > Some(0) && sdk["export_nanos"].as_u64() > Some(0), "{sdk}");
    }

    let (ok, text) = server.run(&["stats"]).unwrap();
    assert!(ok && text.contains("256 dropped: queue_full"), "{text}");
    server.stop().unwrap();
}

#[test]
fn metrics_of_a_python_sdk_are_taken_and_what_it_tells_of_itself_is_kept() {
    for (protocol, address) in [("http", "otlp_http"), ("grpc", "otlp_grpc")] {
        let data = tempfile::tempdir().unwrap();
        let server = Server::start(data.path()).unwrap();
        let mut client = clients::python();
        client.args(["metrics", protocol, server.address(address)]);
        client.env("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true");
        let printed = Child::start(&mut client).unwrap().finish().unwrap();
        let seen: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(seen["exports"], serde_json::json!(["SUCCESS"]), "{protocol}: {printed}");

        let (_, stats) = server.get("/api/v1/stats").unwrap();
        assert_eq!(stats["received"]["spans"], seen["spans"], "{protocol}: {stats}");
        let [sdk] = &stats["sdks"].as_array().unwrap()[..] else { panic!("{protocol}: {stats}") };
        assert_eq!((sdk["service"].as_str(), &sdk["exported"]), (Some("python-client"), &seen["spans"]), "{protocol}");
        assert_eq!(sdk["dropped"], serde_json::json!([]), "{protocol}");
        server.stop().unwrap();
    }
}

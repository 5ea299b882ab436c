//! Segments in a bucket, as their owner meets them: two servers, a lost directory, a bucket that is away.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tracewell_e2e::{Server, tracewell};
use tracewell_parts::S3;
use tracewell_sim::Workload;
use tracewell_wire::otlp;

const BUCKET: &str = "s3://spans/tracewell";

fn start(data: &Path, s3: &S3, further: &[&str]) -> anyhow::Result<Server> {
    let endpoint = s3.url();
    let arguments = [&["--segments", BUCKET, "--segments-endpoint", &endpoint], further].concat();
    Server::start_in(data, &arguments, &S3::CREDENTIALS)
}

/// Sends spans and returns how many.
fn send(server: &Server, seed: u64) -> usize {
    let mut spans = 0;
    for batch in Workload::new(seed).spans(2_000).requests(500) {
        let (status, _) = server.post("application/x-protobuf", &otlp::encode_protobuf(&batch)).unwrap();
        assert_eq!(status, 200);
        spans += batch.len();
    }
    spans
}

fn spans(server: &Server) -> usize {
    let (status, stats) = server.get("/api/v1/stats").unwrap();
    assert_eq!(status, 200);
    assert_eq!(stats["store"]["damages"], serde_json::json!([]));
    stats["store"]["spans"].as_u64().unwrap() as usize
}

/// Runs a command on a store, and makes sure that it says no secret.
fn run(arguments: &[&str]) -> Output {
    let output = Command::new(tracewell()).args(arguments).envs(S3::CREDENTIALS).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(S3::CREDENTIALS[1].1), "{said}");
    output
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_bucket_has_one_owner_and_outlives_its_directory() {
    let Some(s3) = S3::start("spans") else { return };
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(first.path(), &s3, &[]).unwrap();
    let sent = send(&server, 1);
    server.stop().unwrap();

    // The directory knows its bucket.
    let data = first.path().to_str().unwrap();
    let stats = json(&run(&["store", "stats", "--json", "--data", data]));
    assert_eq!(
        (stats["spans"].as_u64(), stats["place"].as_str()),
        (Some(sent as u64), Some("s3://spans/tracewell/catalog.json"))
    );
    assert_eq!(json(&run(&["fsck", "--json", "--data", data]))["segment_spans"], sent);
    let any_port = ["--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0"];
    let refused = run(&[&["serve", "--data", data], &any_port[..]].concat());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--segments s3://spans/tracewell"), "{said}");

    // Another directory is refused while the first runs, and after; until it is told to take over.
    let server = start(first.path(), &s3, &[]).unwrap();
    let address = s3.url();
    let arguments =
        ["serve", "--data", second.path().to_str().unwrap(), "--segments", BUCKET, "--segments-endpoint", &address];
    let refused = run(&[&arguments[..], &any_port].concat());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("--segments-take-over") && said.contains(data), "{said}");
    let new = start(second.path(), &s3, &["--segments-take-over"]).unwrap();
    assert_eq!(spans(&new), sent);
    let sent = sent + send(&new, 2);
    new.stop().unwrap();
    // The first may change nothing any more, which its end shows, and acknowledges nothing it would lose.
    let late = send(&server, 3);
    server.kill();
    let all = start(second.path(), &s3, &[]).unwrap();
    assert_eq!(spans(&all), sent);
    all.stop().unwrap();
    // What only its log has is there when it takes over again.
    let back = start(first.path(), &s3, &["--segments-take-over"]).unwrap();
    assert_eq!(spans(&back), sent + late);
    back.stop().unwrap();

    // Both directories are lost.
    drop((first, second));
    let named = ["--segments", BUCKET, "--segments-endpoint", &address, "--data", "/nowhere"];
    let stats = json(&run(&[&["store", "stats", "--json"][..], &named].concat()));
    assert_eq!(stats["spans"], sent + late);
    let output = tempfile::tempdir().unwrap();
    let exported = run(&[&["store", "parquet", "--output", output.path().to_str().unwrap()][..], &named].concat());
    assert!(exported.status.success() && !exported.stdout.is_empty());
}

/// What the server says of its bucket.
fn bucket(server: &Server) -> serde_json::Value {
    server.get("/api/v1/stats").unwrap().1["store"]["bucket"].clone()
}

/// Waits until the server has its bucket again.
fn wait_for_bucket(server: &Server) {
    let begin = Instant::now();
    while !bucket(server)["away"].is_null() {
        assert!(begin.elapsed() < Duration::from_secs(120), "{}", bucket(server));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_bucket_that_is_away_stops_neither_spans_nor_a_start_nor_an_end() {
    let Some(mut s3) = S3::start_versitygw("spans") else { return };
    let folder = tempfile::tempdir().unwrap();
    let start = |s3: &S3| start(folder.path(), s3, &["--segments-cache", "0"]).unwrap();
    let server = start(&s3);
    let sent = send(&server, 1);
    server.stop().unwrap();
    let server = start(&s3);
    s3.stop();
    let sent = sent + send(&server, 2);
    assert_eq!(spans(&server), sent);
    let (status, answer) = server.get("/api/v1/services").unwrap();
    assert_eq!(status, 503);
    assert!(answer["error"]["message"].as_str().unwrap().contains(BUCKET), "{answer}");
    // What is in the log only stays there, which is no error.
    server.stop().unwrap();

    // A start while it is away.
    let server = start(&s3);
    let sent = sent + send(&server, 3);
    assert_eq!(spans(&server), sent);
    let away = bucket(&server);
    assert!(away["away"].as_str().unwrap().contains(BUCKET), "{away}");
    assert_eq!(server.get("/api/v1/services").unwrap().0, 503);
    server.kill();
    let server = start(&s3);
    let sent = sent + send(&server, 4);
    assert_eq!(spans(&server), sent);

    s3.start_again();
    wait_for_bucket(&server);
    assert_eq!(server.get("/api/v1/services").unwrap().0, 200);
    assert_eq!(spans(&server), sent);
    server.stop().unwrap();
    let data = folder.path().to_str().unwrap();
    let report = json(&run(&["fsck", "--json", "--data", data]));
    assert_eq!(
        (report["segment_spans"].as_u64(), report["log_spans"].as_u64()),
        (Some(sent as u64), Some(0)),
        "{report}"
    );
}

#[test]
fn a_directory_that_is_given_a_bucket_is_served_at_once_and_moved() {
    let Some(s3) = S3::start_versitygw("spans") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut sent = 0;
    for seed in 0..3 {
        let server = Server::start(folder.path()).unwrap();
        assert!(bucket(&server).is_null());
        sent += send(&server, seed);
        server.stop().unwrap();
    }
    let data = folder.path().to_str().unwrap();
    let server = start(folder.path(), &s3, &["--segments-move-rate", "1"]).unwrap();
    assert_eq!((spans(&server), bucket(&server)["unmoved_segments"].as_u64()), (sent, Some(3)));
    assert_eq!(server.get("/api/v1/services").unwrap().0, 200);
    assert_eq!(json(&run(&["store", "stats", "--json", "--data", data]))["unmoved_segments"], 3);
    let said = String::from_utf8(run(&["store", "stats", "--data", data]).stdout).unwrap();
    assert!(said.contains("3 segments") && said.contains("to be moved into the bucket"), "{said}");
    server.kill();

    let server = start(folder.path(), &s3, &[]).unwrap();
    let begin = Instant::now();
    while bucket(&server)["unmoved_segments"] != 0 {
        assert!(begin.elapsed() < Duration::from_secs(120), "{}", bucket(&server));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(spans(&server), sent);
    server.stop().unwrap();
    let left = std::fs::read_dir(folder.path().join("segments")).unwrap().count();
    assert_eq!(left, 0);
    let stats = json(&run(&["store", "stats", "--json", "--data", data]));
    assert_eq!((stats["spans"].as_u64(), stats["unmoved_segments"].as_u64()), (Some(sent as u64), Some(0)));
    assert!(stats["cache"]["pieces"].as_u64().unwrap() >= 3, "{stats}");
}

#[test]
fn an_object_that_was_cut_off_is_named_and_mended_and_what_is_too_old_is_deleted() {
    let Some(s3) = S3::start_versitygw("spans") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let mut sent = Vec::new();
    for seed in 0..2 {
        let server = start(folder.path(), &s3, &["--segments-cache", "0"]).unwrap();
        sent.push(send(&server, seed));
        server.stop().unwrap();
    }
    let segments = s3.folder().unwrap().join("spans/tracewell/segments");
    let objects = || {
        let mut paths: Vec<_> =
            std::fs::read_dir(&segments).into_iter().flatten().map(|file| file.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let first = &objects()[0];
    let length = first.metadata().unwrap().len();
    std::fs::File::options().write(true).open(first).unwrap().set_len(length / 2).unwrap();
    let name = format!("{BUCKET}/segments/{}", first.file_name().unwrap().to_str().unwrap());

    let output = run(&["fsck", "--json", "--data", data]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!output.status.success() && report["damages"].to_string().contains(&name), "{report}");
    assert_eq!(report["segment_spans"], sent[1]);
    // The rest is served.
    let server = start(folder.path(), &s3, &[]).unwrap();
    let (_, stats) = server.get("/api/v1/stats").unwrap();
    assert!(stats["store"]["damages"].to_string().contains(&name), "{stats}");
    assert!(stats["store"]["bucket"]["away"].is_null(), "{stats}");
    assert_eq!(server.get("/api/v1/services").unwrap().0, 200);
    server.stop().unwrap();
    let repaired = json(&run(&["fsck", "--repair", "--json", "--data", data]));
    assert!(repaired["repairs"].to_string().contains("/damaged/"), "{repaired}");
    assert_eq!(json(&run(&["fsck", "--json", "--data", data]))["damages"], serde_json::json!([]));

    // The spans of the workload are of a day that is long past.
    let server = start(folder.path(), &s3, &["--retention", "1d", "--trust-clock"]).unwrap();
    let begin = Instant::now();
    while !objects().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", objects());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(spans(&server), 0);
    server.stop().unwrap();
}

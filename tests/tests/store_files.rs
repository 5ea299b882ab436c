//! A store's directory as its owner meets it: looked into, checked, mended, and read by DuckDB.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use tracewell_e2e::{Server, clients, tracewell};
use tracewell_model::SpanBatch;
use tracewell_sim::Workload;
use tracewell_wire::otlp;

const SPANS: usize = 5_000;

/// Fills a directory and returns how many spans, and how many that failed, each service has. Those of some of the last
/// requests are then in the log only.
fn fill(data: &Path, requests_in_log: usize) -> BTreeMap<String, (usize, usize)> {
    let requests: Vec<_> = Workload::new(5).spans(SPANS).requests(500).collect();
    let (in_segments, in_log) = requests.split_at(requests.len() - requests_in_log);
    let mut services: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut send = |server: &Server, requests: &[SpanBatch]| {
        for batch in requests {
            let (status, _) = server.post("application/x-protobuf", &otlp::encode_protobuf(batch)).unwrap();
            assert_eq!(status, 200);
            for span in batch.iter() {
                let (spans, errors) = services.entry(span.service().to_owned()).or_default();
                *spans += 1;
                *errors += usize::from(span.is_error());
            }
        }
    };
    let server = Server::start(data).unwrap();
    send(&server, in_segments);
    // On SIGTERM, what is in memory becomes a segment; on SIGKILL it does not.
    server.stop().unwrap();
    if !in_log.is_empty() {
        let server = Server::start(data).unwrap();
        send(&server, in_log);
        server.kill();
    }
    services
}

fn run(arguments: &[&str], data: &Path) -> Output {
    Command::new(tracewell()).args(arguments).arg("--data").arg(data).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn stats_tell_what_is_there_and_damage_is_found_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0);
    let stats = json(&run(&["store", "stats", "--json"], folder.path()));
    assert_eq!(stats["spans"], SPANS);
    let columns = stats["columns"].as_array().unwrap();
    assert!(columns.iter().any(|column| column["name"] == "span_id"), "{columns:?}");
    let text = run(&["store", "stats"], folder.path());
    assert!(String::from_utf8(text.stdout).unwrap().contains("attribute request.id"));

    let check = run(&["fsck", "--json"], folder.path());
    assert!(check.status.success());
    assert_eq!(json(&check)["segment_spans"], SPANS);

    // A byte in the midst of a block, which is most of the file.
    let segment = std::fs::read_dir(folder.path().join("segments")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let check = run(&["fsck"], folder.path());
    let told = String::from_utf8(check.stdout).unwrap();
    assert!(!check.status.success());
    assert!(told.contains(segment.file_name().unwrap().to_str().unwrap()) && told.contains("offset"), "{told}");
    assert!(run(&["fsck", "--repair"], folder.path()).status.success());
    let check = run(&["fsck", "--json"], folder.path());
    assert!(check.status.success());
    let kept = json(&check)["segment_spans"].as_u64().unwrap();
    assert!((1..SPANS as u64).contains(&kept), "{kept} spans are kept");
    let server = Server::start(folder.path()).unwrap();
    assert!(!run(&["fsck"], folder.path()).status.success(), "a store that is open is not checked");
    server.stop().unwrap();
}

#[test]
fn duckdb_reads_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let services = fill(folder.path(), 4);
    let output = folder.path().join("parquet");
    let exported = Command::new(tracewell())
        .args(["store", "parquet", "--data"])
        .arg(folder.path())
        .arg("--output")
        .arg(&output)
        .output()
        .unwrap();
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let exported = String::from_utf8(exported.stdout).unwrap();
    assert!(exported.contains("/log-") && exported.lines().any(|file| !file.contains("/log-")), "{exported}");
    let answer = clients::duckdb().args(exported.lines()).output().unwrap();
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let answer = String::from_utf8(answer.stdout).unwrap();
    let (http, counts): (Vec<&str>, Vec<&str>) = answer.lines().partition(|line| line.starts_with("http 200 "));
    let expected: Vec<String> =
        services.iter().map(|(service, (spans, errors))| format!("{service} {spans} {errors}")).collect();
    assert_eq!(counts, expected);
    assert!(http[0]["http 200 ".len()..].parse::<usize>().unwrap() > 100, "{http:?}");
}

//! A disk that fills up, a disk that cannot be written, senders that dawdle, and far too many at once.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tracewell_e2e::{OrSkip, Server, wait_until};
use tracewell_model::SpanBatch;
use tracewell_sim::Workload;
use tracewell_wire::otlp;

/// A small disk of its own, in memory; unmounted when dropped.
struct Disk {
    folder: PathBuf,
    _parent: tempfile::TempDir,
}

impl Disk {
    /// Needs the right to mount, and is skipped without it.
    fn mount(mebibytes: usize) -> Option<Self> {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("disk");
        std::fs::create_dir(&folder).unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
        let mounted = mounted.is_ok_and(|output| output.status.success()).then_some(());
        mounted.or_skip("a file system of its own cannot be mounted here")?;
        Some(Self { folder, _parent: parent })
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn remount(&self, how: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.folder).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.folder).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking(), "the disk is still in use");
    }
}

/// Sends a request: the status, and how long the sender is told to wait.
fn send(server: &Server, batch: &SpanBatch) -> (u16, Option<String>) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let response = agent
        .post(format!("http://{}/v1/traces", server.address("otlp_http")))
        .header("content-type", "application/x-protobuf")
        .send(otlp::encode_protobuf(batch).as_slice())
        .unwrap();
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), retry_after)
}

/// Every span of these batches is there, once.
fn assert_kept(server: &Server, batches: &[SpanBatch]) {
    let wanted: BTreeSet<(String, String)> = batches
        .iter()
        .flat_map(SpanBatch::iter)
        .map(|span| (span.trace_id().to_string(), span.span_id().to_string()))
        .collect();
    let traces: BTreeSet<&String> = wanted.iter().map(|(trace_id, _)| trace_id).collect();
    let mut found = BTreeSet::new();
    for trace_id in traces {
        let trace = server.trace(trace_id).unwrap().unwrap_or_else(|| panic!("trace {trace_id} is lost"));
        for span_id in tracewell_e2e::normal::from_otlp_json(&trace).into_keys() {
            assert!(found.insert((trace_id.clone(), span_id)), "a span of {trace_id} is there twice");
        }
    }
    let lost = wanted.difference(&found).count();
    assert_eq!(lost, 0, "of {} spans {lost} are lost", wanted.len());
}

fn file_of(path: &Path, mebibytes: usize) {
    std::fs::write(path, vec![1; mebibytes << 20]).unwrap();
}

#[test]
fn a_full_disk_puts_senders_off_and_is_recovered_from_when_space_returns() {
    let Some(disk) = Disk::mount(9) else { return };
    let ballast = disk.folder.join("ballast");
    file_of(&ballast, 7);
    let server = Server::start_with(&disk.data(), &["--memory", "4MiB"]).unwrap();
    let mut requests = Workload::new(5).spans(2_000_000).max_trace_spans(500).requests(500);
    let mut kept = Vec::new();
    let refused = loop {
        let batch = requests.next().expect("the disk becomes full before the spans are used up");
        match send(&server, &batch) {
            (200, _) => kept.push(batch),
            (503, retry_after) => {
                assert!(retry_after.is_some(), "the sender is told when to come again");
                // Over the memory budget for a moment, or the disk is full: one more tells.
                std::thread::sleep(Duration::from_millis(200));
                if send(&server, &batch).0 == 503 {
                    break batch;
                }
                kept.push(batch);
            }
            (status, _) => panic!("a full disk was answered {status}"),
        }
    };
    assert!(kept.len() > 10, "only {} requests fitted", kept.len());
    wait_until("it is told to who looks after the server", || server.get("/readyz").unwrap().0 == 503);
    assert_eq!(server.get("/livez").unwrap().0, 200);
    assert_kept(&server, &kept[kept.len() - 5..]);

    std::fs::remove_file(&ballast).unwrap();
    let begin = Instant::now();
    while send(&server, &refused).0 != 200 {
        assert!(begin.elapsed() < Duration::from_secs(60), "space is back, and spans are still refused");
        std::thread::sleep(Duration::from_millis(100));
    }
    kept.push(refused);
    wait_until("all is well again", || server.get("/readyz").unwrap().0 == 200);
    for batch in requests.take(5) {
        server.send(&otlp::encode_protobuf(&batch)).unwrap();
        kept.push(batch);
    }
    assert_kept(&server, &kept);
    server.stop().unwrap();
    let server = Server::start(&disk.data()).unwrap();
    assert_kept(&server, &kept);
    server.stop().unwrap();
}

#[test]
fn a_disk_that_cannot_be_written_is_named_and_served() {
    let Some(disk) = Disk::mount(8) else { return };
    let server = Server::start(&disk.data()).unwrap();
    let batches: Vec<SpanBatch> = Workload::new(6).spans(500).requests(500).collect();
    for batch in &batches {
        assert_eq!(send(&server, batch).0, 200);
    }
    server.kill();
    disk.remount("ro");
    let server = Server::start(&disk.data()).unwrap();
    assert_kept(&server, &batches);
    assert_eq!(send(&server, &batches[0]).0, 503);
    let refusing = stats(&server)["refusing"].as_str().unwrap().to_owned();
    assert!(refusing.contains(disk.data().to_str().unwrap()) && refusing.contains("Read-only"), "{refusing}");
    // Everything is well when it can be written, without a start.
    disk.remount("rw");
    wait_until("spans are taken again", || stats(&server)["refusing"].is_null());
    assert_eq!(send(&server, &batches[0]).0, 200);
    server.stop().unwrap();
    Server::start(&disk.data()).unwrap().stop().unwrap();
}

fn stats(server: &Server) -> serde_json::Value {
    server.get("/api/v1/stats").unwrap().1["store"].take()
}

#[test]
fn retention_empties_a_full_disk_and_a_start_on_it_serves() {
    let Some(disk) = Disk::mount(24) else { return };
    let arguments = ["--retention", "5s", "--memory", "4MiB", "--min-free-disk", "1"];
    let server = Server::start_with(&disk.data(), &arguments).unwrap();
    // Spans of another time would make the clock doubtful, and nothing be deleted by it.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let workload = Workload::new(15).spans(2_000_000).max_trace_spans(500).start_unix_nano(now).window_nanos(1_000_000);
    let mut requests = workload.requests(500);
    wait_until("there are segments", || {
        let now = requests.next().unwrap();
        assert_eq!(send(&server, &now).0, 200);
        stats(&server)["segments"].as_u64().unwrap() > 2
    });
    let mut ballast = std::fs::File::create(disk.folder.join("ballast")).unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}
    wait_until("expired segments are deleted", || stats(&server)["segments"] == 0);
    server.kill();
    while ballast.write_all(&[1; 4096]).is_ok() {}
    let server = Server::start_with(&disk.data(), &arguments).unwrap();
    assert_eq!(server.get("/api/v1/traces?limit=1").unwrap().0, 200);
    drop(ballast);
    std::fs::remove_file(disk.folder.join("ballast")).unwrap();
    let next = requests.next().unwrap();
    wait_until("spans are taken again", || send(&server, &next).0 == 200);
    server.stop().unwrap();
}

/// The most memory that the server has had, in MiB.
fn peak_mebibytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn a_thousand_senders_that_dawdle_hold_neither_memory_nor_others() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--in-flight-size", "32MiB"]).unwrap();
    let dawdlers: Vec<TcpStream> = (0..1_000)
        .map(|_| {
            let mut socket = TcpStream::connect(server.address("otlp_http")).unwrap();
            // Together they promise 15 GiB, and send one byte of it.
            write!(socket, "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n")
                .unwrap();
            write!(socket, "content-length: {}\r\n\r\n\n", 15 << 20).unwrap();
            socket
        })
        .collect();
    let batches: Vec<SpanBatch> = Workload::new(8).spans(2_000).requests(500).collect();
    for batch in &batches {
        assert_eq!(send(&server, batch).0, 200);
    }
    assert_kept(&server, &batches);
    let peak = peak_mebibytes(&server);
    assert!(peak < 256, "the server took {peak} MiB");
    drop(dawdlers);
    server.stop().unwrap();
}

#[test]
fn a_thousand_senders_at_once_stay_within_the_budget() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--in-flight-size", "16MiB", "--memory", "32MiB"]).unwrap();
    let batches: Vec<SpanBatch> = Workload::new(9).spans(300_000).max_trace_spans(500).requests(300).collect();
    let kept: Vec<SpanBatch> = std::thread::scope(|scope| {
        let server = &server;
        let senders: Vec<_> = batches
            .into_iter()
            .map(|batch| {
                let sender = std::thread::Builder::new().stack_size(256 << 10);
                sender.spawn_scoped(scope, move || match send(server, &batch) {
                    (200, _) => Some(batch),
                    (503, Some(_)) => None,
                    (status, _) => panic!("a sender was answered {status}"),
                })
            })
            .collect();
        senders.into_iter().filter_map(|sender| sender.unwrap().join().unwrap()).collect()
    });
    assert!(kept.len() > 10, "only {} requests were taken", kept.len());
    assert_kept(&server, &kept[..10]);
    let peak = peak_mebibytes(&server);
    assert!(peak < 256, "the server took {peak} MiB");
    server.stop().unwrap();
}

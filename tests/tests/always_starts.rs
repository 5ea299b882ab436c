//! A server that starts whatever its log holds, whatever the clock says, and stops taking spans when its directory is gone.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracewell_e2e::protobuf::field;
use tracewell_e2e::{OrSkip, Server, wait_until};

/// Debian's libfaketime.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Spans that start at these times, with so many links of which nothing is said, as a request.
fn request(starts: impl Iterator<Item = u64>, links: usize) -> Vec<u8> {
    let mut spans = Vec::new();
    for (row, start) in starts.enumerate() {
        let (trace, id) = (1 + row as u128 / 100, 1 + row as u64);
        let mut span = vec![0x0a, 16];
        span.extend_from_slice(&trace.to_be_bytes());
        span.extend_from_slice(&[0x12, 8]);
        span.extend_from_slice(&id.to_be_bytes());
        for (number, time) in [(7, start), (8, start.saturating_add(1))] {
            span.push(number << 3 | 1);
            span.extend_from_slice(&time.to_le_bytes());
        }
        (0..links).for_each(|_| span.extend_from_slice(&[0x6a, 0]));
        spans.extend(field(2, &span));
    }
    field(1, &field(2, &spans))
}

fn send(server: &Server, body: &[u8]) -> u16 {
    server.post("application/x-protobuf", body).unwrap().0
}

#[test]
fn a_log_that_decodes_to_more_than_there_is_memory_is_read_back_at_every_start() {
    let data = tempfile::tempdir().unwrap();
    // 100 spans of 10,000 links: 2 MB on the wire, 40 MB decoded, twenty times.
    let server = Server::start_with(data.path(), &["--memory", "3GiB", "--decoded-size", "1GiB"]).unwrap();
    let body = request((0..100).map(|_| now()), 10_000);
    for _ in 0..20 {
        assert_eq!(send(&server, &body), 200);
    }
    server.kill();
    for _ in 0..2 {
        // The address space of a process without spans is about half of it.
        let server = Server::start_under("ulimit -v 1048576", data.path(), &["--memory", "96MiB"]);
        let server = server.unwrap();
        assert_eq!(server.spans().unwrap(), 2000);
        let damages = server.get("/api/v1/stats").unwrap().1["store"]["damages"].take();
        assert_eq!(damages, serde_json::json!([]));
        server.kill();
    }
}

#[test]
fn a_start_that_is_killed_again_and_again_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    for round in 0..40u64 {
        let body = request((0..2_000).map(|row| now() + round * 2_000 + row), 0);
        assert_eq!(send(&server, &body), 200);
    }
    server.kill();
    for round in 0..20 {
        let mut child = tracewell_e2e::Child::start(
            std::process::Command::new(tracewell_e2e::tracewell())
                .args(["serve", "--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0"])
                .args(["--memory", "4MiB", "--data"])
                .arg(data.path()),
        )
        .unwrap();
        std::thread::sleep(Duration::from_millis(3 * round));
        child.signal(libc::SIGKILL);
        let _ = child.wait();
    }
    let server = Server::start(data.path()).unwrap();
    assert_eq!(server.spans().unwrap(), 80_000);
    let stats = server.get("/api/v1/stats").unwrap().1;
    assert_eq!(stats["store"]["damages"], serde_json::json!([]));
    server.stop().unwrap();
}

#[test]
fn a_span_of_the_year_2554_keeps_no_other_from_being_forgotten() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let body = request((0..1000).map(|_| now()).chain([u64::MAX - 10]), 0);
    assert_eq!(send(&server, &body), 200);
    assert_eq!(server.get("/api/v1/stats").unwrap().1["odd_times"], serde_json::json!({"future": 1, "past": 0}));
    server.stop().unwrap();
    let server = Server::start_with(data.path(), &["--retention", "3s"]).unwrap();
    wait_until("all of it is forgotten", || server.spans().unwrap() == 0);
    server.stop().unwrap();
}

#[test]
fn spans_that_come_late_are_forgotten_with_others_of_their_age_though_they_are_few() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--retention", "1h"]).unwrap();
    let (hour, year) = (3_600_000_000_000, 365 * 24 * 3_600_000_000_000);
    for _ in 0..10 {
        let late = (0..100).map(|_| now() - 3 * hour);
        assert_eq!(send(&server, &request(late.chain([now() + 100 * year]), 0)), 200);
    }
    wait_until("all of it is forgotten", || server.spans().unwrap() == 0);
    // What is of this hour stays.
    assert_eq!(send(&server, &request((0..10).map(|_| now()), 0)), 200);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(server.spans().unwrap(), 10);
    server.stop().unwrap();
}

#[test]
fn a_start_with_the_clock_ahead_deletes_nothing() {
    let is_there = Path::new(FAKETIME).exists().then_some(());
    let Some(()) = is_there.or_skip("libfaketime is not installed") else { return };
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    assert_eq!(send(&server, &request((0..1000).map(|_| now()), 0)), 200);
    server.stop().unwrap();
    let ahead = [("LD_PRELOAD", FAKETIME), ("FAKETIME", "+2d")];
    let server = Server::start_in(data.path(), &["--retention", "1h"], &ahead).unwrap();
    wait_until("the clock is doubted", || {
        server.get("/api/v1/stats").unwrap().1["store"]["retention"]["clock_doubt"].is_string()
    });
    // Two rounds of retention and more.
    assert_eq!(send(&server, &request((0..10).map(|_| now()), 0)), 200);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(server.spans().unwrap(), 1010);
    server.stop().unwrap();
}

#[test]
fn a_directory_that_is_deleted_takes_no_more_spans() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let server = Server::start(&data).unwrap();
    let body = request((0..10).map(|_| now()), 0);
    assert_eq!(send(&server, &body), 200);
    std::fs::remove_dir_all(&data).unwrap();
    for _ in 0..3 {
        assert_eq!(send(&server, &body), 503);
    }
    let refusing = server.get("/api/v1/stats").unwrap().1["store"]["refusing"].take();
    assert!(refusing.as_str().unwrap().contains("data directory"), "{refusing}");
    wait_until("it is told to who looks after the server", || {
        let (status, answer) = server.get("/readyz").unwrap();
        status == 503 && answer["reasons"].to_string().contains("directory")
    });
    assert_eq!(server.get("/livez").unwrap().0, 200, "a start would not help");
    server.kill();
}

#[test]
fn spans_of_odd_times_are_refused_by_name_if_that_is_asked_for() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(data.path(), &["--odd-times", "refuse", "--future", "1h"]).unwrap();
    let body = request([now(), 0, now() + 7_200_000_000_000].into_iter(), 0);
    let (status, answer) = server.post("application/x-protobuf", &body).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(status == 200 && answer.contains("--odd-times") && answer.contains("--future"), "{status} {answer}");
    assert_eq!(server.spans().unwrap(), 1);
    server.kill();
    // The log has all three, and under which rules they were received.
    let server = Server::start(data.path()).unwrap();
    assert_eq!(server.spans().unwrap(), 1);
    server.stop().unwrap();
}

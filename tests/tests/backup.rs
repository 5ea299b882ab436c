//! `tracewell backup` of a server that is being sent to, and `tracewell restore`.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tracewell_e2e::{Server, tracewell};

const SENDERS: u64 = 4;
const SPANS_PER_REQUEST: u64 = 100;
const ALWAYS: [&str; 4] = ["--from", "2000-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"];

fn request(first: u64) -> String {
    let span = |number: u64| {
        json!({
            "traceId": format!("{number:032x}"), "spanId": format!("{number:016x}"), "name": format!("work {}", number % 100),
            "startTimeUnixNano": (1_700_000_000_000_000_000 + number).to_string(),
            "endTimeUnixNano": (1_700_000_001_000_000_000 + number).to_string(),
            "attributes": [{"key": "note", "value": {"stringValue": format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))}}],
        })
    };
    let spans: Vec<Value> = (first..first + SPANS_PER_REQUEST).map(span).collect();
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(tracewell()).args(arguments).output().unwrap()
}

fn backup(data: &Path, to: &Path) -> Vec<u64> {
    let output = run(&["backup", "--data", data.to_str().unwrap(), "--to", to.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

/// Restores, checks, serves and reads: how often each span is there.
fn restored(from: &Path, data: &Path) -> HashMap<u64, usize> {
    let output = run(&["restore", "--from", from.to_str().unwrap(), "--data", data.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let checked = run(&["fsck", "--data", data.to_str().unwrap()]);
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && said.contains("nothing is damaged"), "{said}");
    let server = Server::start(data).unwrap();
    let (exported, text) = server.run(&[&["export"], &ALWAYS[..]].concat()).unwrap();
    assert!(exported);
    let mut spans = HashMap::new();
    for rest in text.split("\"spanId\":\"").skip(1) {
        *spans.entry(u64::from_str_radix(&rest[..16], 16).unwrap()).or_default() += 1;
    }
    server.stop().unwrap();
    spans
}

#[test]
fn every_span_acknowledged_before_a_backup_is_in_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let [data, to] = ["data", "backup"].map(|name| folder.path().join(name));
    // So little memory that segments are written and merged all the time.
    let server = Server::start_with(&data, &["--memory", "2MiB", "--commit", "none"]).unwrap();
    let (next, is_over) = (AtomicU64::new(1), AtomicBool::new(false));
    let acknowledged = Mutex::new(Vec::new());
    let wait_for = |spans: usize| {
        while acknowledged.lock().unwrap().len() < spans {
            std::thread::yield_now();
        }
        acknowledged.lock().unwrap().clone()
    };
    let checks = std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let first = next.fetch_add(SPANS_PER_REQUEST, Ordering::Relaxed);
                    // One that is refused as busy is not tried again: it was not acknowledged.
                    if server.post("application/json", request(first).as_bytes()).unwrap().0 == 200 {
                        acknowledged.lock().unwrap().extend(first..first + SPANS_PER_REQUEST);
                    }
                }
            });
        }
        // Whatever fails, the senders are to end.
        let work = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let before_first = wait_for(6_000);
            backup(&data, &to);
            let first = folder.path().join("first");
            run(&["restore", "--from", to.to_str().unwrap(), "--data", first.to_str().unwrap()]);
            let before_second = wait_for(before_first.len() + 6_000);
            let counts = backup(&data, &to);
            (before_first, before_second, counts)
        }));
        is_over.store(true, Ordering::Relaxed);
        work
    });
    let (before_first, before_second, _) = checks.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    server.stop().unwrap();
    // The first was restored while the second was not written yet; its server has not run.
    let first = folder.path().join("first");
    let server = Server::start(&first).unwrap();
    let (_, stats) = server.get("/api/v1/stats").unwrap();
    assert!(stats["store"]["spans"].as_u64().unwrap() >= before_first.len() as u64, "{stats}");
    assert_eq!(stats["store"]["damages"], json!([]));
    server.stop().unwrap();
    let spans = restored(&to, &folder.path().join("second"));
    let missing: Vec<_> = before_second.iter().filter(|span| !spans.contains_key(span)).collect();
    assert!(missing.is_empty(), "{} of {} are missing", missing.len(), before_second.len());
    assert!(spans.values().all(|times| *times == 1), "some are there twice");
}

#[test]
fn a_backup_copies_only_what_is_new_and_one_that_is_killed_leaves_the_former() {
    let folder = tempfile::tempdir().unwrap();
    let [data, to] = ["data", "backup"].map(|name| folder.path().join(name));
    let fill = |numbers: std::ops::Range<u64>| {
        let server = Server::start(&data).unwrap();
        for number in numbers {
            let body = request(1 + number * SPANS_PER_REQUEST);
            assert_eq!(server.post("application/json", body.as_bytes()).unwrap().0, 200);
        }
        // Its end writes a segment.
        server.stop().unwrap();
    };
    fill(0..5);
    // Segments, new ones, log files.
    assert_eq!(backup(&data, &to), [1, 1, 0]);
    fill(5..10);
    // Killed at whatever it does.
    for _ in 0..5 {
        let arguments = ["backup", "--data", data.to_str().unwrap(), "--to", to.to_str().unwrap()];
        let mut killed = Command::new(tracewell()).args(arguments).stdout(Stdio::null()).spawn().unwrap();
        while !to.join("unfinished").exists() && killed.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let _ = killed.kill();
        let ended = killed.wait().unwrap();
        let spans = restored(&to, &folder.path().join("killed")).len() as u64;
        std::fs::remove_dir_all(folder.path().join("killed")).unwrap();
        // Whole before or whole after, never between; a success is after.
        assert!(spans == 1_000 || (spans == 500 && !ended.success()), "{spans} spans, {ended}");
        if ended.success() {
            return;
        }
    }
    assert_eq!(backup(&data, &to)[..2], [2, 1]);
    fill(10..11);
    let server = Server::start(&data).unwrap();
    assert_eq!(backup(&data, &to)[..2], [3, 1]);
    server.stop().unwrap();
    assert_eq!(restored(&to, &folder.path().join("last")).len() as u64, 11 * SPANS_PER_REQUEST);
    let again =
        run(&["restore", "--from", to.to_str().unwrap(), "--data", folder.path().join("last").to_str().unwrap()]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("not empty"));
}

//! Files that cannot be read, or are damaged: nothing of them is deleted, no answer is silently shorter, and what passes, passes.
//!
//! A small library before the C library makes reads of one file fail as a disk does. Without a C compiler these tests say so
//! and do nothing.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use tracewell_e2e::{Server, tracewell, wait_until};
use tracewell_sim::Workload;
use tracewell_wire::otlp;

const ALL: &str = "start=0&end=2100-01-01T00:00:00Z";
const SEGMENT: &str = "0000000001.segment";

/// Fails `open` for reading and `read` of files whose path contains the text in the file $FAIL_READS, with EIO.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(const char *path) {
    const char *list = getenv("FAIL_READS");
    char text[256];
    if (!list) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, list, O_RDONLY);
    if (file < 0) return 0;
    ssize_t length = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (length <= 0) return 0;
    text[length] = 0;
    return strstr(path, text) != NULL;
}

static int fails_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return fails(path);
}

#define NEXT(name) ({ static __typeof__(name) *next; if (!next) next = dlsym(RTLD_NEXT, #name); next; })
#define FAIL return errno = EIO, -1

ssize_t read(int fd, void *buffer, size_t count) { if (fails_fd(fd)) FAIL; return NEXT(read)(fd, buffer, count); }
ssize_t pread(int fd, void *buffer, size_t count, off_t at) { if (fails_fd(fd)) FAIL; return NEXT(pread)(fd, buffer, count, at); }
ssize_t pread64(int fd, void *buffer, size_t count, off64_t at) { if (fails_fd(fd)) FAIL; return NEXT(pread64)(fd, buffer, count, at); }
int open(const char *path, int flags, ...) {
    va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
    if (!(flags & (O_WRONLY | O_RDWR)) && fails(path)) FAIL;
    return NEXT(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list list; va_start(list, flags); int mode = va_arg(list, int); va_end(list);
    if (!(flags & (O_WRONLY | O_RDWR)) && fails(path)) FAIL;
    return NEXT(open64)(path, flags, mode);
}
"#;

/// A disk of which a test says which files cannot be read.
struct Disk {
    folder: TempDir,
    library: PathBuf,
}

impl Disk {
    /// `None` without a C compiler.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("shim.c"), folder.path().join("shim.so"));
        std::fs::write(&source, SHIM).unwrap();
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl").output();
        let Ok(output) = built else {
            eprintln!("skipped: there is no C compiler (cc)");
            return None;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(folder.path().join("fails"), "").unwrap();
        Some(Self { folder, library })
    }

    fn variables(&self) -> [(&'static str, String); 2] {
        let list = self.folder.path().join("fails").to_str().unwrap().to_owned();
        [("LD_PRELOAD", self.library.to_str().unwrap().to_owned()), ("FAIL_READS", list)]
    }

    /// Has reads of files fail whose path contains a text; none if it is empty.
    fn fail(&self, text: &str) {
        // Replaced at once: who reads it meanwhile sees the one or the other.
        let (new, list) = (self.folder.path().join("new"), self.folder.path().join("fails"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, list).unwrap();
    }

    fn start(&self, data: &Path) -> Server {
        let variables = self.variables();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Server::start_in(data, &[], &variables).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(tracewell()).args(arguments).envs(self.variables()).output().unwrap()
    }
}

/// A store of three segments, and how many traces are in each.
fn three_segments() -> (TempDir, Vec<usize>) {
    let data = tempfile::tempdir().unwrap();
    let mut traces = vec![0];
    for seed in 0..3 {
        let server = Server::start(data.path()).unwrap();
        for batch in Workload::new(seed).spans(600).requests(200) {
            server.send(&otlp::encode_protobuf(&batch)).unwrap();
        }
        traces.push(count(&server, "").0);
        server.stop().unwrap();
    }
    let each = traces.windows(2).map(|pair| pair[1] - pair[0]).collect();
    (data, each)
}

/// How many traces a search finds over all pages, and whether a page said that it is not complete.
fn count(server: &Server, further: &str) -> (usize, bool) {
    let (mut traces, mut is_complete, mut cursor) = (0, true, String::new());
    loop {
        let (status, page) = server.get(&format!("/api/v1/traces?{ALL}&limit=1000{further}{cursor}")).unwrap();
        assert_eq!(status, 200, "{page}");
        traces += page["traces"].as_array().unwrap().len();
        is_complete &= page["complete"] != false;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (traces, is_complete),
        }
    }
}

fn store(server: &Server) -> Value {
    server.get("/api/v1/stats").unwrap().1["store"].clone()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn flip(path: &Path, at: impl Fn(usize) -> usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_segment_that_cannot_be_read_makes_answers_unavailable_or_marked_and_never_shorter() {
    let Some(disk) = Disk::new() else { return };
    let (data, each) = three_segments();
    let all: usize = each.iter().sum();
    let server = disk.start(data.path());
    let (_, page) = server.get(&format!("/api/v1/traces?{ALL}&limit=1000")).unwrap();
    let ids: Vec<String> =
        page["traces"].as_array().unwrap().iter().map(|trace| trace["trace_id"].as_str().unwrap().to_owned()).collect();
    server.stop().unwrap();

    // Begun anew, so that nothing of it is in memory.
    let server = disk.start(data.path());
    disk.fail(SEGMENT);
    let (_, page) = server.get(&format!("/api/v1/traces?{ALL}&limit=1&partial=true")).unwrap();
    let readable = page["traces"][0]["trace_id"].as_str().unwrap();
    let calls = [
        format!("/api/v1/traces?{ALL}&limit=1000"),
        "/api/v1/services".to_owned(),
        "/api/v1/operations".to_owned(),
        "/api/v1/attributes".to_owned(),
        format!("/api/v1/dependencies?{ALL}"),
        format!("/api/v1/why?{ALL}"),
        format!("/api/v1/compare?a=start=0%20limit=1000&b={readable}"),
    ];
    for call in &calls {
        let (status, answer) = server.get(call).unwrap();
        assert_eq!((status, answer["error"]["code"].as_str()), (503, Some("unavailable")), "{call}: {answer}");
        let partial = if call.contains('?') { "&partial=true" } else { "?partial=true" };
        let (status, answer) = server.get(&format!("{call}{partial}")).unwrap();
        assert_eq!((status, &answer["complete"]), (200, &json!(false)), "{call}: {answer}");
        let file = answer["missing"][0]["file"].as_str().unwrap();
        assert!(file.contains(SEGMENT), "{call}: {answer}");
    }
    for call in [
        "/api/services",
        "/api/traces?start=0&end=4102444800000000&limit=1000",
        "/api/dependencies?endTs=4102444800000&lookback=4102444800000",
    ] {
        let (status, answer) = server.get(call).unwrap();
        assert_eq!(status, 503, "{call}: {answer}");
        let partial = if call.contains('?') { "&partial=true" } else { "?partial=true" };
        let (status, answer) = server.get(&format!("{call}{partial}")).unwrap();
        assert_eq!(status, 200, "{call}: {answer}");
        assert!(answer["errors"].to_string().contains("not complete"), "{call}: {answer}");
    }
    // A trace in it is neither unknown nor, to who accepts that, an error.
    let mut refused = 0;
    for id in &ids {
        for call in [format!("/api/v1/traces/{id}"), format!("/api/traces/{id}")] {
            let (status, answer) = server.get(&call).unwrap();
            assert!(status == 200 || status == 503, "{call}: {status} {answer}");
            refused += usize::from(status == 503);
            let (status, answer) = server.get(&format!("{call}?partial=true")).unwrap();
            assert_eq!(status, 200, "{call}: {answer}");
        }
    }
    assert!(refused > 0, "no trace needs the segment");
    assert_eq!(store(&server)["damages"], json!([]), "what may pass is no damage");
    wait_until("it is told", || server.get("/readyz").unwrap().0 == 503);
    let (_, answer) = server.get("/readyz").unwrap();
    assert!(answer["reasons"].to_string().contains(SEGMENT), "{answer}");
    assert_eq!(server.get("/readyz?exclude=reads").unwrap().0, 200);
    assert!(store(&server)["last_read_error"].to_string().contains(SEGMENT));
    // Once it can be read, all is there again.
    disk.fail("");
    assert_eq!(count(&server, ""), (all, true));
    wait_until("it is ready again", || server.get("/readyz").unwrap().0 == 200);
    for id in &ids {
        assert_eq!(server.get(&format!("/api/v1/traces/{id}")).unwrap().0, 200);
    }
    server.stop().unwrap();
}

#[test]
fn a_segment_that_failed_to_open_is_served_soon_after_it_can_be_read() {
    let Some(disk) = Disk::new() else { return };
    let (data, each) = three_segments();
    disk.fail(SEGMENT);
    let server = disk.start(data.path());
    assert!(store(&server)["unavailable"].to_string().contains(SEGMENT), "{}", store(&server));
    let (partial, is_complete) = count(&server, "&partial=true");
    assert!(partial < each.iter().sum() && !is_complete);
    disk.fail("");
    wait_until("it is served", || store(&server)["unavailable"] == json!([]));
    assert_eq!(count(&server, ""), (each.iter().sum(), true));
    server.stop().unwrap();
}

#[test]
fn a_repair_stops_at_a_read_error_and_moves_nothing() {
    let Some(disk) = Disk::new() else { return };
    let (data, each) = three_segments();
    let folder = data.path().to_str().unwrap();
    for unreadable in [SEGMENT, "catalog.json", ".log"] {
        disk.fail(unreadable);
        for change in ["--repair", "--adopt"] {
            let output = disk.run(&["fsck", change, "--data", folder]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{unreadable} {change}: {said}");
            assert!(said.contains(unreadable) && said.contains("nothing was moved"), "{unreadable} {change}: {said}");
            assert!(data.path().join("segments").join(SEGMENT).exists());
            assert!(!data.path().join("damaged").exists(), "{unreadable} {change}");
        }
    }
    disk.fail("");
    let checked = disk.run(&["fsck", "--json", "--data", folder]);
    assert!(checked.status.success());
    assert_eq!(report(&checked)["set_aside"], json!([]));
    let server = Server::start(data.path()).unwrap();
    assert_eq!(count(&server, ""), (each.iter().sum(), true));
    server.stop().unwrap();
}

#[test]
fn a_segment_that_a_rebuilt_catalog_does_not_know_is_kept_named_and_taken_in_again() {
    let (data, each) = three_segments();
    let folder = data.path().to_str().unwrap();
    let run = |arguments: &[&str]| Command::new(tracewell()).args(arguments).output().unwrap();
    flip(&data.path().join("segments").join(SEGMENT), |length| length - 30);
    flip(&data.path().join("catalog.json"), |_| 20);
    for _ in 0..3 {
        let server = Server::start(data.path()).unwrap();
        let (found, is_complete) = count(&server, "");
        assert!(found < each.iter().sum() && !is_complete, "{found} traces, complete: {is_complete}");
        assert!(store(&server)["damages"].to_string().contains(SEGMENT), "{}", store(&server));
        assert!(store(&server)["set_aside"].to_string().contains(SEGMENT), "{}", store(&server));
        server.stop().unwrap();
        assert!(data.path().join("damaged").join(SEGMENT).exists());
    }
    let checked = report(&run(&["fsck", "--json", "--data", folder]));
    assert!(checked["set_aside"].to_string().contains(SEGMENT), "{checked}");
    let adopted = report(&run(&["fsck", "--adopt", "--json", "--data", folder]));
    assert_eq!(adopted["set_aside"], json!([]), "{adopted}");
    let server = Server::start(data.path()).unwrap();
    assert_eq!(count(&server, ""), (each.iter().sum(), true), "{adopted}");
    assert_eq!(store(&server)["damages"], json!([]));
    server.stop().unwrap();
}

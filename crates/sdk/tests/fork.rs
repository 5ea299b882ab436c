//! A process that forks: nothing hangs in the child, nothing is sent twice, nothing that was flushed is lost.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracewell::{Batch, Config, Error, ExportError, Exporter, Tracer};

const LONG: Duration = Duration::from_secs(50);
const CHILDREN: usize = 20;

/// The few calls that there is nothing safe for.
#[allow(unsafe_code)]
mod process {
    use std::ffi::{c_int, c_uint};

    unsafe extern "C" {
        fn fork() -> c_int;
        fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
        fn alarm(seconds: c_uint) -> c_uint;
        fn _exit(status: c_int) -> !;
    }

    /// Runs `work` in a child that is killed if it takes a minute, and gives how that ended: 0 when it returned true.
    pub(crate) fn in_child(work: impl FnOnce() -> bool) -> i32 {
        let mut status = -1;
        // SAFETY: the calls are POSIX's. The child has one thread, allocates (which the C libraries this runs on allow
        // after a fork), and leaves by `_exit`, so that nothing of the test's harness runs in it twice.
        unsafe {
            let child = fork();
            if child == 0 {
                alarm(60);
                let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
                _exit(c_int::from(!ok));
            }
            assert!(child > 0, "fork failed");
            assert_eq!(waitpid(child, &raw mut status, 0), child);
        }
        status
    }
}

/// Appends a line with the name and the id of each span: parent and child write the same file.
struct Lines(File);

impl Exporter for Lines {
    fn export(&mut self, batch: &Batch<'_>) -> Result<(), ExportError> {
        let lines: String =
            batch.spans().iter().map(|span| format!("{} {}\n", span.name, span.context.span_id)).collect();
        self.0.write_all(lines.as_bytes()).unwrap();
        Ok(())
    }
}

fn tracer(path: &Path) -> Tracer {
    let file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    // Often, so that the exporter's thread holds its locks when the process forks.
    let config = Config::new("test").exporter(Lines(file)).export_interval(Duration::from_millis(1));
    Tracer::new(config.max_queue_spans(usize::MAX).max_queue_bytes(usize::MAX)).unwrap()
}

#[test]
fn a_forked_process_neither_hangs_nor_sends_again_and_may_trace_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spans");
    let tracer = tracer(&path);
    let (stop, busy) = (AtomicBool::new(false), tracer.clone());
    let (mut recorded, mut statuses) = (0, Vec::new());
    std::thread::scope(|scope| {
        let recorder = scope.spawn(|| {
            let mut spans = 0;
            while !stop.load(Ordering::Relaxed) {
                (0..64).for_each(|_| busy.span("busy").start().end());
                spans += 64;
                // Enough to keep the exporter busy, and not more than a slow machine can write down.
                std::thread::sleep(Duration::from_micros(200));
            }
            spans
        });
        for n in 0..CHILDREN {
            tracer.span("flushed").start().end();
            tracer.flush(LONG).unwrap();
            tracer.span("waits").start().end();
            let open = tracer.span("open").start();
            let status = process::in_child(|| {
                tracer.span("in the child").start().end();
                open.tag("in the child", 1).event("in the child");
                let forked = matches!(tracer.flush(LONG), Err(Error::Forked))
                    && matches!(tracer.shutdown(LONG), Err(Error::Forked));
                drop(open);
                let _ = tracer.stats();
                let own = self::tracer(&path);
                let root = own.span(format!("child {n}")).start();
                (0..9).for_each(|_| own.span("below").parent(&root.context()).start().end());
                drop(root);
                forked && own.shutdown(LONG).is_ok()
            });
            statuses.push(status);
        }
        stop.store(true, Ordering::Relaxed);
        recorded = recorder.join().unwrap();
    });
    assert_eq!(statuses, [0; CHILDREN]);
    tracer.shutdown(LONG).unwrap();
    let lines = std::fs::read_to_string(&path).unwrap();
    let count = |name: &str| lines.lines().filter(|line| line.rsplit_once(' ').unwrap().0 == name).count();
    // What was open at the fork is ended by both, and sent by the parent alone.
    for name in ["flushed", "waits", "open"] {
        assert_eq!(count(name), CHILDREN, "{name}");
    }
    assert_eq!(count("busy"), recorded);
    assert_eq!(count("in the child"), 0);
    for n in 0..CHILDREN {
        assert_eq!(count(&format!("child {n}")), 1);
    }
    // Also across processes: what a child begins has other ids than what its parent begins next.
    let ids: HashSet<_> = lines.lines().map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(ids.len(), lines.lines().count());
}

/// The only test here of the global tracer.
#[test]
fn a_forked_process_may_start_the_global_tracer_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spans");
    let config = || {
        let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        Config::new("test").exporter(Lines(file)).shutdown_timeout(LONG)
    };
    let guard = tracewell::init(config()).unwrap();
    let open = tracewell::span("parent").start();
    let status = process::in_child(|| {
        tracewell::span("before").start().end();
        let again = tracewell::init(config()).unwrap();
        let is_twice = matches!(tracewell::init(config()), Err(Error::AlreadyInitialized));
        // Of the trace that its parent process has begun.
        open.in_scope(|| tracewell::span("child").start().in_scope(|| tracewell::span("grandchild").start().end()));
        let report = again.shutdown().unwrap();
        is_twice && (report.stats.exported, report.lost()) == (2, 0)
    });
    assert_eq!(status, 0);
    drop(open);
    assert_eq!(guard.shutdown().unwrap().stats.exported, 1);
    let lines = std::fs::read_to_string(&path).unwrap();
    let mut names: Vec<_> = lines.lines().map(|line| line.split(' ').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["child", "grandchild", "parent"]);
}

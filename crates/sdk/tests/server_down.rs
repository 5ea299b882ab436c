//! Spans at full speed with the server down. A file of its own, for the memory that is looked at is the process's.
//!
//! `TRACEWELL_DOWN_SPANS=10000000 cargo test --release -p tracewell --test server_down` is what is promised.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::time::Duration;
use tracewell::{Config, Tracer};

/// The most memory that the process has had at once; `None` where the system does not tell.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[test]
fn memory_is_bounded_and_every_span_is_counted_as_dropped() {
    let spans: u64 = std::env::var("TRACEWELL_DOWN_SPANS").map_or(500_000, |count| count.parse().unwrap());
    // Nobody listens on port 1.
    let tracer = Tracer::new(Config::new("test").endpoint("http://127.0.0.1:1")).unwrap();
    let before = peak_bytes();
    const THREADS: u64 = 4;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for n in 0..spans / THREADS {
                    let span = tracer.span("work").tag("number", n).tag("text", "some text").start();
                    span.event("happened");
                }
            });
        }
    });
    tracer.shutdown(Duration::from_millis(1)).unwrap();
    // The rest is counted when the exporter's attempt, which fails at once, is over.
    tracer.flush(Duration::from_secs(60)).unwrap();
    let stats = tracer.stats();
    assert_eq!(stats.exported, 0);
    let dropped = stats.dropped_queue_full + stats.dropped_unreachable + stats.dropped_shutdown;
    assert_eq!(dropped, spans / THREADS * THREADS);
    assert!(stats.last_error.is_some());
    if let (Some(before), Some(after)) = (before, peak_bytes()) {
        // The queue of 16 MiB, what threads hold, a request, and some for the allocator.
        assert!(after - before < 40 << 20, "{} MiB more", (after - before) >> 20);
    }
}

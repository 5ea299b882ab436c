//! Measures one thing of one library and prints it: `tracewell-bench-sdk LIBRARY SCENARIO`. `cargo xtask bench sdk` runs
//! all of them, several times and in turn, and takes the least of each.
//!
//! Every library does the same: a span, child of one that is open, with two tags (a text, an integer), that may be sent
//! to another thread while it is open. Its time is the processor's, of the calling thread, so that other work on the
//! machine counts as little as possible; allocations are counted on the calling thread.

mod measure;
mod subjects;

use measure::{Allocations, Cost, measured, process_cpu_nanos};
use subjects::Subject;

#[global_allocator]
static ALLOCATOR: Allocations = Allocations;

/// Spans between two flushes, so that no library has to drop any.
const PORTION: u64 = 2_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (library, scenario) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let mut subject = subjects::of(&library, scenario == "unsampled");
    let cost = match scenario.as_str() {
        "recorded" | "unsampled" => spans(&mut *subject, 300_000),
        "poll" => polls(&mut *subject),
        "inject" => measured(500_000, || subject.inject()),
        "extract" => measured(500_000, || subject.extract()),
        "total" => total(&mut *subject, 1_000_000),
        "threads" => threads(&library),
        _ => panic!("unknown scenario {scenario:?}"),
    };
    println!("{:.2} {:.3}", cost.nanos, cost.allocations);
}

fn warm(subject: &mut dyn Subject) {
    for _ in 0..20 {
        (0..PORTION).for_each(|_| subject.span());
        subject.flush();
    }
    // Until clocks are measured and threads are there.
    std::thread::sleep(std::time::Duration::from_millis(200));
}

/// The calling thread's share; flushes are not part of it.
fn spans(subject: &mut dyn Subject, count: u64) -> Cost {
    warm(subject);
    let mut sum = Cost::default();
    let portions = count / PORTION;
    for _ in 0..portions {
        let cost = measured(PORTION, || subject.span());
        sum.nanos += cost.nanos / portions as f64;
        sum.allocations += cost.allocations / portions as f64;
        subject.flush();
    }
    sum
}

/// All threads of the process, until every span is OTLP bytes.
fn total(subject: &mut dyn Subject, count: u64) -> Cost {
    warm(subject);
    let before = subject.exported();
    let begin = process_cpu_nanos();
    for _ in 0..count / PORTION {
        (0..PORTION).for_each(|_| subject.span());
        subject.flush();
    }
    let nanos = (process_cpu_nanos() - begin) as f64 / count as f64;
    let exported = subject.exported() - before;
    assert_eq!(exported, count, "every span became bytes");
    Cost { nanos, allocations: 0.0 }
}

/// What a poll costs above one of the same future alone.
fn polls(subject: &mut dyn Subject) -> Cost {
    warm(subject);
    let bare = subjects::polled(Box::pin(subjects::endless()));
    let mut cost = subject.polls();
    cost.nanos = (cost.nanos - bare.nanos).max(0.0);
    cost
}

/// Two threads at once, each with its own spans: where they share nothing, a span costs what it costs alone.
fn threads(library: &str) -> Cost {
    let barrier = std::sync::Barrier::new(2);
    let costs: Vec<f64> = std::thread::scope(|scope| {
        let run = || {
            let mut subject = subjects::of(library, false);
            warm(&mut *subject);
            barrier.wait();
            spans(&mut *subject, 300_000).nanos
        };
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    Cost { nanos: costs.iter().copied().fold(0.0, f64::max), allocations: 0.0 }
}

//! What was acknowledged is there after kill -9, once.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracewell_e2e::{Server, normal};
use tracewell_parts::S3;
use tracewell_sim::Workload;
use tracewell_wire::otlp;

/// How often the server is killed, each time after a random number of requests.
const KILLS: u64 = 50;
const SEED: u64 = 1;
/// How long spans may be refused for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Span ids by trace id.
type Ids = BTreeMap<String, BTreeSet<String>>;

#[test]
fn a_span_acknowledged_is_found_once_after_kill() {
    check_kills(KILLS, &[]);
}

#[test]
fn a_span_acknowledged_is_found_once_after_kill_with_segments_in_a_bucket() {
    for s3 in [S3::start("spans"), S3::start_versitygw("spans")].into_iter().flatten() {
        check_kills(KILLS / 3, &["--segments", "s3://spans/tracewell", "--segments-endpoint", &s3.url()]);
    }
}

/// Kills a server while spans are sent, again and again, and then looks for every one that was acknowledged.
fn check_kills(kills: u64, arguments: &[&str]) {
    let data = tempfile::tempdir().unwrap();
    let mut acknowledged = Ids::new();
    let mut random = fastrand::Rng::with_seed(SEED);
    for round in 0..kills {
        // Small memtables, so that the kills also meet flushes and merges.
        let arguments = [&["--memory", "4MiB"], arguments].concat();
        let server = Server::start_in(data.path(), &arguments, &S3::CREDENTIALS).unwrap();
        send_until_killed(server, round, random.usize(1..60), &mut acknowledged);
    }
    let spans: usize = acknowledged.values().map(BTreeSet::len).sum();
    assert!(spans > 1_000, "too little was acknowledged to tell: {spans} spans");

    let server = Server::start_in(data.path(), arguments, &S3::CREDENTIALS).unwrap();
    for (trace_id, span_ids) in &acknowledged {
        let trace = server.trace(trace_id).unwrap().unwrap_or_else(|| panic!("trace {trace_id} is lost"));
        let mut found = BTreeMap::<&str, usize>::new();
        for resource in normal::list(&trace, "resourceSpans") {
            for scope in normal::list(resource, "scopeSpans") {
                for span in normal::list(scope, "spans") {
                    *found.entry(normal::text(span, "spanId")).or_default() += 1;
                }
            }
        }
        for span_id in span_ids {
            assert_eq!(found.get(span_id.as_str()), Some(&1), "span {span_id} of trace {trace_id}");
        }
    }
    server.stop().unwrap();
}

/// Sends requests on a second thread and kills the server after some of them; what got a 200 is added to `acknowledged`.
fn send_until_killed(server: Server, seed: u64, kill_after: usize, acknowledged: &mut Ids) {
    const REQUESTS: usize = 400;
    let sender = Arc::new(server);
    let killed = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(Mutex::new(Vec::new()));
    let (progress, enough) = std::sync::mpsc::channel();
    let url = format!("http://{}/v1/traces", sender.address("otlp_http"));
    let thread = {
        let (killed, answered) = (killed.clone(), answered.clone());
        std::thread::spawn(move || {
            let agent = ureq::Agent::new_with_defaults();
            for batch in Workload::new(seed).spans(200_000).requests(50).take(REQUESTS) {
                let body = otlp::encode_protobuf(&batch);
                let send = || agent.post(&url).header("content-type", "application/x-protobuf").send(&body);
                let mut sent = send();
                let begin = Instant::now();
                // Over the memory budget, which is small, a sender is asked to come again.
                while matches!(sent, Err(ureq::Error::StatusCode(503))) && begin.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(50));
                    sent = send();
                }
                match sent {
                    Ok(_) => answered.lock().unwrap().push(batch),
                    Err(error) => {
                        assert!(killed.load(Ordering::SeqCst), "a request failed before the kill: {error}");
                        return;
                    }
                }
                // The receiver hangs up once it has heard enough.
                let _ = progress.send(());
            }
        })
    };
    enough.iter().take(kill_after).for_each(drop);
    killed.store(true, Ordering::SeqCst);
    Arc::into_inner(sender).expect("the thread knows only the address").kill();
    thread.join().unwrap();
    for batch in answered.lock().unwrap().iter() {
        for span in batch.iter() {
            acknowledged.entry(span.trace_id().to_string()).or_default().insert(span.span_id().to_string());
        }
    }
}

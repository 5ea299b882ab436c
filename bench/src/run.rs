//! One store, from its start to its end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::floor::Floor;
use crate::peer::{Kind, Peer};
use crate::process::bytes_below;
use crate::question::{Answers, Asker};
use crate::sender::send;
use crate::workload::Workload;

/// How many traces are asked for at a time while the store is busy.
const BUSY_TIMES: usize = 20;

/// What one store took.
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    /// CPU of the store, all background work included.
    pub(crate) cpu: Duration,
    /// Seconds of sending for a span.
    pub(crate) send_seconds: f64,
    pub(crate) put_off: u64,
    /// Bytes on the disk once it is quiet; none for a store that keeps nothing.
    pub(crate) disk_bytes: Option<u64>,
    /// Those of them that are in segments; known for Tracewell only.
    pub(crate) segment_bytes: Option<u64>,
    /// The most memory up to then.
    pub(crate) peak_bytes: u64,
    /// The most memory up to the end, every question included.
    pub(crate) peak_asked_bytes: u64,
    pub(crate) answers: Vec<Answers>,
    /// Traces by id while other spans come in, and seconds of sending for one of those.
    pub(crate) busy: Answers,
    pub(crate) busy_send_seconds: f64,
    /// Seconds of sending for one of those just before, with nobody asking.
    pub(crate) calm_send_seconds: f64,
    /// From a start to the first answer with every span in the log; measured for Tracewell only.
    pub(crate) restart: Option<Duration>,
}

pub(crate) fn run(peer: &Peer, workload: &Workload, more: &Workload, work: &Path) -> Result<Outcome> {
    let name = peer.kind.name();
    let data = work.join(format!("{:?}", peer.kind));
    let version = peer.version();
    let store = peer.start(&data).with_context(|| format!("start {name}"))?;
    let before = store.process.cpu()?;
    eprintln!("{name}: sending");
    let zipkin = match peer.kind {
        Kind::Zipkin => Some((workload.for_zipkin(&work.join("zipkin"))?, more.for_zipkin(&work.join("more-zipkin"))?)),
        _ => None,
    };
    let (requests, more_requests) = zipkin.as_ref().map_or((&workload.requests, &more.requests), |(a, b)| (a, b));
    let sent = send(requests, &store.door)?;
    eprintln!("{name}: took them in {:.1} s; waiting until it is quiet", sent.wall.as_secs_f64());
    store.process.wait_until_quiet()?;
    let cpu = store.process.cpu()? - before;
    let peak_bytes = store.process.peak_bytes()?;
    let disk_bytes = if peer.kind.is_durable() { Some(bytes_below(&data)?) } else { None };
    let segment_bytes = match peer.kind {
        Kind::Tracewell => Some(bytes_below(&data.join("segments"))?),
        _ => None,
    };
    eprintln!("{name}: {:.2} us of CPU a span; asking", cpu.as_secs_f64() * 1e6 / workload.spans as f64);
    let mut answers = Asker::new(&store, &workload.facts).all()?;
    let floor = Floor::start()?;
    for answer in &mut answers {
        answer.floor = [floor.time(answer.bytes_quantile(0.5))?, floor.time(answer.bytes_quantile(0.95))?];
    }
    for answer in answers.iter().filter(|answer| answer.wrong > 0) {
        eprintln!(
            "{name}: {} of {} answers to {:?} are not what they should be, such as: {}",
            answer.wrong,
            answer.times.len(),
            answer.question,
            answer.example.as_deref().unwrap_or_default()
        );
    }

    eprintln!("{name}: sending other spans, then the same while asking");
    let calm_sent = send(more_requests, &store.door)?;
    store.process.wait_until_quiet()?;
    let done = AtomicBool::new(false);
    let (busy, busy_sent) = std::thread::scope(|scope| -> Result<_> {
        let sending = scope.spawn(|| {
            let sent = send(more_requests, &store.door);
            done.store(true, Ordering::SeqCst);
            sent
        });
        let mut asker = Asker::new(&store, &workload.facts);
        let mut busy = asker.traces(BUSY_TIMES)?;
        while !done.load(Ordering::SeqCst) {
            busy.times.extend(asker.traces(BUSY_TIMES)?.times);
        }
        busy.times.sort_unstable();
        let sent = sending.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        Ok((busy, sent))
    })?;
    let peak_asked_bytes = store.process.peak_bytes()?;
    drop(store);
    remove(&data);
    let restart = if peer.kind == Kind::Tracewell { Some(restart(peer, more, &data)?) } else { None };
    Ok(Outcome {
        kind: peer.kind,
        version,
        cpu,
        send_seconds: sent.wall.as_secs_f64() / workload.spans as f64,
        put_off: sent.put_off,
        disk_bytes,
        segment_bytes,
        peak_bytes,
        peak_asked_bytes,
        answers,
        busy,
        busy_send_seconds: busy_sent.wall.as_secs_f64() / more.spans as f64,
        calm_send_seconds: calm_sent.wall.as_secs_f64() / more.spans as f64,
        restart,
    })
}

/// How long it takes from a start to the first answer when every span is in the log and none in a segment.
fn restart(peer: &Peer, workload: &Workload, data: &Path) -> Result<Duration> {
    eprintln!("{}: starting with every span in the log", peer.kind.name());
    let roomy = ["--memory", "64GiB"];
    let store = peer.start_with(data, &roomy)?;
    send(&workload.requests, &store.door)?;
    // kill -9.
    drop(store);
    let begin = Instant::now();
    let store = peer.start_with(data, &roomy)?;
    let answer = Asker::new(&store, &workload.facts).largest(1)?;
    let took = begin.elapsed();
    anyhow::ensure!(answer.wrong == 0, "after the restart: {}", answer.example.unwrap_or_default());
    drop(store);
    remove(data);
    Ok(took)
}

fn remove(data: &Path) {
    if let Err(error) = std::fs::remove_dir_all(data) {
        eprintln!("cannot remove {}: {error}", data.display());
    }
}

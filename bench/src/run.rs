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
    pub(crate) send_wall: Duration,
    pub(crate) put_off: u64,
    /// Bytes on the disk once it is quiet; none for a store that keeps nothing.
    pub(crate) disk_bytes: Option<u64>,
    pub(crate) peak_bytes: u64,
    pub(crate) answers: Vec<Answers>,
    /// Traces by id while as many other spans come in, and how long those took.
    pub(crate) busy: Answers,
    pub(crate) busy_send_wall: Duration,
    /// How long as many spans take just before, with nobody asking.
    pub(crate) calm_send_wall: Duration,
    /// The most memory that it had by then.
    pub(crate) asked_peak_bytes: u64,
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
    let sent = send(workload, &store.otlp)?;
    eprintln!("{name}: took them in {:.1} s; waiting until it is quiet", sent.wall.as_secs_f64());
    store.process.wait_until_quiet()?;
    let cpu = store.process.cpu()? - before;
    let peak_bytes = store.process.peak_bytes()?;
    let disk_bytes = if peer.kind == Kind::Jaeger { None } else { Some(bytes_below(&data)?) };
    eprintln!("{name}: {:.2} us of CPU a span; asking", cpu.as_secs_f64() * 1e6 / workload.spans as f64);
    let mut answers = Asker::new(&store, workload).all()?;
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
    let calm_sent = send(more, &store.otlp)?;
    store.process.wait_until_quiet()?;
    let done = AtomicBool::new(false);
    let (busy, busy_sent) = std::thread::scope(|scope| -> Result<_> {
        let sending = scope.spawn(|| {
            let sent = send(more, &store.otlp);
            done.store(true, Ordering::SeqCst);
            sent
        });
        let mut asker = Asker::new(&store, workload);
        let mut busy = asker.traces(BUSY_TIMES)?;
        while !done.load(Ordering::SeqCst) {
            busy.times.extend(asker.traces(BUSY_TIMES)?.times);
        }
        busy.times.sort_unstable();
        let sent = sending.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        Ok((busy, sent))
    })?;
    let asked_peak_bytes = store.process.peak_bytes()?;
    drop(store);
    remove(&data);
    let restart = if peer.kind == Kind::Tracewell { Some(restart(peer, workload, &data)?) } else { None };
    Ok(Outcome {
        kind: peer.kind,
        version,
        cpu,
        send_wall: sent.wall,
        put_off: sent.put_off,
        disk_bytes,
        peak_bytes,
        answers,
        busy,
        busy_send_wall: busy_sent.wall,
        calm_send_wall: calm_sent.wall,
        asked_peak_bytes,
        restart,
    })
}

/// How long it takes from a start to the first answer when every span is in the log and none in a segment.
fn restart(peer: &Peer, workload: &Workload, data: &Path) -> Result<Duration> {
    eprintln!("{}: starting with every span in the log", peer.kind.name());
    let roomy = ["--memory", "64GiB"];
    let store = peer.start_with(data, &roomy)?;
    send(workload, &store.otlp)?;
    // kill -9.
    drop(store);
    let begin = Instant::now();
    let store = peer.start_with(data, &roomy)?;
    let answer = Asker::new(&store, workload).largest(1)?;
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

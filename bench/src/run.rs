//! One store, from its start to its end.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

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
    /// Traces by id while the same spans come in once more, and how long that took.
    pub(crate) busy: Answers,
    pub(crate) busy_send_wall: Duration,
}

pub(crate) fn run(peer: &Peer, workload: &Workload, work: &Path) -> Result<Outcome> {
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
    let answers = Asker::new(&store, workload).all()?;
    for answer in answers.iter().filter(|answer| answer.wrong > 0) {
        eprintln!(
            "{name}: {} of {} answers to {:?} are not what they should be, such as: {}",
            answer.wrong,
            answer.times.len(),
            answer.question,
            answer.example.as_deref().unwrap_or_default()
        );
    }
    drop(store);
    let _ = std::fs::remove_dir_all(&data);

    // Afresh, so that every store is asked about spans that it has once.
    let store = peer.start(&data)?;
    eprintln!("{name}: asking while spans come in");
    let done = AtomicBool::new(false);
    let (busy, busy_sent) = std::thread::scope(|scope| -> Result<_> {
        let sending = scope.spawn(|| {
            let sent = send(workload, &store.otlp);
            done.store(true, Ordering::SeqCst);
            sent
        });
        let mut asker = Asker::new(&store, workload);
        let mut busy: Option<Answers> = None;
        while !done.load(Ordering::SeqCst) {
            let more = asker.traces(BUSY_TIMES)?;
            match &mut busy {
                Some(busy) => busy.times.extend(more.times),
                None => busy = Some(more),
            }
        }
        let mut busy = busy.context("sending ended before a question was asked")?;
        busy.times.sort_unstable();
        let sent = sending.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        Ok((busy, sent))
    })?;
    drop(store);
    let _ = std::fs::remove_dir_all(&data);
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
    })
}

//! The steps of keeping and finding spans, each by itself and again and again: the least of several rounds counts.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use tracewell_model::{SpanBatch, StringTable, Trace, TraceId, Value};
use tracewell_store::{Append, Commit, EmbeddedOptions, EmbeddedStore, SpanStore, Tenant};
use tracewell_wire::{Format, Limits, jaeger};

use super::{Result, bodies, workload};

/// A step, and what its figures are of.
pub(crate) const STEPS: [(&str, &str); 7] = [
    ("decode", "span"),
    ("intern", "span"),
    ("append", "span"),
    ("append and flush", "span"),
    ("append, flush and merge", "span"),
    ("lookup", "trace by id"),
    ("read as Jaeger JSON", "span"),
];

/// Prints the CPU nanoseconds of each step.
pub(crate) fn all(spans: usize, rounds: usize) -> Result<()> {
    let ready = Ready::new(spans)?;
    for (step, of) in STEPS {
        let mut best = Duration::MAX;
        for _ in 0..rounds {
            let before = cpu();
            ready.round(step)?;
            best = best.min(cpu() - before);
        }
        println!("{step}\t{of}\t{:.1}", best.as_nanos() as f64 / ready.count(of) as f64);
    }
    Ok(())
}

/// Runs rounds of one step, for tools that count instructions, and prints of how many things a round is.
pub(crate) fn one(step: &str, spans: usize, rounds: usize) -> Result<()> {
    let ready = Ready::new(spans)?;
    for _ in 0..rounds {
        ready.round(step)?;
    }
    let of = STEPS.iter().find(|(name, _)| *name == step).ok_or_else(|| format!("no step is named {step:?}"))?.1;
    println!("{}", ready.count(of));
    Ok(())
}

/// What the steps work on.
struct Ready {
    runtime: tokio::runtime::Runtime,
    bodies: Vec<Bytes>,
    batches: Vec<SpanBatch>,
    spans: usize,
    folder: tempfile::TempDir,
    /// Holds all spans, in a segment.
    store: EmbeddedStore,
    ids: Vec<TraceId>,
}

impl Ready {
    fn new(spans: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let bodies: Vec<Bytes> = bodies(spans).collect();
        let decode = |body: &Bytes| tracewell_wire::decode(Format::OtlpProtobuf, body, &Limits::default());
        let batches = bodies.iter().map(|body| Ok(decode(body)?.batch)).collect::<Result<Vec<SpanBatch>>>()?;
        let folder = tempfile::tempdir()?;
        let store = EmbeddedStore::open(&folder.path().join("held"), options())?;
        let ids = workload(spans).traces().map(|trace| trace.span(0).trace_id()).collect();
        let spans = batches.iter().map(SpanBatch::len).sum();
        let ready = Self { runtime, bodies, batches, spans, folder, store, ids };
        ready.append(&ready.store, 0..ready.batches.len())?;
        ready.runtime.block_on(async {
            ready.store.flush().await?;
            ready.store.settle().await
        })?;
        Ok(ready)
    }

    fn count(&self, of: &str) -> usize {
        if of == "span" { self.spans } else { self.ids.len() }
    }

    fn round(&self, step: &str) -> Result<()> {
        match step {
            "decode" => {
                for body in &self.bodies {
                    black_box(tracewell_wire::decode(Format::OtlpProtobuf, body, &Limits::default())?);
                }
            }
            "intern" => self.batches.iter().for_each(intern),
            "append" => self.keep(1, false)?,
            "append and flush" => self.keep(1, true)?,
            "append, flush and merge" => self.keep(4, true)?,
            "lookup" => {
                for id in &self.ids {
                    let spans = self.runtime.block_on(self.store.traces(&Tenant::default(), &[*id]))?;
                    black_box(Trace::assemble(spans));
                }
            }
            "read as Jaeger JSON" => {
                for ids in self.ids.chunks(16) {
                    let spans = self.runtime.block_on(self.store.traces(&Tenant::default(), ids))?;
                    let rows = Trace::rows_by_trace(&spans);
                    let rows = rows.into_iter().map(|rows| Trace::in_order(&spans, rows)).collect();
                    let mut encoder = jaeger::TracesEncoder::new(spans, rows, false);
                    let mut out = Vec::new();
                    while !encoder.write(&mut out, 256 * 1024) {
                        black_box(&out);
                        out.clear();
                    }
                }
            }
            other => return Err(format!("no step is named {other:?}").into()),
        }
        Ok(())
    }

    /// Keeps all spans in a store of its own, in so many segments, which are then merged.
    fn keep(&self, segments: usize, flushes: bool) -> Result<()> {
        let folder = self.folder.path().join("round");
        let store = EmbeddedStore::open(&folder, options())?;
        for part in 0..segments {
            let edge = |part: usize| self.batches.len() * part / segments;
            self.append(&store, edge(part)..edge(part + 1))?;
            if flushes {
                self.runtime.block_on(store.flush())?;
            }
        }
        if flushes {
            self.runtime.block_on(store.settle())?;
        }
        drop(store);
        remove(&folder)
    }

    fn append(&self, store: &EmbeddedStore, part: std::ops::Range<usize>) -> Result<()> {
        for (batch, body) in self.batches[part.clone()].iter().zip(&self.bodies[part]) {
            let append = Append {
                batch: batch.clone(),
                body: body.clone(),
                format: Format::OtlpProtobuf,
                arrival_unix_nano: u64::MAX,
            };
            self.runtime.block_on(store.append(&Tenant::default(), append))?;
        }
        Ok(())
    }
}

/// So much memory that nothing is flushed unasked; the disk's own time is not the processor's.
fn options() -> EmbeddedOptions {
    EmbeddedOptions { memory_bytes: 8 << 30, commit: Commit::None, ..EmbeddedOptions::default() }
}

fn remove(folder: &Path) -> Result<()> {
    Ok(std::fs::remove_dir_all(folder)?)
}

/// Interns every string that the spans of a batch say, as often as they say it.
fn intern(batch: &SpanBatch) {
    let mut table = StringTable::default();
    let attributes = batch.span_attributes();
    let texts = attributes.value.iter().filter_map(|value| match value {
        Value::Str(id) => Some(*id),
        _ => None,
    });
    for id in batch.spans().name.iter().copied().chain(attributes.key.iter().copied()).chain(texts) {
        black_box(table.intern(batch.string(id)));
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

//! How long `why` computes over whole traces in memory.
//!
//! `cargo run --release -p tracewell-sim --example speed -- [SPANS] [FILE]` compares two windows of together so many spans,
//! and writes them to FILE as OTLP protobuf, for a server.

use std::io::Write;
use std::time::Instant;

use tracewell_insight::{Options, why};
use tracewell_model::Trace;
use tracewell_sim::{FaultKind, Scenario};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let spans: usize = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    // A request of this mesh has about 44 spans.
    let windows = Scenario::new(2).fault(FaultKind::OwnCpu).sampling(1.0).requests(spans / 2 / 44).run();
    if let Some(path) = arguments.next() {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        for batch in windows.baseline.iter().chain(&windows.window) {
            file.write_all(&tracewell_wire::otlp::encode_protobuf(batch))?;
        }
    }
    let begin = Instant::now();
    let assemble = |batches: Vec<_>| batches.into_iter().map(Trace::assemble).collect::<Vec<_>>();
    let (normal, slow) = (assemble(windows.baseline), assemble(windows.window));
    let assembled = begin.elapsed();
    let begin = Instant::now();
    let answer = why(&slow, &normal, &Options::default());
    let spans: usize = normal.iter().chain(&slow).map(Trace::len).sum();
    println!(
        "{} traces, {spans} spans: assembled in {assembled:?}, why took {:?}",
        normal.len() + slow.len(),
        begin.elapsed()
    );
    println!("{}", answer.summary);
    Ok(())
}

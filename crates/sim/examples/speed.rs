//! How long `why` computes over spans in memory, step by step.
//!
//! `cargo run --release -p tracewell-sim --example speed -- [SPANS] [FILE]` compares two windows of together so many spans,
//! and writes them to FILE as OTLP protobuf, for a server.

use std::collections::HashSet;
use std::io::Write;
use std::time::Instant;

use tracewell_insight::{Options, Survey};
use tracewell_model::{SpanBatch, TraceId};
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
    // As a store gives them: many traces in a batch.
    let pages = |traces: Vec<SpanBatch>| -> Vec<SpanBatch> {
        let page = |traces: &[SpanBatch]| {
            let mut page = SpanBatch::new();
            traces.iter().for_each(|trace| page.append(trace));
            page
        };
        traces.chunks(500).map(page).collect()
    };
    let (normal, slow) = (pages(windows.baseline), pages(windows.window));
    let spans: usize = normal.iter().chain(&slow).map(SpanBatch::len).sum();

    let mut survey = Survey::default();
    let begin = Instant::now();
    slow.iter().for_each(|page| survey.add(page));
    let traces = survey.len();
    survey.begin_baseline();
    normal.iter().for_each(|page| survey.add(page));
    let surveyed = begin.elapsed();
    println!(
        "{} traces, {spans} spans: looked at once in {surveyed:?}, held {} bytes",
        traces + survey.len(),
        survey.size_bytes()
    );

    let begin = Instant::now();
    let mut inquiry = survey.compare(&Options::default());
    println!("causes found in {:?}", begin.elapsed());

    let wanted: HashSet<TraceId> = inquiry.wanted().into_iter().collect();
    let rows_of =
        |page: &SpanBatch| page.select((0..page.len()).filter(|row| wanted.contains(&page.span(*row).trace_id())));
    let looked_at: Vec<SpanBatch> = slow.iter().chain(&normal).map(rows_of).collect();
    let begin = Instant::now();
    looked_at.iter().for_each(|page| inquiry.look(page));
    println!("{} of the traces looked at again in {:?}", wanted.len(), begin.elapsed());

    let begin = Instant::now();
    let answer = inquiry.conclude();
    println!("concluded in {:?}", begin.elapsed());
    println!("{}", answer.summary);
    Ok(())
}

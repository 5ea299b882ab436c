//! How often `why` names the faulty service first, or among the first three, on traces with labelled faults.
//!
//! `cargo run -p tracewell-insight --example labelled_faults -- DIR [--verbose]`, where DIR holds `labels.json` (a list
//! of `{file, baseline: {file}, service, type}`) and the files it names: OTLP JSON lines, gzipped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use tracewell_insight::{Finding, Options, why};
use tracewell_model::{SpanBatch, Trace};
use tracewell_wire::{Format, Limits, decode};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("which directory?")?;
    let directory = Path::new(&directory);
    let is_verbose = arguments.next().is_some_and(|argument| argument == "--verbose");
    let labels: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(directory.join("labels.json"))?)?;
    let mut baselines: BTreeMap<String, Vec<Trace>> = BTreeMap::new();
    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    for label in &labels {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, service) = (text(&label["type"]), text(&label["service"]));
        if !["network_delay", "cpu_contention"].contains(&kind.as_str()) {
            continue;
        }
        let baseline = text(&label["baseline"]["file"]);
        if !baselines.contains_key(&baseline) {
            baselines.insert(baseline.clone(), read(&directory.join(&baseline))?);
        }
        let slow = read(&directory.join(text(&label["file"])))?;
        let why = why(&slow, &baselines[&baseline], &Options::default());
        let names = |finding: &Finding| finding.service == service;
        let touches = |finding: &Finding| {
            names(finding) || finding.edge.as_ref().is_some_and(|edge| edge.from == service || edge.to == service)
        };
        let rank = why.findings.iter().position(names);
        let touching = why.findings.iter().position(touches);
        scores.entry(kind.clone()).or_default().add(rank, touching, why.significant);
        let place = |rank: Option<usize>| rank.map_or("-".to_owned(), |rank| (rank + 1).to_string());
        println!(
            "{kind:<15} {service:<30} named {:>2}  touched {:>2}  {}",
            place(rank),
            place(touching),
            if why.significant { "significant" } else { "" }
        );
        if is_verbose {
            println!("    {}", why.summary);
            why.findings.iter().take(4).for_each(|finding| println!("    {}. {}", finding.rank, finding.sentence));
            why.caveats.iter().for_each(|caveat| println!("    ({caveat})"));
        }
    }
    for (kind, score) in scores {
        let Score { cases, first, first_three, touched_first, touched_first_three, significant } = score;
        println!(
            "{kind}: {cases} cases, named first {first}, among three {first_three}; as the service or an end of the \
             edge first {touched_first}, among three {touched_first_three}; significant {significant}"
        );
    }
    Ok(())
}

#[derive(Default)]
struct Score {
    cases: usize,
    first: usize,
    first_three: usize,
    touched_first: usize,
    touched_first_three: usize,
    significant: usize,
}

impl Score {
    fn add(&mut self, rank: Option<usize>, touching: Option<usize>, significant: bool) {
        self.cases += 1;
        self.first += usize::from(rank == Some(0));
        self.first_three += usize::from(rank.is_some_and(|rank| rank < 3));
        self.touched_first += usize::from(touching == Some(0));
        self.touched_first_three += usize::from(touching.is_some_and(|rank| rank < 3));
        self.significant += usize::from(significant);
    }
}

fn read(path: &Path) -> Result<Vec<Trace>, Failure> {
    let mut spans = SpanBatch::new();
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
        spans.append(&decode(Format::OtlpJson, line?.as_bytes(), &Limits::default())?.batch);
    }
    Ok(Trace::assemble_all(&spans))
}

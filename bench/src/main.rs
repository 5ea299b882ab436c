//! `cargo xtask bench store`: one sender, several stores, the same questions, and a table of what each took.
//!
//! | module     | holds                                                                          |
//! |------------|--------------------------------------------------------------------------------|
//! | `workload` | the requests, encoded once into a file, and what the right answers are         |
//! | `process`  | a store's process: started on free ports, its CPU time and memory, stopped     |
//! | `peer`     | how each store is started and where its doors are                              |
//! | `sender`   | four connections, OTLP/HTTP                                                    |
//! | `question` | searches over the HTTP API that all of them share, timed and checked           |
//! | `floor`    | what the bytes of answers take by themselves                                   |
//! | `run`      | one store from its start to its end                                            |
//! | `report`   | the table and the picture in docs/benchmarks.md                                |

mod floor;
mod peer;
mod process;
mod question;
mod report;
mod run;
mod sender;
mod workload;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;

use peer::{Kind, Peer};

/// Compares stores: the same spans in, the same questions asked.
#[derive(Parser)]
#[command(name = "cargo xtask bench store")]
struct Args {
    /// How many spans
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    spans: usize,
    /// Stores beside Tracewell: `jaeger` is built from its Go module; `jaeger=BINARY`, `victoriatraces=BINARY` and
    /// `tempo=BINARY` are started as they are
    #[arg(long = "peer", value_name = "NAME[=BINARY]")]
    peers: Vec<String>,
    /// The binary of Tracewell
    #[arg(long, value_name = "BINARY")]
    tracewell: PathBuf,
    /// A binary of Jaeger for `--peer jaeger`
    #[arg(long, value_name = "BINARY")]
    jaeger: Option<PathBuf>,
    /// The version of that binary, which a build from a Go module does not know
    #[arg(long, value_name = "VERSION", requires = "jaeger")]
    jaeger_version: Option<String>,
    /// The page that holds the table
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// What was typed, for the page
    #[arg(long, default_value = "")]
    command: String,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut peers = vec![Peer { kind: Kind::Tracewell, binary: args.tracewell.clone(), version: None }];
    for named in &args.peers {
        let (name, binary) = named.split_once('=').map_or((named.as_str(), None), |(n, b)| (n, Some(PathBuf::from(b))));
        let kind =
            Kind::from_name(name).with_context(|| format!("--peer {named}: unknown; known are {}", Kind::NAMES))?;
        let (binary, version) = match binary {
            Some(binary) => (Some(binary), None),
            None if kind == Kind::Jaeger => (args.jaeger.clone(), args.jaeger_version.clone()),
            None => (None, None),
        };
        let Some(binary) = binary else { bail!("--peer {name}: say where it is, as {name}=BINARY") };
        peers.push(Peer { kind, binary, version });
    }

    eprintln!("making {} spans", args.spans);
    let work = tempfile::Builder::new().prefix("tracewell-bench-").tempdir()?;
    let workload = workload::Workload::make(7, args.spans, &work.path().join("requests"))?;
    let more = workload::Workload::make(8, args.spans, &work.path().join("more-requests"))?;
    let decode_micros = workload.decode_micros()?;
    eprintln!(
        "{} requests, {} traces, {:.0} bytes a span; decoding with generated types takes {decode_micros:.2} us a span",
        workload.requests,
        workload.traces.len(),
        workload.bytes as f64 / args.spans as f64
    );
    let mut results = Vec::new();
    for peer in &peers {
        results.push(
            run::run(peer, &workload, &more, work.path()).with_context(|| format!("bench {}", peer.kind.name()))?,
        );
    }
    let report = report::Report { workload: &workload, decode_micros, results: &results, command: &args.command };
    println!("{}", report.table());
    if let Some(page) = &args.page {
        report.write(page)?;
        eprintln!("written to {}", page.display());
    }
    Ok(())
}

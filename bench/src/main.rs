//! `cargo xtask bench store`: one sender, several stores, the same questions, and a table of what each took.
//!
//! | module     | holds                                                                          |
//! |------------|--------------------------------------------------------------------------------|
//! | `workload` | the spans, and what the right answers are                                      |
//! | `requests` | the requests, encoded once into a file                                         |
//! | `zipkin`   | the same spans as Zipkin takes them                                            |
//! | `process`  | a store's process: started on free ports, its CPU time and memory, stopped     |
//! | `peer`     | how each store is started and where its doors are                              |
//! | `sender`   | four connections, HTTP                                                         |
//! | `api`      | the HTTP APIs through which they are asked                                     |
//! | `question` | what is asked, timed and checked                                               |
//! | `run`      | one store from its start to its end                                            |
//! | `report`   | the table and the picture in docs/benchmarks.md                                |

mod api;
mod peer;
mod process;
mod question;
mod report;
mod requests;
mod run;
mod sender;
mod workload;
mod zipkin;

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
    /// Stores beside Tracewell: `jaeger=BINARY`, `zipkin=JAR`, `victoriatraces=BINARY`, `tempo=BINARY`
    #[arg(long = "peer", value_name = "NAME[=BINARY]")]
    peers: Vec<String>,
    /// The binary of Tracewell
    #[arg(long, value_name = "BINARY")]
    tracewell: PathBuf,
    /// The version of Jaeger's binary, which a build from a Go module does not know
    #[arg(long, value_name = "VERSION")]
    jaeger_version: Option<String>,
    /// The page that holds the table
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
    /// What was typed, for the page
    #[arg(long, default_value = "")]
    command: String,
}

/// Spans that come in while the store is asked, and that are in the log when it is started again.
const MORE_SPANS: usize = 1_000_000;

fn main() -> Result<()> {
    let args = Args::parse();
    let mut peers = vec![Peer { kind: Kind::Tracewell, binary: args.tracewell.clone(), version: None }];
    for named in &args.peers {
        let Some((name, binary)) = named.split_once('=') else {
            bail!("--peer {named}: say where it is, as {named}=BINARY");
        };
        let kind =
            Kind::from_name(name).with_context(|| format!("--peer {named}: unknown; known are {}", Kind::NAMES))?;
        let version = if kind == Kind::Jaeger { args.jaeger_version.clone() } else { None };
        peers.push(Peer { kind, binary: binary.into(), version });
    }

    eprintln!("making {} spans", args.spans);
    let work = tempfile::Builder::new().prefix("tracewell-bench-").tempdir()?;
    let workload = workload::Workload::make(7, args.spans, &work.path().join("requests"))?;
    let more = workload::Workload::make(8, args.spans.min(MORE_SPANS), &work.path().join("more-requests"))?;
    let decode_micros = workload.decode_micros()?;
    eprintln!(
        "{} requests, {} traces, {:.0} bytes a span; decoding with generated types takes {decode_micros:.2} us a span",
        workload.requests.count,
        workload.facts.traces.len(),
        workload.requests.bytes as f64 / args.spans as f64
    );
    let mut results = Vec::new();
    for peer in &peers {
        results.push(
            run::run(peer, &workload, &more, work.path()).with_context(|| format!("bench {}", peer.kind.name()))?,
        );
    }
    let report = report::Report {
        workload: &workload,
        more_spans: more.spans,
        decode_micros,
        results: &results,
        command: &args.command,
    };
    println!("{}", report.table());
    if let Some(page) = &args.page {
        report.write(page)?;
        eprintln!("written to {}", page.display());
    }
    Ok(())
}

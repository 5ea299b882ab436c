//! `tracewell critical-path`: what requests were waiting for, over many traces.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use tracewell_insight::Flame;

use super::FilterArgs;
use super::client::Client;
use super::fetch;
use crate::output::{print_line, say};

/// Arguments of `tracewell critical-path`.
#[derive(Args, Clone, Debug)]
pub(super) struct CriticalPathArgs {
    /// Trace ids [default: all that match]
    traces: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Traces to look at, at most
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    limit: usize,
    /// File for a picture [default: folded stacks on standard output, in microseconds]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The server's UI and API address
    #[arg(long, env = "TRACEWELL_URL", default_value = super::client::DEFAULT_URL, value_name = "URL")]
    url: String,
}

pub(super) fn run(args: &CriticalPathArgs) -> Result<()> {
    let client = Client::new(&args.url)?;
    let mut flame = Flame::default();
    if args.traces.is_empty() {
        let more = fetch::matching(&client, &args.filter, args.limit, |trace| flame.add(trace))?;
        if more {
            say(&format!("hint: there are more than {} traces; --limit looks at more", args.limit));
        }
    } else {
        fetch::by_id(&client, args.traces.iter().map(String::as_str))?.iter().for_each(|trace| flame.add(trace));
    }
    match &args.svg {
        Some(path) => {
            std::fs::write(path, flame.svg()).with_context(|| format!("write {}", path.display()))?;
            say(&format!("wrote {}", path.display()));
            Ok(())
        }
        None => flame.folded().lines().try_for_each(print_line),
    }
}

//! The demonstration.

use std::process::ExitCode;

/// Arguments of `tracewell demo`.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {}

/// Runs it.
pub fn run(_args: DemoArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}

//! `cargo xtask bench`: what things cost, beside their peers in the same run.

mod micro;
mod sdk;
mod store;

use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// The store beside other stores: the same spans in, the same questions asked; written to docs/benchmarks.md
    Store(store::Args),
    /// Each step of keeping and finding a span by itself; written to docs/benchmarks.md
    Micro(micro::Args),
    /// The Rust library beside other libraries: what a span costs its caller and in all; written to docs/benchmarks.md
    Sdk(sdk::Args),
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Store(args) => store::run(args),
        Bench::Micro(args) => micro::run(args),
        Bench::Sdk(args) => sdk::run(args),
    }
}

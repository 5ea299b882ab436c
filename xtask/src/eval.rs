//! `cargo xtask eval`: how often `why` is right, measured on faults that are known.

mod nezha;

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::run::{cargo, run};

/// What `why` is measured on.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Eval {
    /// Planted faults of 18 kinds in simulated meshes, and runs without a fault
    Sim {
        /// Seeds for each kind of fault
        #[arg(long, default_value_t = 30)]
        seeds: u64,
        /// Runs without a fault
        #[arg(long, default_value_t = 200)]
        fault_free: u64,
        /// Says what each miss was
        #[arg(long)]
        misses: bool,
    },
    /// Real traces with labelled faults, each imported with its baseline into a server and asked through the API
    Nezha {
        /// Folder with labels.json and the files that it names
        folder: PathBuf,
    },
}

/// Measures and prints the table.
pub(crate) fn evaluate(what: &Eval) -> Result<()> {
    match what {
        Eval::Sim { seeds, fault_free, misses } => {
            let (seeds, fault_free) = (seeds.to_string(), fault_free.to_string());
            let mut command =
                cargo(&["run", "--quiet", "--release", "--package", "tracewell-sim", "--example", "eval"]);
            command.args(["--", "--seeds", &seeds, "--fault-free", &fault_free]);
            if *misses {
                command.arg("--misses");
            }
            run(&mut command)
        }
        Eval::Nezha { folder } => nezha::evaluate(folder),
    }
}

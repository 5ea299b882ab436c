//! `cargo xtask bench store`: gets the stores, then runs `tracewell-bench`, which starts and asks them.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::run::{self as command, cargo, program, workspace};
use crate::ui;

/// Jaeger's Go module, and its program in it.
const JAEGER_MODULE: &str = "github.com/jaegertracing/jaeger/cmd/jaeger";
const JAEGER_VERSION: &str = "v1.76.0";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many spans
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    spans: usize,
    /// A store beside Tracewell; may be repeated. `jaeger` is built from its Go module; `victoriatraces=BINARY`,
    /// `tempo=BINARY` and `jaeger=BINARY` are started as they are
    #[arg(long = "peer", value_name = "NAME[=BINARY]")]
    peers: Vec<String>,
    /// Prints the table and leaves docs/benchmarks.md as it is
    #[arg(long)]
    dry: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ui::build_if_stale()?;
    command::run(&mut cargo(&["build", "--release", "-p", "tracewell-server", "-p", "tracewell-bench"]))?;
    let release = workspace().join("target/release");
    let mut bench = program(release.join("tracewell-bench"));
    bench.args(["--spans", &args.spans.to_string()]).arg("--tracewell").arg(release.join("tracewell"));
    for peer in &args.peers {
        bench.args(["--peer", peer]);
        if peer == "jaeger" {
            bench.arg("--jaeger").arg(build_jaeger()?).args(["--jaeger-version", JAEGER_VERSION]);
        }
    }
    if !args.dry {
        let peers: String = args.peers.iter().map(|peer| format!(" --peer {peer}")).collect();
        bench.args(["--command", &format!("cargo xtask bench store --spans {}{peers}", args.spans)]);
        bench.arg("--page").arg(workspace().join("docs/benchmarks.md"));
    }
    command::run(&mut bench)
}

/// The program, built once into target/bench with Go's own means.
fn build_jaeger() -> Result<PathBuf> {
    let folder = workspace().join("target/bench/jaeger");
    let binary = folder.join("jaeger");
    if binary.exists() {
        return Ok(binary);
    }
    if !command::is_there("go") {
        bail!("go is not there; install it, or name a binary: --peer jaeger=BINARY");
    }
    eprintln!("building Jaeger {JAEGER_VERSION} from its Go module, which takes some minutes");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("go.mod"), "module peer\n\ngo 1.26\n")?;
    let imports = format!("//go:build tools\n\npackage peer\n\nimport _ \"{JAEGER_MODULE}\"\n");
    std::fs::write(folder.join("tools.go"), imports)?;
    command::run(program("go").args(["get", &format!("{JAEGER_MODULE}@{JAEGER_VERSION}")]).current_dir(&folder))?;
    command::run(program("go").args(["build", "-o", "jaeger", JAEGER_MODULE]).current_dir(&folder))?;
    Ok(binary)
}

//! `cargo xtask bench store`: gets the stores, then runs `tracewell-bench`, which starts and asks them.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::run::{self as command, cargo, program, workspace};
use crate::ui;

/// Jaeger's Go module, and its program in it.
const JAEGER_MODULE: &str = "github.com/jaegertracing/jaeger/cmd/jaeger";
const JAEGER_VERSION: &str = "v1.76.0";
const ZIPKIN_VERSION: &str = "3.5.1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many spans
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    spans: usize,
    /// A store beside Tracewell; may be repeated. `jaeger` is built from its Go module, `zipkin` comes from Maven;
    /// `victoriatraces=BINARY`, `tempo=BINARY`, `jaeger=BINARY` and `zipkin=JAR` are started as they are
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
        match peer.as_str() {
            "jaeger" => {
                bench.arg("--peer").arg(format!("jaeger={}", build_jaeger()?.display()));
                bench.args(["--jaeger-version", JAEGER_VERSION]);
            }
            "zipkin" => _ = bench.arg("--peer").arg(format!("zipkin={}", fetch_zipkin()?.display())),
            _ => _ = bench.args(["--peer", peer]),
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

/// The program as one archive, fetched once into target/bench by Maven.
fn fetch_zipkin() -> Result<PathBuf> {
    let folder = workspace().join("target/bench/zipkin");
    let archive = folder.join(format!("zipkin-server-{ZIPKIN_VERSION}-exec.jar"));
    if archive.exists() {
        return Ok(archive);
    }
    if !command::is_there("mvn") || !command::is_there("java") {
        bail!("mvn or java is not there; install both, or name an archive: --peer zipkin=JAR");
    }
    eprintln!("fetching Zipkin {ZIPKIN_VERSION}");
    std::fs::create_dir_all(&folder)?;
    let mut maven = program("mvn");
    maven.args(["--quiet", "--batch-mode", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"]);
    maven.arg(format!("-Dartifact=io.zipkin:zipkin-server:{ZIPKIN_VERSION}:jar:exec"));
    command::run(maven.arg(format!("-DoutputDirectory={}", folder.display())))?;
    Ok(archive)
}

//! `cargo xtask bench micro`: what each step of keeping and finding a span costs, written to docs/benchmarks.md.

use std::fmt::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::run::{self as command, cargo, is_there, program, workspace};

/// What stands between these lines of the page is replaced.
const BEGIN: &str = "<!-- begin: micro -->";
const END: &str = "<!-- end: micro -->";

/// Instructions are exact, so few spans are enough; valgrind takes fifty times as long.
const COUNTED_SPANS: usize = 10_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many spans each round is of
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    spans: usize,
    /// How often each step runs; the least counts
    #[arg(long, default_value_t = 7, value_name = "N")]
    rounds: usize,
    /// Counts instructions, too, with valgrind's callgrind
    #[arg(long)]
    callgrind: bool,
    /// Prints the table and leaves docs/benchmarks.md as it is
    #[arg(long)]
    dry: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.callgrind && !is_there("valgrind") {
        bail!("valgrind is not there; install it, or leave --callgrind out");
    }
    command::run(&mut cargo(&["build", "--release", "-p", "tracewell-store", "--example", "micro"]))?;
    let printed = micro(&["steps", &args.spans.to_string(), &args.rounds.to_string()])?;
    let mut table = String::from(if args.callgrind {
        "| step | of | CPU, ns | instructions |\n|---|---|---|---|\n"
    } else {
        "| step | of | CPU, ns |\n|---|---|---|\n"
    });
    for line in printed.lines() {
        let [step, of, nanos] = line.split('\t').collect::<Vec<_>>()[..] else { bail!("unexpected output: {line}") };
        let _ = write!(table, "| {step} | {of} | {nanos} |");
        if args.callgrind {
            let _ = write!(table, " {:.0} |", instructions(step)?);
        }
        table.push('\n');
    }
    println!("{table}");
    if args.dry {
        return Ok(());
    }
    let flag = if args.callgrind { " --callgrind" } else { "" };
    let typed = format!("`cargo xtask bench micro --spans {} --rounds {}{flag}`", args.spans, args.rounds);
    let page = workspace().join("docs/benchmarks.md");
    let old = std::fs::read_to_string(&page).with_context(|| format!("read {}", page.display()))?;
    let (before, rest) = old.split_once(BEGIN).with_context(|| format!("{} has no line {BEGIN}", page.display()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{} has no line {END}", page.display()))?;
    std::fs::write(&page, format!("{before}{BEGIN}\n{typed}\n\n{table}{END}{after}"))?;
    eprintln!("written to {}", page.display());
    Ok(())
}

fn micro(arguments: &[&str]) -> Result<String> {
    let output = program(workspace().join("target/release/examples/micro"))
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("run the example micro")?;
    if !output.status.success() {
        bail!("the example micro ended with {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Instructions of one round for each thing that it is of. What comes before the first round is the same whatever their
/// number, so two rounds more tell those of one.
fn instructions(step: &str) -> Result<f64> {
    let (few, things) = counted(step, 1)?;
    let (many, _) = counted(step, 3)?;
    Ok((many - few) / 2.0 / things)
}

/// Instructions of a whole run, and how many things a round is of.
fn counted(step: &str, rounds: usize) -> Result<(f64, f64)> {
    let output = program("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(workspace().join("target/release/examples/micro"))
        .args(["step", step, &COUNTED_SPANS.to_string(), &rounds.to_string()])
        .output()
        .context("run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind ended with {}: {said}", output.status);
    }
    let collected = said.lines().find_map(|line| line.split_once("Collected :")).context("valgrind counted nothing")?.1;
    Ok((collected.trim().parse()?, String::from_utf8_lossy(&output.stdout).trim().parse()?))
}

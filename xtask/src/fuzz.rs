//! `cargo xtask test fuzz`: every target of `fuzz/` for a while, two at a time.
//!
//! What was found before stays in `target/fuzz/corpus`, so that the next run goes on from there. Built with the
//! toolchain that is there and without a sanitizer: what is looked for is panics, overflows and memory without bound, in
//! code without `unsafe`. `TRACEWELL_FUZZ_SANITIZER=address` takes nightly's.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::{cargo, program, run, workspace};
use crate::tools;

/// Targets that run at once: a machine may have two cores.
const AT_ONCE: usize = 2;
/// An input that takes longer is a finding.
const INPUT_TIMEOUT: Duration = Duration::from_secs(20);
/// So is one that takes more memory.
const MAX_MEGABYTES: u32 = 1_024;
/// Longer inputs find little more and take longer.
const MAX_INPUT_BYTES: u32 = 64 << 10;

/// Gives each target this number of seconds, unless `TRACEWELL_FUZZ_SECONDS` says otherwise.
pub(crate) fn fuzz(seconds: u64) -> Result<()> {
    let seconds = match std::env::var("TRACEWELL_FUZZ_SECONDS") {
        Ok(text) => {
            text.parse().with_context(|| format!("TRACEWELL_FUZZ_SECONDS={text} is not a number of seconds"))?
        }
        Err(_) => seconds,
    };
    let binaries = build()?;
    let targets = targets()?;
    let waiting = Mutex::new(targets.iter().collect::<VecDeque<_>>());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(target) = next else { return };
                    match run_target(&binaries, target, seconds) {
                        Ok(line) => eprintln!("{target:<14} {line}"),
                        Err(error) => {
                            eprintln!("{target:<14} FAILED\n{error:#}");
                            failed.lock().unwrap_or_else(PoisonError::into_inner).push(target.as_str());
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        bail!("inputs were found that should not be: {}", failed.join(", "));
    }
    Ok(())
}

/// Builds all targets; the folder that they are in.
fn build() -> Result<PathBuf> {
    let sanitizer = std::env::var("TRACEWELL_FUZZ_SANITIZER").unwrap_or_else(|_| "none".to_owned());
    let folder = workspace().join("target/fuzz");
    let mut command = program(tools::cargo_fuzz()?);
    command.args(["fuzz", "build", "--fuzz-dir", "fuzz", "--sanitizer", &sanitizer, "--target-dir"]).arg(&folder);
    if sanitizer != "none" {
        // A cargo that runs another hands its toolchain on.
        command.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO").env_remove("RUSTC");
    }
    run(&mut command)?;
    let version = cargo(&["-vV"]).stderr(Stdio::inherit()).output().context("ask cargo for its host")?;
    let version = String::from_utf8(version.stdout)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo names its host")?;
    Ok(folder.join(host).join("release"))
}

/// The names of all targets: each is a file.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(workspace().join("fuzz/targets"))? {
        names.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Runs a target; what it did, in a line. The error has the end of what it said.
fn run_target(binaries: &Path, target: &str, seconds: u64) -> Result<String> {
    let folder = |kind: &str| -> Result<PathBuf> {
        let path = workspace().join("target/fuzz").join(kind).join(target);
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(path)
    };
    let (corpus, found) = (folder("corpus")?, folder("artifacts")?);
    let log = folder("log")?.join("last.txt");
    let said = File::create(&log)?;
    let status = program(binaries.join(target))
        .arg(corpus)
        .arg(workspace().join("fuzz/seeds").join(target))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={}", INPUT_TIMEOUT.as_secs()),
            format!("-rss_limit_mb={MAX_MEGABYTES}"),
            format!("-max_len={MAX_INPUT_BYTES}"),
            "-print_final_stats=1".to_owned(),
        ])
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .status()
        .with_context(|| format!("start fuzz target {target}"))?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let stat = |name: &str| {
        let line =
            text.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'));
        line.map_or("?", str::trim).to_owned()
    };
    if !status.success() {
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(40)..].join("\n");
        bail!(
            "{status}; all it said is in {}\n{end}\n(again: {} FILE)",
            log.display(),
            binaries.join(target).display()
        );
    }
    Ok(format!("{} inputs, {} new units kept", stat("number_of_executed_units"), stat("new_units_added")))
}

//! `cargo xtask test`: the checks, in the order in which they fail fastest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::{cargo, is_there, program, run, workspace};
use crate::{fuzz, packages, parts, parts_list, supply, ui};

/// The stripped release binary, pages included, may be so large.
const MOST_BINARY_BYTES: u64 = 40 << 20;

type Run = fn() -> Result<()>;

/// One check.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    run: Run,
}

/// Every check.
pub(crate) const ALL: &[Check] = &[
    Check { name: "format", about: "cargo fmt --check", run: || run(&mut cargo(&["fmt", "--all", "--check"])) },
    Check { name: "ui", about: "types, unit tests and build of the web pages", run: ui_checks },
    Check {
        name: "clippy",
        about: "no warning in any crate",
        run: || {
            run(&mut cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--features",
                "image-gallery/all",
                "--",
                "--deny",
                "warnings",
            ]))
        },
    },
    Check { name: "supply", about: "licences, sources and advisories of what others wrote", run: supply::supply },
    Check { name: "packages", about: "the library and its crates can be published", run: packages::packages },
    Check { name: "build", about: "the binaries that the tests start", run: build },
    Check {
        name: "unit",
        about: "unit and integration tests of every crate, with real databases and object stores",
        run: unit,
    },
    Check { name: "unsafe", about: "the library's few lines of unsafe code, under valgrind", run: unsafe_code },
    Check { name: "browser", about: "the web pages in Chromium", run: browser },
    Check {
        name: "e2e",
        about: "the binary with OpenTelemetry SDKs in five languages, kill -9, real traces",
        run: e2e,
    },
    Check {
        name: "fuzz",
        about: "every reader of untrusted bytes, 10 s each; 60 s each when it is named",
        run: || fuzz::fuzz(10),
    },
    Check { name: "demo", about: "the demonstration names the planted cause", run: demo },
    Check { name: "release", about: "size of the release binary, and a million spans through it", run: release },
];

/// Checks that do more when they are named: what they find depends on the time that they have.
const LONGER_BY_NAME: &[(&str, Run)] = &[("fuzz", || fuzz::fuzz(60))];

/// Runs the named checks, or all, and stops at the first that fails.
pub(crate) fn run_checks(names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| ALL.iter().all(|check| check.name != name.as_str())) {
        bail!("there is no check {unknown:?}; `cargo xtask test --list` names them");
    }
    let mut done: Vec<(&str, Duration)> = Vec::new();
    let is_named = |check: &Check| names.iter().any(|name| name == check.name);
    for check in ALL.iter().filter(|check| names.is_empty() || is_named(check)) {
        eprintln!("\n==> {}: {}", check.name, check.about);
        let begin = Instant::now();
        let longer = LONGER_BY_NAME.iter().find(|(name, _)| *name == check.name && is_named(check));
        longer.map_or(check.run, |(_, run)| *run)()
            .with_context(|| format!("check {} failed (alone: cargo xtask test {})", check.name, check.name))?;
        done.push((check.name, begin.elapsed()));
    }
    println!();
    for (name, time) in &done {
        println!("{name:<10} {:>6.1} s", time.as_secs_f64());
    }
    println!("{} passed, 0 failed", done.len());
    Ok(())
}

fn ui_checks() -> Result<()> {
    ui::install()?;
    run(&mut ui::script("check"))?;
    run(&mut ui::script("test"))?;
    ui::build()
}

fn build() -> Result<()> {
    ui::build_if_stale()?;
    run(&mut cargo(&["build", "--package", "tracewell-server", "--package", "image-gallery"]))
}

fn unit() -> Result<()> {
    parts::install()?;
    run(&mut cargo(&["test", "--workspace", "--exclude", "tracewell-e2e", "--features", "image-gallery/all"]))
}

/// What reads the processor's counter, and what notices forks.
fn unsafe_code() -> Result<()> {
    install_debian("valgrind", "valgrind")?;
    let runner = "target.'cfg(all())'.runner = ['valgrind', '--quiet', '--error-exitcode=99']";
    run(cargo(&["test", "--config", runner, "--package", "tracewell", "--lib", "--test", "fork"])
        .args(["--", "clock::", "forked"]))
}

fn browser() -> Result<()> {
    install_debian("chromium", "chromium")?;
    run(&mut ui::script("test:browser"))
}

fn e2e() -> Result<()> {
    for (tool, package) in
        [("python3", "python3"), ("go", "golang"), ("java", "default-jdk-headless"), ("mvn", "maven")]
    {
        install_debian(tool, package)?;
    }
    // One file after the other: each starts processes of its own, and a machine may have two cores.
    run(&mut cargo(&["test", "--package", "tracewell-e2e"]))
}

fn demo() -> Result<()> {
    run(program(workspace().join("target/debug/tracewell")).args(["demo", "--once", "--slow", "2s"]))
}

/// Builds the release binary and lays it into `target/package` with what has to be beside it.
pub(crate) fn package() -> Result<()> {
    ui::build_if_stale()?;
    run(&mut cargo(&["build", "--release", "--locked", "--package", "tracewell-server"]))?;
    let folder = workspace().join("target/package");
    std::fs::create_dir_all(&folder)?;
    parts_list::write(&folder)?;
    for (from, to) in [("target/release/tracewell", "tracewell"), ("LICENSE", "LICENSE")] {
        std::fs::copy(workspace().join(from), folder.join(to)).with_context(|| format!("copy {from}"))?;
    }
    Ok(())
}

fn release() -> Result<()> {
    package()?;
    let binary = workspace().join("target/package/tracewell");
    let bytes = binary.metadata()?.len();
    eprintln!("the release binary has {:.1} MB", bytes as f64 / 1e6);
    if bytes > MOST_BINARY_BYTES {
        bail!("the release binary has {bytes} bytes, more than {MOST_BINARY_BYTES}");
    }
    run(cargo(&["test", "--package", "tracewell-e2e", "--test", "volume"])
        .env("TRACEWELL_BIN", binary)
        .env("TRACEWELL_VOLUME_SPANS", "1000000"))
}

/// Installs a package of Debian's if a program is not there.
pub(crate) fn install_debian(tool: &str, package: &str) -> Result<()> {
    if is_there(tool) {
        return Ok(());
    }
    if !is_there("apt-get") {
        bail!("{tool} is not there; install it");
    }
    eprintln!("installing Debian's {package}, which the tests need");
    run(program("apt-get").args(["update", "--quiet"]))?;
    run(program("apt-get").args(["install", "--yes", "--quiet", "--no-install-recommends", package]))
}

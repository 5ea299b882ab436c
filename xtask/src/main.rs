//! Developer commands. `cargo xtask --help` lists them.

mod bench;
mod checks;
mod eval;
mod fuzz;
#[cfg(test)]
mod house;
mod packages;
mod parts;
mod parts_list;
mod run;
mod supply;
mod tools;
mod ui;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use run::{cargo, program, workspace};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Tracewell")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds everything and shows it: the Image Gallery, made slow, and where the slowdown is
    Demo {
        /// Builds with optimizations, which takes some minutes more
        #[arg(long)]
        release: bool,
        /// Arguments of `tracewell demo`: --slow DURATION, --once, --level 0..3; --help shows them all
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs all checks, or those that are named; installs what they need and says so
    Test {
        /// Names the checks and exits
        #[arg(long)]
        list: bool,
        /// Checks to run [default: all]
        checks: Vec<String>,
    },
    /// Measures beside peers, in the same run
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Measures how often `why` is right
    Eval {
        #[command(subcommand)]
        what: eval::Eval,
    },
    /// Builds the web pages into ui/dist, where the binary embeds them from
    Ui,
    /// Makes a release in target/package: binary, licence, bill of materials, notices of third parties
    Release,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo { release, arguments } => demo(release, &arguments),
        Command::Test { list: true, .. } => {
            checks::ALL.iter().for_each(|check| println!("{:<10} {}", check.name, check.about));
            Ok(ExitCode::SUCCESS)
        }
        Command::Test { checks, .. } => checks::run_checks(&checks).map(|()| ExitCode::SUCCESS),
        Command::Bench { what } => bench::run(&what).map(|()| ExitCode::SUCCESS),
        Command::Eval { what } => eval::evaluate(&what).map(|()| ExitCode::SUCCESS),
        Command::Release => checks::package().map(|()| ExitCode::SUCCESS),
        Command::Ui => ui::build().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn demo(release: bool, arguments: &[String]) -> Result<ExitCode> {
    ui::build_if_stale()?;
    let profile: &[&str] = if release { &["--release"] } else { &[] };
    eprintln!("building Tracewell and the Image Gallery");
    run::run(cargo(&["build", "--package", "tracewell-server", "--package", "image-gallery"]).args(profile))?;
    let folder = workspace().join("target").join(if release { "release" } else { "debug" });
    let status = program(folder.join("tracewell")).arg("demo").args(arguments).status()?;
    Ok(status.code().map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)))
}

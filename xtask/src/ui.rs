//! Building the web pages.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Result, bail};

use crate::run::{is_there, program, run, workspace};

/// npm in the folder of the web pages.
pub(crate) fn npm(arguments: &[&str]) -> Command {
    let mut command = program("npm");
    command.current_dir(workspace().join("ui")).args(arguments).args(["--no-audit", "--no-fund"]);
    command
}

/// Runs a script of ui/package.json.
pub(crate) fn script(name: &str) -> Command {
    let mut command = program("npm");
    command.current_dir(workspace().join("ui")).args(["run", name]);
    command
}

/// Installs the packages that package-lock.json pins, unless they are there.
pub(crate) fn install() -> Result<()> {
    if !is_there("npm") {
        bail!("npm is not there; install Node.js 20 or newer");
    }
    let folder = workspace().join("ui");
    let installed = modified(&folder.join("node_modules/.package-lock.json"));
    if installed.is_none() || installed < modified(&folder.join("package-lock.json")) {
        eprintln!("installing the packages of ui/package-lock.json");
        run(&mut npm(&["ci"]))?;
    }
    Ok(())
}

/// Builds ui/dist.
pub(crate) fn build() -> Result<()> {
    install()?;
    run(&mut script("build"))
}

/// Builds ui/dist unless it is newer than its sources.
pub(crate) fn build_if_stale() -> Result<()> {
    let folder = workspace().join("ui");
    let built = modified(&folder.join("dist/index.html"));
    let sources = ["src", "index.html", "package-lock.json", "vite.config.ts"];
    let newest = sources.iter().filter_map(|name| newest(&folder.join(name))).max();
    if built.is_some() && built >= newest {
        return Ok(());
    }
    eprintln!("building the web pages");
    build()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// The latest change of a file, or of any file in a folder.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_dir() {
        path.read_dir().ok()?.filter_map(|entry| newest(&entry.ok()?.path())).max()
    } else {
        modified(path)
    }
}

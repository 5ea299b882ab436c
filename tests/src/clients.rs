//! Real OpenTelemetry clients, installed by their own tools into `target/clients` the first time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::workspace;

fn sources(language: &str) -> PathBuf {
    workspace().join("tests/clients").join(language)
}

fn installed(language: &str) -> PathBuf {
    workspace().join("target/clients").join(language)
}

fn run(command: &mut Command) -> Result<()> {
    eprintln!("installing: {command:?}");
    let output = command.output().with_context(|| format!("start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Runs an installation unless one of the same recipe is there: `recipe` is the file that pins the versions.
fn install(language: &str, recipe: &str, steps: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let target = installed(language);
    let wanted = std::fs::read_to_string(sources(language).join(recipe))?;
    let stamp = target.join("installed-from");
    if std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(target);
    }
    std::fs::create_dir_all(&target)?;
    steps(&target)?;
    std::fs::write(stamp, wanted)?;
    Ok(target)
}

/// One installation at a time and a language: tests of one file run in parallel.
fn once(cell: &'static OnceLock<PathBuf>, make: impl FnOnce() -> Result<PathBuf>) -> &'static Path {
    cell.get_or_init(|| make().expect("the client can be installed"))
}

/// `python client.py ...` in an environment that has the OpenTelemetry SDK.
pub fn python() -> Command {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let place = once(&PLACE, || {
        install("python", "requirements.txt", |target| {
            run(Command::new("python3").args(["-m", "venv"]).arg(target))?;
            let requirements = sources("python").join("requirements.txt");
            run(Command::new(target.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(requirements))
        })
    });
    let mut command = Command::new(place.join("bin/python"));
    command.arg(sources("python").join("client.py"));
    command
}

/// `python query.py ...` in an environment that has DuckDB.
pub fn duckdb() -> Command {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let place = once(&PLACE, || {
        install("duckdb", "requirements.txt", |target| {
            run(Command::new("python3").args(["-m", "venv"]).arg(target))?;
            let requirements = sources("duckdb").join("requirements.txt");
            run(Command::new(target.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(requirements))
        })
    });
    let mut command = Command::new(place.join("bin/python"));
    command.arg(sources("duckdb").join("query.py"));
    command
}

/// `python parse.py ...` in an environment that has Prometheus' parsers.
pub fn prometheus() -> Command {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let place = once(&PLACE, || {
        install("prometheus", "requirements.txt", |target| {
            run(Command::new("python3").args(["-m", "venv"]).arg(target))?;
            let requirements = sources("prometheus").join("requirements.txt");
            run(Command::new(target.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(requirements))
        })
    });
    let mut command = Command::new(place.join("bin/python"));
    command.arg(sources("prometheus").join("parse.py"));
    command
}

/// `node client.js ...` beside the OpenTelemetry SDK.
pub fn node() -> Command {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let place = once(&PLACE, || {
        install("node", "package-lock.json", |target| {
            for file in ["package.json", "package-lock.json", ".npmrc"] {
                std::fs::copy(sources("node").join(file), target.join(file))?;
            }
            run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(target))
        })
    });
    // Node looks for packages beside the file that imports them.
    let client = place.join("client.js");
    std::fs::copy(sources("node").join("client.js"), &client).expect("the client can be copied");
    let mut command = Command::new("node");
    command.arg(client);
    command
}

/// The Go client, compiled.
pub fn go() -> Command {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let place = once(&PLACE, || {
        let target = installed("go");
        std::fs::create_dir_all(&target)?;
        run(Command::new("go").args(["build", "-o"]).arg(&target).arg(".").current_dir(sources("go")))?;
        Ok(target)
    });
    Command::new(place.join("client"))
}

/// `java -javaagent:... Service ...`: a program that knows nothing of tracing.
pub fn java() -> Command {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    let place = once(&PLACE, || {
        let target = install("java", "pom.xml", |target| {
            run(Command::new("mvn")
                .args([
                    "--quiet",
                    "--batch-mode",
                    "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
                ])
                .arg(format!("-DoutputDirectory={}", target.display()))
                .arg("-Dmdep.stripVersion=true")
                .arg("--file")
                .arg(sources("java").join("pom.xml")))
        })?;
        run(Command::new("javac").arg("-d").arg(&target).arg(sources("java").join("Service.java")))?;
        Ok(target)
    });
    let mut command = Command::new("java");
    command
        .arg(format!("-javaagent:{}", place.join("opentelemetry-javaagent.jar").display()))
        .args(["-Xshare:off", "-cp"])
        .arg(place)
        .arg("Service")
        .envs([("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")]);
    command
}

//! The databases and object stores that tests start, installed where they are missing.

use std::path::Path;

use anyhow::Result;

use crate::checks::install_debian;
use crate::run::{program, run, workspace};

/// The servers that speak S3's protocol: one that is quick to start, and one that checks signatures.
const MOTO: &str = "moto[server]==5.2.1";
const VERSITYGW: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";

/// Installs all of them: PostgreSQL and Redis from Debian, the others below `target`.
pub(crate) fn install() -> Result<()> {
    if !Path::new("/usr/lib/postgresql").exists() {
        install_debian("initdb", "postgresql")?;
    }
    install_debian("redis-server", "redis-server")?;
    moto()?;
    versitygw()?;
    mongo()
}

fn moto() -> Result<()> {
    let place = workspace().join("target/moto");
    if place.join("bin/moto_server").exists() {
        return Ok(());
    }
    install_debian("python3", "python3")?;
    eprintln!("installing {MOTO}, which the tests need, into {}", place.display());
    run(program("python3").args(["-m", "venv"]).arg(&place))?;
    run(program(place.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", MOTO]))
}

fn versitygw() -> Result<()> {
    let place = workspace().join("target/bin");
    if place.join("versitygw").exists() {
        return Ok(());
    }
    install_debian("go", "golang")?;
    eprintln!("installing {VERSITYGW}, which the tests need, into {}", place.display());
    run(program("go").env("GOBIN", &place).args(["install", VERSITYGW]))
}

fn mongo() -> Result<()> {
    let place = workspace().join("target/mongo-java-server");
    if place.join("Serve.class").exists() {
        return Ok(());
    }
    for (tool, package) in [("javac", "default-jdk-headless"), ("mvn", "maven")] {
        install_debian(tool, package)?;
    }
    eprintln!("installing mongo-java-server, which the tests need, into {}", place.display());
    let sources = workspace().join("tests/parts/mongo");
    let copy = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
    let mut maven = program("mvn");
    maven.args(["--quiet", "--batch-mode", copy]).arg(format!("-DoutputDirectory={}", place.join("lib").display()));
    run(maven.arg("--file").arg(sources.join("pom.xml")))?;
    let mut compiler = program("javac");
    compiler.arg("-cp").arg(format!("{}/lib/*", place.display())).arg("-d").arg(&place);
    run(compiler.arg(sources.join("Serve.java")))
}

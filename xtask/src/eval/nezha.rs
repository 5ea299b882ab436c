//! Labelled faults through the public API of the shipped binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{cargo, run, workspace};

/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Imports each case with its baseline into a server of its own, asks why, and prints how often the answer is right.
pub(super) fn evaluate(folder: &Path) -> Result<()> {
    let path = folder.join("labels.json");
    let labels = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let labels: Vec<Value> = serde_json::from_slice(&labels)?;
    run(&mut cargo(&["build", "--package", "tracewell-server"]))?;

    let mut scores: BTreeMap<String, Score> = BTreeMap::new();
    let mut misses = Vec::new();
    for label in &labels {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, service, file) = (text(&label["type"]), text(&label["service"]), text(&label["file"]));
        let server = Server::start()?;
        let baseline = &label["baseline"];
        for file in [&label["file"], &baseline["file"]] {
            server.run(&["import", &folder.join(text(file)).to_string_lossy()])?;
        }
        let moment = |value: &Value, field: &str| value[field].as_u64().unwrap_or_default().to_string();
        let why = server.run(&[
            "why",
            "--json",
            "--from",
            &moment(label, "start_unix_nano"),
            "--to",
            &moment(label, "end_unix_nano"),
            "--baseline-from",
            &moment(baseline, "start_unix_nano"),
            "--baseline-to",
            &moment(baseline, "end_unix_nano"),
        ])?;
        let why: Value = serde_json::from_str(&why)?;
        let findings = why["findings"].as_array().map_or(&[][..], Vec::as_slice);
        let rank = findings.iter().position(|finding| is_right(finding, &service)).map(|place| place + 1);
        let named = findings.iter().position(|finding| finding["service"] == service.as_str()).map(|place| place + 1);
        scores.entry(kind.clone()).or_default().add(rank, named, why["significant"] == true);
        if rank != Some(1) {
            let first = findings.first().map_or("nothing", |finding| finding["sentence"].as_str().unwrap_or_default());
            let rank = rank.map_or("-".to_owned(), |rank| rank.to_string());
            misses.push(format!("{file:<24} {kind:<15} {service:<28} {rank:>4}  {first}"));
        }
    }
    println!("Right is a finding that names the faulty service, or an edge that touches it.");
    println!();
    println!(
        "{:<16} {:>5} {:>6} {:>6} {:>10} {:>6} {:>11}",
        "fault", "cases", "top 1", "top 3", "mean rank", "named", "significant"
    );
    scores.iter().for_each(|(kind, score)| println!("{}", score.row(kind)));
    if !misses.is_empty() {
        println!();
        println!("{:<24} {:<15} {:<28} {:>4}  FIRST FINDING", "MISSED", "FAULT", "SERVICE", "RANK");
        misses.iter().for_each(|miss| println!("{miss}"));
    }
    Ok(())
}

/// Whether a finding names the service, or is an edge that touches it.
fn is_right(finding: &Value, service: &str) -> bool {
    let edge = &finding["edge"];
    finding["service"] == service || edge["from"] == service || edge["to"] == service
}

#[derive(Default)]
struct Score {
    cases: usize,
    first: usize,
    among_three: usize,
    /// How often the first finding names the service itself, and not only an edge of it.
    named: usize,
    significant: usize,
    ranks: usize,
}

/// The rank that a case without any right finding counts with: one more than there are findings.
const UNRANKED: usize = 11;

impl Score {
    fn add(&mut self, rank: Option<usize>, named: Option<usize>, significant: bool) {
        self.cases += 1;
        self.first += usize::from(rank == Some(1));
        self.among_three += usize::from(rank.is_some_and(|rank| rank <= 3));
        self.named += usize::from(named == Some(1));
        self.significant += usize::from(significant);
        self.ranks += rank.unwrap_or(UNRANKED);
    }

    fn row(&self, kind: &str) -> String {
        let Self { cases, first, among_three, named, significant, ranks } = self;
        let mean = *ranks as f64 / *cases as f64;
        format!("{kind:<16} {cases:>5} {first:>6} {among_three:>6} {mean:>10.2} {named:>6} {significant:>11}")
    }
}

/// A server on free ports with an empty store, which ends when dropped.
struct Server {
    process: Child,
    folder: PathBuf,
    url: String,
    otlp_url: String,
}

impl Server {
    fn start() -> Result<Self> {
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let folder = std::env::temp_dir().join(format!("tracewell-eval-{}-{stamp}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let ready_file = folder.join("ready.json");
        let process = Command::new(binary())
            .args(["--log", "error", "serve", "--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"])
            .args(["--otlp-grpc", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .arg("--ready-file")
            .arg(&ready_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("start the server")?;
        let mut server = Self { process, folder, url: String::new(), otlp_url: String::new() };
        let begin = Instant::now();
        let ready: Value = loop {
            if let Ok(text) = std::fs::read(&ready_file) {
                break serde_json::from_slice(&text)?;
            }
            if begin.elapsed() > PATIENCE {
                bail!("the server is not ready after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let url = |name: &str| format!("http://{}", ready[name].as_str().unwrap_or_default());
        (server.url, server.otlp_url) = (url("http"), url("otlp_http"));
        Ok(server)
    }

    /// Runs the command line against this server; its standard output.
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(binary())
            .args(arguments)
            .env("TRACEWELL_URL", &self.url)
            .env("TRACEWELL_OTLP_URL", &self.otlp_url)
            .output()?;
        if !output.status.success() {
            bail!("tracewell {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // All fail only if what they end is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn binary() -> PathBuf {
    workspace().join("target/debug/tracewell")
}

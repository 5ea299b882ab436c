//! The shipped binary, serving on free ports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{Child, PATIENCE};

/// The binary under test: `TRACEWELL_BIN`, or the one that cargo built beside this test.
pub fn tracewell() -> PathBuf {
    if let Some(path) = std::env::var_os("TRACEWELL_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running test has a path");
    let path = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps").join("tracewell");
    assert!(path.exists(), "build the binary first: cargo build -p tracewell-server");
    path
}

/// A running `tracewell serve`.
pub struct Server {
    child: Child,
    addresses: Value,
}

impl Server {
    /// Starts on a data directory and waits until all is listening.
    pub fn start(data: &Path) -> Result<Self> {
        Self::start_with(data, &[])
    }

    /// The same with further arguments.
    pub fn start_with(data: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_in(data, arguments, &[])
    }

    /// The same with further variables of the environment.
    pub fn start_in(data: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        Self::launch(Command::new(tracewell()), data, arguments, variables)
    }

    /// The same after a line of shell that puts the process under a limit, such as `ulimit -v 1048576`.
    pub fn start_under(limit: &str, data: &Path, arguments: &[&str]) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{limit} || exit 1; exec \"$0\" \"$@\"")).arg(tracewell());
        Self::launch(shell, data, arguments, &[])
    }

    fn launch(mut program: Command, data: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let ready = tempfile::Builder::new().prefix("ready").tempdir()?;
        let ready_file = ready.path().join("ready.json");
        let mut child = Child::start(
            program
                .arg("serve")
                .arg("--data")
                .arg(data)
                .args(["--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0"])
                .arg("--ready-file")
                .arg(&ready_file)
                .args(arguments)
                .envs(variables.iter().copied()),
        )?;
        let begin = Instant::now();
        let addresses = loop {
            if let Ok(text) = std::fs::read_to_string(&ready_file) {
                break serde_json::from_str::<Value>(&text).context("the ready file is JSON")?;
            }
            if let Some(status) = child.try_wait()? {
                bail!("tracewell serve ended with {status} before it was ready");
            }
            if begin.elapsed() > PATIENCE {
                bail!("tracewell serve is not ready after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(addresses["pid"], child.pid(), "the ready file names the process");
        Ok(Self { child, addresses })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The address (`host:port`) of `http`, `otlp_http` or `otlp_grpc`.
    pub fn address(&self, name: &str) -> &str {
        self.addresses[name].as_str().expect("the ready file has every address")
    }

    /// The base of the UI and the APIs.
    pub fn url(&self) -> String {
        format!("http://{}", self.address("http"))
    }

    /// A GET of the HTTP API: the status and the JSON that came back.
    pub fn get(&self, path: &str) -> Result<(u16, Value)> {
        let mut response =
            agent().get(format!("{}{path}", self.url())).call().with_context(|| format!("GET {path}"))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
        Ok((status, serde_json::from_str(&text).with_context(|| format!("GET {path} answered {status}: {text}"))?))
    }

    /// How many spans it has.
    pub fn spans(&self) -> Result<u64> {
        let (status, stats) = self.get("/api/v1/stats")?;
        let spans = stats["store"]["spans"].as_u64();
        spans.with_context(|| format!("GET /api/v1/stats answered {status}: {stats}"))
    }

    /// A POST of spans to the OTLP/HTTP receiver: the status and the body that came back.
    pub fn post(&self, content_type: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut response = agent()
            .post(format!("http://{}/v1/traces", self.address("otlp_http")))
            .header("content-type", content_type)
            .send(body)?;
        Ok((response.status().as_u16(), response.body_mut().read_to_vec()?))
    }

    /// Sends spans as protobuf until they are taken: over its budgets, the server asks senders to come again.
    pub fn send(&self, body: &[u8]) -> Result<()> {
        let begin = Instant::now();
        loop {
            match self.post("application/x-protobuf", body)? {
                (200, _) => return Ok(()),
                (503, _) if begin.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
                (status, answer) => bail!("spans were answered {status}: {}", String::from_utf8_lossy(&answer)),
            }
        }
    }

    /// A whole trace, as OTLP JSON; `None` if it is unknown.
    pub fn trace(&self, trace_id: &str) -> Result<Option<Value>> {
        match self.get(&format!("/api/v1/traces/{trace_id}/otlp"))? {
            (200, trace) => Ok(Some(trace)),
            (404, _) => Ok(None),
            (status, answer) => bail!("GET trace {trace_id} answered {status}: {answer}"),
        }
    }

    /// Runs the command line against this server: success and standard output.
    pub fn run(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let output = Command::new(tracewell())
            .args(arguments)
            .env("TRACEWELL_URL", self.url())
            .env("TRACEWELL_OTLP_URL", format!("http://{}", self.address("otlp_http")))
            .output()?;
        if !output.status.success() {
            eprintln!("tracewell {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok((output.status.success(), String::from_utf8(output.stdout)?))
    }

    /// The most memory that the process has had, in bytes.
    pub fn peak_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the kernel tells VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        self.child.signal(signal);
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> Result<std::process::ExitStatus> {
        self.child.wait()
    }

    /// kill -9.
    pub fn kill(self) {
        drop(self.child);
    }

    /// SIGTERM, which must end in exit code 0.
    pub fn stop(mut self) -> Result<()> {
        self.child.signal(libc::SIGTERM);
        let status = self.child.wait()?;
        if !status.success() {
            bail!("SIGTERM ended the server with {status}");
        }
        Ok(())
    }
}

/// A client that hands back every status instead of failing on some, and does not wait for ever.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

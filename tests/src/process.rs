//! Child processes that do not outlive the test.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long anything that a test waits for may take on a busy machine of two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace is there")
}

/// A running process, killed when dropped.
pub struct Child {
    child: std::process::Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts a command. Its standard output is kept for [`line`](Self::line) and [`finish`](Self::finish); its standard
    /// error goes to the test's.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {:?}", command.get_program()))?;
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self { child, stdout })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its standard output.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.as_mut().context("the output was read already")?.read_line(&mut line)?;
        if line.is_empty() {
            bail!("the process ended without a line: {:?}", self.child.wait()?);
        }
        Ok(line.trim_end().to_owned())
    }

    /// Waits for its end, which must be a success, and returns the rest of its output.
    pub fn finish(mut self) -> Result<String> {
        let mut text = String::new();
        self.stdout.take().context("the output was read already")?.read_to_string(&mut text)?;
        let status = self.wait()?;
        if !status.success() {
            bail!("the process ended with {status}; its output was:\n{text}");
        }
        Ok(text)
    }

    /// Sends a signal.
    #[allow(unsafe_code, reason = "the standard library sends no signal but SIGKILL")]
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill(2) touches no memory of this process, and the child has not been waited for, so the id is its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Waits for its end, within bounds.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() > PATIENCE {
                bail!("process {} is still running after {PATIENCE:?}", self.pid());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For tests that need what not every machine has.
pub trait OrSkip<T> {
    /// The value, or a note on standard error that the test is skipped.
    fn or_skip(self, why: &str) -> Option<T>;
}

impl<T> OrSkip<T> for Option<T> {
    fn or_skip(self, why: &str) -> Option<T> {
        if self.is_none() {
            eprintln!("skipped: {why}");
        }
        self
    }
}

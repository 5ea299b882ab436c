//! Databases and object stores that tests start for themselves: each on a free port of 127.0.0.1, in a folder of its own,
//! stopped when it is dropped. `start` answers `None`, with a note on standard error, where a program is not there;
//! `cargo xtask test` installs them.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

mod mongo;
mod port;
mod postgres;
mod redis;
mod s3;

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use mongo::Mongo;
use port::Port;
pub use postgres::Postgres;
pub use redis::Redis;
pub use s3::S3;

/// How long a part may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something that is not there; the note that tests print.
fn skip<T>(what: &str) -> Option<T> {
    eprintln!("skipped: there is no {what}; `cargo xtask test` installs it");
    None
}

/// Where `cargo xtask test` keeps what it installs.
fn target() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

/// A process that listens on a port, killed when dropped.
struct Running {
    process: Child,
    port: Port,
}

impl Running {
    /// Starts a command and waits until it listens; `None` where there is no such program.
    fn start(command: &mut Command, port: Port) -> Option<Self> {
        let mut running = Self { process: spawn(command)?, port };
        running.wait_until_it_listens(command);
        Some(running)
    }

    /// Ends the process and keeps its port.
    fn stop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts a command on the port of one that was stopped.
    fn start_again(&mut self, command: &mut Command) {
        self.process = spawn(command).unwrap();
        self.wait_until_it_listens(command);
    }

    fn wait_until_it_listens(&mut self, command: &Command) {
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port())).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "{:?} ended with {ended:?}", command.get_program());
            assert!(begin.elapsed() < PATIENCE, "{:?} does not listen", command.get_program());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn port(&self) -> u16 {
        self.port.number
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(command: &mut Command) -> Option<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

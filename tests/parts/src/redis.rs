use std::process::Command;

use crate::{Port, Running, skip};

/// Redis, or what Debian has in its place.
pub struct Redis {
    running: Running,
    _folder: tempfile::TempDir,
}

impl Redis {
    /// Starts it, with nothing in it.
    pub fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = Port::take();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.number.to_string()]);
        let running = Running::start(command.arg("--dir").arg(folder.path()), port).or_else(|| skip("redis-server"))?;
        Some(Self { running, _folder: folder })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.running.port()
    }
}

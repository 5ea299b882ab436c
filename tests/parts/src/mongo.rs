use std::process::Command;

use crate::{Port, Running, skip, target};

/// A server that speaks MongoDB's protocol, in Java.
pub struct Mongo {
    running: Running,
}

impl Mongo {
    /// Starts it, with nothing in it.
    pub fn start() -> Option<Self> {
        let port = Port::take();
        // `cargo xtask test` has Maven put it and all that it needs there.
        let classes = target().join("mongo-java-server");
        if !classes.join("Serve.class").is_file() {
            return skip("mongo-java-server");
        }
        let mut command = Command::new("java");
        command.arg("-cp").arg(format!("{0}:{0}/lib/*", classes.display())).arg("Serve").arg(port.number.to_string());
        let running = Running::start(&mut command, port).or_else(|| skip("java"))?;
        Some(Self { running })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.running.port()
    }
}

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{PATIENCE, Port, Running, skip};

/// PostgreSQL.
pub struct Postgres {
    running: Running,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Starts it with an empty database `postgres`, whose owner `postgres` needs no password.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else { return skip("PostgreSQL") };
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        // It refuses to run as root.
        let is_root = is_root();
        if is_root {
            run(Command::new("chown").arg("-R").arg("postgres:postgres").arg(folder.path()));
        }
        let command = |name: &str| {
            let mut command = if is_root {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(programs.join(name));
                command
            } else {
                Command::new(programs.join(name))
            };
            command.current_dir("/");
            command
        };
        run(command("initdb").args(["--auth=trust", "--username=postgres", "--no-sync", "-D"]).arg(&data));
        let port = Port::take();
        let mut server = command("postgres");
        server.arg("-D").arg(&data).args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.number.to_string(),
            "-c",
            "fsync=off",
            "-k",
            "",
        ]);
        let running = Running::start(&mut server, port).or_else(|| skip("PostgreSQL"))?;
        let begin = Instant::now();
        let mut ready = command("pg_isready");
        ready.args(["-q", "-h", "127.0.0.1", "-p", &running.port().to_string()]);
        while !ready.status().unwrap().success() {
            assert!(begin.elapsed() < PATIENCE, "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { running, _folder: folder })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.running.port()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its immediate shutdown, which ends the processes that it started, too.
        let _ = Command::new("kill").args(["-QUIT", &self.running.process.id().to_string()]).status();
        let _ = self.running.process.wait();
    }
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
}

/// Where PostgreSQL's programs are: on Debian not among the others.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = versions.map(|version| version.path().join("bin")).chain(std::env::split_paths(&paths));
    folders.find(|folder| folder.join("initdb").is_file())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    Path::new("/proc/self").metadata().is_ok_and(|process| process.uid() == 0)
}

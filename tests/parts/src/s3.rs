use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Port, Running, skip, target};

/// What speaks S3's protocol, with one empty bucket.
pub struct S3 {
    running: Running,
    /// Where it keeps its objects, if not in memory.
    folder: Option<TempDir>,
}

impl S3 {
    /// The variables with the credentials that it takes, and its region.
    pub const CREDENTIALS: [(&str, &str); 3] = [
        ("AWS_ACCESS_KEY_ID", "the-access-key-of-tests"),
        ("AWS_SECRET_ACCESS_KEY", "the-secret-key-of-tests"),
        ("AWS_REGION", "us-east-1"),
    ];

    /// Starts moto, which keeps objects in memory.
    pub fn start(bucket: &str) -> Option<Self> {
        let port = Port::take();
        let mut command = Command::new(program("moto/bin/moto_server", "moto_server"));
        command.args(["--host", "127.0.0.1", "--port", &port.number.to_string()]);
        let running = Running::start(&mut command, port).or_else(|| skip("moto_server"))?;
        let mut connection = TcpStream::connect(("127.0.0.1", running.port())).unwrap();
        let request = format!(
            "PUT /{bucket} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            running.port()
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Some(Self { running, folder: None })
    }

    /// Starts versitygw, which keeps objects as files and checks every signature.
    pub fn start_versitygw(bucket: &str) -> Option<Self> {
        let port = Port::take();
        let folder = tempfile::tempdir().unwrap();
        // A bucket is a directory.
        std::fs::create_dir(folder.path().join(bucket)).unwrap();
        let running = Running::start(&mut versitygw(&port, folder.path()), port).or_else(|| skip("versitygw"))?;
        Some(Self { running, folder: Some(folder) })
    }

    /// Ends its process; what it keeps as files stays.
    pub fn stop(&mut self) {
        self.running.stop();
    }

    /// Starts versitygw again where it was stopped.
    pub fn start_again(&mut self) {
        let folder = self.folder.as_ref().expect("what is kept in memory is gone");
        let mut command = versitygw(&self.running.port, folder.path());
        self.running.start_again(&mut command);
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.running.port())
    }
}

fn versitygw(port: &Port, folder: &Path) -> Command {
    let mut command = Command::new(program("bin/versitygw", "versitygw"));
    command
        .env("ROOT_ACCESS_KEY", S3::CREDENTIALS[0].1)
        .env("ROOT_SECRET_KEY", S3::CREDENTIALS[1].1)
        .args(["--port", &format!("127.0.0.1:{}", port.number), "--quiet", "posix"])
        .arg(folder);
    command
}

/// What `cargo xtask test` installed, or what the system has.
fn program(installed: &str, name: &str) -> PathBuf {
    let installed = target().join(installed);
    if installed.exists() { installed } else { name.into() }
}

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use crate::{Port, Running, skip, target};

/// moto, which speaks S3's protocol.
pub struct S3 {
    running: Running,
}

impl S3 {
    /// Starts it with one empty bucket.
    pub fn start(bucket: &str) -> Option<Self> {
        let port = Port::take();
        let installed = target().join("moto/bin/moto_server");
        let program = if installed.exists() { installed } else { "moto_server".into() };
        let mut command = Command::new(program);
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
        Some(Self { running })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.running.port())
    }
}

//! Commands to a real Redis, which Debian's package `redis-server` brings.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use redis::AsyncCommands as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tracewell::{Config, FutureExt as _, InMemoryExporter};

/// Stopped when the test is over, however it ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// On a socket in a folder, so that no port is taken.
fn start(folder: &std::path::Path) -> (Server, redis::Client) {
    let socket = folder.join("redis.sock");
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed (Debian's package redis-server)");
    let server = Server(child);
    let begin = Instant::now();
    while !socket.exists() {
        assert!(begin.elapsed() < Duration::from_secs(30), "redis-server does not come up");
        std::thread::sleep(Duration::from_millis(10));
    }
    (server, redis::Client::open(format!("redis+unix://{}", socket.display())).unwrap())
}

#[tokio::test]
async fn each_command_is_a_span_without_keys_and_values() {
    let exporter = InMemoryExporter::new();
    let _guard = tracewell::init(Config::new("test").exporter(exporter.clone())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (_server, client) = start(folder.path());
    let work = async {
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut connection = tracewell_redis::traced(connection);
        let () = connection.set("secret key", "secret").await.unwrap();
        let value: String = connection.get("secret key").await.unwrap();
        assert_eq!(value, "secret");
        connection.lpush::<_, _, i64>("secret key", "x").await.unwrap_err();
        let () = redis::pipe().incr("n", 1).incr("n", 1).query_async(&mut connection).await.unwrap();
    };
    work.in_span(tracewell::span("request").start()).await;
    tracewell::tracer().flush(Duration::from_secs(10)).unwrap();
    let spans = exporter.spans();
    assert!(spans.iter().all(|span| !format!("{span:?}").contains("secret")));
    let tree = exporter.tree(&["db.query.text", "db.operation.batch.size", "db.response.status_code"]);
    let lines: Vec<&str> = tree.lines().map(|line| line.split(" error=").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "request",
            "  SET db.query.text=\"SET ? ?\"",
            "  GET db.query.text=\"GET ?\"",
            "  LPUSH db.query.text=\"LPUSH ? ?\" db.response.status_code=\"WRONGTYPE\"",
            "  PIPELINE db.operation.batch.size=2",
        ]
    );
}

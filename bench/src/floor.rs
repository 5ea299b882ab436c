//! What an answer's bytes take by themselves: a server that has them ready and only sends them, asked by the same client.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Bytes that are sent at once.
const PORTION_BYTES: usize = 256 * 1024;
/// How often each size is asked for; the median counts.
const TIMES: usize = 9;

/// A server of bytes, for as long as the process lives.
pub(crate) struct Floor {
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Floor {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen for the floor")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // The client has gone, or asked for something else than this one does.
                let _ = serve(connection);
            }
        });
        Ok(Self { address, agent: ureq::Agent::config_builder().build().into() })
    }

    /// How long so many bytes take.
    pub(crate) fn time(&self, bytes: usize) -> Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let begin = Instant::now();
            let mut response = self.agent.get(format!("http://{}/{bytes}", self.address)).call()?;
            let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
            times.push(begin.elapsed());
            anyhow::ensure!(body.len() == bytes, "the floor sent {} bytes instead of {bytes}", body.len());
        }
        times.sort_unstable();
        Ok(times[TIMES / 2])
    }
}

fn serve(connection: TcpStream) -> Result<()> {
    let mut requests = BufReader::new(connection.try_clone()?);
    let mut connection = connection;
    connection.set_nodelay(true)?;
    let portion = vec![b' '; PORTION_BYTES];
    loop {
        let mut line = String::new();
        requests.read_line(&mut line)?;
        let path = line.split(' ').nth(1).context("no path")?;
        let mut left: usize = path.trim_start_matches('/').parse()?;
        while line.trim() != "" {
            line.clear();
            requests.read_line(&mut line)?;
        }
        connection.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {left}\r\n\r\n").as_bytes())?;
        while left > 0 {
            let now = left.min(PORTION_BYTES);
            connection.write_all(&portion[..now])?;
            left -= now;
        }
    }
}

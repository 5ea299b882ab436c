//! Bounds on connections.

use std::time::Duration;

/// Bounds on connections, each of which an operator can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Maximum number of connections of one port at once. No port can take another's.
    pub max_connections: usize,
    /// Maximum number of requests at once in one HTTP/2 connection.
    pub max_streams: u32,
    /// Maximum size of a request's head.
    pub max_header_bytes: usize,
    /// How long a request's head may take, from the first byte on, or from the connection's begin.
    pub header_timeout: Duration,
    /// How long a connection may have no request.
    pub idle_timeout: Duration,
    /// How long the body of a request may take.
    pub body_timeout: Duration,
    /// Minimum bytes a second of a body, over [`body_window`](Self::body_window).
    pub min_body_rate: u64,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// How long requests may take to end once the server is to stop.
    pub drain: Duration,
    /// Of a body that is not wanted, so many bytes are read before the answer is sent, because a client that is still
    /// sending reads no answer.
    pub max_unwanted_bytes: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_streams: 200,
            max_header_bytes: 64 << 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            min_body_rate: 1 << 10,
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            max_unwanted_bytes: 64 << 20,
        }
    }
}

impl ConnectionLimits {
    /// The time over which a body's rate is measured: short enough to cut a silent sender off early, long enough for a
    /// network that stumbles.
    pub(super) fn body_window(&self) -> Duration {
        (self.body_timeout / 3).min(Duration::from_secs(10))
    }

    /// How long an unwanted body is read.
    pub(super) fn unwanted_timeout(&self) -> Duration {
        self.body_window()
    }

    /// How long a client of HTTP/2 has to answer to the news that its connection ends.
    pub(super) fn goodbye(&self) -> Duration {
        (self.idle_timeout / 10).min(Duration::from_secs(1))
    }

    /// How often the connections that are open are looked through: often enough that each limit is kept to a tenth.
    pub(super) fn sweep(&self) -> Duration {
        let shortest = self.header_timeout.min(self.idle_timeout).min(self.write_timeout);
        (shortest / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

//! Bytes to and from the receiver, in clear or encrypted, until a deadline.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection.
pub(super) enum Stream {
    Clear(Timed),
    #[cfg(feature = "tls")]
    Encrypted(Box<rustls::StreamOwned<rustls::ClientConnection, Timed>>),
}

/// How to encrypt.
#[derive(Clone)]
pub(in crate::otlp) struct Tls {
    #[cfg(feature = "tls")]
    pub(in crate::otlp) config: std::sync::Arc<rustls::ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It holds the client's key.
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Stream {
    #[cfg_attr(not(feature = "tls"), allow(unused_variables, reason = "a name is for certificates"))]
    pub(super) fn new(socket: TcpStream, host: &str, tls: Option<&Tls>) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let timed = Timed { socket, deadline: None };
        #[cfg(feature = "tls")]
        if let Some(tls) = tls {
            let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let config = std::sync::Arc::clone(&tls.config);
            let connection = rustls::ClientConnection::new(config, name).map_err(io::Error::other)?;
            return Ok(Self::Encrypted(Box::new(rustls::StreamOwned::new(connection, timed))));
        }
        Ok(Self::Clear(timed))
    }

    pub(super) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.timed_mut().deadline = deadline;
    }

    /// Whether the other side has neither closed it nor sent anything.
    pub(super) fn is_quiet(&self) -> bool {
        let socket = match self {
            Self::Clear(timed) => &timed.socket,
            #[cfg(feature = "tls")]
            Self::Encrypted(stream) => &stream.sock.socket,
        };
        if socket.set_nonblocking(true).is_err() {
            return false;
        }
        let peeked = socket.peek(&mut [0]);
        socket.set_nonblocking(false).is_ok() && peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn timed_mut(&mut self) -> &mut Timed {
        match self {
            Self::Clear(timed) => timed,
            #[cfg(feature = "tls")]
            Self::Encrypted(stream) => &mut stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(timed) => timed.read(buffer),
            #[cfg(feature = "tls")]
            Self::Encrypted(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(timed) => timed.write(bytes),
            #[cfg(feature = "tls")]
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(timed) => timed.flush(),
            #[cfg(feature = "tls")]
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// A socket whose operations end by the deadline.
pub(super) struct Timed {
    socket: TcpStream,
    deadline: Option<Instant>,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => Err(ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

/// Systems differ in how they call a timeout.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(buffer).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

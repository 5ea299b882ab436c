//! A client for one thing: to post bytes to one receiver, over a connection that is kept.
//!
//! It is our own because clients in general write what they send into the program's log, credentials included:
//! `docs/adr/0023-a-client-that-logs-nothing.md`. It follows no redirects, uses no proxy, and says nothing.

mod answer;
mod stream;

pub(super) use answer::Answer;
use answer::Reader;
use http::uri::PathAndQuery;
use std::io::{self, ErrorKind, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};
use stream::Stream;
pub(super) use stream::Tls;

/// Posts to one receiver.
#[derive(Debug)]
pub(super) struct Client {
    /// A name or an address, without brackets.
    host: String,
    port: u16,
    tls: Option<Tls>,
    kept: Option<Reader>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// Nobody listens there, or there is no such host: the next attempt will fail as fast.
    pub(super) is_unreachable: bool,
    pub(super) reason: String,
}

impl Failure {
    fn new(step: &str, error: &io::Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::TimedOut => format!("{step}: timed out"),
            _ => format!("{step}: {error}"),
        };
        Self { is_unreachable: false, reason }
    }
}

impl Client {
    pub(super) fn new(host: &str, port: u16, tls: Option<Tls>) -> Self {
        Self { host: host.trim_matches(['[', ']']).to_owned(), port, tls, kept: None }
    }

    /// One attempt. `headers` are whole lines with their ends, to which the length of the body is added.
    pub(super) fn post(
        &mut self,
        target: &PathAndQuery,
        headers: &[u8],
        body: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Answer, Failure> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut head = format!("POST {target} HTTP/1.1\r\n").into_bytes();
        head.extend_from_slice(headers);
        head.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        if let Some(mut kept) = self.kept.take().filter(Reader::is_idle) {
            match exchange(&mut kept, &head, body, deadline) {
                Ok(answer) => return Ok(self.keep(kept, answer)),
                // The receiver closed the connection in the meantime, and has not begun an answer.
                Err(error) if !kept.has_begun() && error.kind() != ErrorKind::TimedOut => {}
                Err(error) => return Err(Failure::new("exchange with the receiver", &error)),
            }
        }
        let mut connection = self.connect(deadline)?;
        match exchange(&mut connection, &head, body, deadline) {
            Ok(answer) => Ok(self.keep(connection, answer)),
            Err(error) => Err(Failure::new("exchange with the receiver", &error)),
        }
    }

    fn keep(&mut self, connection: Reader, answer: Answer) -> Answer {
        self.kept = Some(connection).filter(|_| answer.keeps_connection);
        answer
    }

    fn connect(&self, deadline: Option<Instant>) -> Result<Reader, Failure> {
        let (host, port) = (&self.host, self.port);
        let unreachable = |error: &io::Error| Failure {
            is_unreachable: true,
            ..Failure::new(&format!("cannot connect to {host}:{port}"), error)
        };
        let addresses = (host.as_str(), port).to_socket_addrs().map_err(|error| unreachable(&error))?;
        let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for address in addresses {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let connected = match left {
                Some(Duration::ZERO) => Err(ErrorKind::TimedOut.into()),
                Some(left) => TcpStream::connect_timeout(&address, left),
                None => TcpStream::connect(address),
            };
            match connected.and_then(|socket| Stream::new(socket, host, self.tls.as_ref())) {
                Ok(stream) => return Ok(Reader::new(stream)),
                Err(error) => last = error,
            }
        }
        // What does not answer may yet; what refuses does so at once.
        Err(Failure { is_unreachable: last.kind() != ErrorKind::TimedOut, ..unreachable(&last) })
    }
}

/// Sends the request and reads its answer.
fn exchange(connection: &mut Reader, head: &[u8], body: &[u8], deadline: Option<Instant>) -> io::Result<Answer> {
    let stream = connection.begin(deadline);
    let sent = stream.write_all(head).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush());
    match sent {
        Ok(()) => connection.answer(),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(error),
        // A receiver may refuse what it has not read to its end: its answer says more than the broken connection.
        Err(error) => match connection.answer() {
            Ok(answer) => Ok(Answer { keeps_connection: false, ..answer }),
            Err(_) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;

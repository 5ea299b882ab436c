//! Answers, read from a connection within bounds.

use super::stream::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::io::{self, ErrorKind, Read as _};
use std::time::Instant;

/// Status line and headers of an answer are not longer than this.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// An answer is a few bytes; more of it than this is not read, and the connection is not used again.
const MAX_BODY_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 128;
/// A server may say `100 Continue` and the like before its answer, but not for ever.
const MAX_INTERIM: usize = 16;

/// What the receiver said.
#[derive(Debug)]
pub(in crate::otlp) struct Answer {
    pub(in crate::otlp) status: StatusCode,
    pub(in crate::otlp) headers: HeaderMap,
    pub(in crate::otlp) body: Vec<u8>,
    /// Whether its connection serves again.
    pub(super) keeps_connection: bool,
}

/// A connection and what was read of it and not used.
#[derive(Debug)]
pub(super) struct Reader {
    stream: Stream,
    bytes: Vec<u8>,
    has_begun: bool,
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the answer is not HTTP: {what}"))
}

impl Reader {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, bytes: Vec::new(), has_begun: false }
    }

    /// Whether it can serve another request.
    pub(super) fn is_idle(&self) -> bool {
        self.bytes.is_empty() && self.stream.is_quiet()
    }

    /// Whether something of the current answer has come.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// For another request, which with its answer has until then.
    pub(super) fn begin(&mut self, deadline: Option<Instant>) -> &mut Stream {
        self.has_begun = false;
        self.stream.set_deadline(deadline);
        &mut self.stream
    }

    /// Reads an answer.
    pub(super) fn answer(&mut self) -> io::Result<Answer> {
        for _ in 0..MAX_INTERIM {
            let (status, headers, is_http_11) = self.head()?;
            if status.is_informational() {
                continue;
            }
            let says = |name, word: &str| {
                let mut values = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
                values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
            };
            let mut keeps_connection = is_http_11 && !says(header::CONNECTION, "close");
            let length = match headers.get(header::CONTENT_LENGTH) {
                Some(length) => {
                    let length = length.to_str().ok().and_then(|text| text.trim().parse::<usize>().ok());
                    Some(length.ok_or_else(|| invalid("its content-length is no number"))?)
                }
                None => None,
            };
            let mut body = Vec::new();
            let is_whole = if matches!(status.as_u16(), 204 | 304) {
                true
            } else if says(header::TRANSFER_ENCODING, "chunked") {
                self.chunks(&mut body)?
            } else if let Some(length) = length {
                self.take(length, &mut body)?
            } else {
                keeps_connection = false;
                self.rest(&mut body)?
            };
            return Ok(Answer { status, headers, body, keeps_connection: keeps_connection && is_whole });
        }
        Err(invalid("it has no end of interim answers"))
    }

    fn head(&mut self) -> io::Result<(StatusCode, HeaderMap, bool)> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut fields);
            let parsed = response.parse(&self.bytes).map_err(|error| invalid(&error.to_string()))?;
            if let httparse::Status::Complete(length) = parsed {
                let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
                let status = status.ok_or_else(|| invalid("it has no status"))?;
                let mut headers = HeaderMap::new();
                for field in response.headers.iter() {
                    if let (Ok(name), Ok(value)) =
                        (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
                    {
                        headers.append(name, value);
                    }
                }
                let is_http_11 = response.version == Some(1);
                self.bytes.drain(..length);
                return Ok((status, headers, is_http_11));
            }
            if self.bytes.len() > MAX_HEAD_BYTES {
                return Err(invalid("its head is too long"));
            }
            self.more()?;
        }
    }

    /// Reads on; the connection's end is an error.
    fn more(&mut self) -> io::Result<()> {
        if self.read()? == 0 {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the receiver closed the connection without an answer",
            ));
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer)?;
        self.has_begun |= count > 0;
        self.bytes.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// Moves `length` bytes to `out`; whether it was all of them, for there is a bound.
    fn take(&mut self, length: usize, out: &mut Vec<u8>) -> io::Result<bool> {
        let wanted = length.min(MAX_BODY_BYTES - out.len());
        while self.bytes.len() < wanted {
            self.more()?;
        }
        out.extend(self.bytes.drain(..wanted));
        Ok(wanted == length)
    }

    fn rest(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        while self.bytes.len() < MAX_BODY_BYTES && self.read()? > 0 {}
        self.bytes.truncate(MAX_BODY_BYTES);
        out.append(&mut self.bytes);
        Ok(false)
    }

    /// Reads a chunked body with its trailers.
    fn chunks(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            let line = self.line()?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or(&[]);
            let digits = std::str::from_utf8(digits).map_err(|_| invalid("a chunk has no length"))?;
            let length = usize::from_str_radix(digits.trim(), 16).map_err(|_| invalid("a chunk has no length"))?;
            if length == 0 {
                let mut trailers = 0;
                while !self.line()?.is_empty() {
                    trailers += 1;
                    if trailers > MAX_HEADERS {
                        return Err(invalid("it has no end of trailers"));
                    }
                }
                return Ok(true);
            }
            if !self.take(length, out)? {
                return Ok(false);
            }
            if !self.line()?.is_empty() {
                return Err(invalid("a chunk is longer than it says"));
            }
        }
    }

    /// A line without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.bytes.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.bytes.drain(..=at).collect();
                line.truncate(line.len() - 1);
                line.pop_if(|byte| *byte == b'\r');
                return Ok(line);
            }
            if self.bytes.len() > MAX_HEAD_BYTES {
                return Err(invalid("a line is too long"));
            }
            self.more()?;
        }
    }
}

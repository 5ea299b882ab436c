//! Connections as no well-behaved client makes them.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::process::PATIENCE;

/// What HTTP/2 begins with, and settings.
pub const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A connection on which some bytes were sent; reads on it end at some time.
pub fn connect(address: &str, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("the port is open");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time that is not 0");
    socket.set_write_timeout(Some(PATIENCE)).expect("a time that is not 0");
    socket.write_all(bytes).expect("a new connection takes bytes");
    socket
}

/// Reads until the server closes; what it said. A connection that was reset is closed, too.
pub fn until_closed(socket: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return said,
            Ok(read) => said.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return said,
            Err(error) => panic!("the connection is still open: {error}"),
        }
    }
}

/// Reads the head of an answer.
pub fn head(socket: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).expect("an answer comes before the connection ends");
        said.push(byte[0]);
    }
    String::from_utf8(said).expect("a head is text")
}

/// A frame of HTTP/2.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Header fields in HPACK, without compression.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
            out.extend(text.as_bytes());
        }
    }
    out
}

/// Sends a request over HTTP/2: the head of the answer as it is encoded, and the body.
pub fn http2(address: &str, asked: &[(&str, &str)], body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (headers, data) = (frame(1, 4, 1, &fields(asked)), frame(0, 1, 1, body));
    let mut socket = connect(address, &[HTTP2, &headers, &data].concat());
    let (mut head, mut said) = (Vec::new(), Vec::new());
    loop {
        let mut begin = [0; 9];
        socket.read_exact(&mut begin).expect("an answer comes before the connection ends");
        let [a, b, c, kind, flags, stream @ ..] = begin;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload).expect("a frame is whole");
        match (kind, u32::from_be_bytes(stream)) {
            (0, 1) => said.extend(payload),
            (1, 1) if head.is_empty() => head = payload,
            (1, 1) | (_, 0) => {}
            (kind, stream) => panic!("a frame of kind {kind} on stream {stream}: {payload:?}"),
        }
        if kind <= 1 && flags & 1 == 1 {
            return (head, said);
        }
    }
}

//! What the first bytes of a connection say.

/// What HTTP/2 begins with when it was not negotiated.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// So much of a request's first line is waited for to see whether it asks for health.
const ENOUGH: usize = 64;

/// What a connection is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// Too little has arrived to tell.
    Unknown,
    /// HTTP/1, with whether its first request is one for health.
    Http1 { is_health: bool },
    /// HTTP/2.
    Http2,
    /// The begin of TLS.
    Tls,
    /// None of these.
    Garbage,
}

/// Reads the first bytes.
pub(super) fn read(bytes: &[u8]) -> First {
    let Some(&first) = bytes.first() else { return First::Unknown };
    if bytes.len() >= PREFACE.len() && bytes.starts_with(PREFACE) {
        return First::Http2;
    }
    // A request whose method begins with PRI has to wait for its fourth byte.
    if PREFACE.starts_with(bytes) {
        return First::Unknown;
    }
    // A TLS record: handshake, version 3.
    if first == 0x16 {
        return match bytes.get(1) {
            None => First::Unknown,
            Some(3) => First::Tls,
            Some(_) => First::Garbage,
        };
    }
    // Empty lines before a request are allowed.
    if !(first.is_ascii_alphabetic() || first == b'\r' || first == b'\n') {
        return First::Garbage;
    }
    let mut words = bytes.split(|byte| matches!(byte, b' ' | b'?' | b'\r' | b'\n'));
    let path = words.by_ref().nth(1);
    match path {
        Some(path) if words.next().is_some() => First::Http1 { is_health: is_health(path) },
        _ if bytes.len() >= ENOUGH => First::Http1 { is_health: false },
        _ => First::Unknown,
    }
}

/// Whether a path is one of those that tell of the server's health.
pub(super) fn is_health(path: &[u8]) -> bool {
    matches!(path, b"/livez" | b"/readyz" | b"/healthz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_told_apart_by_their_first_bytes() {
        let http = |is_health| First::Http1 { is_health };
        for (bytes, expected) in [
            (&b""[..], First::Unknown),
            (b"G", First::Unknown),
            (b"GET /livez", First::Unknown),
            (b"GET /livez ", http(true)),
            (b"HEAD /readyz?verbose HTTP/1.1\r\n", http(true)),
            (b"GET /healthz/x HTTP/1.1\r\n", http(false)),
            (b"POST /v1/traces HTTP/1.1\r\n", http(false)),
            (b"PRI * HTTP/2.0\r\n", First::Unknown),
            (PREFACE, First::Http2),
            (b"PRINT / HTTP/1.1\r\n", http(false)),
            (b"\r\nGET / HTTP/1.1\r\n", http(false)),
            (b"\x16", First::Unknown),
            (b"\x16\x03\x01\x02", First::Tls),
            (b"\x16\x16", First::Garbage),
            (b"\0\0\0", First::Garbage),
            (b"{\"resourceSpans\"", First::Garbage),
            (&[b'A'; ENOUGH], http(false)),
        ] {
            assert_eq!(read(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}

//! How messages lie in a file: as JSON text, or as protobuf in one of the three ways in which tools write it.

use std::io::{self, Read};

use anyhow::{Result, bail};

use super::json::{Documents, Item};
use super::source::is_zstd;
use super::window::Window;

/// A message may not be larger.
const MAX_MESSAGE_BYTES: usize = 512 << 20;
/// What is looked at to tell framings apart.
const HEAD_BYTES: usize = 4096;

/// Where in a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum At {
    Line(u64),
    Byte(u64),
}

/// A part of a file.
pub(super) enum Part<'a> {
    Json(&'a [u8], At),
    Protobuf(&'a [u8], At),
    /// What is none, and why.
    Bad(String, At),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Byte(byte) => write!(f, "byte {byte}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    /// Messages one after another, as fields of one message: what `cat` makes of `TracesData` files.
    Fields,
    /// Each after its length as a varint: protobuf's "delimited" form.
    Varint,
    /// Each after its length in four bytes, big-endian: the OpenTelemetry Collector's file exporter.
    BigEndian,
}

/// Hands on the parts of a file one by one; says whether there was any byte.
pub(super) fn parts(mut window: Window<Box<dyn Read>>, mut each: impl FnMut(Part<'_>) -> Result<()>) -> Result<bool> {
    window.fill(4)?;
    if window.unread().is_empty() {
        return Ok(false);
    }
    if !matches!(window.unread()[0], b'{' | b'[') {
        window.fill(HEAD_BYTES)?;
    }
    let head = &window.unread()[..window.unread().len().min(HEAD_BYTES)];
    if is_text(head) {
        json(window, At::Line, &mut each)?;
    } else {
        match framing(head) {
            Some(framing) => messages(window, framing, &mut each)?,
            None => bail!(
                "neither JSON nor OTLP protobuf; its first bytes are {}",
                head.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
            ),
        }
    }
    Ok(true)
}

/// JSON as people and programs write it; protobuf has control characters from its first bytes on.
fn is_text(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let begins = head.trim_ascii_start().first();
    let is_plain = |byte: &u8| *byte >= 0x20 && *byte != 0x7f || matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b | 0x1e);
    let is_utf_8 = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The head may end within a character.
        Err(error) => error.error_len().is_none() && head.len() - error.valid_up_to() < 4,
    };
    matches!(begins, Some(b'{' | b'[')) && head.iter().take(8).all(is_plain)
        || is_utf_8 && head.iter().take(256).all(is_plain)
}

fn framing(head: &[u8]) -> Option<Framing> {
    let is_body = |body: &[u8]| {
        is_zstd(body)
            || body.starts_with(&[0x1f, 0x8b])
            || matches!(body.first(), Some(b'{' | b'['))
            || is_message(body)
    };
    // A length of four bytes that begins as a field does would be of 168 MB.
    if is_message(head) {
        return Some(Framing::Fields);
    }
    if let Some((length, body)) = head.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > 0 && length <= MAX_MESSAGE_BYTES && is_body(&body[..body.len().min(length)]) {
            return Some(Framing::BigEndian);
        }
    }
    let (length, bytes) = varint(head)?;
    let body = &head[bytes..];
    (length > 0 && length <= MAX_MESSAGE_BYTES as u64 && is_body(&body[..body.len().min(length as usize)]))
        .then_some(Framing::Varint)
}

/// Whether this may begin an `ExportTraceServiceRequest`: a `ResourceSpans`, in which there are a resource, spans and a
/// schema, each no longer than what it is in.
fn is_message(bytes: &[u8]) -> bool {
    let [0x0a, rest @ ..] = bytes else { return false };
    let Some((length, size)) = varint(rest) else { return rest.is_empty() };
    if length > MAX_MESSAGE_BYTES as u64 {
        return false;
    }
    let rest = &rest[size..];
    let (mut inner, is_whole) = match rest.get(..length as usize) {
        Some(inner) => (inner, true),
        None => (rest, false),
    };
    let mut left = length;
    while let [tag, rest @ ..] = inner {
        // 1000 is the deprecated list of spans by library.
        let tag_bytes = if matches!(tag, 0x0a | 0x12 | 0x1a) {
            1
        } else if inner.starts_with(&[0xc2, 0x3e]) {
            2
        } else {
            return false;
        };
        let Some((length, size)) = varint(&rest[(tag_bytes - 1).min(rest.len())..]) else { return !is_whole };
        let taken = (tag_bytes + size) as u64 + length;
        if taken > left {
            return false;
        }
        left -= taken;
        inner = inner.get(taken as usize..).unwrap_or_default();
    }
    true
}

/// A varint and its length; `None` if it is cut off or too long.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0u64;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((number, place + 1));
        }
    }
    None
}

fn json<R: Read>(
    window: Window<R>,
    at: impl Fn(u64) -> At,
    each: &mut impl FnMut(Part<'_>) -> Result<()>,
) -> Result<()> {
    let mut documents = Documents::new(window);
    while let Some(item) = documents.next()? {
        match item {
            Item::Document(document, line) => each(Part::Json(document, at(line)))?,
            Item::Bad { line, why } => each(Part::Bad(why, at(line)))?,
        }
    }
    Ok(())
}

fn messages(
    mut window: Window<Box<dyn Read>>,
    framing: Framing,
    each: &mut impl FnMut(Part<'_>) -> Result<()>,
) -> Result<()> {
    loop {
        let offset = window.offset();
        let at = At::Byte(offset);
        window.fill(6)?;
        let head = window.unread();
        if head.is_empty() {
            return Ok(());
        }
        let (length, prefix) = match framing {
            Framing::BigEndian => match head.first_chunk::<4>() {
                Some(length) => (u64::from(u32::from_be_bytes(*length)), 4),
                None => return each(Part::Bad("the file ends within a length".to_owned(), at)),
            },
            Framing::Varint => match varint(head) {
                Some(length) => length,
                None => return each(Part::Bad("not the length of a message".to_owned(), at)),
            },
            Framing::Fields => match head {
                [0x0a, rest @ ..] if varint(rest).is_some() => {
                    let (length, bytes) = varint(rest).unwrap_or_default();
                    (length, bytes + 1)
                }
                _ => return each(Part::Bad("not a ResourceSpans of OTLP protobuf, nor what follows".to_owned(), at)),
            },
        };
        if length > MAX_MESSAGE_BYTES as u64 {
            let why = format!(
                "a message of {length} bytes, more than {} MiB; what follows is not read",
                MAX_MESSAGE_BYTES >> 20
            );
            return each(Part::Bad(why, at));
        }
        let length = length as usize;
        if !window.fill(prefix + length)? {
            let has = window.unread().len() - prefix.min(window.unread().len());
            return each(Part::Bad(format!("the file ends within a message: {has} of {length} bytes"), at));
        }
        // Of fields, the tag and length belong to the message.
        let begin = if framing == Framing::Fields { 0 } else { prefix };
        message(&window.unread()[begin..prefix + length], at, each)?;
        window.pass(prefix + length);
    }
}

/// A message, which may be compressed and may be JSON.
fn message(bytes: &[u8], at: At, each: &mut impl FnMut(Part<'_>) -> Result<()>) -> Result<()> {
    let mut unpacked = Vec::new();
    let decoder: Option<io::Result<Box<dyn Read + '_>>> = match bytes {
        [0x1f, 0x8b, ..] => Some(Ok(Box::new(flate2::read::MultiGzDecoder::new(bytes)))),
        _ if is_zstd(bytes) => {
            Some(zstd::stream::read::Decoder::new(bytes).map(|decoder| Box::new(decoder) as Box<dyn Read>))
        }
        _ => None,
    };
    let bytes = match decoder {
        None => bytes,
        Some(decoder) => {
            let limit = MAX_MESSAGE_BYTES as u64 + 1;
            match decoder.and_then(|decoder| decoder.take(limit).read_to_end(&mut unpacked)) {
                Ok(_) if unpacked.len() as u64 == limit => {
                    return each(Part::Bad(format!("a message of more than {} MiB", MAX_MESSAGE_BYTES >> 20), at));
                }
                Ok(_) => &unpacked,
                Err(error) => return each(Part::Bad(format!("cannot be unpacked: {error}"), at)),
            }
        }
    };
    match bytes.trim_ascii_start().first() {
        None => Ok(()),
        Some(b'{' | b'[') if is_text(bytes) => json(Window::new(bytes), |_| at, each),
        Some(_) => each(Part::Protobuf(bytes, at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ResourceSpans` with a resource of one attribute and a scope without spans.
    const MESSAGE: &[u8] = b"\x0a\x1a\x0a\x16\x0a\x14\x0a\x0cservice.name\x12\x04\x0a\x02ab\x12\x00";

    fn read(bytes: &[u8]) -> Vec<String> {
        let mut out = Vec::new();
        let parts = parts(Window::new(Box::new(io::Cursor::new(bytes.to_vec()))), |part| {
            out.push(match part {
                Part::Json(bytes, at) => format!("json {} at {at}", bytes.len()),
                Part::Protobuf(bytes, at) => format!("protobuf {} at {at}", bytes.len()),
                Part::Bad(why, at) => format!("bad at {at}: {why}"),
            });
            Ok(())
        });
        parts.map_or_else(|error| vec![error.to_string()], |_| out)
    }

    #[test]
    fn framings_are_told_apart() {
        assert_eq!(MESSAGE.len(), 28);
        let twice = |prefix: &[u8]| [prefix, MESSAGE, prefix, MESSAGE].concat();
        assert_eq!(read(&twice(b"")), ["protobuf 28 at byte 0", "protobuf 28 at byte 28"]);
        assert_eq!(read(&twice(&[28])), ["protobuf 28 at byte 0", "protobuf 28 at byte 29"]);
        assert_eq!(read(&twice(&[0, 0, 0, 28])), ["protobuf 28 at byte 0", "protobuf 28 at byte 32"]);
        // The shortest: a length of ten looks like a field's tag.
        let short = b"\x0a\x08\x12\x06\x0a\x04\x0a\x02ab";
        assert_eq!(
            read(&[&[10][..], short, &[10], short].concat()),
            ["protobuf 10 at byte 0", "protobuf 10 at byte 11"]
        );
        assert_eq!(read(&[short.as_slice(), short].concat()), ["protobuf 10 at byte 0", "protobuf 10 at byte 10"]);
        let zstd = zstd::bulk::compress(b"{\"a\": 1}", 3).unwrap();
        let framed = [&(zstd.len() as u32).to_be_bytes()[..], &zstd].concat();
        assert_eq!(read(&[framed.clone(), framed].concat()).len(), 2);
        assert_eq!(
            read(b"a log line\n{\"a\":1}\n"),
            ["bad at line 1: a JSON object or list expected, not 'a'", "json 7 at line 2"]
        );
        assert!(read(b"\xde\xad\xbe\xef\x00\x00")[0].contains("de ad be ef"));
    }

    #[test]
    fn what_is_cut_off_is_named_by_its_byte() {
        let whole = [&[0, 0, 0, 28][..], MESSAGE].concat();
        for length in 33..63 {
            let cut = &[whole.clone(), whole.clone()].concat()[..length];
            let parts = read(cut);
            assert_eq!((parts.len(), parts[0].as_str()), (2, "protobuf 28 at byte 0"), "{length}");
            assert!(parts[1].starts_with("bad at byte 32: the file ends within"), "{length}: {}", parts[1]);
        }
    }
}

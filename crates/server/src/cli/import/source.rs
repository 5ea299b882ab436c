//! A file as the bytes that it means: unpacked, and text as UTF-8. Its name decides nothing, its first bytes do.

use std::io::{self, Read};

use anyhow::{Result, bail};

use super::window::Window;

/// Layers of compression that are taken off.
const MAX_LAYERS: usize = 3;

/// What lies below compression and encoding.
pub(super) fn unpacked(file: Box<dyn Read>) -> Result<Window<Box<dyn Read>>> {
    let mut window = Window::new(file);
    for _ in 0..MAX_LAYERS {
        window.fill(6)?;
        let inner: Box<dyn Read> = match window.unread() {
            [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(window)),
            head if is_zstd(head) => Box::new(zstd::stream::read::Decoder::new(window)?),
            head => {
                if let Some(what) = named(head) {
                    bail!("is {what}, which is not read; unpack it first");
                }
                let Some((is_big_endian, mark)) = utf_16(head) else { return Ok(window) };
                window.pass(mark);
                Box::new(Utf16 { input: window, is_big_endian, high: None, text: Vec::new(), at: 0 })
            }
        };
        window = Window::new(inner);
    }
    Ok(window)
}

/// A zstd frame, or one that is to be skipped.
pub(super) fn is_zstd(head: &[u8]) -> bool {
    matches!(head, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

fn named(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "compressed with xz",
        [b'B', b'Z', b'h', b'0'..=b'9', ..] => "compressed with bzip2",
        [0x04, 0x22, 0x4d, 0x18, ..] => "compressed with lz4",
        [b'P', b'K', 3 | 5, 4 | 6, ..] => "a zip archive",
        [b'7', b'z', 0xbc, 0xaf, ..] => "a 7z archive",
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file",
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => "text in UTF-32",
        _ => return None,
    })
}

/// Whether it is UTF-16, of which byte order, and how long its mark is. Without a mark, the zeros beside an ASCII character
/// of JSON are evident.
fn utf_16(head: &[u8]) -> Option<(bool, usize)> {
    let begins = |byte: u8| matches!(byte, b'{' | b'[' | b' ' | b'\t' | b'\r' | b'\n');
    match *head {
        [0xff, 0xfe, ..] => Some((false, 2)),
        [0xfe, 0xff, ..] => Some((true, 2)),
        [first, 0, second, 0, ..] if begins(first) && second != 0 => Some((false, 0)),
        [0, first, 0, second, ..] if begins(first) && second != 0 => Some((true, 0)),
        _ => None,
    }
}

/// UTF-16 as UTF-8.
struct Utf16<R> {
    input: R,
    is_big_endian: bool,
    /// The first half of a pair whose second is still to come.
    high: Option<u16>,
    text: Vec<u8>,
    at: usize,
}

impl<R: Read> Utf16<R> {
    fn refill(&mut self) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(16 * 1024);
        self.input.by_ref().take(16 * 1024).read_to_end(&mut bytes)?;
        let unit = |pair: &[u8]| match pair {
            [first, second] if self.is_big_endian => u16::from_be_bytes([*first, *second]),
            [first, second] => u16::from_le_bytes([*first, *second]),
            // The last byte of a file that was cut off.
            _ => 0xfffd,
        };
        let units: Vec<u16> = self.high.take().into_iter().chain(bytes.chunks(2).map(unit)).collect();
        let is_whole = |last: &u16| bytes.is_empty() || !(0xd800..0xdc00).contains(last);
        let end = if units.last().is_none_or(is_whole) { units.len() } else { units.len() - 1 };
        self.high = units.get(end).copied();
        let text: String = char::decode_utf16(units[..end].iter().copied())
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        (self.text, self.at) = (text.into_bytes(), 0);
        Ok(())
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.text.len() {
            self.refill()?;
        }
        let length = (self.text.len() - self.at).min(out.len());
        out[..length].copy_from_slice(&self.text[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

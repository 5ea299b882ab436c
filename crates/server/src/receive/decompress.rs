//! Undoing a body's compression, a piece at a time: memory is taken from the budget before it is used, and what would be too
//! large is refused before it is made.

use std::io::Read;

use axum::http::HeaderMap;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::Refusal;
use super::admission::Admitted;

/// The first piece, if the body is small.
const MIN_PIECE_BYTES: usize = 4 * 1024;
/// What is usually enough for all: spans become larger by a factor of four to ten.
const USUAL_GAIN: usize = 4;
/// How far back zstd may point: a decoder holds so much beside its output. RFC 8878 asks for 8 MiB at least, and the
/// highest levels of senders in use take 32.
const MAX_WINDOW_LOG: u32 = 25;
/// What a zstd decoder holds beside its window.
const ZSTD_BYTES: usize = 256 * 1024;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentEncoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

impl ContentEncoding {
    /// From the header of this name; the error is the encoding that is not known.
    pub(super) fn from_headers(headers: &HeaderMap, name: &str) -> Result<Self, String> {
        let name = headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"));
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            "zstd" => Ok(Self::Zstd),
            other => Err(other.to_owned()),
        }
    }
}

/// Undoes the compression, up to `max_bytes`. For the compressed body, memory is held already.
pub(super) fn decompress(
    encoding: ContentEncoding,
    body: &[u8],
    max_bytes: usize,
    admitted: &mut Admitted,
) -> Result<Vec<u8>, Refusal> {
    let out = Output { bytes: Vec::new(), filled: 0, max_bytes, beside: admitted.bytes(), admitted };
    let usual = body.len().saturating_mul(USUAL_GAIN);
    match encoding {
        ContentEncoding::Identity => Ok(body.to_vec()),
        ContentEncoding::Gzip => out.read("gzip", flate2::read::MultiGzDecoder::new(body), usual),
        // HTTP's deflate is zlib's format; some senders leave its two-byte header out.
        ContentEncoding::Deflate if is_zlib(body) => out.read("deflate", flate2::read::ZlibDecoder::new(body), usual),
        ContentEncoding::Deflate => out.read("deflate", flate2::read::DeflateDecoder::new(body), usual),
        ContentEncoding::Zstd => out.unzstd(body, usual),
    }
}

/// RFC 1950: the method is 8, and the two bytes as a number are a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

/// What comes out, with the memory that is held for it.
struct Output<'a> {
    /// As long as there is room; the first `filled` are what came out.
    bytes: Vec<u8>,
    filled: usize,
    max_bytes: usize,
    /// Held for what is not the output.
    beside: usize,
    admitted: &'a mut Admitted,
}

impl Output<'_> {
    /// Makes room for a piece more; the first is what usually is enough.
    fn make_room(&mut self, usual: usize) -> Result<(), Refusal> {
        if self.filled < self.bytes.len() {
            return Ok(());
        }
        if self.filled > self.max_bytes {
            return Err(self.too_large());
        }
        // One byte more than allowed shows that there are more.
        let length = if self.filled == 0 { usual.max(MIN_PIECE_BYTES) } else { self.filled * 2 };
        let length = length.min(self.max_bytes.saturating_add(1));
        self.admitted.reach(self.beside + length)?;
        self.bytes.try_reserve_exact(length - self.filled).map_err(|_| Refusal::no_memory())?;
        self.bytes.resize(length, 0);
        Ok(())
    }

    fn too_large(&self) -> Refusal {
        Refusal::TooLarge(format!(
            "the body is larger than {} bytes when decompressed (limit --decompressed-size)",
            self.max_bytes
        ))
    }

    fn end(mut self) -> Result<Vec<u8>, Refusal> {
        if self.filled > self.max_bytes {
            return Err(self.too_large());
        }
        self.bytes.truncate(self.filled);
        Ok(self.bytes)
    }

    fn read(mut self, name: &str, mut decoder: impl Read, usual: usize) -> Result<Vec<u8>, Refusal> {
        loop {
            self.make_room(usual)?;
            let room = &mut self.bytes[self.filled..];
            match decoder.read(room) {
                Ok(0) => return self.end(),
                Ok(bytes) => self.filled += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Refusal::Malformed(format!("the body is not {name}: {error}"))),
            }
        }
    }

    fn unzstd(mut self, body: &[u8], usual: usize) -> Result<Vec<u8>, Refusal> {
        let wrong = |error: std::io::Error| Refusal::Malformed(format!("the body is not zstd: {error}"));
        let mut decoder = Decoder::new().map_err(wrong)?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG)).map_err(wrong)?;
        let body_bytes = self.beside;
        let mut input = InBuffer::around(body);
        let mut is_frame_begin = true;
        let mut max_window = 0;
        loop {
            if is_frame_begin {
                if input.pos == body.len() {
                    return self.end();
                }
                // Kept from frame to frame, and only ever made larger.
                max_window = window_bytes(&body[input.pos..]).min(1 << MAX_WINDOW_LOG).max(max_window);
                self.beside = body_bytes + ZSTD_BYTES + max_window as usize;
                self.admitted.reach(self.beside + self.bytes.len())?;
            }
            self.make_room(usual)?;
            let before = (input.pos, self.filled);
            let mut output = OutBuffer::around_pos(&mut self.bytes[..], self.filled);
            let hint = decoder.run(&mut input, &mut output).map_err(wrong)?;
            self.filled = output.pos();
            is_frame_begin = hint == 0;
            if is_frame_begin {
                decoder.reinit().map_err(wrong)?;
            } else if before == (input.pos, self.filled) {
                return Err(Refusal::Malformed("the body is not zstd: incomplete frame".to_owned()));
            }
        }
    }
}

/// The window of the frame that begins here, by RFC 8878, section 3.1.1.1; 0 for what has none.
fn window_bytes(frame: &[u8]) -> u64 {
    let Some((&descriptor, rest)) = frame.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd]).and_then(<[u8]>::split_first) else {
        return 0;
    };
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let Some(&window) = rest.first() else { return 0 };
        let base = 1u64 << (10 + (window >> 3));
        return base + base / 8 * u64::from(window & 7);
    }
    // The window is the content, whose length follows the dictionary's number.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let length = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let Some(bytes) = rest.get(dictionary..dictionary + length) else { return 0 };
    let content = bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    content + if length == 2 { 256 } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::budget::MemoryBudget;
    use crate::receive::admission::Admission;

    fn unzstd(body: &[u8], max_bytes: usize) -> (Result<Vec<u8>, Refusal>, usize) {
        let part = MemoryBudget::new(512 << 20).ingest().clone();
        let mut admitted = Admission::new(part.clone()).begin();
        admitted.reach(body.len()).unwrap();
        let out = decompress(ContentEncoding::Zstd, body, max_bytes, &mut admitted);
        (out, part.peak_bytes())
    }

    #[test]
    fn frames_one_after_the_other_are_one_body_and_what_is_passed_over_is_none_of_it() {
        let mut body = zstd::encode_all(&b"one "[..], 1).unwrap();
        body.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        body.extend(zstd::encode_all(&b""[..], 1).unwrap());
        body.extend(zstd::encode_all(&b"two"[..], 19).unwrap());
        assert_eq!(unzstd(&body, 7).0.unwrap(), b"one two");
        assert!(matches!(unzstd(&body, 6).0, Err(Refusal::TooLarge(_))));
        assert!(matches!(unzstd(&body[..body.len() - 1], 7).0, Err(Refusal::Malformed(_))));
        assert_eq!(unzstd(b"", 7).0.unwrap(), b"");
    }

    #[test]
    fn a_window_is_bounded_and_charged() {
        let content = vec![7; 1 << 20];
        for log in [20, 25, 27] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&content).unwrap();
            let body = encoder.finish().unwrap();
            let (out, peak) = unzstd(&body, 2 << 20);
            if log > MAX_WINDOW_LOG {
                assert!(matches!(out, Err(Refusal::Malformed(_))), "{log}");
            } else {
                assert_eq!(out.unwrap(), content, "{log}");
                assert!(peak >= (1 << log) + content.len(), "{log}: {peak}");
            }
        }
    }

    #[test]
    fn what_comes_out_is_charged_as_it_comes() {
        let zeros = vec![0; 8 << 20];
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&zeros).unwrap();
        let body = encoder.finish().unwrap();
        let part = MemoryBudget::new(0).with_ingest_bytes(4 << 20).ingest().clone();
        let mut admitted = Admission::new(part.clone()).begin();
        let out = decompress(ContentEncoding::Gzip, &body, 64 << 20, &mut admitted);
        assert!(matches!(out, Err(Refusal::TooLarge(_))), "it never fits into 4 MiB");
        assert!(part.peak_bytes() <= 4 << 20);
    }
}

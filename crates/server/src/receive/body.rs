//! From a request's body to its uncompressed bytes, within bounds.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::Refusal;
use super::admission::Admitted;

/// A sender that is slower than this for one body is hung up on: it holds budget that others wait for.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a body over the limit, so many times the limit is read before the connection is closed.
const DRAIN_FACTOR: usize = 4;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentEncoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

impl ContentEncoding {
    /// From the header; the error is the encoding that is not known.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, String> {
        let name = headers.get(header::CONTENT_ENCODING).map_or("", |value| value.to_str().unwrap_or("?"));
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            "zstd" => Ok(Self::Zstd),
            other => Err(other.to_owned()),
        }
    }
}

/// Reads a body of at most `most_bytes`, and takes budget for it as it comes.
pub(super) async fn read(mut body: Body, most_bytes: usize, admitted: &mut Admitted) -> Result<Bytes, Refusal> {
    let reading = async {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::Malformed(format!("the body was cut off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most_bytes {
                return Ok(None);
            }
            admitted.reach(bytes.len() + data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(Some(bytes.freeze()))
    };
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large(body, most_bytes).await),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::Malformed(format!("the body did not arrive within {BODY_TIMEOUT:?}"))),
    }
}

/// Refuses a body over `most_bytes`, after reading on for a while: a sender that is still writing when the connection
/// closes sees a broken connection and not the answer that says why.
pub(super) async fn too_large(mut body: Body, most_bytes: usize) -> Refusal {
    let draining = async {
        let mut left = most_bytes.saturating_mul(DRAIN_FACTOR);
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            if length > left {
                return;
            }
            left -= length;
        }
    };
    // What has not come by then is not worth waiting for.
    let _ = tokio::time::timeout(BODY_TIMEOUT, draining).await;
    Refusal::TooLarge(format!("the body is larger than {most_bytes} bytes (limit body_bytes)"))
}

/// Undoes the compression, up to `most_bytes`: what would be larger is refused before it is made.
pub(super) fn decompress(encoding: ContentEncoding, body: Bytes, most_bytes: usize) -> Result<Bytes, Refusal> {
    match encoding {
        ContentEncoding::Identity => Ok(body),
        ContentEncoding::Gzip => limited("gzip", flate2::read::MultiGzDecoder::new(&body[..]), most_bytes),
        // HTTP's deflate is zlib's format; some senders leave its two-byte header out.
        ContentEncoding::Deflate if is_zlib(&body) => {
            limited("deflate", flate2::read::ZlibDecoder::new(&body[..]), most_bytes)
        }
        ContentEncoding::Deflate => limited("deflate", flate2::read::DeflateDecoder::new(&body[..]), most_bytes),
        ContentEncoding::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(&body[..])
                .map_err(|error| Refusal::Malformed(format!("the body is not zstd: {error}")))?;
            limited("zstd", decoder, most_bytes)
        }
    }
}

/// RFC 1950: the method is 8, and the two bytes as a number are a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

fn limited(name: &str, decoder: impl Read, most_bytes: usize) -> Result<Bytes, Refusal> {
    let mut out = Vec::new();
    decoder
        .take(most_bytes as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|error| Refusal::Malformed(format!("the body is not {name}: {error}")))?;
    if out.len() > most_bytes {
        return Err(Refusal::TooLarge(format!(
            "the body is larger than {most_bytes} bytes when decompressed (limit decompressed_bytes)"
        )));
    }
    Ok(out.into())
}

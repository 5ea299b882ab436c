//! Untrusted bytes to spans, and back.
//!
//! Bytes from the network or a file never panic here, and what is refused is refused by name: a whole body by a
//! [`DecodeError`], single spans by [`Decoded::rejected`], which receivers report as OTLP's partial success.

mod base64;
mod forms;
pub mod jaeger;
mod json;
mod json_text;
mod limits;
mod meter;
pub mod otlp;
mod protobuf;
mod recognize;
mod report;
mod weigh;
pub mod zipkin;

pub use limits::Limits;
pub use meter::{Meter, Unmetered};
pub use recognize::{Document, recognize};

use tracewell_model::SpanBatch;

/// How a request's body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Format {
    /// `ExportTraceServiceRequest` or `TracesData`, protobuf.
    OtlpProtobuf = 1,
    /// The same in OTLP's JSON mapping: one JSON object.
    OtlpJson = 2,
    /// Jaeger's JSON as its UI and query API give it: `{"data": [trace, ...]}`.
    JaegerJson = 3,
    /// Zipkin's JSON, version 1 or 2: a list of spans, or of lists of spans.
    ZipkinJson = 4,
}

/// What a body held.
#[derive(Clone, Debug, Default)]
pub struct Decoded {
    /// The spans that were accepted, in the body's order.
    pub batch: SpanBatch,
    /// How many spans were refused.
    pub rejected: u64,
    /// Why, for people: the first few reasons, each naming the field, with how often it occurred. Also carries
    /// warnings about what was accepted but changed. Empty if there is nothing to say.
    pub message: String,
}

/// Why a whole body was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not of this format; sending them again will not help.
    #[error("{0}")]
    Malformed(String),
    /// A limit was exceeded; a smaller request may pass.
    #[error("{0}")]
    LimitExceeded(String),
    /// There is no memory for it at the moment; the same request may pass later.
    #[error("{0}")]
    Busy(String),
}

/// Reads a body. The same bytes under the same limits always give the same result, which is what lets a store keep the
/// received bytes as its log.
pub fn decode(format: Format, body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    decode_metered(format, body, limits, &mut Unmetered)
}

/// The same, with somebody who is told what it takes of memory, before it is taken, and may end it.
pub fn decode_metered(
    format: Format,
    body: &[u8],
    limits: &Limits,
    meter: &mut dyn Meter,
) -> Result<Decoded, DecodeError> {
    match format {
        Format::OtlpProtobuf => otlp::decode::decode(body, limits, meter),
        Format::OtlpJson => otlp::json_decode::decode(body, limits, meter),
        Format::JaegerJson => as_tree(body, meter, || jaeger::decode(body, limits)),
        Format::ZipkinJson => as_tree(body, meter, || zipkin::decode(body, limits, 0)),
    }
}

/// Decodes by way of trees of values, after what they take was told.
fn as_tree(
    body: &[u8],
    meter: &mut dyn Meter,
    decode: impl FnOnce() -> Result<Decoded, DecodeError>,
) -> Result<Decoded, DecodeError> {
    let tree_bytes = weigh::weigh(body, meter)?;
    let decoded = decode()?;
    meter.reach(tree_bytes.saturating_add(decoded.batch.size_bytes()))?;
    Ok(decoded)
}

/// Reads a body that was read before, in parts: the spans are those that [`decode`] gives, in batches of which each is made
/// from about `part_bytes` of the body, so that no more is in memory at once. Only OTLP protobuf is cut; other bodies are
/// one part.
pub fn decode_in_parts(
    format: Format,
    body: &[u8],
    limits: &Limits,
    part_bytes: usize,
    each: &mut dyn FnMut(SpanBatch),
) -> Result<(), DecodeError> {
    if format != Format::OtlpProtobuf || body.len() <= part_bytes {
        each(decode(format, body, limits)?.batch);
        return Ok(());
    }
    let mut failed = None;
    let walked = otlp::split::split(body, part_bytes, &mut |part| match decode(format, part, limits) {
        Ok(decoded) => each(decoded.batch),
        Err(error) => {
            failed.get_or_insert(error);
        }
    });
    let broken = |protobuf::Broken(what)| DecodeError::Malformed(format!("the body is not OTLP protobuf: {what}"));
    walked.map_err(broken)?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;

//! What an answer means: done, try again, or give up.

use crate::exporter::ExportError;
use crate::proto::{Field, fields};
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;

/// OTLP/HTTP has exactly 429, 502, 503 and 504 tried again.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), ExportError> {
    match status.as_u16() {
        200..=299 => match rejected_spans(body) {
            (0, _) => Ok(()),
            (rejected, reason) => Err(ExportError::PartlyRejected { rejected, reason }),
        },
        429 | 502 | 503 | 504 => {
            let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            // The other form, a date, is not sent by receivers of OTLP; then our own backoff counts.
            let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            Err(ExportError::Retry { after, reason: format!("the receiver answers {status}") })
        }
        _ => Err(ExportError::Rejected(format!("the receiver answers {status}"))),
    }
}

/// Reads `partial_success { rejected_spans = 1, error_message = 2 }`, field 1 of the answer. An answer that is not
/// understood rejects nothing.
#[must_use]
pub fn rejected_spans(body: &[u8]) -> (u64, String) {
    let (mut rejected, mut reason) = (0, String::new());
    for (field, value) in fields(body) {
        if let (1, Field::Bytes(partial)) = (field, value) {
            for (field, value) in fields(partial) {
                match (field, value) {
                    (1, Field::Varint(count)) if count <= i64::MAX as u64 => rejected = count,
                    (2, Field::Bytes(text)) => reason = String::from_utf8_lossy(text).into_owned(),
                    _ => {}
                }
            }
        }
    }
    (rejected, reason)
}

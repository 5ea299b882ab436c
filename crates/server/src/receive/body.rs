//! A request's body, as it arrives.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;

use super::Refusal;
use super::admission::Admitted;

/// A sender that is slower than this for one body is hung up on: it holds budget that others wait for.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a body over the limit, so many times the limit is read before the connection is closed.
const DRAIN_FACTOR: usize = 4;

/// How large a body may be, and what an operator changes to allow more.
#[derive(Clone, Copy)]
pub(super) struct BodyLimit {
    pub(super) max_bytes: usize,
    pub(super) name: &'static str,
}

/// Reads a body within the limit, and takes budget for it as it comes.
pub(super) async fn read(mut body: Body, limit: BodyLimit, admitted: &mut Admitted) -> Result<Bytes, Refusal> {
    let max_bytes = limit.max_bytes;
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::Malformed(format!("the body was cut off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > max_bytes {
                return Ok(None);
            }
            if length > bytes.capacity() {
                let capacity = length.max((2 * bytes.capacity()).min(max_bytes));
                admitted.reach(capacity)?;
                bytes.try_reserve_exact(capacity - bytes.len()).map_err(|_| Refusal::no_memory())?;
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Some(bytes.into()))
    };
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large(body, limit).await),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::Malformed(format!("the body did not arrive within {BODY_TIMEOUT:?}"))),
    }
}

/// Refuses a body over the limit, after reading on for a while: a sender that is still writing when the connection
/// closes sees a broken connection and not the answer that says why.
pub(super) async fn too_large(mut body: Body, limit: BodyLimit) -> Refusal {
    let BodyLimit { max_bytes, name } = limit;
    let draining = async {
        let mut left = max_bytes.saturating_mul(DRAIN_FACTOR);
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
    Refusal::TooLarge(format!("the body is larger than {max_bytes} bytes ({name})"))
}

//! A request's body, as it arrives.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;

use super::Refusal;
use super::admission::Admitted;

/// How large a body may be, and what an operator changes to allow more.
#[derive(Clone, Copy)]
pub(super) struct BodyLimit {
    pub(super) max_bytes: usize,
    pub(super) name: &'static str,
}

/// Reads a body within the limit, and takes budget for it as it comes. That it comes in time is seen to by `net`.
pub(super) async fn read(mut body: Body, limit: BodyLimit, admitted: &mut Admitted) -> Result<Bytes, Refusal> {
    let max_bytes = limit.max_bytes;
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::cut_off(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > max_bytes {
            return Err(too_large(limit));
        }
        if length > bytes.capacity() {
            let capacity = length.max((2 * bytes.capacity()).min(max_bytes));
            admitted.reach(capacity)?;
            bytes.try_reserve_exact(capacity - bytes.len()).map_err(|_| Refusal::no_memory())?;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// Refuses a body over the limit. What is still on its way is read, and not kept, by whoever serves the connection.
pub(super) fn too_large(limit: BodyLimit) -> Refusal {
    let BodyLimit { max_bytes, name } = limit;
    Refusal::TooLarge(format!("the body is larger than {max_bytes} bytes ({name})"))
}

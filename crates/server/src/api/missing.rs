//! What answers were made without, and how they say so.
//!
//! Every question is asked of a view of the store that collects what could not be read. What is damaged is left out, and the
//! answer says `"complete": false` and what is missing. What cannot be read at the moment makes the answer 503, or with
//! `partial=true` is left out likewise. No handler has a hand in it, so that none can forget it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame};
use serde::Serialize;
use tracewell_model::{TraceId, TraceSummary};
use tracewell_store::{LeftOut, Missing, MissingPart};

use super::error::{ApiError, Code};
use super::state::ApiState;

/// Says `false` with an answer that is not complete, whatever its content is.
const COMPLETE: HeaderName = HeaderName::from_static("tracewell-complete");
/// The parameter that asks for an answer from what can be read.
pub(super) const PARTIAL: &str = "partial";

/// What a handler has to answer one question: the state, whose store collects what it leaves out.
pub(super) struct Asking(pub(super) ApiState);

/// That an answer has a field `complete` of its own.
#[derive(Clone, Copy)]
pub(super) struct SaysComplete;

impl FromRequestParts<ApiState> for Asking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let left_out = parts.extensions.get::<Arc<LeftOut>>().cloned().unwrap_or_default();
        Ok(Self(state.clone().asking(left_out)))
    }
}

/// Has the question of a request collect what its answer leaves out, and marks the answer.
pub(super) async fn collect(mut request: Request, next: Next) -> Response {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).map(|Query(pairs)| pairs);
    let is_partial = pairs.is_ok_and(|pairs| pairs.iter().any(|(name, value)| name == PARTIAL && value == "true"));
    let left_out = Arc::new(LeftOut::new(is_partial));
    request.extensions_mut().insert(left_out.clone());
    mark(next.run(request).await, left_out)
}

fn mark(response: Response, left_out: Arc<LeftOut>) -> Response {
    let (mut parts, body) = response.into_parts();
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let form = match kind {
        Some("application/json") => Form::Object,
        Some("application/jsonl") => Form::Lines,
        _ => Form::Other,
    };
    let is_incomplete = !left_out.is_empty();
    if is_incomplete {
        parts.headers.insert(COMPLETE, HeaderValue::from_static("false"));
    }
    // An answer that is still being made may yet leave out something.
    let is_made = body.size_hint().exact().is_some();
    if form == Form::Other || is_made && !is_incomplete {
        return Response::from_parts(parts, body);
    }
    if is_made {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let says_complete = parts.extensions.get::<SaysComplete>().is_some();
    let marked = Marked { body, left_out, form, says_complete, held: VecDeque::new(), is_done: false };
    Response::from_parts(parts, Body::new(marked))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// An object of JSON.
    Object,
    /// An object a line.
    Lines,
    Other,
}

/// A body that ends with what it was made without. Its last frame is held back until it is known to be the last.
struct Marked {
    body: Body,
    left_out: Arc<LeftOut>,
    form: Form,
    says_complete: bool,
    held: VecDeque<Bytes>,
    is_done: bool,
}

impl Marked {
    fn end(&mut self) -> Option<Bytes> {
        let last = self.held.pop_front();
        if self.left_out.is_empty() {
            return last;
        }
        let last = last.unwrap_or_default();
        let marked = match self.form {
            Form::Object => with_mark(&last, &self.left_out.missing(), self.says_complete),
            Form::Lines | Form::Other => {
                let mut lines = last.to_vec();
                lines.extend(with_mark(b"{}", &self.left_out.missing(), false));
                lines.push(b'\n');
                lines
            }
        };
        Some(marked.into())
    }
}

impl http_body::Body for Marked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        while !self.is_done {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    if bytes.is_empty() {
                        continue;
                    }
                    self.held.push_back(bytes);
                    if self.held.len() > 1 {
                        return Poll::Ready(self.held.pop_front().map(|bytes| Ok(Frame::data(bytes))));
                    }
                }
                Some(Err(error)) => {
                    self.is_done = true;
                    self.held.clear();
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.is_done = true;
                    return Poll::Ready(self.end().map(|bytes| Ok(Frame::data(bytes))));
                }
            }
        }
        Poll::Ready(None)
    }
}

/// What is known of the spans of a file that cannot be read.
#[derive(Serialize)]
pub(super) struct HeldView {
    spans: Option<u64>,
    first_start_unix_nano: Option<String>,
    last_start_unix_nano: Option<String>,
}

impl HeldView {
    pub(super) fn new(spans: Option<u64>, starts_unix_nano: Option<(u64, u64)>) -> Self {
        let (first, last) = starts_unix_nano.unzip();
        Self {
            spans,
            first_start_unix_nano: first.map(|nanos| nanos.to_string()),
            last_start_unix_nano: last.map(|nanos| nanos.to_string()),
        }
    }
}

#[derive(Serialize)]
struct PartView {
    file: String,
    #[serde(flatten)]
    held: HeldView,
    damaged: bool,
}

impl From<MissingPart> for PartView {
    fn from(MissingPart { file, spans, starts_unix_nano, is_damaged }: MissingPart) -> Self {
        Self { file, held: HeldView::new(spans, starts_unix_nano), damaged: is_damaged }
    }
}

/// An object with what it is made without as further fields.
fn with_mark(object: &[u8], missing: &Missing, says_complete: bool) -> Vec<u8> {
    let end = object.trim_ascii_end();
    let Some(fields) = end.strip_suffix(b"}") else { return object.to_vec() };
    let parts: Vec<PartView> = missing.parts.iter().cloned().map(PartView::from).collect();
    // These are texts and numbers.
    let parts = serde_json::to_string(&parts).unwrap_or_else(|_| "[]".to_owned());
    let mut out = fields.to_vec();
    if !fields.trim_ascii_end().ends_with(b"{") {
        out.push(b',');
    }
    if !says_complete {
        out.extend_from_slice(b"\"complete\":false,");
    }
    out.extend_from_slice(b"\"missing\":");
    out.extend_from_slice(parts.as_bytes());
    if missing.further > 0 {
        out.extend_from_slice(format!(",\"missing_further\":{}", missing.further).as_bytes());
    }
    out.push(b'}');
    out
}

/// The error where an answer depends on what cannot be read.
pub(super) fn unknown(left_out: &LeftOut, what: String) -> ApiError {
    let message = format!("{what} is not known: {}", sentence(&left_out.missing()));
    ApiError { code: Code::Unavailable, field: None, message }
}

/// What is said of a trace of which nothing could be read.
pub(super) fn nothing_of(trace_id: TraceId) -> TraceSummary {
    TraceSummary {
        trace_id,
        root_service: String::new(),
        root_operation: String::new(),
        start_unix_nano: 0,
        duration_nanos: 0,
        spans: 0,
        errors: 0,
        services: Vec::new(),
    }
}

/// What is missing, in a sentence.
pub(super) fn sentence(missing: &Missing) -> String {
    let spans: u64 = missing.parts.iter().filter_map(|part| part.spans).sum();
    let files: Vec<&str> = missing.parts.iter().take(3).map(|part| part.file.as_str()).collect();
    let more = (missing.parts.len() - files.len()) as u64 + missing.further;
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("this answer is not complete: up to {spans} spans in {}{more} cannot be read", files.join(", "))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn left_out() -> Arc<LeftOut> {
        Arc::new(LeftOut::new(true))
    }

    async fn text(response: Response) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn answer(kind: &'static str, body: Body) -> Response {
        Response::builder().header(header::CONTENT_TYPE, kind).body(body).unwrap()
    }

    #[tokio::test]
    async fn a_whole_answer_is_passed_on_as_it_is() {
        for kind in ["application/json", "application/jsonl", "text/plain"] {
            let response = mark(answer(kind, Body::from("{\"a\":1}")), left_out());
            assert!(!response.headers().contains_key(&COMPLETE));
            assert_eq!(text(response).await, "{\"a\":1}");
        }
    }

    #[test]
    fn a_mark_leaves_an_object_an_object() {
        let part = MissingPart {
            file: "segments/1".to_owned(),
            spans: Some(5),
            starts_unix_nano: Some((1, 2)),
            is_damaged: true,
        };
        let missing = Missing { parts: vec![part], further: 2 };
        for object in ["{}", "{ }\n", "{\"a\":[1]}"] {
            let marked = with_mark(object.as_bytes(), &missing, false);
            let marked: serde_json::Value = serde_json::from_slice(&marked).unwrap();
            assert_eq!(marked["complete"], false);
            assert_eq!(marked["missing"][0]["spans"], 5);
            assert_eq!(marked["missing"][0]["last_start_unix_nano"], "2");
            assert_eq!(marked["missing_further"], 2);
        }
        let marked = String::from_utf8(with_mark(b"{\"complete\":false}", &missing, true)).unwrap();
        assert_eq!(marked.matches("\"complete\"").count(), 1, "{marked}");
    }
}

//! Spans of the requests of [`reqwest`], by the semantic conventions for HTTP.
//!
//! ```no_run
//! # async fn example() -> Result<(), reqwest::Error> {
//! use tracewell_reqwest::SendTraced as _;
//!
//! let client = reqwest::Client::new();
//! let answer = client.get("http://catalog:8081/entries/7").send_traced().await?;
//! # drop(answer);
//! # Ok(())
//! # }
//! ```
//!
//! `send_traced` instead of `send` makes the client span and sends its context along. Nothing else changes.

use reqwest::header::HeaderValue;
use reqwest::{Error, RequestBuilder, Response};
use std::future::Future;
use tracewell::{Context, FutureExt as _, http};

/// Sends requests in spans.
pub trait SendTraced {
    /// As `send`, in a span `{METHOD}`, child of the current one, whose context goes along in the headers. The span lasts
    /// until the head of the answer is there; credentials in the URL are redacted.
    fn send_traced(self) -> impl Future<Output = Result<Response, Error>> + Send;
}

impl SendTraced for RequestBuilder {
    async fn send_traced(self) -> Result<Response, Error> {
        let (client, request) = self.build_split();
        let mut request = request?;
        let span = http::client_span(request.method().as_str(), request.url().as_str());
        let context = span.context();
        tracewell::inject(&context, request.headers_mut());
        if let Some(id) = context.request_id().and_then(|id| HeaderValue::from_str(id).ok()) {
            request.headers_mut().entry("x-request-id").or_insert(id);
        }
        let send = async move {
            let answer = client.execute(request).await;
            match &answer {
                Ok(answer) => http::client_answer(&Context::current(), answer.status().as_u16()),
                Err(error) => http::client_failed(&Context::current(), error),
            }
            answer
        };
        send.in_span(span).await
    }
}

//! Spans of requests made with `reqwest`: one word for each call.
//!
//! ```no_run
//! use tracewell_reqwest::SendTraced as _;
//!
//! # async fn example(client: reqwest::Client) -> reqwest::Result<()> {
//! let image = client.get("http://catalog:8081/images/7").send_traced().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The request is a client span, child of the current one, and carries its context and request id (`x-request-id`). The span covers the time until the head
//! of the answer, redirects included. Users, passwords and secret query values in URLs are replaced by `REDACTED`.
//!
//! # Features
//! `reqwest-0-13` (default) and `reqwest-0-12`: the version of `reqwest`. With both on, requests of both have `send_traced`.

/// Sends requests as `send` does, with a span around. `use tracewell_reqwest::SendTraced as _;`
pub trait SendTraced {
    /// The client's answer.
    type Response;
    /// The client's error.
    type Error;

    /// Sends the request in a span named by its method.
    fn send_traced(self) -> impl Future<Output = Result<Self::Response, Self::Error>> + Send;

    /// As [`SendTraced::send_traced`]; the template of what is asked for, such as `/images/{id}`, becomes part of the
    /// span's name.
    fn send_traced_as(self, template: &'static str)
    -> impl Future<Output = Result<Self::Response, Self::Error>> + Send;
}

/// The same for each version, whose types differ.
macro_rules! version {
    ($reqwest:ident) => {
        use tracewell::{Status, Tracer};

        use crate::SendTraced;

        impl SendTraced for $reqwest::RequestBuilder {
            type Response = $reqwest::Response;
            type Error = $reqwest::Error;

            async fn send_traced(self) -> $reqwest::Result<$reqwest::Response> {
                let (client, request) = self.build_split();
                execute(tracewell::tracer(), &client, request?, None).await
            }

            async fn send_traced_as(self, template: &'static str) -> $reqwest::Result<$reqwest::Response> {
                let (client, request) = self.build_split();
                execute(tracewell::tracer(), &client, request?, Some(template)).await
            }
        }

        /// As `Client::execute`, with a span of this tracer.
        ///
        /// # Errors
        /// Those of the client.
        pub async fn execute(
            tracer: &Tracer,
            client: &$reqwest::Client,
            mut request: $reqwest::Request,
            template: Option<&'static str>,
        ) -> $reqwest::Result<$reqwest::Response> {
            let method = request.method().as_str();
            let span = tracewell::http::client_span_of(tracer, method, request.url().as_str());
            if let Some(template) = template {
                span.rename(format!("{method} {template}")).tag("url.template", template);
            }
            tracer.propagators().inject(&span.context(), request.headers_mut());
            tracewell::with_outcome(span, client.execute(request), |span, result| match result {
                Ok(response) => tracewell::http::client_status(span, response.status().as_u16()),
                Err(error) => {
                    let kind = kind(error);
                    span.tag("error.type", kind).status(Status::Error(crate::reason(error, kind).into()));
                }
            })
            .await
        }

        /// What went wrong, in a word that there are few of.
        fn kind(error: &$reqwest::Error) -> &'static str {
            if error.is_timeout() {
                "timeout"
            } else if error.is_connect() {
                "connect"
            } else if error.is_redirect() {
                "redirect"
            } else if error.is_body() {
                "body"
            } else if error.is_builder() {
                "builder"
            } else {
                "request"
            }
        }
    };
}

/// For `reqwest` 0.12.
#[cfg(feature = "reqwest-0-12")]
pub mod v0_12 {
    version!(reqwest_0_12);
}

/// For `reqwest` 0.13.
#[cfg(feature = "reqwest-0-13")]
pub mod v0_13 {
    version!(reqwest);
}

#[cfg(feature = "reqwest-0-13")]
pub use v0_13::execute;

/// The innermost reason: those around it repeat the URL.
#[cfg(any(feature = "reqwest-0-12", feature = "reqwest-0-13"))]
fn reason(error: &dyn std::error::Error, kind: &'static str) -> String {
    let mut reason: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(next) = reason.and_then(std::error::Error::source) {
        reason = Some(next);
    }
    reason.map_or_else(|| kind.to_owned(), ToString::to_string)
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

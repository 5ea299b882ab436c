//! Spans of HTTP calls, named and tagged by OpenTelemetry's stable semantic conventions for HTTP.
//!
//! With a client that is a `tower::Service` use [`crate::ClientLayer`]; with any other, two lines:
//!
//! ```
//! let mut headers = http::HeaderMap::new();
//! let span = tracewell::http::client_span("GET", "http://catalog:8081/images?page=2");
//! tracewell::inject(&span.context(), &mut headers);
//! // send the request with these headers, inside the span, then:
//! tracewell::http::client_status(&span, 200);
//! ```
//!
//! With a server that is a `tower::Service` use [`crate::ServerLayer`]; with any other [`server_span`] and [`server_status`].

use crate::{Key, Span, SpanBuilder, SpanKind, Status, Tracer, tracer};

mod redact;
mod server;

pub use redact::redact_url;
#[cfg(feature = "tower")]
pub(crate) use server::{Incoming, incoming, with_version};
pub use server::{server_route, server_span, server_span_of, server_status};

#[cfg(test)]
mod tests;

/// Starts the span of an outgoing request, with the global tracer. Credentials in the URL are redacted.
pub fn client_span(method: &str, url: &str) -> Span {
    client_span_of(tracer(), method, url)
}

/// Tags the outgoing request's span with the answer's status, and marks it as failed from 400 on.
pub fn client_status(span: &Span, status: u16) {
    span.tag("http.response.status_code", status);
    if status >= 400 {
        span.tag_with("error.type", || status.to_string()).status(Status::Error("".into()));
    }
}

/// Marks an outgoing request's span as failed without an answer, such as when the connection was refused. URLs in the
/// error's text, which clients like to put there, are redacted too.
pub fn client_error<E: std::fmt::Display>(span: &Span, error: &E) {
    if span.is_recording() {
        let text = redact::redact_urls_in(&error.to_string());
        span.tag("error.type", crate::Value::from_static(std::any::type_name::<E>())).error(text);
    }
}

/// As [`client_span`], with a tracer of the caller's.
pub fn client_span_of(tracer: &Tracer, method: &str, url: &str) -> Span {
    let (address, port) = authority(url);
    let span = with_method(tracer.span(name(method, None)).kind(SpanKind::Client), method);
    let span = span.tag_with("url.full", || redact_url(url));
    let span = match address {
        Some(address) => span.tag("server.address", address),
        None => span,
    };
    match port {
        Some(port) => span.tag("server.port", port).start(),
        None => span.start(),
    }
}

/// Unknown methods would let strangers make up span names without bound.
fn known(method: &str) -> Option<&'static str> {
    const KNOWN: [&str; 10] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "QUERY"];
    KNOWN.into_iter().find(|known| *known == method)
}

/// A span's name: `{method} {target}`, with `HTTP` for an unknown method.
pub(crate) fn name(method: &str, target: Option<&str>) -> Key {
    match (known(method).unwrap_or("HTTP"), target) {
        (method, Some(target)) => format!("{method} {target}").into(),
        (method, None) => method.into(),
    }
}

/// Tags the span with its method, `_OTHER` for an unknown one.
pub(crate) fn with_method<'a>(span: SpanBuilder<'a>, method: &str) -> SpanBuilder<'a> {
    match known(method) {
        Some(known) => span.tag("http.request.method", crate::Value::from_static(known)),
        None => span
            .tag("http.request.method", crate::Value::from_static("_OTHER"))
            .tag_with("http.request.method_original", || method.to_owned()),
    }
}

/// Host and port of a URL; the port is the scheme's when not given.
fn authority(url: &str) -> (Option<&str>, Option<u16>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (None, None) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
    let (host, port) = split_port(authority);
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    (Some(host).filter(|host| !host.is_empty()), port.or(default))
}

/// `host`, `host:port` or `[v6]:port`; brackets are not part of the address.
pub(crate) fn split_port(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

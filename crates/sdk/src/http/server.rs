//! Spans of incoming requests, for whatever serves them.

use super::redact::redact_query;
use super::{name, split_port, with_method};
use crate::{Context, Extractor, Key, Span, SpanBuilder, SpanKind, Status, Tracer, tracer};

/// Starts the span of an incoming request, which continues the caller's trace: with the tracer of the current context, or else
/// the global one.
///
/// `target` is what is asked for, as it stands in the request's first line or as a whole URL; `route` its template, such as
/// `/images/{id}`, which becomes part of the name, if it is known. The request's id (`x-request-id`) is that of the headers, or
/// made up: it is the tag `request.id`, and [`Context::request_id`] of the span's context.
///
/// ```
/// use tracewell::http::{server_span, server_status};
///
/// let headers = vec![("host".to_owned(), "shop.example".to_owned())];
/// let span = server_span("GET", "/images/7?page=2", Some("/images/{id}"), &headers);
/// let answer = span.in_scope(|| "an image");
/// server_status(&span, 200);
/// # let _ = answer;
/// ```
pub fn server_span(method: &str, target: &str, route: Option<&str>, headers: &impl Extractor) -> Span {
    server_span_of(tracer(), method, target, route, headers)
}

/// As [`server_span`], with a tracer of the caller's.
pub fn server_span_of(
    tracer: &Tracer,
    method: &str,
    target: &str,
    route: Option<&str>,
    headers: &impl Extractor,
) -> Span {
    let parent = tracer.propagators().extract(headers).ensure_request_id();
    let (scheme, rest) = target.split_once("://").map_or((None, target), |(scheme, rest)| (Some(scheme), rest));
    let rest = rest.split('#').next().unwrap_or(rest);
    let (authority, path) = match scheme {
        Some(_) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let authority = authority.rsplit('@').next().filter(|authority| !authority.is_empty());
    let host = authority.or_else(|| first(headers, "host"));
    let agent = first(headers, "user-agent");
    let path = if path.is_empty() { "/" } else { path };
    incoming(tracer, method, &parent, Incoming { path, query, scheme, host, agent, route }).start()
}

/// Tells the route when it becomes known only after the span has begun: as part of the name, and as `http.route`.
pub fn server_route(span: &Span, method: &str, route: &str) {
    if span.is_recording() {
        span.rename(name(method, Some(route))).tag("http.route", route);
    }
}

/// Tags the incoming request's span with the answer's status, and marks it as failed from 500 on.
pub fn server_status(span: &Span, status: u16) {
    span.tag("http.response.status_code", status);
    if status >= 500 {
        span.tag_with("error.type", || status.to_string()).status(Status::Error("".into()));
    }
}

fn first<'a>(headers: &'a impl Extractor, name: &str) -> Option<&'a str> {
    let mut found = None;
    headers.values(name, &mut |value| _ = found.get_or_insert(value));
    found
}

/// What is told of a request.
pub(crate) struct Incoming<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) scheme: Option<&'a str>,
    /// With a port, perhaps.
    pub(crate) host: Option<&'a str>,
    pub(crate) agent: Option<&'a str>,
    pub(crate) route: Option<&'a str>,
}

/// The span of a request that came in this context.
pub(crate) fn incoming<'a>(
    tracer: &'a Tracer,
    method: &str,
    parent: &'a Context,
    request: Incoming<'_>,
) -> SpanBuilder<'a> {
    let name: Key = name(method, request.route);
    let span = tracer.span(name).kind(SpanKind::Server).parent(parent);
    let mut span = with_method(span, method)
        .tag_with("url.path", || request.path.to_owned())
        .tag_with("url.scheme", || request.scheme.unwrap_or("http").to_owned())
        .tag_with("request.id", || parent.request_id().map(str::to_owned));
    if let Some(query) = request.query {
        span = span.tag_with("url.query", || redact_query(query));
    }
    if let Some(host) = request.host {
        let (address, port) = split_port(host);
        span = span.tag_with("server.address", || address.to_owned());
        if let Some(port) = port {
            span = span.tag("server.port", port);
        }
    }
    if let Some(route) = request.route {
        span = span.tag("http.route", route);
    }
    if let Some(agent) = request.agent {
        span = span.tag_with("user_agent.original", || agent.to_owned());
    }
    span
}

/// The version of HTTP as the conventions write it.
#[cfg(feature = "tower")]
pub(crate) fn with_version<'a>(span: SpanBuilder<'a>, version: http::Version) -> SpanBuilder<'a> {
    let version = match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_11 => "1.1",
        http::Version::HTTP_2 => "2",
        http::Version::HTTP_3 => "3",
        _ => return span,
    };
    span.tag("network.protocol.version", crate::Value::from_static(version))
}

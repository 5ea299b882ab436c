//! Spans of gRPC calls, for tonic's servers and clients and for anything else that speaks gRPC as a `tower::Service`.
//!
//! ```ignore
//! Server::builder().layer(tracewell_tonic::ServerLayer::new()).add_service(catalog).serve(address).await?;
//!
//! let channel = ServiceBuilder::new().layer(tracewell_tonic::ClientLayer::new()).service(channel);
//! let mut catalog = CatalogClient::new(channel);
//! ```
//!
//! A span is named by the method, `shop.Catalog/Find`, and covers the call to its end, streams included: gRPC tells its
//! status last. Messages and metadata are not recorded, nor is the text of a status: its code is.
//!
//! # Features
//! `exporter`: `OtlpExporter`, with which spans go out over gRPC. `exporter-tls`: to `https://` endpoints, too.

mod body;
mod client;
mod code;
#[cfg(feature = "exporter")]
mod exporter;
mod future;
mod server;
mod service;

pub use body::TracedBody;
pub use client::ClientLayer;
#[cfg(feature = "exporter")]
pub use exporter::OtlpExporter;
pub use future::CallFuture;
pub use server::ServerLayer;
pub use service::CallService;

use http::Uri;
use tracewell::{Span, SpanBuilder, SpanKind, Tracer};

/// Which side of a call it is: they differ in what is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// The span of a call whose head has this address. `authority` is where it goes.
pub(crate) fn builder<'a>(tracer: &'a Tracer, side: Side, uri: &Uri) -> SpanBuilder<'a> {
    let method = uri.path().trim_start_matches('/').to_owned();
    let kind = if side == Side::Client { SpanKind::Client } else { SpanKind::Server };
    let span = tracer.span(method.clone()).kind(kind);
    span.tag("rpc.system.name", "grpc").tag("rpc.method", method)
}

pub(crate) fn with_authority<'a>(span: SpanBuilder<'a>, authority: Option<&str>) -> SpanBuilder<'a> {
    let Some(authority) = authority.map(|authority| authority.rsplit('@').next().unwrap_or(authority)) else {
        return span;
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()),
        _ => (authority, None),
    };
    span.tag("server.address", host.trim_matches(['[', ']'])).tag("server.port", port)
}

/// Tags the span with how the call ended. A method that the server does not know is not its own: it is `_OTHER`, for
/// strangers would else make names up without bound.
pub(crate) fn end(span: &Span, side: Side, status: Option<&str>, method: &str) {
    let code = code::name(status);
    span.tag("rpc.response.status_code", code);
    if side == Side::Server && code == "UNIMPLEMENTED" {
        span.rename("_OTHER").tag("rpc.method", "_OTHER").tag("rpc.method_original", method);
    }
    if code::is_error(side, code) {
        span.tag("error.type", code).status(tracewell::Status::Error(code.into()));
    }
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

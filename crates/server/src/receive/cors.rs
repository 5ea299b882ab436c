//! Which web pages may send spans from a browser.

use axum::http::{HeaderMap, HeaderValue, header};

/// Origins that the OTLP/HTTP receiver answers with CORS headers. Pages served from this machine are always among them:
/// a developer's page is the usual sender, and it gains nothing but the right to send spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins {
    /// Exact origins (`https://shop.example`), or `*` for all.
    pub origins: Vec<String>,
}

impl AllowedOrigins {
    /// The headers to add to an answer to a request with these headers.
    pub(super) fn headers(&self, request: &HeaderMap) -> Vec<(header::HeaderName, HeaderValue)> {
        let Some(origin) = request.get(header::ORIGIN) else { return Vec::new() };
        if !origin.to_str().is_ok_and(|origin| self.allows(origin)) {
            return Vec::new();
        }
        let requested = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        vec![
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            (header::VARY, HeaderValue::from_static("origin")),
            (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS")),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                requested.unwrap_or(HeaderValue::from_static("content-type, content-encoding")),
            ),
            (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600")),
        ]
    }

    fn allows(&self, origin: &str) -> bool {
        let host = origin.split_once("://").map_or("", |(_, rest)| rest);
        let name = host.strip_prefix("[::1]").map_or_else(|| host.split(':').next().unwrap_or(""), |_| "[::1]");
        matches!(name, "localhost" | "127.0.0.1" | "[::1]")
            || self.origins.iter().any(|allowed| allowed == "*" || allowed == origin)
    }
}

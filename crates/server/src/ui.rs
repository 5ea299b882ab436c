//! The web pages, embedded by build.rs.

use axum::Router;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};

struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

mod assets {
    use super::Asset;

    include!(concat!(env!("OUT_DIR"), "/assets.rs"));
}

/// Shown by a binary that was built before the pages were.
const NOT_BUILT: &str = "<!doctype html><title>Tracewell</title><h1>Tracewell</h1>\
    <p>This binary was built without its web pages. Build them with <code>cargo xtask ui</code>, then build it again.\
    <p>The APIs are there all the same: <a href=/api/v1/openapi.yaml>/api/v1/openapi.yaml</a>";

/// Serves the pages. A page's state is in its URL, so every page's path gets the same document.
pub fn router() -> Router {
    Router::new().fallback(async |method: Method, uri: Uri| {
        if method == Method::GET || method == Method::HEAD {
            serve(uri.path())
        } else {
            StatusCode::METHOD_NOT_ALLOWED.into_response()
        }
    })
}

fn serve(path: &str) -> Response {
    let is_page = ["/", "/search", "/why", "/compare"].contains(&path) || path.starts_with("/trace/");
    if is_page {
        return page();
    }
    match asset(path) {
        Some(asset) => {
            // What lies in /assets carries a hash of its content in its name.
            let caching = if path.starts_with("/assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
            let headers = [(header::CONTENT_TYPE, asset.content_type), (header::CACHE_CONTROL, caching)];
            (headers, asset.bytes).into_response()
        }
        // Who mistyped an address reads it on a page that leads back; a program reads the status.
        None if !path.starts_with("/api/") && !path.contains('.') => (StatusCode::NOT_FOUND, page()).into_response(),
        None => (StatusCode::NOT_FOUND, "there is nothing here\n").into_response(),
    }
}

fn page() -> Response {
    match asset("/index.html") {
        Some(asset) => ([(header::CACHE_CONTROL, "no-cache")], Html(asset.bytes)).into_response(),
        None => Html(NOT_BUILT).into_response(),
    }
}

fn asset(path: &str) -> Option<&'static Asset> {
    assets::ASSETS.iter().find(|asset| asset.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_served_and_nothing_else() {
        for path in ["/", "/search", "/why", "/compare", "/trace/abc"] {
            let response = serve(path);
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"), "{path}");
        }
        let lost = serve("/nothing");
        assert_eq!(lost.status(), StatusCode::NOT_FOUND);
        assert!(lost.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"));
        for path in ["/nothing.js", "/api/v1/nothing", "/assets/../Cargo.toml", "/index.html/x"] {
            let response = serve(path);
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"), "{path}");
        }
    }
}

//! What protects the UI and the APIs from other web pages.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

/// The pages use nothing from elsewhere, and nobody may frame them.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";

/// Adds the headers and, on loopback, refuses requests for foreign host names: a page that rebinds its own name to
/// 127.0.0.1 would otherwise read every trace.
pub(crate) fn layer(router: Router, loopback_only: bool) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| async move {
        if loopback_only && !is_local(&request) {
            let message = "this server answers only to localhost, 127.0.0.1 and [::1]; see --http\n";
            return (StatusCode::MISDIRECTED_REQUEST, message).into_response();
        }
        let mut response: Response = next.run(request).await;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }))
}

fn is_local(request: &Request) -> bool {
    // HTTP/2 has the host in the URI; a request without any host is no browser's.
    let header = request.headers().get(header::HOST).map(|value| value.to_str().unwrap_or("?"));
    let Some(host) = header.or(request.uri().authority().map(|authority| authority.as_str())) else { return true };
    let name = if host.starts_with('[') {
        host.split_inclusive(']').next().unwrap_or(host)
    } else {
        host.split(':').next().unwrap_or(host)
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    async fn ask(loopback_only: bool, host: Option<&str>) -> Response {
        let router = layer(Router::new().route("/", get(async || "traces")), loopback_only);
        let mut request = Request::get("/");
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn on_loopback_only_local_names_are_answered() {
        for host in [None, Some("localhost"), Some("localhost:16686"), Some("127.0.0.1:1"), Some("[::1]:16686")] {
            let response = ask(true, host).await;
            assert_eq!(response.status(), StatusCode::OK, "{host:?}");
            assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:16686", "[::2]", ""] {
            assert_eq!(ask(true, Some(host)).await.status(), StatusCode::MISDIRECTED_REQUEST, "{host:?}");
        }
    }

    #[tokio::test]
    async fn elsewhere_the_operator_chose_who_can_reach_it() {
        assert_eq!(ask(false, Some("traces.example")).await.status(), StatusCode::OK);
    }
}

//! What protects the UI and the APIs from other web pages.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

/// The pages use nothing from elsewhere, and nobody may frame them.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const FETCH_SITE: &str = "sec-fetch-site";

/// Who may ask the UI and the APIs. Cheap to clone.
///
/// A page that rebinds its own name to the address of this server would otherwise read every trace. An IP address cannot be
/// rebound; a name can, unless it is this server's.
#[derive(Clone, Debug)]
pub(crate) struct Guard(Arc<Names>);

#[derive(Debug)]
struct Names {
    /// Whether only those who are named here may ask: on loopback, and where the operator names hosts.
    is_closed: bool,
    is_loopback: bool,
    names: Vec<String>,
}

impl Guard {
    /// For a server that listens on an address, which was given as a name, and is known under further names.
    pub(crate) fn new(address: IpAddr, name: &str, allowed_hosts: &[String]) -> Self {
        let is_loopback = address.is_loopback();
        let mut names = vec!["localhost".to_owned(), name.to_ascii_lowercase()];
        names.extend(allowed_hosts.iter().map(|host| host.trim().trim_end_matches('.').to_ascii_lowercase()));
        Self(Arc::new(Names { is_closed: is_loopback || !allowed_hosts.is_empty(), is_loopback, names }))
    }

    /// The answer to who may not ask.
    pub(crate) fn refusal(&self, request: &Parts) -> Option<Response> {
        let mut hosts = request.headers.get_all(header::HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Some((StatusCode::BAD_REQUEST, "a request has one Host\n").into_response());
        }
        // HTTP/2 has the host in the URI; a request without any host is no browser's.
        let host = host.map(|host| host.to_str().unwrap_or("?"));
        let authority = request.uri.authority().map(|authority| authority.as_str());
        if host.into_iter().chain(authority).any(|host| !self.answers_to(host)) {
            let message = "this server does not answer to this host name: use localhost, 127.0.0.1 or [::1], or start it with \
                           --allowed-host NAME\n";
            return Some((StatusCode::MISDIRECTED_REQUEST, message).into_response());
        }
        let is_foreign = request.headers.get(FETCH_SITE).is_some_and(|site| site == "cross-site");
        if is_foreign && is_api(request.uri.path()) {
            return Some((StatusCode::FORBIDDEN, "pages of other sites may not ask the APIs\n").into_response());
        }
        None
    }

    fn answers_to(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        let Names { is_closed, is_loopback, names } = &*self.0;
        if !is_closed {
            return true;
        }
        let address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
            None => name.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
        };
        match address {
            // The address that it was sent to.
            Some(address) => !is_loopback || address.is_loopback(),
            None => names.iter().any(|known| known.eq_ignore_ascii_case(name.trim_end_matches('.'))),
        }
    }
}

/// The name in `name`, `name:port` or `[address]:port`; `None` if it is none of these.
fn name_of(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.len() <= 5;
    (!name.is_empty() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))).then_some(name)
}

fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/") || path == "/metrics"
}

/// Refuses those who may not ask, and adds the headers to every answer.
pub(crate) fn layer(router: Router, guard: Guard) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let guard = guard.clone();
        async move {
            let (parts, body) = request.into_parts();
            let is_api = is_api(parts.uri.path());
            let mut response: Response = match guard.refusal(&parts) {
                Some(refusal) => refusal,
                None => next.run(Request::from_parts(parts, body)).await,
            };
            let headers = response.headers_mut();
            for (name, value) in [
                (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::REFERRER_POLICY, "no-referrer"),
                (OPENER_POLICY, "same-origin"),
                (RESOURCE_POLICY, "same-origin"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            if is_api {
                // Spans are not to lie in the cache of a browser or of a proxy.
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            }
            response
        }
    }))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn ask(guard: &Guard, path: &str, headers: &[(&str, &str)]) -> Response {
        let router = Router::new().route("/", get(async || "page")).route("/api/v1/traces", get(async || "traces"));
        let router = layer(router, guard.clone());
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    async fn status(guard: &Guard, host: &str) -> StatusCode {
        ask(guard, "/", &[("host", host)]).await.status()
    }

    #[tokio::test]
    async fn on_loopback_only_local_names_are_answered() {
        let guard = Guard::new(LOOPBACK, "127.0.0.1", &[]);
        assert_eq!(ask(&guard, "/", &[]).await.status(), StatusCode::OK);
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "localhost:16686",
            "127.0.0.1:1",
            "127.0.0.2",
            "[::1]:16686",
            "[::1]",
        ] {
            assert_eq!(status(&guard, host).await, StatusCode::OK, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:16686",
            "[::2]",
            "",
            "localhost:x.evil",
            "localhost:80:80",
            "[::1].evil",
            "[::1]evil:80",
            "[::1",
            "10.0.0.1",
            "0.0.0.0",
            "127.1",
            "2130706433",
            "localhost@evil.example",
        ] {
            assert_eq!(status(&guard, host).await, StatusCode::MISDIRECTED_REQUEST, "{host:?}");
        }
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(ask(&guard, "/", &twice).await.status(), StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn elsewhere_the_operator_chose_who_can_reach_it() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        assert_eq!(status(&Guard::new(any, "0.0.0.0", &[]), "traces.example").await, StatusCode::OK);
        let guard = Guard::new(any, "0.0.0.0", &["Traces.Example".to_owned()]);
        assert_eq!(status(&guard, "traces.example:443").await, StatusCode::OK);
        assert_eq!(status(&guard, "10.1.2.3:16686").await, StatusCode::OK);
        assert_eq!(status(&guard, "evil.example").await, StatusCode::MISDIRECTED_REQUEST);
        let guard = Guard::new(LOOPBACK, "tracewell.internal", &["traces.example".to_owned()]);
        assert_eq!(status(&guard, "traces.example").await, StatusCode::OK, "a proxy keeps the name it was asked by");
        assert_eq!(status(&guard, "tracewell.internal:1").await, StatusCode::OK, "the name that it listens on");
    }

    #[tokio::test]
    async fn pages_of_other_sites_may_link_here_and_ask_nothing() {
        let guard = Guard::new(LOOPBACK, "127.0.0.1", &[]);
        for (path, site, expected) in [
            ("/api/v1/traces", "cross-site", StatusCode::FORBIDDEN),
            ("/api/v1/traces", "same-origin", StatusCode::OK),
            ("/api/v1/traces", "none", StatusCode::OK),
            ("/", "cross-site", StatusCode::OK),
        ] {
            assert_eq!(ask(&guard, path, &[("sec-fetch-site", site)]).await.status(), expected, "{path} {site}");
        }
    }

    #[tokio::test]
    async fn answers_are_protected_and_those_of_the_apis_are_not_cached() {
        let guard = Guard::new(LOOPBACK, "127.0.0.1", &[]);
        let page = ask(&guard, "/", &[]).await;
        for name in [header::CONTENT_SECURITY_POLICY, header::X_CONTENT_TYPE_OPTIONS, OPENER_POLICY, RESOURCE_POLICY] {
            assert!(page.headers().contains_key(&name), "{name}");
        }
        assert!(!page.headers().contains_key(header::CACHE_CONTROL));
        for path in ["/api/v1/traces", "/api/v1/nothing"] {
            assert_eq!(ask(&guard, path, &[]).await.headers()[header::CACHE_CONTROL], "no-store", "{path}");
        }
    }
}

//! Which web pages may send spans from a browser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");

/// Origins that the OTLP/HTTP receiver answers with CORS headers. Pages served from this machine are always among them:
/// a developer's page is the usual sender, and it gains nothing but the right to send spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins {
    any: bool,
    origins: Vec<Origin>,
}

/// A web origin, as browsers write it: lower case, without the scheme's own port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl AllowedOrigins {
    /// From origins (`https://shop.example`) or `*` for all. An error names what is neither.
    pub fn parse(texts: &[String]) -> Result<Self> {
        let mut allowed = Self::default();
        for text in texts {
            match text.trim() {
                "" => {}
                "*" => allowed.any = true,
                origin => match Origin::parse(origin.strip_suffix('/').unwrap_or(origin)) {
                    Some(origin) => allowed.origins.push(origin),
                    None => bail!(
                        "--cors-origin (TRACEWELL_CORS_ORIGINS, cors_origin): {text:?} is not a web origin such as https://shop.example or http://shop.example:8080, \
                         without a path, nor *"
                    ),
                },
            }
        }
        Ok(allowed)
    }

    /// The headers to add to an answer to a request with these headers.
    pub(super) fn headers(&self, request: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        // Caches are to keep answers to one origin from another, also the one that is not allowed.
        let vary = (header::VARY, HeaderValue::from_static("origin"));
        let mut origins = request.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return vec![vary] };
        let Some(is_named) = origin.to_str().ok().and_then(|origin| self.allows(origin)) else { return vec![vary] };
        let requested = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        let mut headers = vec![
            vary,
            (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, OPTIONS")),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                requested.unwrap_or(HeaderValue::from_static("content-type, content-encoding")),
            ),
            (header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after")),
            (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600")),
        ];
        if is_named {
            // `navigator.sendBeacon`, which exporters use when a page is left, always asks for credentials.
            headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
            headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        } else {
            // Whoever is allowed only because everybody is has no credentials to bring.
            headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")));
        }
        if request.get(REQUEST_PRIVATE_NETWORK).is_some_and(|asked| asked == "true") {
            headers.push((ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true")));
        }
        headers
    }

    /// Whether an origin may send: by its name, because all may, or not at all.
    fn allows(&self, text: &str) -> Option<bool> {
        // `null` is the origin of a page that has none, and whoever wants to be one can.
        let is_named = Origin::parse(text).is_some_and(|origin| origin.is_local() || self.origins.contains(&origin));
        (is_named || self.any).then_some(is_named)
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let end = match rest.strip_prefix('[') {
            Some(address) => address.find(']')? + 2,
            None => rest.find(':').unwrap_or(rest.len()),
        };
        let (host, port) = rest.split_at(end);
        let host = host.to_ascii_lowercase();
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')),
        };
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) || host.is_empty() || !is_host {
            return None;
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse::<u16>().ok()?),
            _ => return None,
        };
        let usual = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Some(Self { port: port.filter(|port| Some(*port) != usual), scheme, host })
    }

    /// A page that a server of this machine serves.
    fn is_local(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        matches!(self.scheme.as_str(), "http" | "https")
            && match host.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => address == Ipv4Addr::LOCALHOST,
                Ok(IpAddr::V6(address)) => address == Ipv6Addr::LOCALHOST,
                Err(_) => host == "localhost",
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(texts: &[&str]) -> AllowedOrigins {
        AllowedOrigins::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn origins_are_compared_as_origins() {
        let origins = allowed(&[" HTTPS://Shop.Example:443/ ", "http://[2001:DB8::1]:8080", "app://pages"]);
        for (origin, expected) in [
            ("https://shop.example", Some(true)),
            ("https://shop.example:8443", None),
            ("http://shop.example", None),
            ("http://[2001:db8::1]:8080", Some(true)),
            ("http://[2001:db8::1]", None),
            ("app://pages", Some(true)),
            ("http://localhost:3000", Some(true)),
            ("https://127.0.0.1", Some(true)),
            ("http://[::1]:9", Some(true)),
            ("file://localhost", None),
            ("http://localhost.evil.example", None),
            ("http://127.0.0.1@evil.example", None),
            ("http://localhost:3000.evil.example", None),
            ("https://shop.example/path", None),
            ("null", None),
            ("", None),
        ] {
            assert_eq!(origins.allows(origin), expected, "{origin}");
        }
    }

    #[test]
    fn all_may_send_without_credentials_and_those_that_are_named_with_them() {
        let origins = allowed(&["*", "https://shop.example"]);
        for (origin, told, credentials) in [
            ("https://other.example", "*", false),
            ("null", "*", false),
            ("https://shop.example", "https://shop.example", true),
        ] {
            let mut request = HeaderMap::new();
            request.insert(header::ORIGIN, HeaderValue::from_static(origin));
            let headers: HeaderMap = origins.headers(&request).into_iter().collect();
            assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], told, "{origin}");
            assert_eq!(headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), credentials, "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_named() {
        for text in
            ["shop.example", "https://shop.example/path", "https://*.shop.example", "https://", "https://a b", "null"]
        {
            let error = AllowedOrigins::parse(&[text.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        assert_eq!(allowed(&["", " "]), AllowedOrigins::default());
    }
}

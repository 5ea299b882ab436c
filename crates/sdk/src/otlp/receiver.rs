//! Where a receiver is and how it is spoken to, checked before the first export.

use super::client::{Client, Tls};
use crate::Config;
use crate::baggage::percent_decode;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};
use std::path::PathBuf;
use std::time::Duration;

/// Where a receiver is, as it was configured.
#[derive(Default)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "certificates are for encryption"))]
pub(crate) struct Receiver {
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) gzip: bool,
    /// Of one attempt; `None` is no limit.
    pub(crate) timeout: Option<Duration>,
    pub(crate) ca_certificate: Option<PathBuf>,
    pub(crate) client_certificate: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
}

pub(super) struct Parts {
    pub(super) client: Client,
    pub(super) target: PathAndQuery,
    pub(super) metrics_target: Option<PathAndQuery>,
    pub(super) headers: Vec<u8>,
}

/// Headers that say what the message is: they are ours.
const FRAMING: [&str; 6] =
    ["connection", "content-encoding", "content-length", "content-type", "expect", "transfer-encoding"];

/// The URL as it may be shown: without user, password and query.
pub(crate) fn shown(url: &str) -> String {
    let (before, query) = url.split_once(['?', '#']).map_or((url, ""), |(before, _)| (before, "?..."));
    let (scheme, rest) = before.split_once("://").map_or(("", before), |(scheme, rest)| (scheme, rest));
    let slashes = if before.contains("://") { "://" } else { "" };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}{slashes}{host}{path}{query}")
}

/// Where a receiver takes spans whose base URL this is.
pub(crate) fn traces_url(base: &str) -> String {
    let base = base.split('#').next().unwrap_or_default();
    let (path, query) = base.split_once('?').map_or((base, None), |(path, query)| (path, Some(query)));
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    format!("{}/v1/traces{query}", path.trim_end_matches('/'))
}

/// Why spans cannot be sent there, in a text without the URL.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| "it is not a URL".to_owned())?;
    let host = uri.host().filter(|host| !host.is_empty());
    match (uri.scheme_str(), host) {
        (Some("http"), Some(_)) => Ok(()),
        (Some("https"), Some(_)) if cfg!(feature = "tls") => Ok(()),
        (Some("https"), Some(_)) => Err("https:// needs tracewell's feature `tls`".to_owned()),
        _ => Err("it must begin with http:// or https:// and have a host, such as http://localhost:4318".to_owned()),
    }
}

/// What is wrong with a header, in a text without its value.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), String> {
    match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        (Err(_), _) => Err(format!("{name:?} is not the name of a header")),
        (_, Err(_)) => Err(format!("the value of the header {name:?} has characters that no header may have")),
        _ => Ok(()),
    }
}

/// Takes files that cannot be used out of the configuration; what is wrong with them.
pub(crate) fn check_files(config: &mut Config) -> Vec<String> {
    #[cfg(not(feature = "tls"))]
    {
        let _ = config;
        Vec::new()
    }
    #[cfg(feature = "tls")]
    tls::check_files(config)
}

impl Receiver {
    pub(super) fn parts(self) -> Result<Parts, String> {
        let problem = |problem| format!("the endpoint {:?} cannot be used: {problem}", shown(&self.url));
        check_url(&self.url).map_err(problem)?;
        let uri: Uri = self.url.parse().map_err(|_| problem("it is not a URL".to_owned()))?;
        let is_encrypted = uri.scheme_str() == Some("https");
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let host = uri.host().unwrap_or_default();
        let tls = if is_encrypted { Some(self.tls()?) } else { None };
        let client = Client::new(host, uri.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 }), tls);

        let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        // An endpoint of another form is for spans alone.
        let metrics_target = target.path().strip_suffix("/v1/traces").and_then(|base| {
            let query = target.query().map_or_else(String::new, |query| format!("?{query}"));
            format!("{base}/v1/metrics{query}").parse().ok()
        });
        let headers = self.lines(address, user)?;
        Ok(Parts { client, target, metrics_target, headers })
    }

    /// The lines of a request's head that are always the same.
    fn lines(&self, host: &str, user: Option<&str>) -> Result<Vec<u8>, String> {
        let mut lines: Vec<(String, String)> = vec![
            ("host".to_owned(), host.to_owned()),
            ("user-agent".to_owned(), concat!("tracewell-rust/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        if let Some(user) = user {
            lines.push(("authorization".to_owned(), format!("Basic {}", base64(percent_decode(user).as_bytes()))));
        }
        for (name, value) in &self.headers {
            check_header(name, value)?;
            let name = name.to_ascii_lowercase();
            if !FRAMING.contains(&name.as_str()) {
                // What the user says counts instead of our own.
                let own = ["host", "user-agent", "authorization"].contains(&name.as_str());
                lines.retain(|(other, _)| !(own && *other == name));
                lines.push((name, value.clone()));
            }
        }
        lines.push(("content-type".to_owned(), "application/x-protobuf".to_owned()));
        if self.gzip {
            lines.push(("content-encoding".to_owned(), "gzip".to_owned()));
        }
        Ok(lines.into_iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>().into_bytes())
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Result<Tls, String> {
        tls::config(self)
    }

    /// Not reached: without the feature such an endpoint is refused.
    #[cfg(not(feature = "tls"))]
    fn tls(&self) -> Result<Tls, String> {
        Err("https:// needs tracewell's feature `tls`".to_owned())
    }
}

/// With the usual alphabet and padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(feature = "tls")]
mod tls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        for (text, encoded) in [("", ""), ("u", "dQ=="), ("us", "dXM="), ("usr", "dXNy"), ("user:pass", "dXNlcjpwYXNz")]
        {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn what_is_shown_of_a_url_has_no_secret() {
        for (url, expected) in [
            ("http://user:secret@host:1/v1/traces?key=secret", "http://host:1/v1/traces?..."),
            ("user:secret@host:1", "host:1"),
            ("http://host/a#secret", "http://host/a?..."),
            ("collector:4317", "collector:4317"),
            ("http://secret@", "http://"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}

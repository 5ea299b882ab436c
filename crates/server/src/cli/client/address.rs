//! Which server an `--url` means, and how it is reached.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ureq::http::Uri;

/// How long each address of `localhost` is tried.
const LOCAL_CONNECT: Duration = Duration::from_secs(1);

/// Where a server is: a scheme, a host, a port and perhaps a path before those of its API.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    path: String,
}

impl Address {
    /// Reads `HOST`, `HOST:PORT` or a URL. Without a scheme, the port is the server's usual one.
    pub(super) fn parse(text: &str, usual_port: u16) -> Result<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let is_ipv6 = |host: &str| host.parse::<Ipv6Addr>().is_ok();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let authority = match authority {
            bare if is_ipv6(bare) => format!("[{bare}]"),
            port if port.starts_with(':') => format!("127.0.0.1{port}"),
            other => other.to_owned(),
        };
        match scheme.to_ascii_lowercase().as_str() {
            "" | "http" => {}
            "https" => bail!("https is not built in; name an address with http, such as one end of a tunnel"),
            other => bail!("{other:?} is not a scheme that is spoken here; only http is"),
        }
        ensure!(!path.contains(['?', '#']), "an address has no query and no fragment");
        let uri: Uri =
            format!("http://{authority}/").parse().context("not an address such as http://127.0.0.1:16686")?;
        let host = uri.host().filter(|host| !host.is_empty()).context("names no host")?.to_owned();
        let port = match (uri.port_u16(), scheme) {
            (Some(0), _) => bail!("0 is not a port"),
            (Some(port), _) => port,
            // What `http` digs out of "host:99999" or "host:port" is none.
            (None, _)
                if authority.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.ends_with(']')) =>
            {
                bail!("not a port from 1 to 65535")
            }
            (None, "") => usual_port,
            (None, _) => 80,
        };
        Ok(Self { host, port, path: path.trim_end_matches('/').to_owned() })
    }

    /// The base to which paths of the API are added; it does not end with a slash.
    pub(super) fn url(&self) -> String {
        let path = if self.path.is_empty() { String::new() } else { format!("/{}", self.path) };
        format!("http://{}:{}{path}", self.host, self.port)
    }

    /// Leaves a path away that is added later again.
    pub(super) fn without(mut self, end: &str) -> Self {
        if let Some(path) = self.path.strip_suffix(end) {
            self.path = path.trim_end_matches('/').to_owned();
        }
        self
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Whether it is this machine, which no proxy reaches.
    pub(super) fn is_loopback(&self) -> bool {
        let name = self.host.trim_end_matches('.').to_ascii_lowercase();
        let is_local = |ip: IpAddr| ip.to_canonical().is_loopback() || ip.is_unspecified();
        name == "localhost" || name.ends_with(".localhost") || self.ip().is_some_and(is_local)
    }

    /// `localhost` is two addresses, of which the name service may know one and the server listen on the other.
    pub(super) fn found(mut self) -> Self {
        if self.host.eq_ignore_ascii_case("localhost") {
            let candidates =
                [("127.0.0.1", IpAddr::from([127, 0, 0, 1])), ("[::1]", IpAddr::from(Ipv6Addr::LOCALHOST))];
            let answers =
                |ip: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(ip, self.port), LOCAL_CONNECT).is_ok();
            if let Some((host, _)) = candidates.into_iter().find(|(_, ip)| answers(*ip)) {
                self.host = host.to_owned();
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_in_many_forms() {
        for (text, url) in [
            ("http://127.0.0.1:16686", "http://127.0.0.1:16686"),
            ("http://127.0.0.1:16686/", "http://127.0.0.1:16686"),
            (" 127.0.0.1:16686 ", "http://127.0.0.1:16686"),
            ("127.0.0.1", "http://127.0.0.1:16686"),
            ("localhost", "http://localhost:16686"),
            (":7000", "http://127.0.0.1:7000"),
            ("HTTP://example.com", "http://example.com:80"),
            ("http://example.com/tracing/", "http://example.com:80/tracing"),
            ("example.com/a/b", "http://example.com:16686/a/b"),
            ("[::1]:16686", "http://[::1]:16686"),
            ("http://[::1]:16686//", "http://[::1]:16686"),
            ("::1", "http://[::1]:16686"),
        ] {
            assert_eq!(Address::parse(text, 16686).unwrap().url(), url, "{text}");
        }
        for text in
            ["https://example.com", "ftp://x", "http://", "http://h:99999", "http://h:port", "h:0", "a b", "h/?q=1", ""]
        {
            assert!(Address::parse(text, 16686).is_err(), "{text:?}");
        }
        let otlp = Address::parse("http://h:4318/prefix/v1/traces/", 4318).unwrap().without("v1/traces");
        assert_eq!(otlp.url(), "http://h:4318/prefix");
    }

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        for host in [
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "127.0.0.1",
            "127.8.9.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "[::]",
        ] {
            assert!(Address::parse(host, 1).unwrap().is_loopback(), "{host}");
        }
        for host in ["example.com", "10.0.0.1", "[2001:db8::1]", "localhost.example.com", "128.0.0.1"] {
            assert!(!Address::parse(host, 1).unwrap().is_loopback(), "{host}");
        }
    }
}

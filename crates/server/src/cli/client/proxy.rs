//! Which proxy the environment names for an address: `http_proxy` or `all_proxy`, in either case, unless `no_proxy` names the
//! address or it is this machine.

use std::net::IpAddr;

use anyhow::{Context, Result};

use super::address::Address;

/// The proxy for an address, if there is one.
pub(super) fn of(address: &Address) -> Result<Option<ureq::Proxy>> {
    choose(address, |name| std::env::var(name).ok())
        .map(|(name, url)| {
            ureq::Proxy::new(&url).with_context(|| format!("{name}: {url:?} is not the address of a proxy"))
        })
        .transpose()
}

fn choose(address: &Address, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    // An empty variable is none.
    let set = |name: &'static str| Some((name, variable(name).filter(|value| !value.trim().is_empty())?));
    if address.is_loopback() {
        return None;
    }
    if let Some((_, exceptions)) = set("no_proxy").or_else(|| set("NO_PROXY"))
        && exceptions.split([',', ' ', '\t']).any(|exception| is_meant(exception, address))
    {
        return None;
    }
    set("http_proxy").or_else(|| set("HTTP_PROXY")).or_else(|| set("all_proxy")).or_else(|| set("ALL_PROXY"))
}

/// Whether an exception means the address: `*`, a host and all below it, an IP address, or a range of them.
fn is_meant(exception: &str, address: &Address) -> bool {
    let exception = exception.trim().trim_end_matches('.').to_ascii_lowercase();
    if exception == "*" {
        return true;
    }
    if let Some(ip) = address.ip() {
        let (network, bits) = exception.split_once('/').unwrap_or((&exception, ""));
        let bare = network.trim_start_matches('[').trim_end_matches(']');
        if let Ok(network) = bare.parse::<IpAddr>() {
            return is_within(ip, network, bits);
        }
    }
    let (name, port) = match exception.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.parse().ok()),
        _ => (exception.as_str(), None),
    };
    let host = address.host.trim_end_matches('.').to_ascii_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_start_matches('[').trim_end_matches(']').trim_start_matches('*').trim_start_matches('.');
    let is_below =
        |host: &str| host.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    !name.is_empty() && is_below(host) && port.is_none_or(|port: u16| port == address.port)
}

fn is_within(ip: IpAddr, network: IpAddr, bits: &str) -> bool {
    let (ip, network, width) = match (ip.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => (u128::from(ip.to_bits()), u128::from(network.to_bits()), 32),
        (IpAddr::V6(ip), IpAddr::V6(network)) => (ip.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let bits = if bits.is_empty() { width } else { bits.parse().unwrap_or(width).min(width) };
    // A shift by all bits is none.
    (ip ^ network).checked_shr(width - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let address = Address::parse(url, 16686).unwrap();
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        choose(&address, variable).map(|(_, proxy)| proxy)
    }

    #[test]
    fn a_proxy_is_never_for_this_machine() {
        for url in ["127.0.0.1:1", "localhost:1", "[::1]:1", "http://127.1.2.3:1"] {
            assert_eq!(proxy(url, &[("http_proxy", "http://p"), ("ALL_PROXY", "http://p")]), None, "{url}");
        }
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            assert_eq!(proxy("example.com", &[(name, "http://p")]).as_deref(), Some("http://p"), "{name}");
        }
        assert_eq!(proxy("example.com", &[("http_proxy", ""), ("all_proxy", "http://q")]).as_deref(), Some("http://q"));
        assert_eq!(proxy("example.com", &[("https_proxy", "http://p")]), None, "it is for other addresses");
    }

    #[test]
    fn no_proxy_names_hosts_domains_and_ranges() {
        let goes =
            |url: &str, no_proxy: &str| proxy(url, &[("http_proxy", "http://p"), ("NO_PROXY", no_proxy)]).is_some();
        for (url, no_proxy) in [
            ("example.com", "*"),
            ("example.com", "example.com"),
            ("a.example.com", "example.com"),
            ("a.example.com", ".example.com"),
            ("a.example.com", "*.example.com"),
            ("EXAMPLE.com", "other.org, Example.COM"),
            ("example.com:8080", "example.com:8080"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("[2001:db8::5]", "2001:db8::/32"),
            ("10.1.2.3", "0.0.0.0/0"),
        ] {
            assert!(!goes(url, no_proxy), "{url} and {no_proxy}");
        }
        for (url, no_proxy) in [
            ("example.com", ""),
            ("example.com", "ample.com"),
            ("example.com", "a.example.com"),
            ("example.com:8080", "example.com:80"),
            ("10.1.2.4", "10.1.2.0/30"),
            ("10.1.2.3", "2001:db8::/32"),
            ("11.0.0.1", "10.0.0.0/8"),
        ] {
            assert!(goes(url, no_proxy), "{url} and {no_proxy}");
        }
    }
}

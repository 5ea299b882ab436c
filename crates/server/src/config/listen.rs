//! Addresses to listen on.

use std::fmt::{self, Display, Formatter};
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::named;

/// An address to listen on: `127.0.0.1:4318`, `[::1]:4318` or `name:4318`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(String);

impl Listen {
    /// The host as it was given, without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    pub(super) fn resolve(&self, name: &str) -> Result<SocketAddr> {
        let mut addresses = self.0.to_socket_addrs().with_context(|| format!("{}: cannot find {self}", named(name)))?;
        addresses.next().with_context(|| format!("{}: {self} has no address", named(name)))
    }
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address such as 127.0.0.1:4318, [::1]:4318 or name:4318");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || is_bare_v6 || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.0
    }
}

impl Display for Listen {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

//! A blocking client of the HTTP API.

mod address;
mod proxy;

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::output::{say, visible};
use address::Address;

/// Where a server is unless something else is said.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:16686";
const HTTP_PORT: u16 = 16686;
const OTLP_HTTP_PORT: u16 = 4318;

/// The largest answer that is read whole.
const MAX_ANSWER_BYTES: u64 = 1 << 30;

pub(super) struct Client {
    address: Address,
    url: String,
    agent: ureq::Agent,
}

/// An agent for servers of this machine, which no proxy reaches.
pub(crate) fn local_agent() -> ureq::Agent {
    ureq::Agent::config_builder().proxy(None).build().into()
}

fn agent(proxy: Option<ureq::Proxy>) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(5)))
        .user_agent(concat!("tracewell/", env!("CARGO_PKG_VERSION")))
        .proxy(proxy)
        .build()
        .into()
}

impl Client {
    /// A client of the server that `--url` names.
    pub(super) fn new(url: &str) -> Result<Self> {
        let address = Address::parse(url, HTTP_PORT);
        Self::at(address.with_context(|| format!("--url (TRACEWELL_URL): {url:?}"))?)
    }

    /// A client of the receiver that `--otlp-url` names.
    pub(super) fn of_receiver(url: &str) -> Result<Self> {
        let address = Address::parse(url, OTLP_HTTP_PORT);
        let address = address.with_context(|| format!("--otlp-url (TRACEWELL_OTLP_URL): {url:?}"))?;
        Self::at(address.without("v1/traces"))
    }

    fn at(address: Address) -> Result<Self> {
        let agent = agent(proxy::of(&address)?);
        let address = address.found();
        Ok(Self { url: address.url(), address, agent })
    }

    /// The OTLP/HTTP receiver of the same server.
    pub(super) fn receiver(&self) -> Result<Self> {
        let stats = self.get("/api/v1/stats", &[])?;
        let said = stats["addresses"]["otlp_http"].as_str().and_then(|text| text.parse::<SocketAddr>().ok());
        let said = said.with_context(|| {
            format!("{} does not say where its OTLP/HTTP receiver is; name it with --otlp-url", self.url)
        })?;
        // Every address, and this machine's own, are reached as the server was.
        let is_there_too = said.ip().is_unspecified() || said.ip().is_loopback() && !self.address.is_loopback();
        let host = if is_there_too { format!("{}:{}", self.address.host, said.port()) } else { said.to_string() };
        Self::of_receiver(&host)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn agent(&self) -> &ureq::Agent {
        &self.agent
    }

    fn call(&self, path: &str, query: &[(&str, String)], accept: &str) -> Result<ureq::Body> {
        let mut request = self.agent.get(format!("{}{path}", self.url)).header("accept", accept);
        for (name, value) in query {
            request = request.query(name, value);
        }
        let mut response = request.call().with_context(|| {
            format!("cannot reach {}; start a server with `tracewell serve`, or name one with --url", self.url)
        })?;
        if !response.status().is_success() {
            let text = response.body_mut().read_to_string().unwrap_or_default();
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            match answer["error"]["message"].as_str() {
                Some(message) => match answer["error"]["field"].as_str() {
                    Some(field) => bail!("{}: {}", visible(field), visible(message)),
                    None => bail!("{}", visible(message)),
                },
                None => bail!("{} answered {}", self.url, response.status()),
            }
        }
        Ok(response.into_body())
    }

    /// A GET whose answer is JSON.
    pub(super) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        let mut body = self.call(path, query, "application/json")?;
        let text = body.with_config().limit(MAX_ANSWER_BYTES).read_to_string()?;
        let answer: Value =
            serde_json::from_str(&text).with_context(|| format!("{} gave an answer that is not JSON", self.url))?;
        warn_if_incomplete(&answer);
        Ok(answer)
    }

    /// A GET whose answer is read as it comes.
    pub(super) fn stream(&self, path: &str, query: &[(&str, String)], accept: &str) -> Result<impl Read + 'static> {
        Ok(self.call(path, query, accept)?.into_with_config().limit(u64::MAX).reader())
    }
}

/// Says on standard error that an answer was made without something that could not be read.
pub(super) fn warn_if_incomplete(answer: &Value) {
    let Some(missing) = answer["missing"].as_array().filter(|_| answer["complete"] == false) else { return };
    let spans: u64 = missing.iter().filter_map(|part| part["spans"].as_u64()).sum();
    let files: Vec<&str> = missing.iter().filter_map(|part| part["file"].as_str()).take(3).collect();
    let more = missing.len() - files.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    say(&format!(
        "warning: this answer is not complete: up to {spans} spans cannot be read in {}{more}",
        files.join(", ")
    ));
}

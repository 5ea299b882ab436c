//! A blocking client of the HTTP API.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::output::visible;

/// The largest answer that is read whole.
const MOST_ANSWER_BYTES: u64 = 1 << 30;

pub(super) struct Client {
    url: String,
    agent: ureq::Agent,
}

impl Client {
    pub(super) fn new(url: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .user_agent(concat!("tracewell/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self { url: url.trim_end_matches('/').to_owned(), agent }
    }

    fn call(&self, path: &str, query: &[(&str, String)], accept: &str) -> Result<ureq::Body> {
        let mut request = self.agent.get(format!("{}{path}", self.url)).header("accept", accept);
        for (name, value) in query {
            request = request.query(name, value);
        }
        let mut response = request.call().with_context(|| {
            format!(
                "there is no answer from {}; start a server with `tracewell serve`, or name one with --url",
                self.url
            )
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
        let text = body.with_config().limit(MOST_ANSWER_BYTES).read_to_string()?;
        serde_json::from_str(&text).with_context(|| format!("{} gave an answer that is not JSON", self.url))
    }

    /// A GET whose answer is read as it comes.
    pub(super) fn stream(&self, path: &str, query: &[(&str, String)], accept: &str) -> Result<impl Read + 'static> {
        Ok(self.call(path, query, accept)?.into_with_config().limit(u64::MAX).reader())
    }
}

//! Spans to a server, in requests that it takes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tracewell_model::SpanBatch;
use tracewell_wire::otlp;

use crate::cli::client::Client;
use crate::output::visible;
use crate::receive::RETENTION_SECONDS;

/// Spans in one request.
pub(super) const SPANS_PER_REQUEST: usize = 5_000;
/// Bytes of one request, below what servers take by default.
const REQUEST_BYTES: usize = 8 << 20;
/// How often a request is tried again while the server is busy.
const MAX_TRIES: u32 = 60;
/// The longest wait between two tries.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A server's OTLP/HTTP receiver.
pub(super) struct Sender {
    agent: ureq::Agent,
    url: String,
    /// Spans that were taken.
    pub(super) kept: u64,
    /// Spans that were refused, and why, each reason once.
    pub(super) refused: u64,
    pub(super) reasons: Vec<String>,
    /// After which age the server deletes spans, as it says.
    retention: Option<Duration>,
    /// Spans that are older than that.
    expired: u64,
}

enum Answer {
    Taken,
    TooLarge(String),
}

impl Sender {
    pub(super) fn new(receiver: &Client) -> Self {
        let (agent, url) = (receiver.agent().clone(), format!("{}/v1/traces", receiver.url()));
        Self { agent, url, kept: 0, refused: 0, reasons: Vec::new(), retention: None, expired: 0 }
    }

    /// Sends all spans of a batch.
    pub(super) fn send(&mut self, batch: &SpanBatch) -> Result<()> {
        let all: Vec<usize> = (0..batch.len()).collect();
        all.chunks(SPANS_PER_REQUEST).try_for_each(|rows| self.rows(batch, rows))
    }

    /// Sends some spans, in halves while together they are more than the server takes.
    fn rows(&mut self, batch: &SpanBatch, rows: &[usize]) -> Result<()> {
        let body = otlp::encode_protobuf(&batch.select(rows.iter().copied()));
        let halves = rows.split_at(rows.len() / 2);
        let why = if body.len() > REQUEST_BYTES && rows.len() > 1 {
            None
        } else {
            match self.post(&body, rows.len() as u64)? {
                Answer::Taken => {
                    self.count_expired(batch, rows);
                    return Ok(());
                }
                Answer::TooLarge(why) => Some(why),
            }
        };
        if rows.len() > 1 {
            self.rows(batch, halves.0)?;
            return self.rows(batch, halves.1);
        }
        self.refuse(1, &why.unwrap_or_default());
        Ok(())
    }

    fn post(&mut self, body: &[u8], spans: u64) -> Result<Answer> {
        for _ in 0..MAX_TRIES {
            let request = self.agent.post(&self.url).header("content-type", "application/x-protobuf");
            let mut response =
                request.send(body).with_context(|| format!("cannot reach {}; is its server running?", self.url))?;
            match response.status().as_u16() {
                200..=299 => {
                    let retention = response.headers().get(RETENTION_SECONDS);
                    let seconds = retention.and_then(|value| value.to_str().ok()?.parse().ok());
                    self.retention = seconds.map(Duration::from_secs);
                    // An empty answer is the usual one; else it says what was refused.
                    let (refused, message) = otlp::partial_success(&response.body_mut().read_to_vec()?);
                    self.kept += spans.saturating_sub(refused);
                    self.refuse(refused, &message);
                    return Ok(Answer::Taken);
                }
                413 => return Ok(Answer::TooLarge(said(&mut response))),
                429 | 502..=504 => {
                    let header = response.headers().get("retry-after");
                    let seconds = header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                    std::thread::sleep(Duration::from_secs(seconds.unwrap_or(1)).min(MAX_WAIT));
                }
                status => bail!("{} answered {status}: {}", self.url, said(&mut response)),
            }
        }
        bail!("{} stayed busy through {MAX_TRIES} tries", self.url)
    }

    /// What is to be said of spans that the server is about to delete, if there are some.
    pub(super) fn expired(&self) -> Option<String> {
        let age = self.retention.filter(|_| self.expired > 0)?;
        let (spans, seconds) = (self.expired, age.as_secs());
        Some(format!(
            "warning: {spans} spans are older than the {seconds} s for which the server keeps spans (--retention): it deletes them at once"
        ))
    }

    fn count_expired(&mut self, batch: &SpanBatch, rows: &[usize]) {
        let Some(age) = self.retention else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = now.saturating_sub(age).as_nanos();
        let starts = &batch.spans().start_unix_nano;
        self.expired += rows.iter().filter(|row| u128::from(starts[**row]) < oldest).count() as u64;
    }

    fn refuse(&mut self, spans: u64, why: &str) {
        self.refused += spans;
        if !why.is_empty() && self.reasons.len() < 5 && !self.reasons.iter().any(|known| known == why) {
            self.reasons.push(why.to_owned());
        }
    }
}

/// What an error's answer says: the message of its protobuf status.
fn said(response: &mut ureq::http::Response<ureq::Body>) -> String {
    let body = response.body_mut().read_to_vec().unwrap_or_default();
    let text = otlp::status_message(&body).unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    visible(&text).into_owned()
}

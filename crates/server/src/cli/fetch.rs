//! Whole traces from a server, for commands that compute with them.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, bail};
use tracewell_model::{SpanBatch, Trace};
use tracewell_wire::{Format, Limits, decode};

use super::FilterArgs;
use super::client::{Client, warn_if_incomplete};

/// The traces with these ids, which must all be there.
pub(super) fn by_id<'a>(client: &Client, ids: impl Iterator<Item = &'a str>) -> Result<Vec<Trace>> {
    let mut traces = Vec::new();
    for id in ids.map(str::trim).filter(|id| !id.is_empty()) {
        let answer = client.get(&format!("/api/v1/traces/{id}/otlp"), &[])?;
        traces
            .push(Trace::assemble(decode(Format::OtlpJson, answer.to_string().as_bytes(), &Limits::default())?.batch));
    }
    if traces.is_empty() {
        bail!("name at least one trace id");
    }
    Ok(traces)
}

/// Hands on traces that match, one by one, at most so many; says whether there were more.
pub(super) fn matching(
    client: &Client,
    filter: &FilterArgs,
    limit: usize,
    mut each: impl FnMut(&Trace),
) -> Result<bool> {
    let answer = client.stream("/api/v1/export", &filter.query(), "application/x-ndjson")?;
    let mut seen = 0;
    for line in BufReader::new(answer).lines() {
        let line = line.context("the answer was cut off")?;
        if line.is_empty() {
            continue;
        }
        if line.starts_with("{\"complete\":false") {
            warn_if_incomplete(&serde_json::from_str(&line)?);
            continue;
        }
        let spans: SpanBatch = decode(Format::OtlpJson, line.as_bytes(), &Limits::default())?.batch;
        for trace in Trace::assemble_all(&spans) {
            if seen == limit {
                return Ok(true);
            }
            seen += 1;
            each(&trace);
        }
    }
    Ok(false)
}

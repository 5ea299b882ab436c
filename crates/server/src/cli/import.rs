//! `tracewell import`: files of spans to a server.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tracewell_model::{SpanBatch, TraceId};
use tracewell_wire::{Format, Limits, otlp};

use crate::output::{Progress, print_line, say, visible};

/// Spans in one request.
const SPANS_PER_REQUEST: usize = 5_000;
/// Bytes of one request, below what servers take by default.
const REQUEST_BYTES: usize = 8 << 20;
/// A line or a file that is decoded at once may not be larger.
const MOST_BYTES: u64 = 512 << 20;
/// How often a request is tried again while the server is busy.
const MOST_TRIES: u32 = 60;

/// Arguments of `tracewell import`.
#[derive(Args, Clone, Debug)]
pub(super) struct ImportArgs {
    /// Files: OTLP JSON lines, OTLP protobuf or Jaeger JSON, plain, .gz or .zst; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The server's OTLP/HTTP address
    #[arg(long, env = "TRACEWELL_OTLP_URL", default_value = "http://127.0.0.1:4318", value_name = "URL")]
    otlp_url: String,
}

pub(super) fn run(args: &ImportArgs) -> Result<ExitCode> {
    let mut import = Import {
        url: format!("{}/v1/traces", args.otlp_url.trim_end_matches('/')),
        agent: ureq::Agent::config_builder().http_status_as_error(false).build().into(),
        pending: SpanBatch::new(),
        traces: HashSet::new(),
        spans: 0,
        rejected: 0,
        progress: Progress::new(),
    };
    for (place, path) in args.files.iter().enumerate() {
        import.file(path).with_context(|| format!("import {}", path.display()))?;
        import.progress.show(&format!("{} of {} files, {} spans", place + 1, args.files.len(), import.spans));
    }
    import.send()?;
    import.progress.show("");
    print_line(&format!(
        "{} spans of {} traces imported from {} files",
        import.spans,
        import.traces.len(),
        args.files.len()
    ))?;
    if import.rejected > 0 {
        say(&format!("{} spans were refused", import.rejected));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

struct Import {
    url: String,
    agent: ureq::Agent,
    pending: SpanBatch,
    traces: HashSet<TraceId>,
    spans: u64,
    rejected: u64,
    progress: Progress,
}

impl Import {
    fn file(&mut self, path: &Path) -> Result<()> {
        let mut reader = BufReader::with_capacity(1 << 16, open(path)?);
        let head = reader.fill_buf()?.to_vec();
        match tracewell_wire::detect(&head) {
            Format::OtlpJson => {
                let mut line = Vec::new();
                for number in 1.. {
                    line.clear();
                    if reader.by_ref().take(MOST_BYTES).read_until(b'\n', &mut line)? == 0 {
                        break;
                    }
                    match self.decode(Format::OtlpJson, &line) {
                        Ok(()) => {}
                        // A document may also be written over many lines: then the rest of the file belongs to it.
                        Err(_) if number == 1 => {
                            reader.by_ref().take(MOST_BYTES).read_to_end(&mut line)?;
                            self.decode(Format::OtlpJson, &line)?;
                            break;
                        }
                        Err(error) => return Err(error.context(format!("line {number}"))),
                    }
                }
                Ok(())
            }
            format => {
                let mut body = Vec::new();
                reader.take(MOST_BYTES).read_to_end(&mut body)?;
                self.decode(format, &body)
            }
        }
    }

    fn decode(&mut self, format: Format, body: &[u8]) -> Result<()> {
        let decoded = tracewell_wire::decode(format, body, &Limits::default())?;
        if decoded.rejected > 0 {
            self.progress.show("");
            say(&format!("{} spans are not valid: {}", decoded.rejected, visible(&decoded.message)));
            self.rejected += decoded.rejected;
        }
        self.traces.extend(decoded.batch.spans().trace_id.iter());
        self.pending.append(&decoded.batch);
        if self.pending.len() >= SPANS_PER_REQUEST { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.pending);
        let all: Vec<usize> = (0..batch.len()).collect();
        all.chunks(SPANS_PER_REQUEST).try_for_each(|rows| self.send_rows(&batch, rows))
    }

    /// Sends some spans, in halves if together they are larger than a server usually takes.
    fn send_rows(&mut self, batch: &SpanBatch, rows: &[usize]) -> Result<()> {
        let body = otlp::encode_protobuf(&batch.select(rows.iter().copied()));
        if body.len() > REQUEST_BYTES && rows.len() > 1 {
            let (first, second) = rows.split_at(rows.len() / 2);
            self.send_rows(batch, first)?;
            return self.send_rows(batch, second);
        }
        self.post(&body)?;
        self.spans += rows.len() as u64;
        self.progress.show(&format!("{} spans", self.spans));
        Ok(())
    }

    fn post(&mut self, body: &[u8]) -> Result<()> {
        for _ in 0..MOST_TRIES {
            let mut response = self
                .agent
                .post(&self.url)
                .header("content-type", "application/x-protobuf")
                .header("accept", "application/json")
                .send(body)
                .with_context(|| {
                    format!("there is no answer from {}; start a server with `tracewell serve`, or name one with --otlp-url", self.url)
                })?;
            match response.status().as_u16() {
                200 => {
                    // An empty answer is the usual one; else it says what was refused.
                    let answer = response.body_mut().read_to_vec()?;
                    if !answer.is_empty() {
                        self.rejected += otlp::rejected_spans(&answer);
                    }
                    return Ok(());
                }
                429 | 502..=504 => {
                    let seconds =
                        response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                    std::thread::sleep(Duration::from_secs(seconds.unwrap_or(1).min(30)));
                }
                status => {
                    let text = String::from_utf8_lossy(&response.body_mut().read_to_vec()?).into_owned();
                    bail!("{} answered {status}: {}", self.url, visible(&text));
                }
            }
        }
        bail!("{} stayed busy", self.url)
    }
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = std::fs::File::open(path)?;
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(file)?),
        _ => Box::new(file),
    })
}

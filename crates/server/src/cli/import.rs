//! `tracewell import`: files of spans to a server.

mod framing;
mod json;
mod send;
mod source;
mod window;

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;
use tracewell_model::{SpanBatch, TraceId};
use tracewell_wire::{Decoded, Document, Format, Limits, recognize, zipkin};

use super::client::Client;
use crate::output::{self, say, visible};
use framing::{At, Part};
use send::Sender;

/// The exit code when some of what was there is not imported, and some is.
const SOME_LOST: u8 = 3;
/// Bytes of documents after which spans are sent, however few they are.
const PENDING_BYTES: usize = 8 << 20;
/// Traces are counted exactly up to here: their ids are held meanwhile.
const MAX_COUNTED_TRACES: usize = 1 << 20;
/// Lines on standard error about what is lost in one file.
const MAX_LINES: u64 = 20;

/// The server has limits of its own, and says which.
const NO_LIMITS: Limits = Limits {
    spans_per_request: u32::MAX,
    attributes_per_span: u32::MAX,
    attribute_bytes: u32::MAX,
    events_per_span: u32::MAX,
    links_per_span: u32::MAX,
    name_bytes: u32::MAX,
};

/// Arguments of `tracewell import`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Read are, told by what is in a file and not by its name:\n  \
    OTLP JSON        lines, one document or many, lists, /api/traces/ID of Tempo, /api/v3 of Jaeger\n  \
    OTLP protobuf    one message, messages each after its length (varint, or four bytes as the\n                   \
    OpenTelemetry Collector's file exporter writes it)\n  \
    Jaeger JSON      what its UI downloads and /api/traces answers\n  \
    Zipkin JSON      versions 1 and 2\nplain or in gzip or zstd, JSON also in UTF-16.\n\n\
    Exit codes: 0 everything is imported, 1 nothing is or the server failed, 3 some of it is not (each loss is\n\
    named by its line or byte).")]
pub(super) struct ImportArgs {
    /// Files of spans; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The server's UI and API address, from which its OTLP/HTTP receiver is known
    #[arg(long, env = "TRACEWELL_URL", default_value = super::client::DEFAULT_URL, value_name = "URL")]
    url: String,
    /// The OTLP/HTTP receiver, if it is not where the server says, as behind a proxy
    #[arg(long, env = "TRACEWELL_OTLP_URL", value_name = "URL")]
    otlp_url: Option<String>,
    /// Shows how far it is, also where standard error is no terminal
    #[arg(long)]
    progress: bool,
}

pub(super) fn run(args: &ImportArgs) -> Result<ExitCode> {
    // No server is needed to say that there is nothing to send. A pipe must not be opened twice.
    let is_missing = |path: &&std::path::PathBuf| path.as_os_str() != "-" && path.metadata().is_err();
    if let [first, ..] = &args.files[..]
        && args.files.iter().all(|path| is_missing(&path))
    {
        open(first).with_context(|| format!("read {}", first.display()))?;
    }
    let receiver = match &args.otlp_url {
        Some(url) => Client::of_receiver(url)?,
        None => Client::new(&args.url)?.receiver()?,
    };
    let mut import = Import {
        sender: Sender::new(&receiver),
        pending: SpanBatch::new(),
        pending_bytes: 0,
        traces: HashSet::new(),
        refused: 0,
        lost: 0,
        seen: BTreeMap::new(),
        notes: BTreeMap::new(),
        progress: output::Progress::new(),
        is_slow_progress: args.progress && !output::Progress::new().is_shown(),
        said: Instant::now(),
    };
    for path in &args.files {
        import.file(path)?;
    }
    import.send().with_context(|| format!("{} spans are imported until here", import.sender.kept))?;
    import.finish(args.files.len())
}

struct Import {
    sender: Sender,
    pending: SpanBatch,
    pending_bytes: usize,
    traces: HashSet<TraceId>,
    /// Spans that no decoder could keep.
    refused: u64,
    /// Documents, messages and files of which nothing could be read.
    lost: u64,
    /// What documents without spans were.
    seen: BTreeMap<String, u64>,
    /// What was changed to read spans.
    notes: BTreeMap<String, u64>,
    progress: output::Progress,
    /// Whether a line a second says how far it is, where no line can be replaced.
    is_slow_progress: bool,
    said: Instant,
}

impl Import {
    /// A file that cannot be read is lost, and the next is read; only the server's failures end all.
    fn file(&mut self, path: &Path) -> Result<()> {
        let before = self.lost;
        let mut failed = None;
        let outcome = open(path).and_then(source::unpacked).and_then(|window| {
            framing::parts(window, |part| match self.part(path, before, part) {
                Ok(()) => Ok(()),
                Err(error) => {
                    failed = Some(error);
                    anyhow::bail!("the server failed")
                }
            })
        });
        if let Some(error) = failed {
            return Err(error).with_context(|| format!("{} spans are imported until here", self.sender.kept));
        }
        match outcome {
            Ok(true) => {}
            Ok(false) => self.see("an empty file".to_owned()),
            Err(error) => {
                self.lost += 1;
                self.line(&format!("{}: {error:#}", path.display()));
            }
        }
        if self.lost > before + MAX_LINES {
            self.line(&format!("{}: and {} more like these", path.display(), self.lost - before - MAX_LINES));
        }
        Ok(())
    }

    fn part(&mut self, path: &Path, lost_before: u64, part: Part<'_>) -> Result<()> {
        match part {
            Part::Bad(why, at) => {
                self.lose(path, lost_before, at, &why);
                Ok(())
            }
            Part::Protobuf(bytes, at) => {
                let decoded = tracewell_wire::decode(Format::OtlpProtobuf, bytes, &NO_LIMITS);
                self.decoded(path, lost_before, at, bytes.len(), decoded)
            }
            Part::Json(bytes, at) => match recognize(bytes) {
                Ok(Document::Spans(format, body)) => {
                    let decoded = match format {
                        Format::ZipkinJson => zipkin::decode(&body, &NO_LIMITS, now()),
                        _ => tracewell_wire::decode(format, &body, &NO_LIMITS),
                    };
                    self.decoded(path, lost_before, at, bytes.len(), decoded)
                }
                Ok(Document::Empty) => {
                    self.see("documents without spans".to_owned());
                    Ok(())
                }
                Ok(Document::Other(what)) => {
                    self.lose(path, lost_before, at, &format!("no spans but {what}"));
                    self.see(what);
                    Ok(())
                }
                Err(error) => {
                    self.lose(path, lost_before, at, &error.to_string());
                    Ok(())
                }
            },
        }
    }

    fn decoded(
        &mut self,
        path: &Path,
        lost_before: u64,
        at: At,
        bytes: usize,
        decoded: Result<Decoded, tracewell_wire::DecodeError>,
    ) -> Result<()> {
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                self.lose(path, lost_before, at, &error.to_string());
                return Ok(());
            }
        };
        if decoded.rejected > 0 {
            self.refused += decoded.rejected;
            let spans = if decoded.rejected == 1 { "a span is" } else { "spans are" };
            let text = format!("{}: {at}: {} {spans} not valid: {}", path.display(), decoded.rejected, decoded.message);
            if self.refused <= MAX_LINES {
                self.line(&text);
            }
        } else if !decoded.message.is_empty() && self.notes.len() < 20 {
            *self.notes.entry(decoded.message).or_default() += 1;
        }
        if self.traces.len() < MAX_COUNTED_TRACES {
            self.traces.extend(decoded.batch.spans().trace_id.iter());
        }
        if decoded.batch.is_empty() && decoded.rejected == 0 {
            self.see("documents without spans".to_owned());
        }
        self.pending.append(&decoded.batch);
        self.pending_bytes += bytes;
        if self.pending.len() >= send::SPANS_PER_REQUEST || self.pending_bytes >= PENDING_BYTES {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        self.pending_bytes = 0;
        let batch = std::mem::take(&mut self.pending);
        self.sender.send(&batch)?;
        let kept = self.sender.kept;
        self.progress.show(&format!("{kept} spans"));
        if self.is_slow_progress && self.said.elapsed() > Duration::from_secs(1) {
            self.said = Instant::now();
            say(&format!("{kept} spans"));
        }
        Ok(())
    }

    fn finish(self, files: usize) -> Result<ExitCode> {
        let Sender { kept, refused, reasons, .. } = &self.sender;
        let of_files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
        for (note, times) in &self.notes {
            self.line(&format!(
                "changed while reading: {note}{}",
                if *times > 1 { format!(" (in {times} documents)") } else { String::new() }
            ));
        }
        if let Some(warning) = self.sender.expired() {
            self.line(&warning);
        }
        if *refused > 0 {
            self.line(&format!("{refused} spans were refused by the server: {}", reasons.join("; ")));
        }
        if *kept == 0 {
            self.line("");
            let mut seen: Vec<String> =
                self.seen.iter().map(|(what, times)| format!("{times} × {what}")).take(5).collect();
            if self.refused + refused > 0 {
                seen.push(format!("{} spans that are not valid", self.refused + refused));
            }
            if self.lost > 0 && self.seen.is_empty() {
                seen.push("nothing that could be read".to_owned());
            }
            anyhow::bail!(
                "no span is imported from {of_files}; it holds {}",
                if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") }
            );
        }
        let more = if self.traces.len() >= MAX_COUNTED_TRACES { "more than " } else { "" };
        self.line("");
        output::print_line(&format!("{kept} spans of {more}{} traces imported from {of_files}", self.traces.len()))?;
        let lost = self.refused + refused;
        if lost + self.lost == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        say(&format!(
            "not imported: {lost} spans that are not valid, {} documents or lines that could not be read",
            self.lost
        ));
        Ok(ExitCode::from(SOME_LOST))
    }

    fn lose(&mut self, path: &Path, lost_before: u64, at: At, why: &str) {
        self.lost += 1;
        if self.lost - lost_before <= MAX_LINES {
            self.line(&format!("{}: {at}: {why}", path.display()));
        }
    }

    fn see(&mut self, what: String) {
        if self.seen.len() < 100 || self.seen.contains_key(&what) {
            *self.seen.entry(what).or_default() += 1;
        }
    }

    /// A line on standard error in place of the progress.
    fn line(&self, text: &str) {
        self.progress.show("");
        if !text.is_empty() {
            say(&visible(text));
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    Ok(Box::new(std::fs::File::open(path)?))
}

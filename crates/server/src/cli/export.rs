//! `tracewell export`: whole traces to a file or standard output.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use tracewell_model::{SpanBatch, Trace};
use tracewell_wire::{Limits, jaeger, otlp};

use super::FilterArgs;
use super::client::Client;
use crate::output::{self, visible_json};

/// How traces are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// One OTLP JSON object a line.
    OtlpJson,
    /// One OTLP `TracesData` message.
    OtlpProtobuf,
    /// One document as Jaeger's UI downloads it.
    JaegerJson,
}

/// Arguments of `tracewell export`.
#[derive(Args, Clone, Debug)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// How traces are written
    #[arg(long, value_enum, default_value_t = ExportFormat::OtlpJson)]
    format: ExportFormat,
    /// File to write; .gz and .zst compress [default: standard output]
    #[arg(long, short = 'f', value_name = "FILE")]
    output: Option<PathBuf>,
    /// The server's UI and API address
    #[arg(long, env = "TRACEWELL_URL", default_value = super::client::DEFAULT_URL, value_name = "URL")]
    url: String,
}

pub(super) fn run(args: &ExportArgs) -> Result<()> {
    if args.format == ExportFormat::OtlpProtobuf && args.output.is_none() && output::is_terminal() {
        bail!("otlp-protobuf is binary and standard output is a terminal; name a file with --output");
    }
    let answer = Client::new(&args.url)?.stream("/api/v1/export", &args.filter.query(), "application/x-ndjson")?;
    let mut out = open(args.output.as_deref())?;
    let mut whole = SpanBatch::new();
    for line in BufReader::new(answer).lines() {
        let line = line.context("the export was cut off")?;
        if line.is_empty() {
            continue;
        }
        if args.format == ExportFormat::OtlpJson {
            writeln!(out, "{}", visible_json(&line))?;
        } else {
            let decoded =
                tracewell_wire::decode(tracewell_wire::Format::OtlpJson, line.as_bytes(), &Limits::default())?;
            whole.append(&decoded.batch);
        }
    }
    match args.format {
        ExportFormat::OtlpJson => {}
        ExportFormat::OtlpProtobuf => out.write_all(&otlp::encode_protobuf(&whole))?,
        ExportFormat::JaegerJson => {
            let json = String::from_utf8(jaeger::encode_traces(&Trace::assemble_all(&whole)))?;
            out.write_all(visible_json(&json).as_bytes())?;
        }
    }
    out.finish()
}

/// A file that may be compressed, or standard output.
enum Out {
    Plain(Box<dyn Write>),
    Gzip(flate2::write::GzEncoder<Box<dyn Write>>),
    Zstd(zstd::stream::write::Encoder<'static, Box<dyn Write>>),
}

fn open(path: Option<&Path>) -> Result<Out> {
    let Some(path) = path else { return Ok(Out::Plain(Box::new(output::data()))) };
    let file = std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    let file: Box<dyn Write> = Box::new(BufWriter::new(file));
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Out::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
        Some("zst") => Out::Zstd(zstd::stream::write::Encoder::new(file, 3)?),
        _ => Out::Plain(file),
    })
}

impl Out {
    fn finish(self) -> Result<()> {
        match self {
            Self::Plain(mut file) => file.flush()?,
            Self::Gzip(encoder) => encoder.finish()?.flush()?,
            Self::Zstd(encoder) => encoder.finish()?.flush()?,
        }
        Ok(())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

//! `tracewell fsck` and `tracewell store`: a store's directory looked at from outside.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use tracewell_store::{BucketOptions, CacheStats, FsckChanges, Place, StoreError};

use crate::output::{print_json, print_line, say};

/// The exit code of a check that could not read something that may not be damaged.
const CANNOT_READ: u8 = 2;

/// Arguments of `tracewell fsck`.
#[derive(Args, Clone, Debug)]
pub(super) struct FsckArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Takes out what is damaged: what can be read of it is kept, the damaged file is moved into DIR/damaged. Stops, with
    /// exit code 2 and nothing moved, if a file cannot be read for a reason that may pass
    #[arg(long)]
    repair: bool,
    /// Takes in the spans of files in DIR/damaged, and of segments that the catalog does not name, as far as they can be
    /// read and the store does not have them
    #[arg(long)]
    adopt: bool,
}

/// What `tracewell store` can do.
#[derive(Subcommand, Clone, Debug)]
pub(super) enum StoreCommand {
    /// Shows segments, their ages, and what each column takes; a server may be running
    Stats(DataArgs),
    /// Writes each segment as a Parquet file, for DuckDB, Polars or Spark; a server may be running
    Parquet(ParquetArgs),
}

/// Arguments of `tracewell store parquet`.
#[derive(Args, Clone, Debug)]
pub(super) struct ParquetArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Directory to write to, made if it is not there
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

/// Which store.
#[derive(Args, Clone, Debug)]
pub(super) struct PlaceArgs {
    /// Directory of the spans. One whose segments are in a bucket knows which
    #[arg(long, env = "TRACEWELL_DATA", default_value = "tracewell-data", value_name = "DIR")]
    data: PathBuf,
    /// Bucket of the segments, such as `s3://bucket/prefix`, where there is no directory that knows it
    #[arg(long, env = "TRACEWELL_SEGMENTS", value_name = "URL")]
    segments: Option<String>,
    /// Server of the bucket if it is not AWS
    #[arg(long, env = "TRACEWELL_SEGMENTS_ENDPOINT", value_name = "URL")]
    segments_endpoint: Option<String>,
}

impl PlaceArgs {
    /// A store makes its directory; looking at one must not. Where the bucket is named, there may be none.
    pub(super) fn place(&self) -> Result<Place> {
        for url in [&self.segments, &self.segments_endpoint].into_iter().flatten() {
            if let Some(shown) = crate::config::without_credentials(url) {
                anyhow::bail!("{shown} has a user or a password in it, which a bucket does not take");
            }
        }
        let bucket = self.segments.clone().map(|url| BucketOptions::new(url, self.segments_endpoint.clone()));
        anyhow::ensure!(bucket.is_some() || self.data.is_dir(), "{} is not a directory", self.data.display());
        Ok(Place { folder: self.data.clone(), bucket })
    }

    pub(super) fn name(&self) -> String {
        self.segments.clone().unwrap_or_else(|| self.data.display().to_string())
    }
}

/// Which store, and how to print.
#[derive(Args, Clone, Debug)]
pub(super) struct DataArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Prints JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn fsck(args: &FsckArgs) -> Result<ExitCode> {
    let place = &args.data.place;
    let changes = FsckChanges { adopt: args.adopt, repair: args.repair };
    let report = match tracewell_store::fsck(&place.place()?, changes) {
        Err(error @ (StoreError::Io { .. } | StoreError::Unavailable(_))) => {
            say(&format!("error: check {}: {error}", place.name()));
            say(
                "hint: this may pass, so nothing was moved or deleted; check the disk and its permissions, then run it again",
            );
            return Ok(ExitCode::from(CANNOT_READ));
        }
        report => report.with_context(|| format!("check {}", place.name()))?,
    };
    if args.data.json {
        print_json(&serde_json::json!({
            "segments": report.segments,
            "segment_spans": report.segment_spans,
            "log_files": report.log_files,
            "log_spans": report.log_spans,
            "damages": report.damages,
            "set_aside": report.set_aside,
            "repairs": report.repairs,
        }))?;
    } else {
        print_line(&format!("{} spans in {} segments", report.segment_spans, report.segments))?;
        print_line(&format!("{} spans in {} log files", report.log_spans, report.log_files))?;
        for damage in &report.damages {
            print_line(&format!("damaged: {damage}"))?;
        }
        for repair in &report.repairs {
            print_line(&format!("repaired: {repair}"))?;
        }
        for aside in &report.set_aside {
            print_line(&format!("set aside: {aside}"))?;
        }
        if report.damages.is_empty() {
            print_line("nothing is damaged")?;
        } else if !args.repair {
            say("hint: --repair keeps what can be read and moves damaged files away");
        }
        if !report.set_aside.is_empty() && !args.adopt && !args.repair {
            say("hint: --adopt takes in what can be read of the files that were set aside");
        }
    }
    let is_well = report.damages.is_empty() || args.repair;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn run(command: &StoreCommand) -> Result<()> {
    match command {
        StoreCommand::Stats(args) => stats(args),
        StoreCommand::Parquet(args) => {
            let files = tracewell_store::export_parquet(&args.place.place()?, &args.output)
                .with_context(|| format!("export {}", args.place.name()))?;
            for file in files {
                print_line(&file.display().to_string())?;
            }
            Ok(())
        }
    }
}

fn stats(args: &DataArgs) -> Result<()> {
    let report = tracewell_store::store_report(&args.place.place()?)
        .with_context(|| format!("look into {}", args.place.name()))?;
    let spans: u64 = report.segments.iter().map(|segment| segment.spans).sum();
    let bytes: u64 = report.segments.iter().map(|segment| segment.bytes).sum();
    if args.json {
        let segments: Vec<_> = report
            .segments
            .iter()
            .map(|segment| {
                serde_json::json!({
                    "number": segment.number,
                    "tenant": segment.tenant,
                    "spans": segment.spans,
                    "traces": segment.traces,
                    "bytes": segment.bytes,
                    "first_start_unix_nano": segment.first_start_unix_nano.to_string(),
                    "last_start_unix_nano": segment.last_start_unix_nano.to_string(),
                })
            })
            .collect();
        let columns: Vec<_> =
            report.columns.iter().map(|(name, bytes)| serde_json::json!({ "name": name, "bytes": bytes })).collect();
        return print_json(&serde_json::json!({
            "place": report.place,
            "spans": spans,
            "bytes": bytes,
            "log_files": report.log_files,
            "log_bytes": report.log_bytes,
            "log_spans": report.log_spans,
            "damages": report.damages,
            "unmoved_segments": report.unmoved_segments,
            "unmoved_bytes": report.unmoved_bytes,
            "cache": report.cache,
            "segments": segments,
            "columns": columns,
        }));
    }
    let each = |bytes: u64, spans: u64| bytes as f64 / spans.max(1) as f64;
    print_line(&format!(
        "{spans} spans in {} segments, {bytes} bytes, {:.2} bytes a span",
        report.segments.len(),
        each(bytes, spans)
    ))?;
    print_line(&format!("{} spans in {} log files, {} bytes", report.log_spans, report.log_files, report.log_bytes))?;
    if report.unmoved_segments > 0 {
        print_line(&format!(
            "{} segments, {} bytes, are still in the directory, to be moved into the bucket",
            report.unmoved_segments, report.unmoved_bytes
        ))?;
    }
    if let Some(cache) = &report.cache {
        print_line(&cache_line(cache))?;
    }
    for damage in &report.damages {
        print_line(&format!("damaged: {damage}"))?;
    }
    if !report.damages.is_empty() {
        say("hint: `tracewell fsck` reads every byte and tells all that is damaged");
    }
    if report.segments.is_empty() {
        return Ok(());
    }
    print_line("")?;
    print_line(&format!(
        "{:>14} {:<12} {:>12} {:>10} {:>14} {:>7}  {:<30} to",
        "segment", "tenant", "spans", "traces", "bytes", "B/span", "from"
    ))?;
    for segment in &report.segments {
        print_line(&format!(
            "{:>14} {:<12} {:>12} {:>10} {:>14} {:>7.2}  {:<30} {}",
            segment.number,
            segment.tenant,
            segment.spans,
            segment.traces,
            segment.bytes,
            each(segment.bytes, segment.spans),
            time(segment.first_start_unix_nano),
            time(segment.last_start_unix_nano)
        ))?;
    }
    print_line("")?;
    print_line(&format!("{:<44} {:>14} {:>7}", "column", "bytes", "B/span"))?;
    for (name, bytes) in &report.columns {
        print_line(&format!("{name:<44} {bytes:>14} {:>7.2}", each(*bytes, spans)))?;
    }
    Ok(())
}

/// How a cache is used, as the server wrote it down last.
fn cache_line(cache: &CacheStats) -> String {
    let CacheStats { most_bytes, bytes, pieces, hits, misses, missed_bytes, evictions } = cache;
    format!(
        "cache: {pieces} pieces in {bytes} of {most_bytes} bytes; since the server started {hits} hits, {misses} misses of \
         {missed_bytes} bytes, {evictions} evictions"
    )
}

/// A moment for people; its number if it is none that a calendar has.
fn time(unix_nano: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(unix_nano))
        .map_or_else(|_| unix_nano.to_string(), |time| time.to_string())
}

//! `tracewell backup` and `tracewell restore`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::store::PlaceArgs;
use crate::output::{Progress, print_line};

/// Arguments of `tracewell backup`.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "The backup holds every span that was acknowledged before it began. A server may be running on the \
                  directory. Segments that the backup in --to has already are not copied again, those of a bucket are copied like others. \
                  If it ends early, the backup before it stays usable. Not copied: DIR/damaged and the cache of a bucket."
)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Directory of the backup, made if it is not there; on another disk than --data, or it is lost with it
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Arguments of `tracewell restore`.
#[derive(Args, Clone, Debug)]
pub(super) struct RestoreArgs {
    /// Directory of the backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Directory for the spans, which must be empty or not there
    #[arg(long, env = "TRACEWELL_DATA", default_value = "tracewell-data", value_name = "DIR")]
    data: PathBuf,
}

pub(super) fn backup(args: &BackupArgs) -> Result<()> {
    let shown = Progress::new();
    let report = tracewell_store::backup(&args.place.place()?, &args.to, &mut |done, all| show(shown, done, all))
        .with_context(|| format!("back {} up to {}", args.place.name(), args.to.display()));
    shown.show("");
    let report = report?;
    print_line(&format!("{} segments, {} bytes", report.segments, report.segment_bytes))?;
    print_line(&format!("{} of them new, {} bytes", report.new_segments, report.new_segment_bytes))?;
    print_line(&format!("{} log files, {} bytes", report.log_files, report.log_bytes))?;
    if report.deleted_files > 0 {
        print_line(&format!("{} files of the backup before deleted", report.deleted_files))?;
    }
    Ok(())
}

pub(super) fn restore(args: &RestoreArgs) -> Result<()> {
    let shown = Progress::new();
    let report = tracewell_store::restore(&args.from, &args.data, &mut |done, all| show(shown, done, all))
        .with_context(|| format!("restore {} into {}", args.from.display(), args.data.display()));
    shown.show("");
    let report = report?;
    print_line(&format!(
        "{} segments and {} log files, {} bytes, as of {}",
        report.segments,
        report.log_files,
        report.bytes,
        super::table::moment(&report.written_unix_nano.to_string())
    ))
}

fn show(progress: Progress, done: u64, all: u64) {
    let percent = (done * 100).checked_div(all).unwrap_or(100);
    progress.show(&format!("{percent} % of {} MB", all / 1_000_000));
}

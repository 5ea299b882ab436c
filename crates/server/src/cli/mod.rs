//! The command line.

mod backup;
mod client;
mod compare;
mod critical_path;
mod environment;
mod export;
mod fetch;
mod import;
mod search;
mod stats;
mod store;
mod table;
mod trace;
mod why;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::logging;
use crate::output;
use crate::serve::{self, ServeArgs};
pub(crate) use client::local_agent;
use client::{Client, DEFAULT_URL};

/// Distributed tracing that answers.
#[derive(Parser, Debug)]
#[command(
    name = "tracewell",
    version,
    about = "Distributed tracing that answers: keeps every span, shows the trace, says where the slowdown is.",
    after_help = "Try it:\n  tracewell serve                                  UI on http://127.0.0.1:16686, OTLP on 4317 and 4318\n  tracewell search --service cart --min-duration 1s   slow requests of a service\n  tracewell trace 4bf92f3577b34da6a3ce929d0e0e4736    one request as a waterfall\n  tracewell why --service cart                     where the added time goes"
)]
struct Cli {
    /// What the program says of itself: error, warn, info, debug or a filter such as `tracewell_store=debug`
    #[arg(long, global = true, env = "TRACEWELL_LOG", default_value = "info,object_store=warn", value_name = "LEVEL")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Receives spans, keeps them, and serves the UI and the APIs
    Serve(Box<ServeArgs>),
    /// Finds traces, the newest first
    Search(search::SearchArgs),
    /// Shows one trace as a waterfall, its critical path marked
    Trace(trace::TraceArgs),
    /// Says where the added time of slow requests goes
    Why(why::WhyArgs),
    /// Shows two traces, or two sets of traces, side by side, by structure
    Compare(compare::CompareArgs),
    /// Adds up what requests were waiting for: folded stacks, or a flame graph
    CriticalPath(critical_path::CriticalPathArgs),
    /// Lists the services that have spans
    Services(ServerArgs),
    /// Shows what is stored, what was refused, and what the services' SDKs drop and cost
    Stats(ServerArgs),
    /// Sends files of spans to a server: OTLP, Jaeger or Zipkin, told by what is in them
    Import(import::ImportArgs),
    /// Writes traces as OTLP JSON lines, OTLP protobuf or Jaeger JSON
    Export(export::ExportArgs),
    /// Checks a store's directory, which no server may have open, and mends it if asked
    Fsck(store::FsckArgs),
    /// Copies a store, of a running server too, into another directory; the next time only what is new
    Backup(backup::BackupArgs),
    /// Makes a store's directory from a backup
    Restore(backup::RestoreArgs),
    /// Looks into a store's directory
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Shows the Image Gallery: makes it slow and says why
    Demo(crate::demo::DemoArgs),
    /// Prints the version
    Version,
}

/// Which server a client command asks, and how it answers.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// The server's UI and API address
    #[arg(long, env = "TRACEWELL_URL", default_value = DEFAULT_URL, value_name = "URL")]
    pub(crate) url: String,
    /// Prints the API's JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which traces: the conditions that `search` and `export` share. One span has to meet all of them.
#[derive(Args, Clone, Debug)]
pub(crate) struct FilterArgs {
    /// Service name
    #[arg(long, short)]
    pub(crate) service: Option<String>,
    /// Operation (span name)
    #[arg(long, short)]
    pub(crate) operation: Option<String>,
    /// Attribute of the span, its resource or an event; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(crate) tag: Vec<String>,
    /// Shortest duration of the span, such as 150us, 1.5s
    #[arg(long, value_name = "DURATION")]
    pub(crate) min_duration: Option<String>,
    /// Longest duration of the span
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_duration: Option<String>,
    /// Status of the span: error, ok or unset
    #[arg(long)]
    pub(crate) status: Option<String>,
    #[command(flatten)]
    pub(crate) time: TimeArgs,
}

/// A window of time.
#[derive(Args, Clone, Debug)]
pub(crate) struct TimeArgs {
    /// Start of the window: RFC 3339, Unix nanoseconds, or a time ago such as -15m
    #[arg(long, default_value = "-1h", allow_hyphen_values = true, value_name = "TIME")]
    pub(crate) from: String,
    /// End of the window
    #[arg(long, default_value = "now", allow_hyphen_values = true, value_name = "TIME")]
    pub(crate) to: String,
}

impl FilterArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("start", self.time.from.clone()), ("end", self.time.to.clone())];
        for (name, value) in [
            ("service", &self.service),
            ("operation", &self.operation),
            ("min_duration", &self.min_duration),
            ("max_duration", &self.max_duration),
            ("status", &self.status),
        ] {
            query.extend(value.clone().map(|value| (name, value)));
        }
        query.extend(self.tag.iter().map(|tag| ("tag", tag.clone())));
        query
    }
}

/// The answer of `/api/v1/why` as lines for a terminal, with so many columns left free.
pub(crate) fn why_lines(why: &serde_json::Value, indent: usize) -> Vec<String> {
    why::lines(why, table::width().saturating_sub(indent))
}

/// Runs the program.
pub fn main() -> ExitCode {
    output::show_panics();
    let command = environment::without_empty(Cli::command());
    let parsed = command.clone().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(usage) => {
            let usage = environment::named(&command, usage);
            output::print_usage(&usage);
            return ExitCode::from(usage.exit_code() as u8);
        }
    };
    // Its `new` prints by itself what it cannot read, as it is.
    let filter = match tracing_subscriber::EnvFilter::try_new(&cli.log) {
        Ok(filter) => filter,
        Err(error) => {
            output::say(&format!("error: --log {}: {error}", output::visible(&cli.log)));
            return ExitCode::from(2);
        }
    };
    output::start();
    let log = output::Log::new();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(log.colour()).with_writer(log).init();
    let code = ended(run(cli.command));
    logging::flush();
    code
}

fn ended(result: Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        // Whoever reads the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(args) => {
            crate::memory::keep_freed();
            let runtime = serve::runtime()?;
            let ended = runtime.block_on(serve::run(*args));
            // What nobody waits for any more is not waited for.
            runtime.shutdown_background();
            ended?;
        }
        Command::Search(args) => search::run(&args)?,
        Command::Trace(args) => trace::run(&args)?,
        Command::Why(args) => why::run(&args)?,
        Command::Compare(args) => compare::run(&args)?,
        Command::CriticalPath(args) => critical_path::run(&args)?,
        Command::Services(args) => {
            let answer = Client::new(&args.url)?.get("/api/v1/services", &[])?;
            if args.json {
                output::print_json(&answer)?;
            } else {
                for service in answer["services"].as_array().into_iter().flatten() {
                    output::print_line(service.as_str().unwrap_or_default())?;
                }
                if answer["complete"] == false {
                    output::say("There are more services; those with the most spans are listed (--listed-services).");
                }
            }
        }
        Command::Stats(args) => stats::run(&args)?,
        Command::Import(args) => return import::run(&args),
        Command::Export(args) => export::run(&args)?,
        Command::Fsck(args) => return store::fsck(&args),
        Command::Backup(args) => backup::backup(&args)?,
        Command::Restore(args) => backup::restore(&args)?,
        Command::Store(command) => store::run(&command)?,
        Command::Demo(args) => return crate::demo::run(args),
        Command::Version => output::print_line(&format!("tracewell {}", env!("CARGO_PKG_VERSION")))?,
    }
    Ok(ExitCode::SUCCESS)
}

//! `tracewell demo`: the Image Gallery with a server of its own, made slow on purpose, and what `why` says of it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tracewell_insight::duration;

use crate::cli::why_lines;
use crate::output::{self, print_line};

/// How long a part of the demonstration may take to start, or its spans to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests while all is well.
const NORMAL_REQUESTS: usize = 200;
/// Requests while the database is slow, and how many users make them at once.
const SLOW_REQUESTS: usize = 24;
const SLOW_USERS: usize = 12;

/// Arguments of `tracewell demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// How much longer each query of the catalog's database takes once it is slow, such as 2s or 500ms
    #[arg(long, default_value = "10s", value_parser = parse_delay, value_name = "DURATION")]
    slow: Duration,
    /// Ends after the answer: exit code 0 if it names the planted cause, 1 if not
    #[arg(long)]
    once: bool,
    /// How much of the gallery is traced: 0 nothing, 1 the gallery API alone, 2 all services, 3 database and files, too
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    level: u8,
    /// Folder of the gallery's programs [default: beside this one]
    #[arg(long, value_name = "DIR")]
    gallery: Option<PathBuf>,
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 2s or 500ms");
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic()).ok_or_else(wrong)?);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Runs the demonstration until it is done or interrupted. All that it started ends with it.
pub fn run(args: DemoArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            ended = demonstrate(&args) => ended,
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => Ok(ExitCode::SUCCESS),
        }
    })
}

async fn demonstrate(args: &DemoArgs) -> Result<ExitCode> {
    let here = std::env::current_exe().context("find this program")?;
    let programs = match &args.gallery {
        Some(folder) => folder.clone(),
        None => here.parent().map(Path::to_owned).unwrap_or_default(),
    };
    let work = tempfile::Builder::new().prefix("tracewell-demo-").tempdir()?;

    say("starting Tracewell and the Image Gallery: gallery, catalog, store");
    let server = start_server(&here, work.path()).await?;
    let gallery = start_gallery(&programs, work.path(), &server, args.level).await?;

    say(&format!("{NORMAL_REQUESTS} requests while all is well"));
    let normal_start = now_unix_nano();
    let normal = make_requests(&programs, &gallery.url, NORMAL_REQUESTS, 4).await?;
    let normal_end = now_unix_nano();

    say(&format!(
        "the catalog's database becomes slow: every query takes {} longer",
        duration(args.slow.as_nanos() as f64)
    ));
    let path = format!("{}/admin/slow-database?millis={}", gallery.catalog_url, args.slow.as_millis());
    blocking(move || Ok(crate::cli::local_agent().put(path).send_empty()?.status())).await?;
    say(&format!("{SLOW_REQUESTS} requests from {SLOW_USERS} users"));
    let slow_start = now_unix_nano();
    let slow = make_requests(&programs, &gallery.url, SLOW_REQUESTS, SLOW_USERS).await?;

    print_line("")?;
    print_line("What users saw          p50          p95          max")?;
    for (name, latency) in [("before", &normal), ("after", &slow)] {
        let cell = |field: &str| duration(latency[field].as_f64().unwrap_or(0.0));
        print_line(&format!(
            "  {name:<14}{:>11}  {:>11}  {:>11}",
            cell("p50_nanos"),
            cell("p95_nanos"),
            cell("max_nanos")
        ))?;
    }
    print_line("")?;

    let named = if args.level == 0 {
        print_line("Nothing is traced, so this is all that can be known. Try --level 1.")?;
        false
    } else {
        // Every request goes through these two; each sends its own spans, in batches.
        for service in if args.level == 1 { &["gallery"][..] } else { &["gallery", "catalog"] } {
            wait_for_traces(&server.url, service, normal_start, normal_end, NORMAL_REQUESTS).await?;
            wait_for_traces(&server.url, service, slow_start, u64::MAX >> 1, SLOW_REQUESTS).await?;
        }
        let window = format!(
            "start={slow_start}&end={}&baseline_start={normal_start}&baseline_end={normal_end}&service=gallery",
            now_unix_nano()
        );
        let why = api(format!("{}/api/v1/why?{window}", server.url)).await?;
        print_line("Where the slowdown is, as `tracewell why` found it:")?;
        print_line("")?;
        for line in why_lines(&why, 2) {
            print_line(&format!("  {line}"))?;
        }
        print_line("")?;
        judge(args.level, &why)?
    };
    print_line(&format!("The UI: {}", server.url))?;
    if args.level > 0 {
        print_line(&format!("  where the slowdown is: {}/why?service=gallery", server.url))?;
    }
    for id in why_examples(&server.url, slow_start).await? {
        print_line(&format!("  a slow request: {}/trace/{id}", server.url))?;
    }
    if args.once {
        return Ok(if named { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    print_line("Ctrl-C ends it all.")?;
    std::future::pending().await
}

/// Whether the first finding is the planted cause, as far as the level lets it be seen.
fn judge(level: u8, why: &Value) -> Result<bool> {
    let first = &why["findings"][0];
    let (service, operation) =
        (first["service"].as_str().unwrap_or_default(), first["operation"].as_str().unwrap_or_default());
    match level {
        1 => {
            print_line("The gallery alone is traced: that it is slow shows, not why. Try --level 2.")?;
            Ok(false)
        }
        2 => {
            print_line("The services are joined: it is the catalog. What the catalog waits for, level 3 shows.")?;
            Ok(service == "catalog")
        }
        _ => Ok(service == "catalog" && operation.starts_with("SELECT")),
    }
}

fn say(text: &str) {
    output::say(&format!("· {text}"));
}

fn now_unix_nano() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

struct Server {
    _process: Child,
    url: String,
    otlp_url: String,
}

/// A server on the usual ports where they are free.
async fn start_server(program: &Path, work: &Path) -> Result<Server> {
    let usual = |port: u16| {
        let free = TcpListener::bind(("127.0.0.1", port)).is_ok();
        format!("127.0.0.1:{}", if free { port } else { 0 })
    };
    let ready_file = work.join("ready.json");
    let mut process = Command::new(program)
        .args(["--log", "warn", "serve", "--data"])
        .arg(work.join("data"))
        .args(["--http", &usual(16686), "--otlp-http", &usual(4318), "--otlp-grpc", &usual(4317), "--ready-file"])
        .arg(&ready_file)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("start the server")?;
    let waiting = async {
        loop {
            if let Ok(text) = tokio::fs::read(&ready_file).await {
                return Ok(serde_json::from_slice::<Value>(&text)?);
            }
            if let Some(status) = process.try_wait()? {
                bail!("the server ended with {status}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ready = tokio::time::timeout(PATIENCE, waiting).await.context("the server did not start")??;
    let url = |name: &str| format!("http://{}", ready[name].as_str().unwrap_or_default());
    Ok(Server { url: url("http"), otlp_url: url("otlp_http"), _process: process })
}

struct Gallery {
    _processes: [Child; 3],
    url: String,
    catalog_url: String,
}

async fn start_gallery(programs: &Path, work: &Path, server: &Server, level: u8) -> Result<Gallery> {
    let start = async |name: &str, arguments: &[&str]| -> Result<(Child, String)> {
        let program = programs.join(name);
        let mut process = Command::new(&program)
            .args(["--level", &level.to_string()])
            .args(arguments)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &server.otlp_url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}; `cargo xtask demo` builds it", program.display()))?;
        let output = process.stdout.take().context("the output is piped")?;
        let line = tokio::time::timeout(PATIENCE, BufReader::new(output).lines().next_line())
            .await
            .with_context(|| format!("{name} did not start"))??;
        let address = line.as_deref().and_then(|line| line.strip_prefix("ready "));
        let address = address.with_context(|| format!("{name} ended before it was ready"))?;
        Ok((process, format!("http://{address}")))
    };
    let path = |name: &str| work.join(name).to_string_lossy().into_owned();
    let (store, store_url) = start("store", &["--folder", &path("pictures")]).await?;
    let (catalog, catalog_url) = start("catalog", &["--database", &path("catalog.db")]).await?;
    let (gallery, url) = start("gallery", &["--catalog", &catalog_url, "--store", &store_url]).await?;
    Ok(Gallery { _processes: [store, catalog, gallery], url, catalog_url })
}

/// Runs the client to its end; what it measured.
async fn make_requests(programs: &Path, gallery: &str, requests: usize, users: usize) -> Result<Value> {
    let output = Command::new(programs.join("client"))
        .args(["--gallery", gallery, "--requests", &requests.to_string(), "--users", &users.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("start the client")?;
    serde_json::from_slice(&output.stdout).context("the client measured nothing")
}

/// Waits until a service's part of the traces of a window has arrived.
async fn wait_for_traces(server: &str, service: &str, start: u64, end: u64, wanted: usize) -> Result<()> {
    let waiting = async {
        loop {
            let query = format!("start={start}&end={end}&service={service}&kind=server&limit=1000");
            let answer = api(format!("{server}/api/v1/traces?{query}")).await?;
            if answer["traces"].as_array().map_or(0, Vec::len) >= wanted {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("the traces did not arrive")?
}

async fn why_examples(server: &str, start: u64) -> Result<Vec<String>> {
    let answer = api(format!("{server}/api/v1/traces?start={start}&end={}&limit=2", now_unix_nano())).await?;
    let traces = answer["traces"].as_array().cloned().unwrap_or_default();
    Ok(traces.iter().filter_map(|trace| Some(trace["trace_id"].as_str()?.to_owned())).collect())
}

async fn api(url: String) -> Result<Value> {
    blocking(move || {
        let text = crate::cli::local_agent()
            .get(&url)
            .call()
            .with_context(|| format!("GET {url}"))?
            .body_mut()
            .read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a request panicked")?
}

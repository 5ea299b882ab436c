//! `tracewell serve`: listeners, their routers, and an orderly end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tracewell_store::{Commit, EmbeddedOptions, EmbeddedStore, MemoryOptions, MemoryStore, SpanStore};

use crate::api::{self, ApiState, OtlpAddresses};
use crate::budget::MemoryBudget;
use crate::config::{Config, Settings};
use crate::guard::Guard;
use crate::health::Health;
use crate::metrics::{self, Metrics};
use crate::net::{self, ConnectionStats, Front, Port};
use crate::queries::Queries;
use crate::receive::Receiver;
use crate::{checks, guard, logging, memory, output, ui, wrong_port};

/// Arguments of `tracewell serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: Settings,
    /// TOML file with any of the settings; flags and environment go before it
    #[arg(long, env = "TRACEWELL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Writes {"pid", "http", "otlp_http", "otlp_grpc"} here once all is listening
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// Prints the settings that hold, as TOML, and exits
    #[arg(long)]
    print_config: bool,
}

/// Threads that decompress and decode at once at most, for each processor: what each holds beside what is counted, and its
/// stack, are memory, too.
const BLOCKING_THREADS_PER_PROCESSOR: usize = 4;
const MIN_BLOCKING_THREADS: usize = 16;

/// The runtime of the receivers.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads((BLOCKING_THREADS_PER_PROCESSOR * processors).max(MIN_BLOCKING_THREADS))
        .enable_all()
        .build()
}

/// Serves until SIGTERM or SIGINT, then drains, flushes and returns.
pub async fn run(args: ServeArgs) -> Result<()> {
    let file = args.config.as_deref().map(Settings::from_file).transpose()?.unwrap_or_default();
    let settings = args.settings.or(file);
    if args.print_config {
        return toml::to_string(&settings)?.lines().try_for_each(output::print_line);
    }
    let config = settings.check()?;
    // The signals are caught before anything is announced, so that none is missed.
    let stop = stop_signal()?;
    raise_open_files();
    let queries = Queries::start(config.queries.concurrent_queries)?;
    let health = Health::default();
    let connections = ConnectionStats::new(["http", "otlp_http", "otlp_grpc"]);
    let mut front = Front::start(config.connections, connections.clone(), health.clone())?;
    let listeners = Listeners::bind(&config, &front).await?;
    let budget = config.budget();
    memory::watch(budget.clone()).context("start the thread that watches memory")?;
    let store = open_store(&config, &budget, &health)?;
    let receiver = Receiver::new(store.clone(), config.receive, &budget, config.cors_origins.clone())
        .with_retention(config.retention_age);
    checks::watch(&health, &config, &store, &receiver);
    let (receivers, heads) = (receiver.clone(), connections.clone());
    let addresses = listeners.addresses()?;
    let [_, otlp_http, otlp_grpc] = addresses;
    let metrics = Metrics::new(config.data.clone(), config.retention_age);
    let state = ApiState::new(store.clone())
        .with_metrics(metrics.clone())
        .with_limits(config.queries)
        .with_budget(budget)
        .with_receivers(move || receivers.stats().with_bad_heads(heads.bad_heads()))
        .with_connections(move || connections.snapshot())
        .with_addresses(OtlpAddresses { otlp_http, otlp_grpc });
    let guard = Guard::new(config.http.ip(), &config.http_name, &config.allowed_hosts);
    let pages = api::router(state).fallback_service(ui::router());
    let pages = metrics.layer(metrics::Port::Http, pages);
    let pages = guard::layer(wrong_port::layer(pages, OtlpAddresses { otlp_http, otlp_grpc }), guard.clone());

    let max_connections = config.connections.max_connections.min(net::free_descriptors() / 3);
    let spans =
        |listener, router| Port { listener, router, runtime: Handle::current(), may_be_busy: false, guard: None };
    let pages = Port {
        listener: listeners.http,
        router: pages,
        runtime: queries.handle().clone(),
        may_be_busy: true,
        guard: Some(guard),
    };
    front.serve(pages, max_connections);
    front.serve(spans(listeners.otlp_http, receiver.router(metrics::Port::OtlpHttp, &metrics)), max_connections);
    front.serve(spans(listeners.otlp_grpc, receiver.router(metrics::Port::OtlpGrpc, &metrics)), max_connections);
    health.start().context("start the thread that checks the server's health")?;
    announce(&config, &addresses, args.ready_file.as_deref())?;

    let failure = tokio::select! {
        () = stop => None,
        problem = health.failed() => Some(format!("{}: {}", problem.component, problem.message)),
        ended = front.failed() => Some(format!("connections are no longer accepted: {ended}")),
    };
    match &failure {
        None => tracing::info!("stopping"),
        Some(failure) => tracing::error!("stopping, because the server cannot go on: {failure}"),
    }
    if let Some(path) = &args.ready_file {
        // It may have been removed by whoever asked for it.
        let _ = std::fs::remove_file(path);
    }
    front.drain().await;
    store.close().await.context("close the store")?;
    failure.map_or(Ok(()), |failure| bail!("{failure}; start the server again"))
}

/// Each connection and each segment is an open file, and the usual soft limit is that of a desktop program.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, limit = ?limit.current, "cannot raise the limit of open files");
    }
}

fn open_store(config: &Config, budget: &MemoryBudget, health: &Health) -> Result<Arc<dyn SpanStore>> {
    let memtables = budget.memtables();
    let Some(folder) = &config.data else {
        let options =
            MemoryOptions { most_bytes: memtables.limit_bytes(), used_bytes: memtables.counter(), names: config.names };
        return Ok(Arc::new(MemoryStore::new(options)));
    };
    let options = EmbeddedOptions {
        commit: if config.durable { Commit::Group } else { Commit::None },
        memory_bytes: memtables.limit_bytes(),
        flush_bytes: Some(budget.flush_bytes()),
        used_bytes: memtables.counter(),
        names: config.names,
        retention_age: config.retention_age,
        retention_bytes: config.retention_bytes,
        segments: config.segments.clone(),
        limits: config.receive.request,
        times: config.receive.times,
        trust_clock: config.trust_clock,
        min_free_bytes: config.min_free_bytes,
        ..EmbeddedOptions::default()
    };
    let store =
        EmbeddedStore::open(folder, options).with_context(|| format!("open the store in {}", folder.display()))?;
    let store = Arc::new(store);
    checks::watch_threads(health, &store);
    Ok(store)
}

struct Listeners {
    http: TcpListener,
    otlp_http: TcpListener,
    otlp_grpc: TcpListener,
}

impl Listeners {
    async fn bind(config: &Config, front: &Front) -> Result<Self> {
        let bind = async |flag: &str, address: SocketAddr| {
            if !address.ip().is_loopback() {
                tracing::warn!(%address, "--{flag} is reachable from other machines, and there is no authentication");
            }
            front.bind(address).await.with_context(|| {
                format!("listen on {address}; choose another address with --{flag} (port 0 picks a free one)")
            })
        };
        Ok(Self {
            http: bind("http", config.http).await?,
            otlp_http: bind("otlp-http", config.otlp_http).await?,
            otlp_grpc: bind("otlp-grpc", config.otlp_grpc).await?,
        })
    }

    fn addresses(&self) -> Result<[SocketAddr; 3]> {
        Ok([self.http.local_addr()?, self.otlp_http.local_addr()?, self.otlp_grpc.local_addr()?])
    }
}

/// Ends with the first signal; the second ends the process at once, with the status that a shell gives to a signal.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    Ok(async move {
        next().await;
        tokio::spawn(async move {
            let signal = next().await;
            output::say("stopping at once: what is not acknowledged is lost");
            logging::flush();
            std::process::exit(128 + signal.as_raw_value());
        });
    })
}

fn announce(config: &Config, [http, otlp_http, otlp_grpc]: &[SocketAddr; 3], ready_file: Option<&Path>) -> Result<()> {
    let mut data = config
        .data
        .as_ref()
        .map_or("memory, nothing is kept".to_owned(), |path| output::visible(&path.display().to_string()).into_owned());
    if let Some(bucket) = &config.segments {
        data.push_str(&format!("\nsegments     {}", output::visible(&bucket.url)));
    }
    output::say(&format!(
        "Tracewell {}\nUI and APIs  http://{http}\nOTLP/HTTP    http://{otlp_http}/v1/traces\nOTLP/gRPC    {otlp_grpc}\ndata         {data}",
        env!("CARGO_PKG_VERSION")
    ));
    if let Some(path) = ready_file {
        let ready = serde_json::json!({
            "pid": std::process::id(),
            "http": http.to_string(),
            "otlp_http": otlp_http.to_string(),
            "otlp_grpc": otlp_grpc.to_string(),
        });
        // Renamed into place, so that whoever waits for the file never reads half of it.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        std::fs::write(&temporary, ready.to_string())
            .and_then(|()| std::fs::rename(&temporary, path))
            .with_context(|| format!("write the ready file {}", path.display()))?;
    }
    Ok(())
}

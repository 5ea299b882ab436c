//! `tracewell serve`: listeners, their routers, and an orderly end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::serve::ListenerExt;
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracewell_store::{Commit, EmbeddedOptions, EmbeddedStore, MemoryOptions, MemoryStore, SpanStore};

use crate::api::{self, ApiState, OtlpAddresses};
use crate::budget::MemoryBudget;
use crate::config::{Config, Settings};
use crate::metrics::{Metrics, Port};
use crate::queries::Queries;
use crate::receive::{AllowedOrigins, Receiver};
use crate::{guard, memory, output, ui};

/// How long requests in work may take to end after a signal.
const DRAIN: Duration = Duration::from_secs(10);

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
    let queries = Queries::start()?;
    let listeners = Listeners::bind(&config, &queries).await?;
    let budget = config.budget();
    memory::watch(budget.clone()).context("start the thread that watches memory")?;
    let store = open_store(&config, &budget)?;
    let origins = AllowedOrigins { origins: config.cors_origins.clone() };
    let receiver = Receiver::new(store.clone(), config.receive, &budget, origins);
    let receivers = receiver.clone();
    let addresses = listeners.addresses()?;
    let [_, otlp_http, otlp_grpc] = addresses;
    let metrics = Metrics::new(config.data.clone(), config.retention_age);
    let state = ApiState::new(store.clone())
        .with_metrics(metrics.clone())
        .with_budget(budget)
        .with_receivers(move || receivers.stats())
        .with_addresses(OtlpAddresses { otlp_http, otlp_grpc });
    let pages = metrics.layer(Port::Http, api::router(state).fallback_service(ui::router()));
    let pages = guard::layer(pages, config.http.ip().is_loopback());

    let (stopping, stopped) = watch::channel(false);
    let servers = [
        queries.handle().spawn(serve(listeners.http, pages, stopped.clone())),
        tokio::spawn(serve(
            listeners.otlp_http,
            metrics.layer(Port::OtlpHttp, receiver.http_router()),
            stopped.clone(),
        )),
        tokio::spawn(serve(listeners.otlp_grpc, metrics.layer(Port::OtlpGrpc, receiver.grpc_router()), stopped)),
    ];
    announce(&config, &addresses, args.ready_file.as_deref())?;

    stop.await;
    tracing::info!("stopping");
    if let Some(path) = &args.ready_file {
        // It may have been removed by whoever asked for it.
        let _ = std::fs::remove_file(path);
    }
    // Fails only if every server has ended by itself.
    let _ = stopping.send(true);
    for server in servers {
        match tokio::time::timeout(DRAIN, server).await {
            Ok(ended) => ended.context("a server panicked")??,
            Err(_) => tracing::warn!("requests did not end within {DRAIN:?}; they are cut off"),
        }
    }
    store.close().await.context("close the store")?;
    Ok(())
}

/// Each connection and each segment is an open file, and the usual soft limit is that of a desktop program.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, limit = ?limit.current, "cannot raise the limit of open files");
    }
}

fn open_store(config: &Config, budget: &MemoryBudget) -> Result<Arc<dyn SpanStore>> {
    let memtables = budget.memtables();
    let Some(folder) = &config.data else {
        let options = MemoryOptions { most_bytes: memtables.limit_bytes(), used_bytes: memtables.counter() };
        return Ok(Arc::new(MemoryStore::new(options)));
    };
    let options = EmbeddedOptions {
        commit: if config.durable { Commit::Group } else { Commit::None },
        memory_bytes: memtables.limit_bytes(),
        flush_bytes: Some(budget.flush_bytes()),
        used_bytes: memtables.counter(),
        retention_age: config.retention_age,
        retention_bytes: config.retention_bytes,
        segments: config.segments.clone(),
        limits: config.receive.request,
        ..EmbeddedOptions::default()
    };
    let store =
        EmbeddedStore::open(folder, options).with_context(|| format!("open the store in {}", folder.display()))?;
    Ok(Arc::new(store))
}

struct Listeners {
    http: TcpListener,
    otlp_http: TcpListener,
    otlp_grpc: TcpListener,
}

impl Listeners {
    /// A listener belongs to the runtime that it is bound on.
    async fn bind(config: &Config, queries: &Queries) -> Result<Self> {
        let here = tokio::runtime::Handle::current();
        let bind = async |runtime: &tokio::runtime::Handle, flag: &str, address: SocketAddr| {
            if !address.ip().is_loopback() {
                tracing::warn!(%address, "--{flag} is reachable from other machines, and there is no authentication");
            }
            runtime.spawn(TcpListener::bind(address)).await?.with_context(|| {
                format!("listen on {address}; choose another address with --{flag} (port 0 picks a free one)")
            })
        };
        Ok(Self {
            http: bind(queries.handle(), "http", config.http).await?,
            otlp_http: bind(&here, "otlp-http", config.otlp_http).await?,
            otlp_grpc: bind(&here, "otlp-grpc", config.otlp_grpc).await?,
        })
    }

    fn addresses(&self) -> Result<[SocketAddr; 3]> {
        Ok([self.http.local_addr()?, self.otlp_http.local_addr()?, self.otlp_grpc.local_addr()?])
    }
}

async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) -> std::io::Result<()> {
    let stop = async move {
        // An error means that the sender is gone, which is a reason to stop, too.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    // The end of an answer does not wait until its beginning is acknowledged.
    let listener = listener.tap_io(|connection| {
        // Without it, answers only come later.
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
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

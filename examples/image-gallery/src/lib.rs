//! What the four programs of the Image Gallery share.
//!
//! ```text
//! client ──▶ gallery ──┬──▶ catalog ──▶ SQLite, PostgreSQL or MongoDB
//!                      └──▶ store ────▶ files or S3
//! ```
//!
//! How much of it is traced is a setting, so that the way of adding tracing can be seen step by step:
//!
//! | level | adds                                    | what a trace shows                          |
//! |-------|-----------------------------------------|---------------------------------------------|
//! | 0     | nothing                                 | there is none                               |
//! | 1     | the gallery's server layer              | one lonely span a request                   |
//! | 2     | outgoing requests, the other servers    | the services, joined                        |
//! | 3     | database and file calls                 | everything                                  |
//!
//! `grep -rn "level" src` shows all that tracing needs.

#[cfg(feature = "kubernetes")]
pub mod cluster;
pub mod database;
pub mod peer;
pub mod pictures;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clap::Args;
use tracewell::ServerLayer;

/// What every service is told.
#[derive(Args, Clone, Debug)]
pub struct ServiceArgs {
    /// Address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// How much is traced, 0 to 3
    #[arg(long, env = "GALLERY_TRACING_LEVEL", default_value_t = 3)]
    pub level: u8,
}

/// Serves until SIGTERM, then lets requests end and sends the last spans. `traced_from` is the level from which on this
/// service takes part in traces.
pub async fn serve(name: &str, args: &ServiceArgs, traced_from: u8, routes: Router) -> Result<()> {
    let traced = args.level >= traced_from;
    // Tracing starts here, and ends with the guard; where spans go is said by OTEL_EXPORTER_OTLP_ENDPOINT.
    let tracing = traced.then(|| tracewell::init(tracewell::Config::from_env(name))).transpose()?;
    // The one line that makes a span of every request.
    let routes = if traced { routes.layer(ServerLayer::new()) } else { routes };

    let listener =
        tokio::net::TcpListener::bind(args.listen).await.with_context(|| format!("listen on {}", args.listen))?;
    let stopped = stopped()?;
    // Whoever started this service waits for the line, and may stop it from here on.
    println!("ready {}", listener.local_addr()?);
    axum::serve(listener, routes).with_graceful_shutdown(stopped).await?;
    if let Some(tracing) = tracing {
        tracing.shutdown()?;
    }
    Ok(())
}

/// Catches SIGTERM and SIGINT from now on; ready when one has come.
fn stopped() -> Result<impl Future<Output = ()>> {
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

/// What a handler fails with: a status and the reason as text.
#[derive(Debug)]
pub struct Failure(pub StatusCode, pub String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(StatusCode::BAD_GATEWAY, format!("{:#}", error.into()))
    }
}

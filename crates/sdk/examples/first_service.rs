//! A service as `docs/instrument-a-service.md` leaves it: its requests, a database call, work of its own, and
//! a request to another service (itself).
//!
//! ```sh
//! cargo run -p tracewell --features axum --example first_service
//! curl http://127.0.0.1:8080/images/7
//! ```

use axum::extract::Path;
use axum::routing::get;
use axum::{Extension, Router};
use std::error::Error;
use tracewell::{Context, FutureExt as _, RequestId, ServerLayer, Span, db, http, inject, span};

const ADDRESS: &str = "127.0.0.1:8080";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tracewell = tracewell::init(tracewell::Config::from_env("gallery"))?;
    let app = Router::new()
        .route("/images/{id}", get(image))
        .route("/sizes/{id}", get(async || "640"))
        .layer(ServerLayer::new());
    let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
    axum::serve(listener, app).with_graceful_shutdown(stopped()).await?;
    tracewell.shutdown()?;
    Ok(())
}

/// Ctrl-c, or what Kubernetes sends: either way `main` returns, and the last spans are exported.
async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminated) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    drop(tokio::signal::ctrl_c().await);
}

async fn image(Path(id): Path<u32>, Extension(request_id): Extension<RequestId>) -> String {
    tracewell::tag("image.id", id);
    let name = find(id);
    let size = size(id).in_span(span("measure").start()).await;
    format!("{name} is {size} wide (request {})\n", request_id.as_str())
}

fn find(id: u32) -> String {
    let span = db::call("sqlite", "SELECT").collection("images").query("SELECT name FROM images WHERE id = ?").start();
    span.in_scope(|| format!("image {id}"))
}

/// A blocking client on another thread, which takes the context along.
async fn size(id: u32) -> String {
    let context = Context::current();
    let call = move || context.in_scope(|| fetch(&format!("http://{ADDRESS}/sizes/{id}")));
    tokio::task::spawn_blocking(call).await.unwrap_or_default()
}

fn fetch(url: &str) -> String {
    let span: Span = http::client_span("GET", url);
    let mut request = ureq::get(url);
    if let Some(headers) = request.headers_mut() {
        inject(&span.context(), headers);
    }
    match request.call() {
        Ok(mut response) => {
            http::client_status(&span, response.status().as_u16());
            response.body_mut().read_to_string().unwrap_or_default()
        }
        Err(error) => {
            http::client_error(&span, &error);
            String::new()
        }
    }
}

//! Requests to another service.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};
use tracewell::ClientLayer;

/// The largest answer that is read.
const MOST_BYTES: usize = 16 << 20;

/// Another service.
#[derive(Clone)]
pub struct Peer {
    url: String,
    client: BoxCloneSyncService<http::Request<Full<Bytes>>, http::Response<Incoming>, Error>,
}

impl Peer {
    /// A service at this base URL. From level 2 on, each request makes a client span and carries its context.
    pub fn new(url: &str, level: u8) -> Self {
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let client = if level >= 2 {
            BoxCloneSyncService::new(ClientLayer::new().layer(client))
        } else {
            BoxCloneSyncService::new(client)
        };
        Self { url: url.trim_end_matches('/').to_owned(), client }
    }

    /// Sends a request; an answer that is no success is an error.
    pub async fn call(&self, method: http::Method, path: &str, body: Bytes) -> Result<Bytes> {
        let request =
            http::Request::builder().method(&method).uri(format!("{}{path}", self.url)).body(Full::new(body))?;
        let response =
            self.client.clone().oneshot(request).await.with_context(|| format!("{method} {}{path}", self.url))?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MOST_BYTES);
        let body = body.collect().await.map_err(|error| anyhow::anyhow!("{method} {}{path}: {error}", self.url))?;
        if !status.is_success() {
            bail!("{method} {}{path} answered {status}", self.url);
        }
        Ok(body.to_bytes())
    }

    /// A GET.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        self.call(http::Method::GET, path, Bytes::new()).await
    }
}

//! The context in the requests that a store sends.

use async_trait::async_trait;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};
use object_store::{ClientOptions, Result};
use tracewell::{Context, inject};

/// Sends the context and the request id (`x-request-id`) along with each request of a store that is spoken to over HTTP, for
/// stores and proxies before them that trace or log them: `AmazonS3Builder::with_http_connector(Propagating::new(..))`.
/// Signatures stay valid: they do not cover these headers.
#[derive(Clone, Debug, Default)]
pub struct Propagating<C> {
    connector: C,
}

impl<C: HttpConnector> Propagating<C> {
    /// Around the connector that connects, such as `object_store::client::ReqwestConnector`.
    #[must_use]
    pub fn new(connector: C) -> Self {
        Self { connector }
    }
}

impl<C: HttpConnector> HttpConnector for Propagating<C> {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        Ok(HttpClient::new(Client(self.connector.connect(options)?)))
    }
}

#[derive(Debug)]
struct Client(HttpClient);

#[async_trait]
impl HttpService for Client {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        inject(&Context::current(), request.headers_mut());
        self.0.execute(request).await
    }
}

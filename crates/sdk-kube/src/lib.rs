//! Spans of requests to the Kubernetes API, for the client of `kube`.
//!
//! ```no_run
//! use k8s_openapi::api::core::v1::Pod;
//! use kube::api::Api;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = tracewell_kube::Traced::new(kube::Config::infer().await?)?; // once
//! let pods: Api<Pod> = Api::default_namespaced(client.here()); // where it is used
//! let own = pods.get("gallery-7").await?;
//! # Ok(())
//! # }
//! ```
//!
//! A request is a client span named by its template, such as `GET /api/v1/namespaces/{namespace}/pods/{name}`, and carries
//! its context: an API server that is traced itself goes on with it, and has the request's id in its audit log.
//!
//! # Features
//! `latest` (default): Kubernetes' API in the newest version that `k8s-openapi` has. A program that names another version in its
//! own dependency on `k8s-openapi` turns the default off.

use std::pin::Pin;
use std::task::Poll;

use http::{Request, Response, Uri};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower_layer::Layer as _;
use tower_service::Service;
use tracewell::{ClientLayer, ClientService, Context, Tracer};

/// A client of the API that makes spans.
#[derive(Clone)]
pub struct Traced {
    client: Client,
    cluster: Uri,
    namespace: String,
    layer: ClientLayer,
}

impl Traced {
    /// A client as `kube` makes it of this configuration.
    ///
    /// # Errors
    /// Those of `kube`, such as for certificates that cannot be read.
    pub fn new(config: Config) -> kube::Result<Self> {
        let (cluster, namespace) = (config.cluster_url.clone(), config.default_namespace.clone());
        let client = ClientBuilder::try_from(config)?.build();
        Ok(Self { client, cluster, namespace, layer: ClientLayer::new().target(template) })
    }

    /// With this tracer instead of the global one.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.layer = self.layer.tracer(tracer);
        self
    }

    /// The client for what is done in the current context. Connections are shared by all.
    //
    // `kube` hands requests over to a task of the client's own, which knows nothing of the caller's context. So the context
    // is told to a client that is used in no other.
    #[must_use]
    pub fn here(&self) -> Client {
        let inner = self.layer.layer(Send { client: self.client.clone() });
        let service = Here { context: Context::current(), cluster: self.cluster.clone(), inner };
        ClientBuilder::new(service, self.namespace.clone()).build()
    }
}

impl std::fmt::Debug for Traced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Traced").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

type Sending = Pin<Box<dyn Future<Output = kube::Result<Response<Body>>> + std::marker::Send>>;

/// `kube`'s client as a service.
struct Send {
    client: Client,
}

impl Service<Request<Body>> for Send {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Sending;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<kube::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Sending {
        let client = self.client.clone();
        Box::pin(async move { client.send(request).await })
    }
}

/// A service that works in a context.
struct Here {
    context: Context,
    cluster: Uri,
    inner: ClientService<Send>,
}

impl Service<Request<Body>> for Here {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = <ClientService<Send> as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, task: &mut std::task::Context<'_>) -> Poll<kube::Result<()>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if request.uri().authority().is_none() {
            // For the span; the client puts the same there further in.
            let mut parts = request.uri().clone().into_parts();
            parts.scheme = self.cluster.scheme().cloned();
            parts.authority = self.cluster.authority().cloned();
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
        let inner = &mut self.inner;
        self.context.clone().in_scope(|| inner.call(request))
    }
}

/// The template of a path of the API; `None` for one that is not the API's.
fn template(uri: &Uri) -> Option<String> {
    let mut segments = uri.path().trim_start_matches('/').split('/');
    let mut template = match segments.next()? {
        "api" => format!("/api/{}", segments.next()?),
        "apis" => format!("/apis/{}/{}", segments.next()?, segments.next()?),
        _ => return None,
    };
    let mut rest: Vec<&str> = segments.collect();
    // The namespace itself is a resource, too: then there is nothing but its name and what is part of it.
    if rest.len() > 2 && rest[0] == "namespaces" && !["status", "finalize"].contains(&rest[2]) {
        template.push_str("/namespaces/{namespace}");
        rest.drain(..2);
    }
    for (at, segment) in rest.into_iter().enumerate() {
        template.push('/');
        template.push_str(if at == 1 { "{name}" } else { segment });
    }
    Some(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_namespaces_and_objects_are_left_out_of_templates() {
        for (path, expected) in [
            ("/api/v1/namespaces/shop/pods/gallery-7", Some("/api/v1/namespaces/{namespace}/pods/{name}")),
            ("/api/v1/namespaces/shop/pods/gallery-7/log", Some("/api/v1/namespaces/{namespace}/pods/{name}/log")),
            ("/api/v1/namespaces/shop/pods", Some("/api/v1/namespaces/{namespace}/pods")),
            ("/api/v1/namespaces/shop", Some("/api/v1/namespaces/{name}")),
            ("/api/v1/namespaces/shop/status", Some("/api/v1/namespaces/{name}/status")),
            ("/api/v1/pods?limit=1", Some("/api/v1/pods")),
            ("/api/v1/nodes/n1", Some("/api/v1/nodes/{name}")),
            (
                "/apis/apps/v1/namespaces/shop/deployments/d",
                Some("/apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
            ),
            ("/apis/apps/v1", Some("/apis/apps/v1")),
            ("/version", None),
        ] {
            assert_eq!(template(&path.parse().unwrap_or_default()).as_deref(), expected, "{path}");
        }
    }
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Spans of requests to the Kubernetes API, for the client of `kube`: one line where the client is built.
//!
//! ```ignore
//! let config = kube::Config::infer().await?;
//! let layer = tracewell_kube::layer(config.cluster_url.clone());
//! let client = kube::client::ClientBuilder::try_from(config)?.with_layer(&layer).build();
//! ```
//!
//! A request is a client span named by its template, such as `GET /api/v1/namespaces/{namespace}/pods/{name}`, and carries
//! its context: an API server that is traced itself goes on with it.

use std::task::{Context, Poll};

use http::{Request, Uri};
use tower_layer::Layer;
use tower_service::Service;
use tracewell::{ClientLayer, ClientService, Tracer};

/// The layer for a client of the API at this address, which requests get only further in.
#[must_use]
pub fn layer(cluster: Uri) -> KubeLayer {
    KubeLayer { cluster, layer: ClientLayer::new().target(template) }
}

/// See [`layer`].
#[derive(Clone, Debug)]
pub struct KubeLayer {
    cluster: Uri,
    layer: ClientLayer,
}

impl KubeLayer {
    /// With this tracer instead of the global one.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.layer = self.layer.tracer(tracer);
        self
    }
}

impl<S> Layer<S> for KubeLayer {
    type Service = KubeService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        KubeService { cluster: self.cluster.clone(), inner: self.layer.layer(inner) }
    }
}

/// The service that [`layer`] makes.
#[derive(Clone, Debug)]
pub struct KubeService<S> {
    cluster: Uri,
    inner: ClientService<S>,
}

impl<S, B> Service<Request<B>> for KubeService<S>
where
    ClientService<S>: Service<Request<B>>,
{
    type Response = <ClientService<S> as Service<Request<B>>>::Response;
    type Error = <ClientService<S> as Service<Request<B>>>::Error;
    type Future = <ClientService<S> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if request.uri().authority().is_none() {
            // The client replaces it by the same.
            let mut parts = request.uri().clone().into_parts();
            parts.scheme = self.cluster.scheme().cloned();
            parts.authority = self.cluster.authority().cloned();
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
        self.inner.call(request)
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

//! Where the gallery runs: in a cluster of Kubernetes it asks the API for its own pod and those beside it.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde::Serialize;

/// The pods of the gallery's own services.
const PEERS: &str = "app.kubernetes.io/part-of=image-gallery";

/// The cluster that this program runs in.
#[derive(Clone)]
pub struct Cluster {
    client: tracewell_kube::Traced,
    own: String,
}

/// What it says.
#[derive(Serialize)]
pub struct Place {
    pod: String,
    node: Option<String>,
    peers: Vec<String>,
}

impl Cluster {
    /// `None` outside of a cluster. From level 2 on, each request makes a client span.
    pub async fn find(level: u8) -> Result<Option<Self>> {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
            return Ok(None);
        }
        // Unlike in a cluster, a kubeconfig may say something else.
        let config = kube::Config::infer().await.context("find the Kubernetes API")?;
        let own = std::env::var("HOSTNAME").context("HOSTNAME is the pod's name")?;
        let client = tracewell_kube::Traced::new(config)?;
        let client = if level >= 2 { client } else { client.tracer(tracewell::Tracer::noop()) };
        Ok(Some(Self { client, own }))
    }

    /// Asks where this pod is, and who is beside it.
    pub async fn place(&self) -> Result<Place> {
        let pods: Api<Pod> = Api::default_namespaced(self.client.here());
        let of_gallery = ListParams::default().labels(PEERS);
        let (own, peers) = tokio::try_join!(pods.get(&self.own), pods.list(&of_gallery))?;
        let mut peers: Vec<String> = peers.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
        peers.retain(|peer| *peer != self.own);
        Ok(Place { pod: self.own.clone(), node: own.spec.and_then(|spec| spec.node_name), peers })
    }
}

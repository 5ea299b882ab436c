//! Who records: the tags that all spans of a process share.

use crate::id::random_u64;
use crate::{Key, Value};

/// Tags of the process: `service.name`, `service.instance.id`, `telemetry.sdk.*`, `process.pid`, `host.name`, and the user's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    tags: Vec<(Key, Value)>,
}

impl Resource {
    /// Of a service of this name, for tests of exporters: a tracer has one that tells more.
    #[must_use]
    pub fn new(service_name: &str) -> Self {
        let mut resource = Self::default();
        resource.set("service.name", service_name);
        resource
    }

    /// What can be known cheaply about this process.
    pub(crate) fn detect(service_name: &str) -> Self {
        let mut resource = Self { tags: Vec::new() };
        resource.set("service.name", service_name);
        resource.set("service.instance.id", random_uuid());
        resource.set("telemetry.sdk.name", Value::from_static("tracewell"));
        resource.set("telemetry.sdk.language", Value::from_static("rust"));
        resource.set("telemetry.sdk.version", Value::from_static(env!("CARGO_PKG_VERSION")));
        resource.set("process.pid", std::process::id());
        if let Some(path) = std::env::current_exe().ok()
            && let Some(name) = path.file_name()
        {
            resource.set("process.executable.name", name.to_string_lossy().into_owned());
        }
        resource.set("os.type", Value::from_static(std::env::consts::OS));
        resource.set("host.arch", Value::from_static(architecture()));
        if let Some(name) = host_name() {
            resource.set("host.name", name);
        }
        let file = |path: &str| std::fs::read_to_string(path).ok();
        if let Some(id) = file("/proc/self/cgroup").and_then(|text| container_id(&text)) {
            resource.set("container.id", id);
        }
        kubernetes(&mut resource, file, |name| std::env::var(name).ok());
        resource
    }

    /// Sets a tag.
    pub(crate) fn set(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.tags.iter_mut().find(|(other, _)| *other == key) {
            Some((_, old)) => *old = value,
            None => self.tags.push((key, value)),
        }
    }

    /// The tags.
    #[must_use]
    pub fn tags(&self) -> &[(Key, Value)] {
        &self.tags
    }

    /// The value of a tag.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.tags.iter().find(|(other, _)| other == key).map(|(_, value)| value)
    }
}

/// A UUID of version 4, as the conventions recommend for `service.instance.id`.
fn random_uuid() -> String {
    let (high, low) = (random_u64(), random_u64());
    let version = (high & 0x0fff) | 0x4000;
    let variant = (low >> 48 & 0x3fff) | 0x8000;
    format!(
        "{:08x}-{:04x}-{version:04x}-{variant:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        low & 0xffff_ffff_ffff
    )
}

/// As the conventions name processors.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "x86",
        other => other,
    }
}

/// The 64 digits that end the control group's path under Docker, containerd and CRI-O.
fn container_id(cgroup: &str) -> Option<String> {
    cgroup.lines().find_map(|line| {
        let last = line.rsplit('/').next()?;
        let last = last.strip_suffix(".scope").unwrap_or(last);
        let id = last.rsplit(['-', ':']).next()?;
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
    })
}

/// What Kubernetes tells a pod without being asked, and what the downward API was told to tell it, under the names that its
/// users give these variables most often. `OTEL_RESOURCE_ATTRIBUTES` overrules it.
fn kubernetes(resource: &mut Resource, file: impl Fn(&str) -> Option<String>, env: impl Fn(&str) -> Option<String>) {
    if env("KUBERNETES_SERVICE_HOST").is_none() {
        return;
    }
    const FROM_ENV: [(&str, &[&str]); 5] = [
        ("k8s.pod.name", &["K8S_POD_NAME", "POD_NAME", "HOSTNAME"]),
        ("k8s.pod.uid", &["K8S_POD_UID", "POD_UID"]),
        ("k8s.namespace.name", &["K8S_NAMESPACE_NAME", "POD_NAMESPACE"]),
        ("k8s.node.name", &["K8S_NODE_NAME", "NODE_NAME"]),
        ("k8s.container.name", &["K8S_CONTAINER_NAME", "CONTAINER_NAME"]),
    ];
    for (key, names) in FROM_ENV {
        if let Some(value) = names.iter().find_map(|name| env(name).filter(|value| !value.is_empty())) {
            resource.set(key, value);
        }
    }
    if resource.get("k8s.namespace.name").is_none()
        && let Some(namespace) = file("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    {
        resource.set("k8s.namespace.name", namespace.trim());
    }
}

/// Without a call of the system's, which would need unsafe code or a dependency.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_told_by_the_end_of_their_control_group() {
        let id = "0123456789abcdef".repeat(4);
        for line in
            ["12:cpu:/docker/ID", "0::/kubepods.slice/cri-containerd-ID.scope", "0::/kubepods/pod1:cri-containerd:ID"]
        {
            assert_eq!(container_id(&line.replace("ID", &id)).as_deref(), Some(&*id), "{line}");
        }
        for line in ["0::/", "0::/user.slice/session-1.scope", ""] {
            assert_eq!(container_id(line), None, "{line}");
        }
    }

    #[test]
    fn a_pod_says_what_it_was_told() {
        let mut resource = Resource { tags: Vec::new() };
        let env = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("10.0.0.1".to_owned()),
            "HOSTNAME" => Some("gallery-7d9".to_owned()),
            "NODE_NAME" => Some("node-1".to_owned()),
            _ => None,
        };
        kubernetes(&mut resource, |_| Some("shop\n".to_owned()), env);
        let tags: Vec<_> = resource.tags().iter().map(|(key, value)| (&**key, value.as_str().unwrap())).collect();
        let expected = [("k8s.pod.name", "gallery-7d9"), ("k8s.node.name", "node-1"), ("k8s.namespace.name", "shop")];
        assert_eq!(tags, expected);
        let mut outside = Resource { tags: Vec::new() };
        kubernetes(&mut outside, |_| None, |name| (name == "HOSTNAME").then(|| "laptop".to_owned()));
        assert!(outside.tags().is_empty());
    }
}

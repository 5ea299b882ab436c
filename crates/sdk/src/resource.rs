//! Who records: the tags that all spans of a process share.

use crate::id::random_u64;
use crate::{Key, Value};

/// Tags of the process: `service.name`, `service.instance.id`, `telemetry.sdk.*`, `process.pid`, `host.name`, and the user's.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    tags: Vec<(Key, Value)>,
}

impl Resource {
    /// What can be known cheaply about this process.
    pub(crate) fn detect(service_name: &str) -> Self {
        let mut resource = Self { tags: Vec::new() };
        resource.set("service.name", service_name);
        resource.set("service.instance.id", random_uuid());
        resource.set("telemetry.sdk.name", Value::from_static("tracewell"));
        resource.set("telemetry.sdk.language", Value::from_static("rust"));
        resource.set("telemetry.sdk.version", Value::from_static(env!("CARGO_PKG_VERSION")));
        resource.set("process.pid", std::process::id());
        if let Some(name) = host_name() {
            resource.set("host.name", name);
        }
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
